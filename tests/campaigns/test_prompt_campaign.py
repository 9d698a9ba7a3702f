"""Generated prompts, right ones and wrong ones of every kind, to images and to sessions."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_image_model
from video_scenes import PROCESSOR, open_session, snapshot, tiny_model

from sam2_hf import Sam2ImageProcessor, Sam2Processor

pytestmark = pytest.mark.slow

SIDE = 128
REFUSALS = (ValueError, TypeError, IndexError)
NAMES = (
    "input_points",
    "input_labels",
    "input_boxes",
    "input_masks",
    "points",
    "labels",
    "boxes",
    "masks",
    "box",
    "mask",
)
ODD_VALUES: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e300, -1e300, 2**70, "7", None, True, [], {}, b"1", 1j, object(), -10, 0.5),
    np.float16(3), np.array([]), torch.tensor(3.0), range(2),
)  # fmt: skip

ODD_FRAMES: tuple[Any, ...] = (99, -1, 1.5, "0", None)


def valid_prompts(rng: np.random.Generator, masks: bool = True) -> dict[str, Any]:
    """Prompts of one to three objects, some ragged, in the nesting of a processor."""
    objects = int(rng.integers(1, 4))
    given: dict[str, Any] = {}
    if rng.random() < 0.75:
        counts = rng.integers(1, 5, objects)
        low, high = (-40, SIDE + 40) if rng.random() < 0.3 else (0, SIDE)
        given["input_points"] = [[rng.uniform(low, high, (count, 2)).round(2).tolist() for count in counts]]
        given["input_labels"] = [[rng.integers(0, 2, count).tolist() for count in counts]]
    if not given or rng.random() < 0.4:
        corners = rng.uniform(0, SIDE, (objects, 2, 2))
        given["input_boxes"] = [np.concatenate([corners.min(1), corners.max(1) + 1], axis=1).round(2).tolist()]
    if masks and rng.random() < 0.2:
        given["input_masks"] = [list(rng.random((objects, SIDE, SIDE)) < 0.3)]
    return given


def disturbed(value: Any, rng: np.random.Generator) -> Any:
    """A copy of a nesting with one thing wrong in it, or in another form that may be right as well."""
    kind = rng.integers(7)
    if isinstance(value, list) and value and kind < 4:
        index = int(rng.integers(len(value)))
        if kind == 0 and len(value) > 1:
            return value[:index] + value[index + 1 :]
        if kind == 1:
            return [*value, value[index]]
        return [disturbed(item, rng) if number == index else item for number, item in enumerate(value)]
    if kind == 4:
        return [value]
    if kind == 5:
        try:
            return np.asarray(value) if rng.random() < 0.5 else torch.tensor(value)
        except (ValueError, TypeError, RuntimeError):
            return value
    if kind == 6 and isinstance(value, list):
        return tuple(value)
    return ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]


def generated(rng: np.random.Generator, masks: bool = True) -> tuple[dict[str, Any], bool]:
    """Prompts, and whether they are as they should be."""
    given = valid_prompts(rng, masks)
    if rng.random() < 0.45:
        return given, True
    for _ in range(int(rng.integers(1, 3))):
        name = list(given)[int(rng.integers(len(given)))]
        given[name] = disturbed(given[name], rng)
    if rng.random() < 0.1:
        del given[next(iter(given))]
    return given, False


def check_refusal(error: Exception, given: dict[str, Any]) -> None:
    """An error is one line or a few, and says which argument is meant."""
    text = str(error)
    assert isinstance(error, REFUSALS), f"{type(error).__name__}: {text}"
    assert any(name in text for name in NAMES) or not given, text
    assert len(text) < 2000, text[:300]


def test_generated_prompts_of_images(campaign) -> None:
    model, processor = tiny_image_model(), Sam2Processor(Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}))
    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    outcomes: Counter[str] = Counter()
    with torch.inference_mode():
        embeddings = model.get_image_embeddings(processor(image, return_tensors="pt")["pixel_values"])

        def answer(given: dict[str, Any]) -> torch.Tensor:
            inputs = processor(original_sizes=[[SIDE, SIDE]], return_tensors="pt", **given)
            outputs = model(**inputs, image_embeddings=embeddings)
            assert outputs.pred_masks.isfinite().all() and outputs.iou_scores.isfinite().all()
            return outputs.pred_masks

        reference = {"input_points": [[[[30, 40]]]], "input_labels": [[[1]]]}
        expected = answer(reference)
        for index in range(campaign.count(8_000)):
            given, is_valid = generated(campaign.rng(index))
            copied = repr(given)
            try:
                with campaign.at_most(20, f"prompt {index}"):
                    masks = answer(given)
            except Exception as error:
                assert not is_valid, f"prompt {index}: {copied[:500]}: {error!r}"
                check_refusal(error, given)
                outcomes["refused"] += 1
            else:
                outcomes["valid" if is_valid else "other forms accepted"] += 1
                objects = len(given["input_points"][0]) if is_valid and "input_points" in given else masks.shape[1]
                assert masks.shape[:2] == (1, objects)
            assert repr(given) == copied, f"prompt {index} was changed"
            if index % 500 == 0:
                assert answer(reference).equal(expected), f"after prompt {index}"
    campaign.record(prompts=sum(outcomes.values()), **outcomes)


def test_generated_prompts_of_sessions(campaign) -> None:
    """What is refused leaves the session as it was; what is accepted can be tracked."""
    model, session = tiny_model(), open_session(8)
    outcomes: Counter[str] = Counter()
    for index in range(campaign.count(2_000)):
        rng = campaign.rng(index)
        given, is_valid = generated(rng)
        objects = len(next(iter(given.values()))[0]) if is_valid else int(rng.integers(1, 4))
        names = [f"object {number}" for number in range(objects)]
        frame = (
            int(rng.integers(8)) if is_valid or rng.random() < 0.7 else [99, -1, 1.5, "0", None, True][rng.integers(6)]
        )
        if is_valid and "input_masks" in given:
            given = {"input_masks": given["input_masks"][0]}
        before = snapshot(session)
        try:
            with campaign.at_most(20, f"prompt {index}"):
                PROCESSOR.add_inputs_to_inference_session(session, frame, names, **given)
        except Exception as error:
            assert not is_valid, f"prompt {index}: {repr(given)[:500]}: {error!r}"
            assert isinstance(error, REFUSALS), f"prompt {index}: {error!r}"
            assert repr(snapshot(session)) == repr(before), f"prompt {index} was refused and changed the session"
            outcomes["refused"] += 1
        else:
            outcomes["valid" if is_valid else "other forms accepted"] += 1
            if rng.random() < 0.15:
                for output in model.propagate_in_video_iterator(session, max_frame_num_to_track=3):
                    assert output.pred_masks.isfinite().all()
            if rng.random() < 0.05:
                session.reset_inference_session()
    campaign.record(prompts=sum(outcomes.values()), **outcomes)
