"""The bundled checkpoint in half precision: finite, and nearly the masks of float32, for every kind of prompt.

Most CPUs have no instructions for float16, so those cases take seconds each; they are marked slow.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_hf import (
    Sam2Model,
    Sam2Processor,
    Sam2VideoInferenceSession,
    Sam2VideoModel,
    Sam2VideoProcessor,
    bundled_checkpoint,
)

LEAST_IOU = 0.99
HALVES = (torch.bfloat16, torch.float16)


def halves(*quick: str) -> list:
    """Every half precision and how it is used; all but the quick ones are marked slow."""
    names = {f"{str(dtype)[6:]}-{how}": (dtype, how) for dtype in HALVES for how in ("model", "autocast")}
    marks = {name: [] if name in quick else [pytest.mark.slow] for name in names}
    return [pytest.param(*given, id=name, marks=marks[name]) for name, given in names.items()]


def draw(time: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame (256, 256, 3) and the masks of its two objects (2, 256, 256)."""
    rows, columns = np.mgrid[:256, :256]
    frame = np.stack([90 + rows / 4, 110 + columns / 6, 100 + (rows + columns) / 8], axis=-1)
    disc = (columns - 80 - 5 * time) ** 2 + (rows - 80) ** 2 < 36**2
    square = (abs(columns - 180 + 4 * time) < 32) & (abs(rows - 180) < 32)
    frame[disc], frame[square] = (210, 60, 50), (40, 70, 200)
    return frame.astype(np.uint8), np.stack([disc, square])


FRAMES = [draw(time)[0] for time in range(3)]
DISC, SQUARE = draw(0)[1]
CLICKS = {"input_points": [[[[80, 80]], [[180, 180]]]], "input_labels": [[[1], [1]]]}
BOXES = {"input_boxes": [[[44, 44, 116, 116], [148, 148, 212, 212]]]}
OF_VIDEOS = {"clicks": CLICKS, "boxes": BOXES, "masks": {"input_masks": [DISC, SQUARE]}}
CORRECTIONS = {"input_points": [[[[100, 80], [150, 80]], [[176, 180], [120, 180]]]], "input_labels": [[[1, 0]] * 2]}


def in_half(model_class: type, dtype: torch.dtype, how: str):
    """A model, and the context to call it in."""
    options = {"dtype": dtype} if how == "model" else {}
    model = model_class.from_pretrained(bundled_checkpoint(), **options).eval()
    return model, torch.autocast("cpu", dtype) if how == "autocast" else nullcontext()


def mean_iou(masks: torch.Tensor, others: torch.Tensor) -> float:
    """Of logits (N, h, w), each with its counterpart."""
    masks, others = masks.flatten(1) > 0, others.flatten(1) > 0
    return ((masks & others).sum(1) / (masks | others).sum(1)).mean().item()


def assert_nearly_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, tensors in found.items():
        assert all(tensor.isfinite().all() for tensor in tensors), name
        iou = mean_iou(tensors[0].float(), expected[name][0].float())
        assert iou >= LEAST_IOU, f"{name}: IoU {iou:.4f}"


def segment(model: Sam2Model) -> dict:
    """By kind of prompt: the best masks of two objects, all logits, the scores."""
    processor = Sam2Processor.from_pretrained(bundled_checkpoint())
    inputs = processor(FRAMES[0], return_tensors="pt")
    found = {}
    with torch.inference_mode():
        embeddings = model.get_image_embeddings(inputs["pixel_values"])
        first = model(
            image_embeddings=embeddings, **processor(**CLICKS, original_sizes=[(256, 256)], return_tensors="pt")
        )
        best = first.iou_scores[0].argmax(-1)
        logits = {"input_masks": first.pred_masks[:, [0, 1], best]}
        for name, prompts, tensors in (
            ("clicks", CLICKS, {}),
            ("boxes", BOXES, {}),
            ("boxes and clicks", {**CLICKS, **BOXES}, {}),
            ("masks", {"input_masks": [[DISC, SQUARE]]}, {}),
            ("clicks after logits", CORRECTIONS, logits),
        ):
            given = {**processor(**prompts, original_sizes=[(256, 256)], return_tensors="pt"), **tensors}
            for multimask in (True, False):
                output = model(image_embeddings=embeddings, multimask_output=multimask, **given)
                best = output.iou_scores[0].argmax(-1)
                found[name, multimask] = (output.pred_masks[0, [0, 1], best], output.pred_masks, output.iou_scores)
    return found


def track(model: Sam2VideoModel, kind: str, folder: Path) -> dict:
    """The masks of two objects in all frames, after a session that was saved went on and was corrected."""
    processor = Sam2VideoProcessor.from_pretrained(bundled_checkpoint())
    session = processor.init_video_session(FRAMES)
    processor.add_inputs_to_inference_session(session, 0, [1, 2], **OF_VIDEOS[kind])
    outputs = [model(session, frame_idx=index) for index in (0, 1)]
    session.save(folder)
    session = Sam2VideoInferenceSession.load(folder, video=FRAMES)
    outputs += [*model.propagate_in_video_iterator(session)][2:]
    processor.add_inputs_to_inference_session(session, 2, [1], input_points=[[[[95, 80]]]], input_labels=[[[1]]])
    outputs += [*model.propagate_in_video_iterator(session, start_frame_idx=2, reverse=True)]
    masks = torch.cat([output.pred_masks[:, 0] for output in outputs])
    return {kind: (masks, *(output.object_score_logits for output in outputs))}


@pytest.fixture(scope="module")
def exact_masks():
    return segment(Sam2Model.from_pretrained(bundled_checkpoint()).eval())


@pytest.mark.parametrize(("dtype", "how"), halves("bfloat16-model", "bfloat16-autocast"))
def test_images(dtype, how, exact_masks):
    model, context = in_half(Sam2Model, dtype, how)
    with context:
        assert_nearly_equal(segment(model), exact_masks)


@cache
def exact_tracks(kind: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        return track(Sam2VideoModel.from_pretrained(bundled_checkpoint()).eval(), kind, Path(folder))


def check_tracking(kind: str, dtype: torch.dtype, how: str, folder: Path) -> None:
    model, context = in_half(Sam2VideoModel, dtype, how)
    with context:
        found = track(model, kind, folder)
    assert_nearly_equal(found, exact_tracks(kind))


def test_tracking_under_autocast_across_a_save(tmp_path):
    check_tracking("clicks", torch.bfloat16, "autocast", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_VIDEOS)
@pytest.mark.parametrize(("dtype", "how"), halves())
def test_tracking_by_every_kind_of_prompt_across_a_save(kind, dtype, how, tmp_path):
    check_tracking(kind, dtype, how, tmp_path)
