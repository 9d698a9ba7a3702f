"""Masks and prompts drawn onto an image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

_POSITIVE: Colour = (46, 204, 113)
_NEGATIVE: Colour = (231, 76, 60)
_BOX: Colour = (241, 196, 15)


def palette(count: int) -> list[Colour]:
    """Make colours of which any neighbours are easy to tell apart.

    Args:
        count: how many; the first ones do not depend on it.
    """
    golden = (5**0.5 - 1) / 2  # steps by the golden ratio spread hues evenly however many there are
    shades = (colorsys.hsv_to_rgb((0.58 + i * golden) % 1, 0.85 - 0.3 * (i % 2), 0.95) for i in range(count))
    return [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b in shades]


def overlay_masks(
    image: Image.Image,
    masks: Any,
    colours: Sequence[Colour] | None = None,
    opacity: float = 0.5,
    outline: bool = True,
) -> Image.Image:
    """Lay each mask over a copy of an image, in a colour of its own.

    Args:
        image: the image, width W and height H.
        masks: bool (N, H, W) as array or tensor, or a list of (H, W); N may be 0. Large masks are drawn first, so
            that what lies on top of them stays visible.
        colours: one RGB triple, 0 to 255, for each mask; `palette(N)` by default.
        opacity: between 0 (masks invisible) and 1 (image hidden).
        outline: whether masks get a border one pixel wide in their full colour.

    Raises:
        ValueError: a mask is not of the image's size, or there are fewer colours than masks.
    """
    layers = [_as_bool(mask) for mask in masks]
    for index, layer in enumerate(layers):
        if layer.shape != (image.height, image.width):
            size = (image.height, image.width)
            raise ValueError(f"masks[{index}] must be of the image's size (H, W) = {size}, got {layer.shape}")
    colours = palette(len(layers)) if colours is None else colours
    if len(colours) < len(layers):
        raise ValueError(f"colours must hold one for each of the {len(layers)} masks, got {len(colours)}")
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32).copy()
    for index in sorted(range(len(layers)), key=lambda i: -int(layers[i].sum())):
        layer, colour = layers[index], np.asarray(colours[index], dtype=np.float32)
        pixels[layer] = (1 - opacity) * pixels[layer] + opacity * colour
        if outline:
            pixels[_border(layer)] = colour
    return Image.fromarray(pixels.round().astype(np.uint8))


def draw_prompts(
    image: Image.Image,
    points: Iterable[Sequence[float]] = (),
    labels: Iterable[int] | None = None,
    boxes: Iterable[Sequence[float]] = (),
) -> Image.Image:
    """Draw clicks as discs (green positive, red negative) and boxes as frames onto a copy of an image.

    Args:
        image: of any mode.
        points: (x, y) in pixels.
        labels: 1 positive, 0 negative; others are not drawn. Without them every point is positive.
        boxes: (x_min, y_min, x_max, y_max) in pixels.

    Returns:
        The copy, RGB.

    Raises:
        ValueError: not as many labels as points.
    """
    drawn = image.convert("RGB")
    draw = ImageDraw.Draw(drawn)
    unit = max(2, round(min(image.size) / 160))
    for box in boxes:
        draw.rectangle([float(side) for side in box], outline=_BOX, width=unit)
    points = list(points)
    labels = [1] * len(points) if labels is None else list(labels)
    for (x, y), label in zip(points, labels, strict=True):
        if label not in (0, 1):
            continue
        for radius, colour in ((1.8 * unit, (255, 255, 255)), (1.3 * unit, _POSITIVE if label else _NEGATIVE)):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
    return drawn


def _as_bool(mask: Any) -> np.ndarray:
    """A mask as a bool array; tensors may lie on any device."""
    return np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask).astype(bool)


def _border(mask: np.ndarray) -> np.ndarray:
    """Those pixels of a mask (H, W) that touch the outside, or the image's edge, above, below or beside them."""
    padded = np.pad(mask, 1)
    enclosed = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~enclosed
