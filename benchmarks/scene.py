"""A drawn scene, for use without a photograph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (960, 640)
CLICK = (307, 375)
"""Width and height of the scene in pixels, and a point (x, y) on its largest ball."""

_HORIZON = 330
_SUPERSAMPLING = 2
_LIGHT = np.array([-0.5, -0.7, 0.55]) / np.linalg.norm([-0.5, -0.7, 0.55])


class _Ball(NamedTuple):
    centre: tuple[int, int]
    radius: int
    colour: tuple[int, int, int]
    stripes: int = 0


_BALLS = (
    _Ball((150, 330), 52, (224, 168, 54)),
    _Ball((300, 385), 108, (196, 62, 52)),
    _Ball((462, 492), 46, (70, 130, 80), stripes=3),
    _Ball((842, 500), 64, (60, 96, 176)),
)


def draw_scene(seed: int = 0) -> Image.Image:
    """Balls, a box and a mug on a table, 960 by 640 pixels; `seed` changes the grain of the surfaces alone."""
    scale = _SUPERSAMPLING
    rng = np.random.default_rng(seed)
    image = Image.fromarray(_room(SIZE[0] * scale, SIZE[1] * scale, rng))
    for foot, width in (((605, 497), 190), ((745, 400), 110)):
        _cast_shadow(image, foot, width)
    for ball in _BALLS:
        _cast_shadow(image, (ball.centre[0] + ball.radius // 3, ball.centre[1] + ball.radius), ball.radius * 2)
    _draw_mug(image)
    _draw_box(image)
    for ball in _BALLS:
        _draw_ball(image, ball)
    small = np.asarray(image.resize(SIZE, Image.Resampling.LANCZOS), dtype=np.float32)
    grain = rng.normal(0, 2.5, small.shape[:2])[..., None]
    return Image.fromarray((small + grain).clip(0, 255).astype(np.uint8))


def _room(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A wall lit from the left above a wooden table; pixels (height, width, 3), uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    horizon = _HORIZON * _SUPERSAMPLING
    light = 1.0 - 0.35 * x / width - 0.15 * np.abs(y - horizon) / height
    wall = light[..., None] * np.array([176, 186, 190], dtype=np.float32)
    rings = np.sin(y / 9 + 3 * np.sin(x / 310) + rng.uniform(0, 6)) * np.sin(y / 31 + x / 900)
    wood = (light * (1 + 0.06 * rings))[..., None] * np.array([168, 128, 92], dtype=np.float32)
    return np.where((y < horizon)[..., None], wall, wood).clip(0, 255).astype(np.uint8)


def _cast_shadow(image: Image.Image, foot: tuple[int, int], width: int) -> None:
    """Darkens the table around `foot` (x, y), softly, over about `width` pixels."""
    scale = _SUPERSAMPLING
    shade = Image.new("L", image.size, 0)
    x, y = foot
    ellipse = [
        (x - width // 2) * scale,
        (y - width // 8) * scale,
        (x + width * 3 // 4) * scale,
        (y + width // 9) * scale,
    ]
    ImageDraw.Draw(shade).ellipse(ellipse, fill=130)
    image.paste((38, 26, 20), mask=shade.filter(ImageFilter.GaussianBlur(9 * scale)))


def _draw_ball(image: Image.Image, ball: _Ball) -> None:
    """A ball with diffuse light, a highlight and, if it has any, stripes."""
    radius = ball.radius * _SUPERSAMPLING
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32) / radius
    inside = x**2 + y**2 <= 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    lit = np.clip(np.stack([x, y, z], axis=-1) @ _LIGHT, 0, 1)
    colour = np.broadcast_to(np.array(ball.colour, dtype=np.float32), (*x.shape, 3)).copy()
    if ball.stripes:
        colour[np.sin((0.8 * x + y) * np.pi * ball.stripes) > 0.2] = (232, 226, 206)
    pixels = colour * (0.28 + 0.8 * lit)[..., None] + 210 * (lit**40)[..., None]
    patch = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    left, top = (side * _SUPERSAMPLING - radius for side in ball.centre)
    image.paste(patch, (left, top), Image.fromarray((inside * 255).astype(np.uint8)))


def _draw_box(image: Image.Image) -> None:
    """A cardboard box with three visible faces and a stripe of tape."""
    faces = (
        ([(520, 350), (640, 372), (640, 505), (520, 470)], (186, 140, 92)),
        ([(640, 372), (712, 345), (712, 462), (640, 505)], (134, 96, 62)),
        ([(520, 350), (596, 328), (712, 345), (640, 372)], (214, 174, 126)),
        ([(570, 336), (585, 332), (690, 354), (674, 360)], (236, 214, 170)),
    )
    draw = ImageDraw.Draw(image)
    for corners, colour in faces:
        draw.polygon([(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in corners], fill=colour)


def _draw_mug(image: Image.Image) -> None:
    """A mug: a shaded cylinder with a handle and a dark mouth."""
    scale = _SUPERSAMPLING
    left, top, right, bottom = (value * scale for value in (742, 270, 828, 392))
    lid = 13 * scale
    draw = ImageDraw.Draw(image)
    draw.arc(
        [right - 22 * scale, top + 22 * scale, right + 36 * scale, bottom - 30 * scale],
        -100,
        100,
        (206, 202, 192),
        9 * scale,
    )
    for x in range(left, right):
        across = (x - left) / (right - left)
        light = 0.45 + 0.6 * np.sin(np.pi * np.clip(1.15 - across, 0, 1)) ** 1.5
        bulge = lid * np.sqrt(max(0.0, 1 - (2 * across - 1) ** 2))
        draw.line([(x, top), (x, bottom + bulge)], fill=tuple(int(min(255, tone * light)) for tone in (226, 222, 212)))
    draw.ellipse([left, top - lid, right, top + lid], fill=(236, 232, 224))
    draw.ellipse([left + 6 * scale, top - lid + 4 * scale, right - 6 * scale, top + lid - 3 * scale], fill=(62, 44, 34))
