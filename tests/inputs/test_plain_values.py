"""Arrays and tensors of every kind, made plain or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2_hf.inputs.plain_values import is_finite, plain_array, plain_tensor


class TestFiniteValues:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_one_value_is_enough(self, value, dtype) -> None:
        tensor = torch.zeros(3, 4, dtype=dtype)
        assert is_finite(tensor)
        tensor[1, 2] = value
        assert not is_finite(tensor)

    def test_infinities_of_both_signs_do_not_cancel(self) -> None:
        assert not is_finite(torch.tensor([torch.inf, -torch.inf]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_a_sum_that_overflows_is_no_reason(self, dtype) -> None:
        assert is_finite(torch.full((100,), torch.finfo(dtype).max, dtype=dtype))

    def test_integers_are_finite(self) -> None:
        assert is_finite(torch.ones(2, dtype=torch.uint8))

    def test_nothing_waits_for_other_devices(self) -> None:
        assert is_finite(torch.full((2,), torch.nan, device="meta"))

    def test_gradients_are_not_recorded(self) -> None:
        assert is_finite(torch.ones(2, requires_grad=True))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(2, dtype=torch.complex64)],
)
def test_tensors_without_plain_numbers_are_refused(tensor) -> None:
    with pytest.raises(TypeError, match="x must be a dense tensor of real numbers, got a"):
        plain_tensor(tensor, "x")


def test_arrays_are_made_what_torch_can_share() -> None:
    frozen = np.arange(3)
    frozen.flags.writeable = False
    for array in (np.arange(3, dtype=">i4"), frozen, np.arange(3)[::-1]):
        assert torch.from_numpy(plain_array(array, "x")).tolist() == array.tolist()
    for array in (np.ma.masked_array([1, 2], [True, False]), np.array(["a"]), np.array([1j])):
        with pytest.raises(TypeError, match="x must "):
            plain_array(array, "x")


def test_lists_of_different_lengths_are_refused_by_their_name():
    with pytest.raises(ValueError, match=r"masks\[0\] must be an array, or nested lists of equal lengths"):
        plain_array([np.zeros((4, 4)), np.zeros((4, 4)), [np.zeros((4, 4))]], "masks[0]")
