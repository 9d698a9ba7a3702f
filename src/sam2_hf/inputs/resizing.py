"""Resizing of images, label maps and given masks, by torch on tensors and by Pillow on arrays.

Both have the same antialiased filters. On floating values they agree up to rounding, on bytes within a grey level.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..arrays import Array, cast, dtype_name, empty, is_tensor, like
from ..sizes import Size

BILINEAR = Image.Resampling.BILINEAR
_MODES = {BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


def resize(pixels: Array, size: Size, resample: int = BILINEAR) -> Array:
    """Resize (channels, height, width) to `size`, antialiased; uint8 stays uint8, rounded.

    On the CPU uint8 tensors go through torch's fixed-point kernel, as torchvision does and within a grey level of what
    Pillow gives; elsewhere through float32. Nearest keeps every dtype.

    Args:
        pixels: (channels, height, width).
        size: (height, width) in pixels.
        resample: 0 nearest, 2 bilinear, 3 bicubic.

    Returns:
        (channels, *size), uint8 or float32.

    Raises:
        ValueError: another `resample`.
    """
    if pixels.shape[-2:] == size:
        return pixels
    if resample == Image.Resampling.NEAREST:
        return resize_nearest(pixels, size)
    if resample not in _MODES:
        raise ValueError(f"resample must be 0 (nearest), 2 (bilinear) or 3 (bicubic), got {resample!r}")
    if not is_tensor(pixels):
        return _resize_array(pixels, size, resample)
    from torch.nn import functional as F

    is_bytes = dtype_name(pixels) == "uint8"
    on_bytes = is_bytes and pixels.device.type == "cpu" and size[1] > 1  # torch's kernel errs for a width of one
    source = _as_batch_of_one(pixels) if on_bytes else pixels.float().unsqueeze(0)
    resized = F.interpolate(source, size, mode=_MODES[Image.Resampling(resample)], antialias=True)[0]
    if is_bytes and not on_bytes:
        return cast(resized.round_().clamp_(0, 255), "uint8")
    return resized


def resize_map(values: Array, size: Size) -> Array:
    """Resize a map of floating values (height, width), bilinear and antialiased, without a detour over bytes.

    Args:
        values: float32.
        size: (height, width) in pixels.
    """
    return resize(values[None], size)[0]


def resize_nearest(values: Array, size: Size) -> Array:
    """Resize by the pixel under each new pixel's centre.

    Args:
        values: (..., height, width) of any dtype.
        size: (height, width) in pixels.

    Returns:
        (..., *size), of the same dtype.
    """
    rows, columns = (
        like((2 * np.arange(new) + 1) * old // (2 * new), values, "int64")
        for new, old in zip(size, values.shape[-2:], strict=True)
    )
    return values[..., rows[:, None], columns]


def resize_logits(logits: Array, size: Size) -> Array:
    """Resize logits, bilinear and not antialiased, in float32 at least: thin structures do not survive half precision.

    Args:
        logits: (..., height, width), with two axes in front.
        size: (height, width) in pixels.

    Returns:
        (..., *size); the logits themselves if they are of that size.
    """
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    if 0 in logits.shape[:2]:  # no masks: interpolate refuses them
        return empty((*logits.shape[:2], *size), dtype_name(logits), logits)
    if not is_tensor(logits):
        return _between(_between(logits.astype(np.float32, copy=False), size[1], -1), size[0], -2)
    import torch
    from torch.nn import functional as F

    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.interpolate(precise, size, mode="bilinear", align_corners=False)


def _between(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Take `count` values along an axis, evenly, each between the two that lie nearest to it."""
    old = values.shape[axis]
    if count == old:
        return values
    # In single precision, as torch has it.
    position = np.maximum((np.arange(count, dtype=np.float32) + 0.5) * np.float32(old / count) - 0.5, 0)
    lower = np.minimum(position.astype(np.int64), old - 1)
    weight = position - lower.astype(np.float32)
    weight = weight if axis == -1 else weight[:, None]
    first = np.take(values, lower, axis)
    return first + weight * (np.take(values, np.minimum(lower + 1, old - 1), axis) - first)


def _resize_array(pixels: np.ndarray, size: Size, resample: int) -> np.ndarray:
    """(channels, height, width) by Pillow: bytes of three channels at once, anything else a channel at a time."""
    height, width = size
    if pixels.dtype == np.uint8 and len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return np.asarray(image.resize((width, height), Image.Resampling(resample))).transpose(2, 0, 1)
    plain = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32, copy=False)
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in plain]
    return np.stack([np.asarray(one.resize((width, height), Image.Resampling(resample))) for one in channels])


def _as_batch_of_one(pixels: Array) -> Array:
    """(1, channels, height, width), telling torch where it is so that the channels lie innermost.

    Without a stride of its own for the axis of length one, `interpolate` takes such an image for planar and
    repacks it, at twice the time.
    """
    batch = pixels.unsqueeze(0)
    import torch

    if batch.is_contiguous(memory_format=torch.channels_last):
        return batch.as_strided(batch.shape, (pixels.numel(), *pixels.stride()))
    return batch
