"""How near two tensors must be."""

from __future__ import annotations

from torch import Tensor


def assert_close_in_scale(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """The largest difference, in relation to the largest value expected, is under `tolerance`."""
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error < tolerance, f"error {error:.2e} of scale, tolerance {tolerance:.0e}"
