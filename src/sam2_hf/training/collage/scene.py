"""Scenes of collages: a photograph, objects on it, and how they move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..synthetic.draws import Draws
from ..synthetic.motion import Motion, Plot, Size, camera_reach, draw_camera, draw_motion
from .cutouts import Cutout, draw_cutout
from .materials import Materials
from .photography import Photography, draw_photography

# Shares of the image's area that objects take, at the ends of a logarithmic scale.
IMAGE_AREAS = (0.001, 0.6)
CLIP_AREAS = (0.003, 0.2)
# How much of its square a cut-out fills, about.
_FILLED = 0.45
_PLOTS: dict[Plot, float] = {"wander": 4.0, "leave": 2.0, "enter": 1.0, "still": 0.5}


@dataclass(frozen=True)
class CollageSettings:
    """Settings of scenes.

    Attributes:
        size: (height, width) in pixels.
        length: in frames.
        objects: least and most cut-outs; those of a group count one each.
        moving: whether objects and camera move.
    """

    size: Size
    length: int
    objects: Size
    moving: bool


@dataclass(frozen=True)
class Shadow:
    """A shadow: its offset to the right and down and its softness in pixels, its strength from 0 to 1."""

    offset: tuple[int, int]
    softness: float
    strength: float


@dataclass(frozen=True)
class Actor:
    """A cut-out in a scene.

    Attributes:
        cutout: its layers.
        radius: half the side of its square, in pixels.
        motion: in every frame.
        gain: (3,) factors of its colours.
        blur: radius of its blur, in pixels.
        shadow: what it casts; None for nothing.
    """

    cutout: Cutout
    radius: float
    motion: Motion
    gain: np.ndarray
    blur: float
    shadow: Shadow | None


@dataclass(frozen=True)
class Scene:
    """A timeline of `length` frames of `size` (height, width).

    Attributes:
        background: (height + 2 reach, width + 2 reach, 3) float32 from 0 to 1, for a camera that drifts that far.
        camera: (length, 2), (x, y) in whole pixels.
        actors: what comes later is in front.
        objects: for each object its layers, counted over all actors: parts, whole cut-outs and groups.
        photography: what the camera adds.
    """

    size: Size
    length: int
    background: np.ndarray
    camera: np.ndarray
    actors: list[Actor]
    objects: tuple[tuple[int, ...], ...]
    photography: Photography


def draw_scene(draws: Draws, materials: Materials, settings: CollageSettings) -> Scene:
    """Draw a scene."""
    size = settings.size
    background = _draw_background(draws, materials, size)
    actors, groups = _draw_actors(draws, materials, settings, background)
    return Scene(
        size=size,
        length=settings.length,
        background=background,
        camera=draw_camera(draws, size, settings.length) if settings.moving else np.zeros((1, 2), np.int64),
        actors=actors,
        objects=_objects(actors, groups),
        photography=draw_photography(draws, min(size)),
    )


def _draw_background(draws: Draws, materials: Materials, size: Size) -> np.ndarray:
    """Draw a piece of a photograph, as large as the camera's reach asks for."""
    photograph = materials.draw_background(draws)
    height, width = (side + 2 * camera_reach(size) for side in size)
    scale = min(photograph.shape[0] / height, photograph.shape[1] / width) * draws.uniform(0.35, 1.0)
    tall, wide = int(height * scale), int(width * scale)
    top, left = draws.integer(0, photograph.shape[0] - tall), draws.integer(0, photograph.shape[1] - wide)
    piece = photograph[top : top + tall, left : left + wide]
    if draws.chance(0.5):
        piece = piece[:, ::-1]
    resized = Image.fromarray(np.ascontiguousarray(piece)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / 255


def _draw_actors(
    draws: Draws, materials: Materials, settings: CollageSettings, background: np.ndarray
) -> tuple[list[Actor], list[list[Actor]]]:
    """Draw the cut-outs, large ones mostly behind small ones, and those that form groups."""
    actors: list[Actor] = []
    groups: list[list[Actor]] = []
    count = draws.integer(*settings.objects)
    while len(actors) < count:
        cutout, radius = draw_cutout(draws, materials), _draw_radius(draws, settings)
        first = _draw_actor(draws, settings, cutout, radius, background)
        together = draws.integer(2, 4) if draws.chance(0.2) and radius < min(settings.size) / 6 else 1
        members = [first, *(_beside(draws, first, number) for number in range(1, together))]
        actors += members
        if together > 1:
            groups.append(members)
    if draws.chance(0.8):
        actors.sort(key=lambda actor: -actor.radius)
    return actors, groups


def _draw_radius(draws: Draws, settings: CollageSettings) -> float:
    low, high = CLIP_AREAS if settings.moving else IMAGE_AREAS
    share = math.exp(draws.uniform(math.log(low), math.log(high)))
    return math.sqrt(share * settings.size[0] * settings.size[1] / _FILLED) / 2


def _draw_actor(
    draws: Draws, settings: CollageSettings, cutout: Cutout, radius: float, background: np.ndarray
) -> Actor:
    plot = draws.weighted(_PLOTS) if settings.moving else "still"
    margin = 0.0 if draws.chance(0.2) else min(radius, min(settings.size) / 2)
    motion = draw_motion(draws, plot, settings.size, settings.length, margin)
    if not settings.moving:
        upright = draws.chance(0.6)
        motion.angle[:] = draws.uniform(-0.4, 0.4) if upright else motion.angle
        motion.squeeze[:] = draws.uniform(0.7, 1.3)
    return Actor(
        cutout,
        radius,
        motion,
        gain=_draw_gain(draws, cutout, background, motion.centre[0]),
        blur=draws.uniform(0, 2.5) if draws.chance(0.2) else draws.uniform(0, 0.7),
        shadow=_draw_shadow(draws, radius) if draws.chance(0.5) else None,
    )


def _beside(draws: Draws, first: Actor, number: int) -> Actor:
    """The same cut-out once more, at the side of the first and about as large."""
    direction = draws.uniform(-0.5, 0.5) + (math.pi if number % 2 else 0.0)
    distance = first.radius * draws.uniform(1.0, 1.7) * (1 + number // 2)
    offset = distance * np.array([math.cos(direction), math.sin(direction)])
    motion = first.motion
    moved = Motion(motion.centre + offset, motion.angle, motion.scale, motion.squeeze, motion.bend, motion.change)
    radius = first.radius * draws.uniform(0.85, 1.15)
    return Actor(first.cutout, radius, moved, first.gain, first.blur, first.shadow)


def _draw_gain(draws: Draws, cutout: Cutout, background: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Draw factors that bring a cut-out's light nearer to that of the background there."""
    height, width = background.shape[:2]
    x, y = (int(np.clip(value, 0, side - 1)) for value, side in zip(centre, (width, height), strict=True))
    there = background[max(y - 20, 0) : y + 20, max(x - 20, 0) : x + 20].mean(axis=(0, 1))
    body = cutout.layers[0]
    own = body[..., :3].sum(axis=(0, 1)) / max(float(body[..., 3].sum()), 1.0)
    ratio = np.clip(there / np.maximum(own, 0.05), 0.3, 2.0)
    return (1 + draws.uniform(0, 0.6) * (ratio - 1)).astype(np.float32)


def _draw_shadow(draws: Draws, radius: float) -> Shadow:
    reach = max(2.0, 0.3 * radius)
    offset = (round(draws.uniform(-reach, reach)), round(draws.uniform(0, reach)))
    return Shadow(offset, draws.uniform(0.5, 1 + 0.2 * radius), draws.uniform(0.2, 0.7))


def _objects(actors: list[Actor], groups: list[list[Actor]]) -> tuple[tuple[int, ...], ...]:
    layers: dict[int, tuple[int, ...]] = {}
    count = 0
    for actor in actors:
        layers[id(actor)] = tuple(range(count, count + len(actor.cutout.layers)))
        count += len(actor.cutout.layers)
    wholes = list(layers.values())
    parts = [(layer,) for whole in wholes for layer in whole[1:]]
    unions = [tuple(layer for member in group for layer in layers[id(member)]) for group in groups]
    return (*wholes, *parts, *unions)
