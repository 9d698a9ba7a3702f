"""Whole conversations with the official video predictor, side by side, where it is installed (`-m peers`).

The golden cases are replayed elsewhere. Here both sides are given the same prompts in a random order, take prompts
back, lose objects, and go through the clip either way.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from closeness import assert_close_in_scale
from official_goldens import IMAGE_SIZE, draw_clip, to_pixels
from test_official_video_goldens import give_prompt
from video_scenes import PROCESSOR, clip, is_empty, scene_model

pytestmark = pytest.mark.peers

LENGTH = 8
TOLERANCE = 2e-3
Step = dict[str, Any]


@pytest.fixture(scope="module")
def runs() -> Any:
    """The official code, which cannot be imported elsewhere."""
    return pytest.importorskip("official_runs")


@pytest.fixture(scope="module")
def cases() -> Any:
    return pytest.importorskip("goldens.official_cases")


class Conversation:
    """The official predictor, and ours with the flags that make it behave alike."""

    def __init__(self, runs: Any, cases: Any, version: str = "sam2.1", num_frames: int = LENGTH, **settings: Any):
        settings = {"add_all_frames_to_correct_as_cond": True, **settings}
        case = cases.video([], version, num_frames, **settings)
        self.runs, self.official = runs, runs.small_model(case)
        runs.check_decisions(self.official)
        frames = to_pixels(draw_clip(num_frames))
        runs.official_video.load_video_frames = lambda **_: (frames, IMAGE_SIZE, IMAGE_SIZE)
        self.state = self.official.init_state(video_path="")
        names = {"max_cond_frames_in_attn": "max_cond_frame_num"}
        self.model = scene_model(
            version,
            track_before_first_prompt=True,
            **{names.get(name, name): value for name, value in settings.items()},
        )
        self.session = PROCESSOR.init_video_session(clip(num_frames))

    def prompt(self, step: Step) -> None:
        """Both segment the prompt at once, with the same result."""
        frame, obj_id = step["frame"], step["object"]
        self.runs.prompt(self.official, self.state, step)
        give_prompt(self.session, step)
        # Calling the model would track the other objects here as well, which the official code leaves to propagation.
        with torch.inference_mode():
            self.model._segment(self.session, [frame])
        self.compare(frame, obj_id, self.runs.stored(self.state, frame, obj_id, "temp_output_dict_per_obj"))

    def propagate(self, start: int | None = None, count: int | None = None, reverse: bool = False) -> None:
        theirs = self.official.propagate_in_video(self.state, start, count, reverse)
        ours = self.model.propagate_in_video_iterator(self.session, start, count, reverse)
        for (frame, obj_ids, _), output in zip(theirs, ours, strict=True):
            assert output.frame_idx == frame and output.object_ids == list(obj_ids)
            for obj_id in obj_ids:
                self.compare(frame, obj_id, self.runs.stored(self.state, frame, obj_id, "output_dict_per_obj"))

    def compare(self, frame: int, obj_id: int, expected: dict[str, torch.Tensor]) -> None:
        result = self.session.tracks[obj_id].results[frame]
        assert_close_in_scale(result.mask_logits, expected["pred_masks"][0], TOLERANCE)
        assert_close_in_scale(result.object_score, expected["object_score_logits"][0], TOLERANCE)
        assert_close_in_scale(result.memory.pointer, expected["obj_ptr"][0], TOLERANCE)
        mask, truth = result.mask_logits > 0, expected["pred_masks"][0] > 0
        union = (mask | truth).sum().item()
        # One pixel may lie on the edge of a mask that has fewer than a thousand.
        assert (mask ^ truth).sum().item() <= max(1, 1e-3 * union)
        if result.provenance is None:
            remembered, known = (cut_for_memory(logits) for logits in (result.mask_logits, expected["pred_masks"][0]))
            if not remembered.equal(known):
                raise ValueError("too close to tell: the edge of a prompted mask, which is cut before it is remembered")

    def clear(self, frame: int, obj_id: int) -> None:
        self.official.clear_all_prompts_in_frame(self.state, frame, obj_id, need_output=False)
        self.session.clear_prompts(frame, obj_id)

    def remove(self, obj_id: int) -> None:
        self.official.remove_object(self.state, obj_id, need_output=False)
        self.session.remove_object(obj_id)


def cut_for_memory(logits: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(logits[None], size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear") > 0


def random_prompt(cases: Any, draw: random.Random, frame: int, obj_id: int) -> Step:
    def position() -> list[float]:
        return [draw.uniform(8, 120), draw.uniform(8, 120)]

    kind = draw.choice(["click", "clicks", "box", "box_and_click", "mask"])
    if kind == "mask":
        return cases.mask(frame, obj_id, [*position(), draw.uniform(8, 30)])
    left, top = draw.uniform(5, 60), draw.uniform(5, 60)
    box = [left, top, left + draw.uniform(15, 60), top + draw.uniform(15, 60)] if "box" in kind else None
    count = {"click": 1, "clicks": draw.randint(2, 4), "box": 0, "box_and_click": 1}[kind]
    labels = [1, *(draw.randint(0, 1) for _ in range(3))][:count]
    return cases.points(frame, obj_id, [position() for _ in labels], labels, box=box)


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
@pytest.mark.parametrize("cap", [-1, 2])
@pytest.mark.parametrize("seed", range(12))
def test_random_conversations(runs: Any, cases: Any, seed: int, cap: int, version: str) -> None:
    draw = random.Random(seed)
    talk = Conversation(runs, cases, version, max_cond_frames_in_attn=cap)
    try:
        for _ in range(3):
            # One correction an object between two walks: officially, the second would not see the first.
            for obj_id in draw.sample(range(3), draw.randint(1, 3)):
                frame = draw.randrange(LENGTH)
                for _ in range(draw.randint(1, 2)):
                    talk.prompt(random_prompt(cases, draw, frame, obj_id))
            reverse = draw.random() < 0.3
            start = draw.choice([None, LENGTH - 1 if reverse else 0])
            talk.propagate(start, draw.choice([None, 3]), reverse)
    except ValueError as error:
        if not str(error).startswith("too close to tell"):
            raise
        pytest.skip(f"agreed up to a choice that rounding could tip: {error}")


def test_a_prompt_taken_back_before_anything_was_tracked(runs: Any, cases: Any) -> None:
    talk = Conversation(runs, cases)
    talk.prompt(cases.click(0, 1, 36, 44))
    talk.prompt(cases.click(3, 1, 70, 60, label=0))
    talk.clear(3, 1)
    talk.prompt(cases.click(3, 1, 48, 50))  # a fresh one, which sees nothing of the one taken back
    talk.propagate()


def test_a_correction_taken_back(runs: Any, cases: Any) -> None:
    talk = Conversation(runs, cases)
    talk.prompt(cases.click(0, 1, 36, 44))
    talk.propagate()
    talk.prompt(cases.click(4, 1, 70, 60, label=0))
    talk.propagate()
    talk.clear(4, 1)
    talk.propagate(start=0)


def test_an_object_taken_away(runs: Any, cases: Any) -> None:
    talk = Conversation(runs, cases)
    for obj_id, step in enumerate((cases.click(0, 0, 36, 44), cases.mask(0, 1, [96, 90, 14]))):
        assert step["object"] == obj_id
        talk.prompt(step)
    talk.prompt(cases.points(2, 2, [], [], box=[16, 24, 58, 66]))
    talk.propagate()
    talk.remove(1)
    talk.prompt(cases.click(5, 2, 60, 60, label=0))
    talk.propagate()


def test_there_and_back_and_there_again(runs: Any, cases: Any) -> None:
    """Results of one direction are memories for the other, on both sides."""
    talk = Conversation(runs, cases)
    talk.prompt(cases.click(4, 1, 52, 52))
    talk.propagate(reverse=True)
    talk.propagate()
    talk.prompt(cases.click(2, 1, 70, 60, label=0))
    talk.propagate(start=4, reverse=True)
    talk.propagate(start=0)


def test_a_clip_longer_than_every_window(runs: Any, cases: Any) -> None:
    talk = Conversation(runs, cases, num_frames=24)
    talk.prompt(cases.click(0, 1, 36, 44))
    talk.propagate()
    talk.prompt(cases.click(17, 1, 70, 60, label=0))
    talk.propagate(start=15)
    talk.propagate(start=23, reverse=True, count=6)


def test_without_the_flag_a_correction_of_the_first_frame_is_officially_dropped(runs: Any, cases: Any) -> None:
    """A departure: here it stays, since the frame goes on conditioning the object."""
    talk = Conversation(runs, cases, add_all_frames_to_correct_as_cond=False)
    talk.prompt(cases.click(0, 1, 36, 44))
    talk.propagate(count=2)
    correction = cases.click(0, 1, 60, 60, label=0, clear_old=False)
    talk.prompt(correction)
    corrected = talk.session.tracks[1].results[0].mask_logits
    for _ in talk.official.propagate_in_video(talk.state):
        pass
    dropped = talk.runs.stored(talk.state, 0, 1, "output_dict_per_obj")["pred_masks"][0]
    assert (dropped - corrected).abs().max() > 0.1
    output = next(iter(talk.model.propagate_in_video_iterator(talk.session)))
    assert output.frame_idx == 0 and output.pred_masks[0].equal(corrected)


def test_clearing_after_tracking_forgets_more_than_officially(runs: Any, cases: Any) -> None:
    """A departure: officially, the mask of a prompt that was tracked from goes on as an ordinary memory after it
    was taken back, and the next click on its frame starts from it."""
    talk = Conversation(runs, cases)
    talk.prompt(cases.click(0, 1, 36, 44))
    talk.propagate()
    talk.clear(0, 1)
    assert talk.session.tracks[1].results == {}
    assert is_empty(talk.model(talk.session, frame_idx=3).pred_masks)
    fresh = Conversation(runs, cases)
    for conversation in (talk, fresh):
        step = cases.click(0, 1, 60, 60)
        give_prompt(conversation.session, step)
    mask = talk.model(talk.session, frame_idx=0).pred_masks
    assert mask.equal(fresh.model(fresh.session, frame_idx=0).pred_masks)
    talk.runs.prompt(talk.official, talk.state, step)
    theirs = talk.runs.stored(talk.state, 0, 1, "temp_output_dict_per_obj")["pred_masks"]
    assert (theirs - mask).abs().max() > 0.1
