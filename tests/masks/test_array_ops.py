"""The NumPy shortcuts for the CPU against torch."""

import pytest
import torch

from sam2_hf.masks.array_ops import count_pixels, find_set, repeat_each, sort_ascending


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 2, 3, 5), (0, 3, 5), (2, 0, 5)])
def test_count_pixels_equals_torch_sum(shape):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4
    counts = count_pixels(masks)
    assert counts.dtype == torch.int64
    assert torch.equal(counts, masks.sum((-2, -1)))


def test_count_pixels_of_a_strided_view():
    masks = torch.rand(4, 6, 8, generator=torch.Generator().manual_seed(1)) < 0.4
    assert torch.equal(count_pixels(masks[::2, :, 1:5].mT), masks[::2, :, 1:5].sum((-2, -1)))


def test_find_set_equals_torch_nonzero_for_any_strides():
    mask = torch.rand(4, 6, 8, generator=torch.Generator().manual_seed(2)) < 0.4
    for view in (mask, mask.mT, mask[:, 1:4, ::3]):
        assert torch.equal(find_set(view), view.flatten().nonzero().squeeze(1))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32])
def test_repeat_each_equals_torch_repeat_interleave(dtype):
    values = torch.tensor([3, 0, 5, 7]).to(dtype)
    counts = torch.tensor([2, 0, 1, 4])
    assert torch.equal(repeat_each(values, counts), values.repeat_interleave(counts))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_sort_ascending_equals_torch_sort(count):
    values = torch.randint(-(2**40), 2**40, (count,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(sort_ascending(values), values.sort().values)
