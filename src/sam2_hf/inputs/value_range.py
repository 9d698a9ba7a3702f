"""Which values of an image are black and which are white, where the type of the numbers does not say it.

Scans of 12 bits in 16, signed heights, reflectances and radiances use a part of their type's range. A window maps that
part to the range from black to white; what lies outside is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, cast, dtype_name, empty, is_tensor, to_numpy, where

Window = tuple[float, float]

_VALUES_OF_AN_IMAGE = 2**18
"""How many values of each image tell percentiles over several, at least where it has them: those of 512 x 512."""


class ValueRange(NamedTuple):
    """The window of an image's values.

    Attributes:
        limits: (black, white), in the image's own values; None to find them by `percentiles`.
        percentiles: (black, white), as percentages of the image's pixels; all channels together.
        nodata: the value of pixels that were not measured, NaN included. They do not count in percentiles, and are
            black.
    """

    limits: Window | None = None
    percentiles: Window | None = None
    nodata: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is a window at all."""
        return self.limits is not None or self.percentiles is not None

    def apply(self, pixels: Array, name: str) -> Array:
        """Map an image's values to 0 for black and 1 for white.

        Args:
            pixels: (channels, height, width) of any real dtype.
            name: what an error calls the image.

        Returns:
            float32 of the same shape, from 0 to 1. Black everywhere where all values are equal.

        Raises:
            ValueError: values that are not finite and not `nodata`.
        """
        is_narrow = is_tensor(pixels) and pixels.device.type == "mps"  # which has no double precision
        values = cast(pixels, "float32" if is_narrow else "float64")
        measured = self._measured(values)
        if not bool((abs(values[measured]) < math.inf).all()):
            other = "" if self.nodata is None else f" or {self.nodata}"
            hint = "; nodata=... says which pixels were not measured" if self.nodata is None else ""
            raise ValueError(f"{name} must hold finite numbers{other}, got NaN or infinity{hint}")
        low, high = self.limits if self.limits is not None else self._percentiles_of(values[measured])
        scaled = (values - low) / (high - low) if high > low else _filled(values, 0)
        return cast(where(measured, scaled.clip(0, 1), 0.0), "float32")

    def settled(self, images: Iterable[Array]) -> ValueRange:
        """Find the limits that percentiles mean over several images, so that all of them get the same window.

        Args:
            images: each (channels, height, width) of any real dtype. Of a large one, evenly spaced values are taken.

        Returns:
            The same window with `limits`; itself if it has no percentiles.
        """
        if self.percentiles is None:
            return self
        values = []
        for pixels in images:
            flat = pixels.reshape(-1)
            flat = to_numpy(flat[:: max(1, len(flat) // _VALUES_OF_AN_IMAGE)]).astype(np.float64)
            values.append(flat[self._measured(flat) & np.isfinite(flat)])
        low, high = self._percentiles_of(np.concatenate(values))
        return ValueRange((low, high if low < high else math.nextafter(low, math.inf)), None, self.nodata)

    def _measured(self, values: Array) -> Array:
        if self.nodata is None:
            return _filled(values, True)
        return values == values if math.isnan(self.nodata) else values != self.nodata  # NaN alone is not itself

    def _percentiles_of(self, values: Array) -> Window:
        if len(values) == 0:
            return 0.0, 0.0
        assert self.percentiles is not None, "a window has limits or percentiles"
        low, high = np.percentile(to_numpy(values), list(self.percentiles))
        return float(low), float(high)


def _filled(values: Array, value: bool | float) -> Array:
    """An array of the same shape and kind with one value; bool, or of the same dtype."""
    filled = empty(tuple(values.shape), "bool" if value is True else dtype_name(values), values)
    filled[...] = value
    return filled


def read_window(window: Any, name: str, least: float = -math.inf, most: float = math.inf) -> Window:
    """Read a pair of numbers, of which the first is smaller.

    Args:
        window: a list, tuple, array or tensor of two.
        name: what an error calls it.
        least: the smallest number that is allowed.
        most: the largest.

    Raises:
        ValueError: anything else.
    """
    given = window.tolist() if hasattr(window, "tolist") else window
    pair = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, dict)) else []
    valid = len(pair) == 2 and all(isinstance(value, Real) and not isinstance(value, bool) for value in pair)
    if not valid or not all(math.isfinite(value) for value in pair) or not least <= pair[0] < pair[1] <= most:
        bounds = "" if math.isinf(least) else f" from {least:g} to {most:g}"
        raise ValueError(f"{name} must be two finite numbers{bounds}, the smaller one first, got {window!r}")
    return float(pair[0]), float(pair[1])


def read_value_range(input_range: Any, input_percentiles: Any, nodata: Any) -> ValueRange:
    """Read the settings of a window, as processors and `open_video` take them.

    Args:
        input_range: (black, white), in the images' own values, or None.
        input_percentiles: the same as percentages of the pixels, or None.
        nodata: the value of pixels that were not measured, or None.

    Raises:
        ValueError: settings that mean nothing, or do not go together; names them.
    """
    if input_range is not None:
        input_range = read_window(input_range, "input_range")
    if input_percentiles is not None:
        input_percentiles = read_window(input_percentiles, "input_percentiles", 0, 100)
    if nodata is not None and (not isinstance(nodata, Real) or isinstance(nodata, bool)):
        raise ValueError(f"nodata must be a number, got {nodata!r}")
    value_range = ValueRange(input_range, input_percentiles, None if nodata is None else float(nodata))
    if input_range is not None and input_percentiles is not None:
        raise ValueError("give either input_range or input_percentiles, not both")
    if nodata is not None and not value_range.is_set:
        raise ValueError("nodata needs input_range or input_percentiles beside it")
    return value_range
