"""Images by NumPy: pixels, prompts and masks are those of the processor and the model in torch."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_image_model
from torch_graphs import TorchGraphs, write_parameters

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.inputs.images import read_images
from sam2_hf.inputs.resizing import resize, resize_logits
from sam2_hf.predictors import segmenter
from sam2_hf.predictors.image_engine import ModelEngine
from sam2_hf.predictors.loaded_models import LoadedModel
from sam2_hf.processing_sam2 import Sam2Processor
from sam2_hf.runtime.exported_folder import ExportedFolder
from sam2_hf.runtime.image_engine import GraphEngine
from sam2_hf.runtime.processor import Processor

SIDE = 128
RANDOM = np.random.default_rng(0)


def draw(height: int, width: int) -> np.ndarray:
    """A smooth image with edges, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    levels = [127 + 90 * np.sin(x / 9 + shift) + 37 * ((x // 16 + y // 12) % 2) for shift in range(3)]
    return np.stack(levels, axis=-1).clip(0, 255).astype(np.uint8)


class OfEngine(segmenter.Segmenter):
    """A segmenter with a given engine."""

    def __init__(self, engine):
        self.engine = engine


@cache
def loaded() -> LoadedModel:
    size = {"height": SIDE, "width": SIDE}
    return LoadedModel("tiny", tiny_image_model(), Sam2Processor(Sam2ImageProcessor(size=size)))


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    """Of the runtime and of torch, over the same weights."""
    model = loaded().model
    folder = ExportedFolder(write_parameters(model, tmp_path_factory.mktemp("exported")))
    graphs = GraphEngine(TorchGraphs(model), Processor(folder))
    return OfEngine(graphs), OfEngine(ModelEngine(loaded()))


@pytest.mark.parametrize(
    "prompts",
    [
        {"points": (70, 40)},
        {"points": [(70, 40), (20, 90)], "labels": [1, 0]},
        {"boxes": [(20, 10, 90, 70), (40, 30, 120, 90)]},
        {"points": {"a": (70, 40), "b": [(9, 8), (30, 60)]}, "boxes": {"b": (0, 0, 60, 80)}},
        {"masks": np.pad(np.ones((30, 40), bool), 30)},
    ],
    ids=["click", "clicks", "boxes", "ragged", "mask"],
)
@pytest.mark.parametrize("size", [(SIDE, SIDE), (150, 200)])
def test_prompts_give_the_masks_of_torch(prompts, size, segmenters):
    encoded, other = (one.encode(draw(*size)) for one in segmenters)
    # Pillow's pixels of a resized image differ from torch's by a grey level here and there, see below.
    encoded.embeddings = [level.numpy() for level in other.embeddings]
    ours, theirs = encoded.segment(**prompts), other.segment(**prompts)
    assert ours.names == theirs.names
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    assert (ours.masks != theirs.masks).mean() <= 1e-4  # logits of zero, up to rounding
    assert ours.masks.any() and not ours.masks.all()


def test_refining_starts_from_the_mask_before(segmenters):
    image = draw(SIDE, SIDE)
    ours, theirs = (one.segment(image, points=(70, 40)).refine(points=(30, 100), labels=[0]) for one in segmenters)
    assert np.array_equal(ours.masks, theirs.masks)
    candidates = zip(ours.candidates(), theirs.candidates(), strict=True)
    assert all(np.array_equal(mask, other) for (mask, _), (other, _) in candidates)


@pytest.mark.parametrize("kind", ["bytes", "grey", "alpha", "wide", "floating", "palette"])
def test_images_of_every_kind_are_read_as_for_torch(kind):
    colours = draw(40, 60)
    image = {
        "bytes": colours,
        "grey": colours[..., 0],
        "alpha": np.dstack([colours, RANDOM.integers(0, 256, (40, 60), np.uint8)]),
        "wide": colours[..., 0].astype(np.uint16) * 257,
        "floating": colours.astype(np.float32) / 255,
        "palette": Image.fromarray(colours).convert("P"),
    }[kind]
    (ours,), (theirs,) = read_images(image, as_tensors=False), read_images(image)
    assert ours.white == theirs.white and isinstance(ours.pixels, np.ndarray)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels.numpy())
    np.testing.assert_array_equal(ours.as_bytes(), theirs.as_bytes().numpy())


@pytest.mark.parametrize("size", [(128, 128), (37, 61), (240, 300)])
@pytest.mark.parametrize("resample", [2, 3])
def test_pillow_resizes_as_torch(size, resample):
    pixels = torch.from_numpy(draw(120, 160)).permute(2, 0, 1)
    difference = resize(pixels, size, resample).numpy().astype(int) - resize(pixels.numpy(), size, resample)
    assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 0.1  # a grey level here and there
    floating = pixels.float() / 255
    ours = resize(floating.numpy(), size, resample)
    np.testing.assert_allclose(ours, resize(floating, size, resample).numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(96, 128), (31, 45), (24, 7), (17, 32)])
def test_logits_are_resized_as_by_torch(size):
    logits = RANDOM.normal(0, 10, (2, 3, 24, 32)).astype(np.float32)
    ours, theirs = resize_logits(logits, size), resize_logits(torch.from_numpy(logits), size)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), atol=5e-5)
