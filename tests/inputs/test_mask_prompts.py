"""Masks that a person hands over as prompts: every kind, any size, one meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from sam2_hf.inputs.mask_prompts import mask_prompts, read_batch_of_masks, read_masks

SIZE = (32, 48)
MASK = np.zeros(SIZE, bool)
MASK[8:20, 12:40] = True
GREY = Image.fromarray(MASK.astype(np.uint8) * 255)

KINDS = {
    "bool": MASK,
    "0 and 1": MASK.astype(np.uint8),
    "0 and 255": MASK.astype(np.uint8) * 255,
    "index": MASK.astype(np.int64) * 7,
    "unsigned 16 bit": MASK.astype(np.uint16) * 7,
    "big-endian": MASK.astype(">u2"),
    "big-endian floats": MASK.astype(">f8"),
    "floats to 1": MASK.astype(np.float32),
    "floats to 255": MASK.astype(np.float32) * 255,
    "logits": np.where(MASK, 3.0, -4.0),
    "rows": MASK.tolist(),
    "tensor": torch.from_numpy(MASK),
    "half": torch.from_numpy(MASK).half(),
    "bfloat16 with gradients": torch.from_numpy(MASK).bfloat16().requires_grad_(),
    "channels first": MASK[None],
    "channels last": MASK[..., None],
    "channels last tensor": torch.from_numpy(MASK)[..., None],
    "read-only": np.frombuffer(MASK.tobytes(), bool).reshape(SIZE),
    "reversed": np.asfortranarray(MASK[:, ::-1])[:, ::-1],
    "image of bits": Image.fromarray(MASK),
    "grey image": GREY,
    "palette image": GREY.convert("P"),
    "black and white in colour": GREY.convert("RGB"),
    "black and white with alpha": GREY.convert("RGBA"),
}


@pytest.mark.parametrize("mask", KINDS.values(), ids=KINDS)
def test_masks_of_every_kind_mean_the_same(mask):
    given = [mask] if isinstance(mask, list) else mask
    (read,) = read_masks(given)
    assert read.size == SIZE
    assert torch.equal(read.resize(SIZE), torch.from_numpy(MASK))
    (read_in_list,) = read_masks([mask])
    assert torch.equal(read_in_list.resize(SIZE), torch.from_numpy(MASK))


def test_a_float_mask_to_255_does_not_grow():
    """Compared with one half, every pixel that is touched would belong to the object."""
    (grey,) = read_masks(MASK.astype(np.float32) * 255)
    (plain,) = read_masks(MASK)
    for size in ((21, 31), (64, 96), (13, 77)):
        assert torch.equal(grey.resize(size), plain.resize(size))


@pytest.mark.parametrize("size", [(16, 24), (64, 96), (8, 100)])
def test_masks_of_any_size_are_resized_and_cut_at_one_half(size):
    (read,) = read_masks(MASK)
    expected = F.interpolate(torch.from_numpy(MASK)[None, None].float(), size, mode="bilinear", antialias=True)[0, 0]
    assert torch.equal(read.resize(size), expected >= 0.5)


def test_logits_are_cut_at_zero_after_resizing():
    logits = torch.randn(16, 24, generator=torch.Generator().manual_seed(0))
    (read,) = read_masks(logits)
    expected = F.interpolate(logits[None, None], (64, 96), mode="bilinear", antialias=True)[0, 0] > 0
    assert torch.equal(read.resize((64, 96)), expected)


def test_the_callers_values_are_not_changed():
    mask = MASK.astype(np.float32) * 255
    (read,) = read_masks(mask)
    read.values.zero_()
    assert (mask == MASK * 255).all()


COLOURS = Image.fromarray(np.stack([MASK * 255, MASK * 0, MASK * 0], -1).astype(np.uint8))
REFUSED = {
    "no pixels": (MASK[:0], ValueError, r"input_masks must be \(height, width\).* with pixels, got shape \(0, 48\)"),
    "a row": (MASK[0], ValueError, r"input_masks must be \(height, width\).*, got shape \(48,\)"),
    "too many axes": (MASK[None, None, None], ValueError, r"got shape \(1, 1, 1, 32, 48\)"),
    "none": ([], ValueError, "input_masks is empty"),
    "not finite": (np.full(SIZE, np.inf), ValueError, "input_masks must be finite"),
    "nan": (np.full(SIZE, np.nan), ValueError, "input_masks must be finite"),
    "above 255": (MASK * 300.0, ValueError, "input_masks must hold numbers from 0 to 1 or from 0 to 255.* up to 300"),
    "colours": (COLOURS, ValueError, "input_masks must be black and white"),
    "text": ("mask.png", TypeError, "input_masks must be an array, a tensor or an image, got str"),
    "nothing": ([None], TypeError, r"input_masks\[0\] must be an array, a tensor or an image, got NoneType"),
    "complex": (MASK.astype(complex), TypeError, "input_masks must hold real numbers, got an array of complex128"),
    "complex tensor": (torch.zeros(SIZE, dtype=torch.complex64), TypeError, "got a complex tensor"),
    "masked": (np.ma.masked_array(MASK, ~MASK), TypeError, "input_masks must be a plain array, got a masked array"),
    "meta": (torch.zeros(SIZE, device="meta"), TypeError, "got a meta tensor"),
    "sparse": (torch.zeros(SIZE).to_sparse(), TypeError, "got a sparse tensor"),
}


@pytest.mark.parametrize("masks, error, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_mask_is_refused(masks, error, message):
    with pytest.raises(error, match=message):
        read_masks(masks)


TWO = np.stack([MASK, ~MASK])


@pytest.mark.parametrize("masks", [TWO, [TWO], TWO[None], [[MASK, ~MASK]], [[Image.fromarray(MASK), ~MASK]]])
def test_the_masks_of_one_image_may_stand_alone(masks):
    ((first, second),) = read_batch_of_masks(masks, 1)
    assert torch.equal(first.resize(SIZE), ~second.resize(SIZE))


@pytest.mark.parametrize("masks", [np.stack([TWO, TWO]), [TWO, TWO], [[MASK, ~MASK], TWO], torch.tensor([TWO, TWO])])
def test_masks_of_several_images(masks):
    assert [len(found) for found in read_batch_of_masks(masks, 2)] == [2, 2]


def test_masks_that_do_not_fit_their_images_are_refused():
    with pytest.raises(ValueError, match=r"input_masks must hold masks for as many images .*: expected 2, got 3"):
        read_batch_of_masks([TWO] * 3, 2)
    with pytest.raises(ValueError, match=r"input_masks must hold equally many masks for every image, got \[2, 1\]"):
        read_batch_of_masks([TWO, [MASK]], 2)
    with pytest.raises(TypeError, match="input_masks must hold masks nested images, objects"):
        read_batch_of_masks("masks", 2)


def test_logits_for_the_model_are_those_of_a_video():
    """There, the mask at the model's size is resized to a quarter, as logits of 10 and -10."""
    prompts = mask_prompts([read_masks(TWO)], [(128, 64)])
    assert prompts.shape == (1, 2, 32, 16) and prompts.dtype == torch.float32
    at_input_size = torch.stack([mask.resize((128, 64)) for mask in read_masks(TWO)]).float() * 20 - 10
    expected = F.interpolate(at_input_size[None], (32, 16), mode="bilinear", antialias=True)
    assert torch.equal(prompts, expected)
