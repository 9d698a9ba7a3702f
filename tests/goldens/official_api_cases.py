"""Conversations with Meta's predictors, as plain values, for goldens of what their calls return.

A case has a `version`, whether there is `postprocessing`, further `settings` of the model, and `calls`. Coordinates are
pixels of an image of 128 x 96, or fractions of it. The calls of the cases named after Meta's notebooks are those of the
notebooks, in their order, with coordinates that fit the small image.
"""

from __future__ import annotations

from typing import Any

from goldens.official_cases import FLICKERING

Call = dict[str, Any]
Case = dict[str, Any]

SEED = 47


def case(calls: list[Call], version: str = "sam2.1", postprocessing: bool = True, **settings: Any) -> Case:
    return {
        "version": version,
        "seed": SEED,
        "postprocessing": postprocessing,
        "weight_offsets": settings.pop("weight_offsets", {}),
        "arguments": settings.pop("arguments", {}),
        "settings": settings,
        "calls": calls,
    }


# Images. A prompt names the logits of an earlier call by its number.


def predict(**arguments: Any) -> Call:
    return {"do": "predict", **arguments}


def predict_batch(**arguments: Any) -> Call:
    return {"do": "predict_batch", **arguments}


SET_IMAGE: Call = {"do": "set_image"}
SET_BATCH: Call = {"do": "set_image_batch"}

ONE = {"point_coords": [[36, 40]], "point_labels": [1]}
TWO = {"point_coords": [[36, 40], [50, 44]], "point_labels": [1, 1]}
BESIDE = {"point_coords": [[36, 40], [100, 80]], "point_labels": [1, 0]}
BOX = [16, 20, 58, 60]
BOXES = [[16, 20, 58, 60], [78, 66, 114, 94], [4, 4, 120, 90], [60, 10, 100, 50]]

IMAGE_NOTEBOOK = [
    SET_IMAGE,
    predict(**ONE),
    predict(**TWO, mask_of=1, multimask_output=False),
    predict(**BESIDE, mask_of=1, multimask_output=False),
    predict(box=[BOX], multimask_output=False),
    predict(point_coords=[[42, 44]], point_labels=[0], box=BOX, multimask_output=False),
    predict(box=BOXES, multimask_output=False),
    SET_BATCH,
    predict_batch(box_batch=[BOXES, BOXES[:2]], multimask_output=False),
    predict_batch(
        point_coords_batch=[[[[36, 40]], [[96, 86]]], [[[30, 30]], [[90, 70]]]],
        point_labels_batch=[[[1], [1]], [[1], [1]]],
    ),
]
OTHER_PROMPTS = [
    SET_IMAGE,
    predict(**BESIDE),
    predict(point_coords=[[[36, 40]], [[96, 86]]], point_labels=[[1], [1]], return_logits=True),
    predict(box=BOX),
    predict(**ONE, box=BOX, return_logits=True),
    predict(mask_of=1),
    predict(mask_of=1, multimask_output=False),
    predict(mask_of=1, box=[20, 24, 60, 64], multimask_output=False),
    predict(point_coords=[[0.28, 0.42]], point_labels=[1], normalize_coords=False),
    predict(box=[0.12, 0.2, 0.46, 0.62], normalize_coords=False, multimask_output=False, return_logits=True),
]
API_IMAGE_CASES: dict[str, Case] = {
    "notebook": case(IMAGE_NOTEBOOK),
    "prompts": case(OTHER_PROMPTS),
    "prompts_plain": case(OTHER_PROMPTS, postprocessing=False),
    "prompts_2.0": case(OTHER_PROMPTS, "sam2"),
    "cleaned": case(
        [SET_IMAGE, predict(**ONE), predict(**BESIDE, return_logits=True), predict(box=BOXES)],
        arguments={"max_hole_area": 12, "max_sprinkle_area": 9, "mask_threshold": 0.3},
    ),
}


# Videos.


def prompt(frame: int, obj: Any, **arguments: Any) -> Call:
    return {"do": "add_new_points_or_box", "frame_idx": frame, "obj_id": obj, **arguments}


def click(frame: int, obj: Any, x: float, y: float, label: int = 1, **arguments: Any) -> Call:
    return prompt(frame, obj, points=[[x, y]], labels=[label], **arguments)


def mask(frame: int, obj: Any, disc: list[float], scale: int = 1) -> Call:
    """`disc` is centre x, centre y and radius in pixels of the video; the mask is `scale` times as fine."""
    return {"do": "add_new_mask", "frame_idx": frame, "obj_id": obj, "disc": disc, "scale": scale}


def propagate(**arguments: Any) -> Call:
    return {"do": "propagate_in_video", **arguments}


def clear(frame: int, obj: Any, need_output: bool = True) -> Call:
    return {"do": "clear_all_prompts_in_frame", "frame_idx": frame, "obj_id": obj, "need_output": need_output}


def remove(obj: Any) -> Call:
    return {"do": "remove_object", "obj_id": obj}


RESET: Call = {"do": "reset_state"}

VIDEO_NOTEBOOK = [
    RESET,
    click(0, 1, 36, 40),
    prompt(0, 1, points=[[36, 40], [44, 48]], labels=[1, 1]),
    propagate(),
    prompt(5, 1, points=[[70, 56]], labels=[0], clear_old_points=False),
    propagate(),
    RESET,
    prompt(0, 4, box=[16, 20, 58, 60]),
    prompt(0, 4, points=[[60, 60]], labels=[1], box=[16, 20, 58, 60]),
    propagate(),
    RESET,
    click(0, 2, 36, 40),
    prompt(0, 2, points=[[36, 40], [60, 60]], labels=[1, 0]),
    click(0, 3, 96, 84),
    propagate(),
]
LATE_AND_CORRECTED = [
    click(0, 7, 36, 40),
    propagate(max_frame_num_to_track=3),
    click(4, "late", 80, 84),
    propagate(),
    click(2, 7, 76, 40, label=0),
    prompt(2, 7, points=[[40, 44]], labels=[1], clear_old_points=False),
    mask(5, "late", [64, 70, 18]),
    propagate(start_frame_idx=0),
    propagate(start_frame_idx=7, reverse=True, max_frame_num_to_track=4),
]
API_VIDEO_CASES: dict[str, Case] = {
    "notebook": case(VIDEO_NOTEBOOK),
    "notebook_2.0": case(VIDEO_NOTEBOOK, "sam2"),
    "notebook_plain": case(VIDEO_NOTEBOOK, postprocessing=False),
    "late_and_corrected": case(LATE_AND_CORRECTED),
    "late_and_corrected_2.0": case(LATE_AND_CORRECTED, "sam2", add_all_frames_to_correct_as_cond=True),
    "flickering": case([click(0, 1, 36, 40), mask(1, 2, [96, 84, 12]), propagate()], weight_offsets=FLICKERING),
    "masks": case(
        [mask(0, 1, [40, 40, 20]), mask(0, 2, [96, 84, 13], scale=2), click(0, 1, 30, 30), propagate()],
        non_overlap_masks=True,
    ),
    "removed": case(
        [
            click(0, 1, 36, 40),
            click(0, 2, 96, 84),
            click(3, 3, 60, 30),
            propagate(),
            click(4, 2, 70, 60),
            remove(2),
            propagate(),
            remove(9),
            remove(1),
            propagate(start_frame_idx=2),
            remove(3),
        ]
    ),
    "cleared": case(
        [
            click(0, 1, 36, 40),
            click(3, 1, 70, 56, label=0),
            clear(3, 1),
            click(3, 1, 48, 46),
            click(0, 2, 96, 84),
            propagate(),
            click(5, 1, 30, 60, label=0),
            clear(5, 1),
            propagate(),
            clear(3, 1),
            clear(0, 2, need_output=False),
            click(0, 2, 88, 84),
            propagate(start_frame_idx=0),
            click(3, 1, 60, 52),
            propagate(start_frame_idx=0),
        ]
    ),
    "first_frame_corrected": case(
        [
            click(0, 1, 36, 40),
            propagate(max_frame_num_to_track=3),
            click(0, 1, 60, 60, label=0, clear_old_points=False),
            click(0, 1, 50, 60, label=0, clear_old_points=False),
            propagate(),
        ]
    ),
    "reverse": case([click(7, 1, 64, 54), propagate(reverse=True), click(3, 1, 70, 60, label=0), propagate()]),
    "fractions": case([click(0, 1, 0.28, 0.42, normalize_coords=False), propagate(max_frame_num_to_track=2)]),
}


# Everything in an image.

LOOSE = {"points_per_side": 6, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
GENERATE: Call = {"do": "generate"}
API_GENERATOR_CASES: dict[str, Case] = {
    "notebook": case([GENERATE], postprocessing=False, arguments=LOOSE),
    "notebook_2": case(
        [GENERATE],
        postprocessing=False,
        arguments={
            **LOOSE,
            "points_per_batch": 16,
            "stability_score_offset": 0.7,
            "crop_n_layers": 1,
            "crop_nms_thresh": 1.0,
            "crop_n_points_downscale_factor": 2,
            "min_mask_region_area": 4.0,
            "use_m2m": True,
        },
    ),
    "cleaned_2.0": case([GENERATE], "sam2", arguments={**LOOSE, "min_mask_region_area": 6}),
    "single": case([GENERATE], arguments={**LOOSE, "multimask_output": False, "output_mode": "uncompressed_rle"}),
}


# The lower calls that a program makes which keeps the memories itself. `start` is the first prompt.

API_LOWER_CASES: dict[str, Case] = {
    f"{start}_{version}": {**case([], version), "start": start}
    for start in ("mask", "points")
    for version in ("sam2", "sam2.1")
}
API_HEAD_CASES: dict[str, Case] = {"heads": case([])}
