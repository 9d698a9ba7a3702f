"""Names drawn beside the objects of an overlay, where they hide as little as possible."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..masks.drawing import Colour
from .records import ObjectMask

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[int, int, int, int]

_OTHER_OBJECTS, _OWN_OBJECT, _POINTS, _LATER = (
    1.0,
    0.5,
    20.0,
    0.08,
)  # what a pixel of a label costs where it covers these
_POINT_SIZE = 1 / 90  # radius of a drawn point, as a part of the image's shorter side


def draw_labels(
    image: Image.Image,
    objects: Sequence[ObjectMask],
    captions: Sequence[str],
    colours: Mapping[Hashable, Colour],
    font: Font,
    owners: np.ndarray,
    points: Sequence[tuple[float, float]] = (),
) -> None:
    """Write the name of each object above it, or where it hides less.

    Names keep within the image and off each other; where they can, they keep off other objects and points.

    Args:
        image: is drawn on.
        objects: that have a name.
        captions: one an object.
        colours: of the names, by the objects' names.
        font: of the captions.
        owners: (height, width) of which object a pixel belongs to, by its position in `objects` from 1; 0 for none.
        points: (x, y) that are to stay visible.
    """
    draw = ImageDraw.Draw(image)
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (10, 2)
    across, down = max(3, round(ascent / 3)), max(1, round(ascent / 8))
    radius = max(3, round(_POINT_SIZE * min(image.size)))
    dots = [(round(x) - radius, round(y) - radius, round(x) + radius, round(y) + radius) for x, y in points]
    taken: list[Rectangle] = []
    for number, (item, text) in enumerate(zip(objects, captions, strict=True), start=1):
        size = (round(draw.textlength(text, font=font)) + 2 * across, ascent + descent + 2 * down)
        positions = _candidates(item, size, image.size)
        costs = [
            _cost(position, number, owners, dots) + _LATER * order * size[0] * size[1]
            for order, position in enumerate(positions)
        ]
        free = [
            index for index, position in enumerate(positions) if not any(_overlap(position, other) for other in taken)
        ]
        chosen = positions[min(free, key=costs.__getitem__)] if free else _below(positions[0], taken)
        taken.append(chosen)
        colour = colours[item.name]
        draw.rectangle((chosen[0], chosen[1], chosen[2] - 1, chosen[3] - 1), fill=colour)
        draw.text((chosen[0] + across, chosen[1] + down), text, fill=_readable_on(colour), font=font)


def _candidates(item: ObjectMask, size: tuple[int, int], image_size: tuple[int, int]) -> list[Rectangle]:
    """Where a name may stand, the usual position first: above, below, beside and within the object."""
    x0, y0, x1, y1 = item.box
    upper = item.mask[y0 : y0 + max(1, (y1 - y0) // 10), x0:x1]
    left = x0 + int(upper.any(0).argmax())  # of the uppermost part
    width, height = size
    middle_x, middle_y = (x0 + x1 - width) // 2, (y0 + y1 - height) // 2
    corners = [(left, y0 - height), (middle_x, y0 - height), (x1 - width, y0 - height), (middle_x, y1)]
    corners += [(x1, middle_y), (x0 - width, middle_y), (left, y0)]
    inside = [
        (min(max(x, 0), max(0, image_size[0] - width)), min(max(y, 0), max(0, image_size[1] - height)))
        for x, y in corners
    ]
    return [(x, y, x + width, y + height) for x, y in inside]


def _cost(position: Rectangle, number: int, owners: np.ndarray, dots: Sequence[Rectangle]) -> float:
    x0, y0, x1, y1 = position
    covered = owners[y0:y1, x0:x1]
    own = np.count_nonzero(covered == number)
    others = np.count_nonzero(covered) - own
    return _OTHER_OBJECTS * others + _OWN_OBJECT * own + _POINTS * sum(_overlap(position, dot) for dot in dots)


def _overlap(one: Rectangle, other: Rectangle) -> int:
    """Pixels that two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)


def _below(position: Rectangle, taken: Sequence[Rectangle]) -> Rectangle:
    """The same position, moved down until it is free."""
    x0, y0, x1, y1 = position
    step = y1 - y0
    while any(_overlap((x0, y0, x1, y1), other) for other in taken):
        y0, y1 = y0 + step, y1 + step
    return x0, y0, x1, y1


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
