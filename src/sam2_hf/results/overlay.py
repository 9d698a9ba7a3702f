"""Masks drawn over an image: filled, outlined or in a spotlight, with names, scores, prompts and a legend."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..masks.drawing import Colour, draw_prompts, palette
from .overlay_labels import Font, draw_labels
from .records import ObjectMask, ShownPrompt

_MANY_OBJECTS = 12  # above it, names would hide what they name
_DIMMED = 0.35  # of the brightness, outside of the objects in a spotlight


@dataclass(frozen=True)
class OverlayStyle:
    """How masks are drawn.

    Attributes:
        fill: opacity of the masks' colours, 0 to 1.
        contour: width of the outlines in pixels; None for one that suits the image, 0 for none.
        spotlight: whether everything outside of the masks is dark and grey.
        labels: whether each object has a label with its name; None for up to 12 objects.
        scores: whether labels show the predicted IoU.
        prompts: whether points and boxes are drawn.
        legend: whether a list of the objects stands in the lower left corner.
        text_size: height of letters in pixels; None for one that suits the image.
    """

    fill: float = 0.5
    contour: int | None = None
    spotlight: bool = False
    labels: bool | None = None
    scores: bool = True
    prompts: bool = True
    legend: bool = False
    text_size: int | None = None


STYLES: dict[str, OverlayStyle] = {
    "fill": OverlayStyle(),
    "contour": OverlayStyle(fill=0.0),
    "spotlight": OverlayStyle(fill=0.0, spotlight=True),
    "legend": OverlayStyle(labels=False, legend=True),
    "plain": OverlayStyle(labels=False, prompts=False),
}
"""Styles by name."""


def read_style(style: str | OverlayStyle, changes: Mapping[str, object]) -> OverlayStyle:
    """Take a style by name or as it is, with some of its settings changed.

    Raises:
        ValueError: no style of that name.
        TypeError: a setting that styles do not have.
    """
    if isinstance(style, str):
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
        style = STYLES[style]
    unknown = sorted(changes.keys() - OverlayStyle.__dataclass_fields__.keys())
    if unknown:
        raise TypeError(f"a style has no {', '.join(unknown)}; it has {', '.join(OverlayStyle.__dataclass_fields__)}")
    return replace(style, **changes)  # type: ignore[arg-type]


def colours_of(names: Sequence[Hashable]) -> dict[Hashable, Colour]:
    """Give each object a colour by its position among the names."""
    return dict(zip(names, palette(len(names)), strict=True))


def draw_overlay(
    image: Image.Image,
    objects: Sequence[ObjectMask],
    style: OverlayStyle,
    colours: Mapping[Hashable, Colour] | None = None,
) -> Image.Image:
    """Draw objects over a copy of an image.

    Args:
        image: of the masks' size.
        objects: in any order; large masks are drawn first, so that what lies on top of them stays visible.
        style: how to draw.
        colours: an RGB colour by name, 0 to 255; by default each object has one by its position.

    Returns:
        An RGB image of the same size.

    Raises:
        ValueError: a mask is not of the image's size.
    """
    size = (image.height, image.width)
    for item in objects:
        if item.size != size:
            raise ValueError(f"the mask of {item.name!r} must be of the image's size {size}, got {item.size}")
    colours = colours or colours_of([item.name for item in objects])
    drawn = Image.fromarray(_blend(image, objects, style, colours))
    prompts = [(item.prompt, colours[item.name]) for item in objects if item.prompt is not None and style.prompts]
    drawn = _with_prompts(drawn, prompts)
    if style.labels or (style.labels is None and len(objects) <= _MANY_OBJECTS):
        visible = [item for item in objects if item.visible]
        captions = [_caption(item, style) for item in visible]
        points = [point for prompt, _ in prompts for point in prompt.points]
        draw_labels(drawn, visible, captions, colours, _font(image, style), _owners(visible, size), points)
    if style.legend:
        _draw_legend(drawn, objects, style, colours)
    return drawn


def _blend(
    image: Image.Image, objects: Sequence[ObjectMask], style: OverlayStyle, colours: Mapping[Hashable, Colour]
) -> np.ndarray:
    pixels = np.array(image.convert("RGB"))
    width = max(1, round(min(image.size) / 300)) if style.contour is None else style.contour
    if style.spotlight:
        grey = np.array(image.convert("L"), np.float32)[..., None] * _DIMMED
        shown = np.zeros(pixels.shape[:2], bool)
        for item in objects:
            x0, y0, x1, y1 = item.box
            shown[y0:y1, x0:x1] |= item.part(item.box)
        pixels = np.where(shown[..., None], pixels, grey.round().astype(np.uint8))
    below = pixels.copy()  # where masks overlap, the colour is that of the one on top, and no mixture
    drawn = [item for item in sorted(objects, key=lambda item: -item.area) if item.area]
    for item in drawn if style.fill > 0 else ():
        x0, y0, x1, y1 = item.box
        mask, colour = item.part(item.box), np.asarray(colours[item.name], np.float32)
        seen = below[y0:y1, x0:x1][mask]
        pixels[y0:y1, x0:x1][mask] = ((1 - style.fill) * seen + style.fill * colour).round().astype(np.uint8)
    for item in drawn if width > 0 else ():
        x0, y0, x1, y1 = item.box
        mask = item.part(item.box)
        pixels[y0:y1, x0:x1][mask & ~shrunk(mask, width)] = np.asarray(colours[item.name], np.uint8)
    return pixels


def _owners(objects: Sequence[ObjectMask], size: tuple[int, int]) -> np.ndarray:
    """Which object each pixel belongs to, by its position from 1, smaller ones above larger ones; 0 for none."""
    owners = np.zeros(size, np.int32)
    for number in sorted(range(len(objects)), key=lambda index: -objects[index].area):
        x0, y0, x1, y1 = objects[number].box
        owners[y0:y1, x0:x1][objects[number].part(objects[number].box)] = number + 1
    return owners


def shrunk(mask: np.ndarray, steps: int) -> np.ndarray:
    """Take the pixels from a mask that are at most `steps` from its border, those at the array's edges included."""
    padded = np.pad(mask, 1)
    for _ in range(steps):
        inner = padded.copy()
        inner[1:-1, 1:-1] &= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        padded = inner
    return padded[1:-1, 1:-1]


def _with_prompts(image: Image.Image, prompts: Sequence[tuple[ShownPrompt, Colour]]) -> Image.Image:
    """All boxes, and all points above them."""
    draw = ImageDraw.Draw(image)
    for prompt, colour in prompts:
        if prompt.box is not None:
            draw.rectangle(prompt.box, outline=colour, width=max(2, round(min(image.size) / 300)))
    for prompt, _ in prompts:
        image = draw_prompts(image, prompt.points, prompt.labels)
    return image


def _font(image: Image.Image, style: OverlayStyle) -> Font:
    return ImageFont.load_default(style.text_size or max(11, round(min(image.size) / 36)))


def _caption(item: ObjectMask, style: OverlayStyle) -> str:
    return f"{item.name}: {item.score:.2f}" if style.scores and item.score is not None else str(item.name)


def _draw_legend(
    image: Image.Image, objects: Sequence[ObjectMask], style: OverlayStyle, colours: Mapping[Hashable, Colour]
) -> None:
    """List the objects in the lower left corner; names of those that are out of sight are dim."""
    draw, font = ImageDraw.Draw(image, "RGBA"), _font(image, style)
    lines = [(item, _caption(item, style) if item.visible else str(item.name)) for item in objects]
    if not lines:
        return
    line = round(sum(font.getmetrics()) * 1.2) if isinstance(font, ImageFont.FreeTypeFont) else 14
    room = max(1, (image.height - line) // line)
    if len(lines) > room:
        lines = lines[:room]
    width = max(draw.textlength(text, font=font) for _, text in lines) + 2.4 * line
    top = image.height - line * (len(lines) + 1)
    draw.rectangle((line / 2, top, line / 2 + width, image.height - line / 2), fill=(0, 0, 0, 170))
    for row, (item, text) in enumerate(lines):
        y = top + line * (row + 0.25)
        draw.rectangle((line, y + line * 0.15, line * 1.7, y + line * 0.85), fill=colours[item.name])
        draw.text((line * 2.1, y), text, fill=(255, 255, 255) if item.visible else (140, 140, 140), font=font)
