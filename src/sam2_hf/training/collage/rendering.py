"""Rendering of a scene to pixels and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..synthetic.draws import Draws
from .compositing import Canvas, blurred, placement, warp
from .materials import SPRITE_SIZE
from .scene import Actor, Scene

# A pixel belongs to an object of which it shows so much.
_VISIBLE = 0.5
# Of the time between two frames, while light falls on the film; and at how many instants of it objects are drawn.
_SHUTTER, _INSTANTS = 0.4, 3
_STILL = 1.5  # pixels


def render(scene: Scene, frames: Sequence[int], noise: Sequence[Draws]) -> tuple[np.ndarray, np.ndarray]:
    """Draw some frames of a scene, each with its own stream for the noise, so that none depends on the others.

    Returns:
        Frames (T, H, W, 3) uint8, and the visible pixels of all objects, (T, N, H, W) bool.
    """
    images, masks = [], []
    for frame, draws in zip(frames, noise, strict=True):
        canvas = _compose(scene, frame)
        images.append(scene.photography.expose(canvas.image, draws))
        shares = np.stack(canvas.shares)
        masks.append([shares[list(layers)].sum(axis=0) > _VISIBLE for layers in scene.objects])
    return np.stack(images), np.array(masks)


def _compose(scene: Scene, frame: int) -> Canvas:
    height, width = scene.size
    reach = (scene.background.shape[0] - height) // 2
    drift = scene.camera[frame]
    left, top = (int(reach - offset) for offset in drift)
    window = scene.background[top : top + height, left : left + width]
    canvas = Canvas(blurred(window, scene.photography.background_blur))
    for actor in scene.actors:
        _lay(canvas, actor, frame, drift, scene.size)
    return canvas


def _lay(canvas: Canvas, actor: Actor, frame: int, drift: np.ndarray, size: tuple[int, int]) -> None:
    box = _box(actor, frame, drift, size)
    if box is None:
        for _ in actor.cutout.layers:
            canvas.skip()
        return
    rows, columns = box
    patches = [_patch(actor, layer, frame, drift, rows, columns) for layer in actor.cutout.layers]
    if actor.shadow is not None:
        alpha = np.maximum.reduce([patch[..., 3] for patch in patches])
        across, down = actor.shadow.offset
        shade = blurred(np.roll(alpha, (down, across), axis=(0, 1))[..., None], actor.shadow.softness)[..., 0]
        canvas.darken(shade, rows, columns, actor.shadow.strength)
    for patch in patches:
        canvas.lay(patch, rows, columns)


def _box(actor: Actor, frame: int, drift: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Compute the rows and columns that an actor and its shadow may touch; None if they are outside."""
    motion = actor.motion
    x, y = motion.centre[frame] + drift
    reach = actor.radius * motion.scale[frame] * max(1.0, motion.squeeze[frame]) * math.sqrt(2) + 3 * actor.blur + 2
    reach += _speed(actor, frame)
    if actor.shadow is not None:
        reach += 2 * actor.shadow.softness + max(map(abs, actor.shadow.offset))
    top, bottom = max(math.floor(y - reach), 0), min(math.ceil(y + reach), size[0])
    left, right = max(math.floor(x - reach), 0), min(math.ceil(x + reach), size[1])
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def _patch(actor: Actor, layer: np.ndarray, frame: int, drift: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """A layer of an actor in a box of the frame, (h, w, 4) float32; of a fast one, what it shows while it moves."""
    motion = actor.motion
    radius = actor.radius * motion.scale[frame]
    before = motion.centre[max(frame - 1, 0)]
    step = (motion.centre[frame] - before) * _SHUTTER
    offsets = np.linspace(-0.5, 0.5, _INSTANTS) if _speed(actor, frame) > _STILL else [0.0]
    patch = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 4), np.float32)
    for offset in offsets:
        x, y = motion.centre[frame] + drift + offset * step
        matrix = placement(
            *((float(x), float(y)), radius, motion.angle[frame], motion.squeeze[frame]),
            *((columns.start, rows.start), SPRITE_SIZE),
        )
        patch += warp(layer, matrix, patch.shape[:2], SPRITE_SIZE / (2 * radius))
    patch /= len(offsets)
    patch[..., :3] = np.minimum(patch[..., :3] * actor.gain, patch[..., 3:])
    return blurred(patch, actor.blur)


def _speed(actor: Actor, frame: int) -> float:
    """Pixels that an actor moves while light falls on the film."""
    centre = actor.motion.centre
    return float(np.abs(centre[frame] - centre[max(frame - 1, 0)]).max()) * _SHUTTER
