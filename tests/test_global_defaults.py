"""Global defaults of torch that a program may set: they change neither results nor where tensors lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from tiny import tiny_image_model
from video_scenes import assert_same, clip, give, open_session, tiny_model, track

from sam2_hf import Sam2ImageProcessor, Sam2Processor


@contextmanager
def default(setting: torch.dtype | str) -> Iterator[None]:
    """A default dtype, or a default device; "meta" is one that no real tensor lies on."""
    if isinstance(setting, torch.dtype):
        before = torch.get_default_dtype()
        torch.set_default_dtype(setting)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
    else:
        torch.set_default_device(setting)
        try:
            yield
        finally:
            torch.set_default_device(None)


SETTINGS = [torch.float64, torch.bfloat16, "meta"]
processor = Sam2Processor(Sam2ImageProcessor(size={"height": 128, "width": 128}))


@pytest.fixture(scope="module")
def model():
    """Made before a default is set, as a program would load it."""
    return tiny_image_model()


def segment(model):
    image = clip(1)[0]
    inputs = processor(
        images=[image, image],
        input_points=[[[[36, 44]], [[60, 60], [20, 20]]], [[[36, 44]]]],
        input_boxes=[[[80, 74, 112, 106], None], [[10, 10, 50, 50]]],
        return_tensors="pt",
    )
    with torch.inference_mode():
        outputs = model(**inputs)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    return outputs.pred_masks, outputs.iou_scores, *masks


def follow(model):
    session = open_session(4)
    give(give(session, 0, "a"), 1, "b", "box")
    first = track(model, session, direction="both")
    give(session, 2, "a", "background"), give(session, 2, "c", "mask")
    return first, track(model, session)


@pytest.mark.parametrize("setting", SETTINGS)
def test_images(setting, model) -> None:
    expected = segment(model)
    with default(setting):
        given = segment(model)
    for tensor, wanted in zip(given, expected, strict=True):
        assert tensor.device == wanted.device and tensor.equal(wanted)


@pytest.mark.parametrize("setting", SETTINGS)
def test_videos(setting) -> None:
    expected = follow(tiny_model())
    with default(setting):
        given = follow(tiny_model())
    for masks, wanted in zip(given, expected, strict=True):
        assert_same(masks, wanted)
