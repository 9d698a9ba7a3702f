"""The golden cases: prompts for the official code, as plain values. Coordinates are pixels of a 128 x 128 image.

An image case is one call of the official image predictor. A video case is a list of steps: `points` (a click, a box
or both), `mask`, and `propagate`. The generator copies each case into the JSON beside the outputs.
"""

from __future__ import annotations

from typing import Any

Step = dict[str, Any]

OBJECT_SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
# Added to the object score: the object is always there (nothing added), comes and goes, never is.
PRESENT: dict[str, float] = {}
FLICKERING = {OBJECT_SCORE_BIAS: -10.55}
ABSENT = {OBJECT_SCORE_BIAS: -15.0}

SEED = 47


def points(frame: int, obj: int, xy: list, labels: list, box: list | None = None, clear_old: bool = True) -> Step:
    return {
        "do": "points",
        "frame": frame,
        "object": obj,
        "points": xy,
        "labels": labels,
        "box": box,
        "clear_old": clear_old,
    }


def click(frame: int, obj: int, x: float, y: float, label: int = 1, clear_old: bool = True) -> Step:
    return points(frame, obj, [[x, y]], [label], clear_old=clear_old)


def mask(frame: int, obj: int, disc: list) -> Step:
    """`disc` is centre x, centre y and radius of the mask."""
    return {"do": "mask", "frame": frame, "object": obj, "disc": disc}


def propagate(
    start: int | None = None, count: int | None = None, reverse: bool = False, record: list[int] | None = None
) -> Step:
    """`record` lists the frames whose outputs are stored; None stores all."""
    return {"do": "propagate", "start": start, "count": count, "reverse": reverse, "record": record}


def video(steps: list[Step], version: str = "sam2.1", num_frames: int = 8, **settings: Any) -> dict[str, Any]:
    return {
        "version": version,
        "num_frames": num_frames,
        "seed": SEED,
        "weight_offsets": settings.pop("weight_offsets", PRESENT),
        "official_settings": settings,
        "steps": steps,
    }


ONE_CLICK = [click(0, 1, 36, 44), propagate()]
LONG = [click(0, 1, 36, 44), propagate(record=[6, 7, 8, 15, 16, 17, 19])]
FOUR_FRAMES = [click(0, 1, 36, 44), click(2, 1, 44, 48), click(4, 1, 52, 52), click(7, 1, 64, 58), propagate()]
CORRECTED = [click(0, 1, 36, 44), propagate(record=[]), click(4, 1, 70, 60, label=0), propagate()]
# With the click above, SAM 2.0 gives a logit within rounding of zero, and so a memory that is a pixel larger or not.
CORRECTED_ELSEWHERE = [click(0, 1, 36, 44), propagate(record=[]), click(4, 1, 74, 56, label=0), propagate()]

VIDEO_CASES: dict[str, dict[str, Any]] = {
    "one_click": video(ONE_CLICK),
    "one_click_2.0": video(ONE_CLICK, "sam2"),
    # Longer than the seven memories and the sixteen pointers.
    "long": video(LONG, num_frames=20),
    "long_2.0": video(LONG, "sam2", num_frames=20),
    "click_box_mask": video(
        [
            points(0, 1, [[36, 44], [60, 60]], [1, 0]),
            points(0, 2, [[96, 90]], [1], box=[80, 74, 112, 106]),
            mask(0, 3, [64, 100, 18]),
            propagate(),
        ]
    ),
    "mask_2.0": video([mask(0, 1, [40, 40, 22]), propagate()], "sam2"),
    "empty_mask": video([mask(0, 1, [64, 64, -1]), propagate(count=3)]),
    "two_objects": video([click(0, 5, 36, 44), points(0, 2, [], [], box=[80, 74, 112, 106]), propagate()]),
    # The second prompt sees the first one's mask, whether it replaces the click or joins it.
    "second_click_added": video(
        [click(0, 1, 36, 44), click(0, 1, 60, 60, label=0, clear_old=False), propagate(count=3)]
    ),
    "second_click_replacing": video([click(0, 1, 36, 44), click(0, 1, 40, 50), propagate(count=3)]),
    "click_after_mask": video([mask(0, 1, [40, 40, 22]), click(0, 1, 30, 30), propagate(count=3)]),
    "reverse": video([click(7, 1, 64, 58), propagate(reverse=True)]),
    "reverse_2.0": video([click(7, 1, 64, 58), propagate(reverse=True)], "sam2"),
    "both_directions": video([click(3, 1, 48, 50), propagate(), propagate(start=3, reverse=True)]),
    "corrected": video(CORRECTED, add_all_frames_to_correct_as_cond=True),
    "corrected_2.0": video(CORRECTED_ELSEWHERE, "sam2", add_all_frames_to_correct_as_cond=True),
    # Without the flag the correction is overwritten by the next propagation.
    "corrected_not_conditioning": video(CORRECTED),
    "corrected_by_box_and_mask": video(
        [
            click(0, 1, 36, 44),
            propagate(record=[]),
            points(2, 1, [], [], box=[20, 24, 64, 68]),
            mask(5, 1, [56, 54, 20]),
            propagate(),
        ],
        add_all_frames_to_correct_as_cond=True,
    ),
    # The click's own frame, once tracked, is corrected through its memories.
    "first_frame_corrected": video(
        [click(0, 1, 36, 44), propagate(record=[]), click(0, 1, 60, 44, label=0, clear_old=False), propagate(count=4)],
        add_all_frames_to_correct_as_cond=True,
    ),
    "corrected_in_reverse": video(
        [
            click(7, 1, 64, 58),
            propagate(reverse=True, record=[]),
            click(4, 1, 70, 60, label=0),
            propagate(start=7, reverse=True),
        ],
        add_all_frames_to_correct_as_cond=True,
    ),
    "four_conditioning_frames": video(FOUR_FRAMES),
    "four_conditioning_frames_capped": video(FOUR_FRAMES, max_cond_frames_in_attn=2),
    "four_conditioning_frames_capped_2.0": video(FOUR_FRAMES, "sam2", max_cond_frames_in_attn=3),
    "late_object_from_its_frame": video(
        [click(0, 1, 36, 44), propagate(count=3), click(4, 2, 80, 90), propagate(start=4)]
    ),
    # Before its prompt, the official code lets the late object see its future memory.
    "late_object_from_the_start": video([click(0, 1, 36, 44), propagate(record=[]), click(4, 2, 80, 90), propagate()]),
    "occluded": video(ONE_CLICK, weight_offsets=FLICKERING),
    "occluded_2.0": video(ONE_CLICK, "sam2", weight_offsets=FLICKERING),
    "absent_where_clicked": video([click(0, 1, 36, 44), propagate(count=3)], weight_offsets=ABSENT),
}


def image(version: str = "sam2.1", multimask: bool = True, **prompt: Any) -> dict[str, Any]:
    return {
        "version": version,
        "seed": SEED,
        "weight_offsets": PRESENT,
        "multimask": multimask,
        "points": prompt.get("points"),
        "labels": prompt.get("labels"),
        "box": prompt.get("box"),
        "mask": prompt.get("mask"),
    }


ONE = {"points": [[36, 44]], "labels": [1]}
SEVERAL = {"points": [[36, 44], [50, 40], [100, 92]], "labels": [1, 1, 0]}
BOX = {"box": [16, 24, 58, 66]}
# A mask prompt is a low-resolution map of logits: +6 in a disc and -6 around it.
LOGITS = {"mask": [40, 44, 22]}

# A point of label -1 is no point. The official model adds one where a mask comes alone, as in training; its image
# predictor does not, so these cases do.
NO_POINT = {"points": [[0, 0]], "labels": [-1]}

IMAGE_CASES: dict[str, dict[str, Any]] = {
    "one_click": image(**ONE),
    "one_click_2.0": image("sam2", **ONE),
    "one_click_single": image(multimask=False, **ONE),
    "several_clicks": image(**SEVERAL),
    "several_clicks_single": image(multimask=False, **SEVERAL),
    "several_clicks_single_2.0": image("sam2", multimask=False, **SEVERAL),
    "box": image(**BOX),
    "box_single": image(multimask=False, **BOX),
    "box_and_click": image(**BOX, **ONE),
    "mask": image(**LOGITS, **NO_POINT),
    "mask_and_click": image(**LOGITS, **ONE),
    "mask_box_and_clicks_single": image(multimask=False, **LOGITS, **BOX, **SEVERAL),
}
