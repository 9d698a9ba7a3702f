"""Objects of collages: a cut-out as it is, a drawn shape filled from a photograph, or several of them put together.

A sprite is (S, S, 4) float32 with premultiplied colours from 0 to 1, and centred. The layers of an object share their
position: those that come later lie on those before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..synthetic.draws import Draws
from ..synthetic.shapes import draw_outline, draw_patch
from .compositing import warp
from .materials import SPRITE_SIZE, Materials

_EDGE = 24.0  # a shape's field times this is its alpha


@dataclass(frozen=True)
class Cutout:
    """Layers of one object, each a sprite. An object of several layers has parts, which are objects as well."""

    layers: tuple[np.ndarray, ...]


def draw_cutout(draws: Draws, materials: Materials) -> Cutout:
    """Draw an object: a cut-out, or a shape with the surface of a photograph; one in four has a part."""
    body = _draw_body(draws, materials)
    if not draws.chance(0.25):
        return Cutout((body,))
    part = _draw_body(draws, materials)
    size = draws.uniform(0.2, 0.5)
    rows, columns = np.nonzero(body[..., 3] > 0.9)
    if len(rows) == 0:
        return Cutout((body,))
    chosen = draws.integer(0, len(rows) - 1)
    return Cutout((body, _placed(part, size, float(columns[chosen]), float(rows[chosen]))))


def _draw_body(draws: Draws, materials: Materials) -> np.ndarray:
    if draws.chance(0.6):
        values = materials.draw_cutout(draws).astype(np.float32) / 255
        values[..., :3] *= values[..., 3:]
        return values
    alpha = np.clip(draw_outline(draws, SPRITE_SIZE) * np.float32(_EDGE), 0, 1)
    surface = draw_surface(draws, materials)
    for _ in range(draws.integer(0, 2)):  # objects of several surfaces
        surface = np.where((draw_patch(draws, SPRITE_SIZE) > 0)[..., None], draw_surface(draws, materials), surface)
    if draws.chance(0.5):  # as if it were round
        surface = surface * (
            np.float32(0.65) + np.float32(0.5) * np.clip(alpha.cumsum(0) / SPRITE_SIZE, 0, 1)[..., None]
        )
    return np.concatenate((np.clip(surface, 0, 1) * alpha[..., None], alpha[..., None]), axis=-1).astype(np.float32)


def draw_surface(draws: Draws, materials: Materials) -> np.ndarray:
    """Draw a square piece of a photograph, (S, S, 3) float32, of a random size and colour."""
    photograph = materials.draw_background(draws)
    height, width = photograph.shape[:2]
    side = int(min(height, width) * draws.uniform(0.06, 0.5))
    top, left = draws.integer(0, height - side), draws.integer(0, width - side)
    piece = Image.fromarray(photograph[top : top + side, left : left + side])
    surface = np.asarray(piece.resize((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.BICUBIC), np.float32) / 255
    if draws.chance(0.4):  # the texture in another colour
        tint = draws.uniforms(0.3, 1.6, 3).astype(np.float32)
        surface = surface * tint
    return surface


def _placed(sprite: np.ndarray, size: float, x: float, y: float) -> np.ndarray:
    """A sprite made smaller and moved, its middle to (x, y); what lies outside the square is cut off."""
    scale = 1 / size
    matrix = (scale, 0.0, SPRITE_SIZE / 2 - scale * x, 0.0, scale, SPRITE_SIZE / 2 - scale * y)
    return warp(sprite, matrix, (SPRITE_SIZE, SPRITE_SIZE), scale)
