from __future__ import annotations

import numpy as np
import pytest
import torch
from small_datasets import SIZE, Blocks

from sam2_hf import Sam2ImageProcessor
from sam2_hf.training.data.collation import ClipCollator
from sam2_hf.training.data.mixing import ClipsAndImages
from sam2_hf.training.data.sampling import ClipDataset, ClipSampling


def clips(frames, count=24):
    return ClipDataset([Blocks()], ClipSampling(frames, max_objects=2), num_clips=count)


def kinds(data):
    """A letter for each example."""
    return "".join("P" if isinstance(item, list) else "c" for item in data)


@pytest.mark.parametrize(
    ("share", "block", "expected"),
    [
        (0.5, 1, "cPcPcPcPcPcP"),
        (0.5, 3, "cccPPPcccPPP"),
        (0.25, 2, "ccccccPPcccc"),
        (0.0, 1, "cccccccccccc"),
        (1.0, 5, "PPPPPPPPPPPP"),
    ],
)
def test_images_take_whole_blocks(share, block, expected):
    assert kinds(ClipsAndImages(clips(3, 12), clips(1), 3, share, block)) == expected


def test_every_image_comes_once_before_one_comes_again():
    images = clips(1, 36)
    data = ClipsAndImages(clips(3, 12), images, 3, share=1.0)
    drawn = [image for item in data for image in item]
    for image, expected in zip(drawn, images, strict=True):
        assert np.array_equal(image.frames, expected.frames)
        assert np.array_equal(image.masks, expected.masks)
    again = ClipsAndImages(clips(3, 12), clips(1, 35), 3, share=1.0)[11]
    assert np.array_equal(again[2].masks, images[0].masks)


def test_batches_of_either_kind_hold_equally_many_frames():
    collator = ClipCollator(Sam2ImageProcessor(size={"height": SIZE[0], "width": SIZE[1]}))
    data = ClipsAndImages(clips(3), clips(1), 3, block=2)
    batches = [collator([data[first], data[first + 1]]) for first in (0, 2)]
    shapes = [tuple(batch["pixel_values"].shape[:2]) for batch in batches]
    assert shapes == [(2, 3), (6, 1)]
    assert all(batch["labels"].shape[:2] == shape for batch, shape in zip(batches, shapes, strict=True))


def test_is_the_same_whenever_it_is_asked():
    data = ClipsAndImages(clips(3), clips(1), 3)
    first = [image.frames for image in data[5]]
    assert len(list(data)) == len(data) == 24
    assert all(np.array_equal(one, other.frames) for one, other in zip(first, data[5], strict=True))
    assert torch.equal(torch.from_numpy(data[4].frames), torch.from_numpy(data[4].frames))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"together": 0}, "together"), ({"block": 0}, "block"), ({"share": 1.5}, "share must lie between 0 and 1")],
)
def test_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClipsAndImages(clips(3), clips(1), **{"together": 3, **arguments})


def test_there_is_nothing_outside():
    with pytest.raises(IndexError, match=r"0\.\.23, got 24"):
        ClipsAndImages(clips(3), clips(1), 3)[24]
