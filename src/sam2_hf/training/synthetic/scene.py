"""Scenes: background, light, and objects with their appearance and motion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .draws import Draws
from .motion import Motion, Plot, Size, Wall, camera_reach, draw_camera, draw_motion, stand
from .shapes import WALL_HALF, draw_outline, draw_patch, draw_wall
from .textures import Colour, draw_colours, draw_texture

SPRITE_SIZE = 128


@dataclass(frozen=True)
class SceneSettings:
    """Settings of scenes.

    Attributes:
        size: (height, width) in pixels.
        length: in frames.
        objects: least and most objects. Where they move, one may be a wall to hide behind.
        moving: whether objects and camera move.
        distractors: probability that a moving object has exactly the appearance of the one before.
        plot: how objects move; drawn for each by default.
        hidden: for how many frames an object hides or is outside; drawn for each by default.
    """

    size: Size
    length: int
    objects: Size
    moving: bool
    distractors: float
    plot: Plot | None = None
    hidden: int | None = None


@dataclass(frozen=True)
class Sprite:
    """Appearance of an object at rest.

    Attributes:
        outlines: one or two fields (S, S) float32, positive inside, between which its shape changes.
        texture: (S * S, 3) uint8.
    """

    outlines: tuple[np.ndarray, ...]
    texture: np.ndarray


@dataclass(frozen=True)
class Actor:
    """An object of a scene.

    Attributes:
        sprite: its appearance.
        radius: of its sprite's unit disc, in pixels.
        motion: in every frame.
        bend: largest bending, as a share of the sprite.
        shadow: offset of its shadow to the right and down, in pixels; 0 for none.
    """

    sprite: Sprite
    radius: float
    motion: Motion
    bend: float = 0.0
    shadow: int = 0


@dataclass(frozen=True)
class Scene:
    """A timeline of `length` frames of `size` (height, width).

    Attributes:
        background: (height + 2 reach, width + 2 reach, 3) uint8, for a camera that drifts that far.
        camera: (length, 2), (x, y) in whole pixels.
        actors: the objects; number k is the k-th of them. What is in front comes later.
        light: (length, 3) float32: the gain in the middle, and by how much it changes over the width and the height.
        noise: the largest deviation of a pixel, in grey levels.
        is_soft: whether edges are blurred as lenses do.
    """

    size: Size
    length: int
    background: np.ndarray
    camera: np.ndarray
    actors: list[Actor]
    light: np.ndarray
    noise: float
    is_soft: bool


def draw_scene(draws: Draws, settings: SceneSettings) -> Scene:
    """Draw a scene."""
    size, length, moving = settings.size, settings.length, settings.moving
    colours = draw_colours(draws)
    count = draws.integer(*settings.objects)
    if moving:
        actors = _draw_moving(draws, settings, count, colours[0])
    else:
        actors = _draw_still_life(draws, size, count, colours[0])
    return Scene(
        size=size,
        length=length,
        background=_draw_background(draws, size, colours),
        camera=draw_camera(draws, size, length) if moving else np.zeros((length, 2), np.int64),
        actors=actors,
        light=_draw_light(draws, length),
        noise=draws.uniform(2, 14),
        is_soft=draws.chance(0.7),
    )


def _draw_moving(draws: Draws, settings: SceneSettings, count: int, backdrop: Colour) -> list[Actor]:
    """Draw objects that move. Only its motion tells a distractor from the object before."""
    size, length = settings.size, settings.length
    walls: list[Actor] = []
    wall = None
    if settings.plot == "hide" or (settings.plot is None and count >= 2 and draws.chance(0.5)):
        actor, wall = _draw_wall(draws, size, length, backdrop)
        walls = [actor]
    actors: list[Actor] = []
    for _ in range(count - len(walls)):
        plot = settings.plot or _draw_plot(draws, wall is not None)
        radius = _draw_radius(draws, size)
        if plot == "hide" and wall is not None:
            radius = min(radius, 0.75 * wall.half)
        motion = draw_motion(draws, plot, size, length, radius, wall, settings.hidden)
        actor = _draw_actor(draws, radius, motion, backdrop)
        if actors and draws.chance(settings.distractors):
            actor = replace(actor, sprite=actors[-1].sprite, bend=actors[-1].bend)
        actors.append(actor)
    if draws.chance(0.5):
        actors.sort(key=lambda actor: -actor.radius)  # small objects would be hidden behind large ones
    return actors + walls


def _draw_plot(draws: Draws, has_wall: bool) -> Plot:
    weights: dict[Plot, float] = {"wander": 4.0, "leave": 2.0, "enter": 1.0, "still": 0.5}
    return draws.weighted({**weights, "hide": 8.0} if has_wall else weights)


def _draw_still_life(draws: Draws, size: Size, count: int, backdrop: Colour) -> list[Actor]:
    """Draw the objects of an image; at times one is half outside."""
    actors = []
    for _ in range(count):
        radius = _draw_radius(draws, size)
        motion = draw_motion(draws, "still", size, 1, 0.0 if draws.chance(0.1) else radius)
        actors.append(_draw_actor(draws, radius, motion, backdrop))
    return sorted(actors, key=lambda actor: -actor.radius)


def _draw_radius(draws: Draws, size: Size) -> float:
    """Draw a radius from a fourteenth to a fourth of the image, small ones more often."""
    return min(size) * (0.07 + 0.18 * draws.uniform() * draws.uniform(0.5, 1))


def _draw_wall(draws: Draws, size: Size, length: int, backdrop: Colour) -> tuple[Actor, Wall]:
    height, width = size
    radius, squeeze = draws.uniform(0.4, 0.65) * height, draws.uniform(0.4, 0.7)
    centre = draws.uniform(0.3, 0.7) * width, draws.uniform(0.4, 0.7) * height
    sprite = _cover(draws, (draw_wall(draws, SPRITE_SIZE),), backdrop)
    wall = Wall(centre[0], radius * squeeze * WALL_HALF[0])
    return Actor(sprite, radius, stand(centre, length, squeeze)), wall


def _draw_actor(draws: Draws, radius: float, motion: Motion, backdrop: Colour) -> Actor:
    outlines = [draw_outline(draws, SPRITE_SIZE) for _ in range(2 if draws.chance(0.3) else 1)]
    return Actor(
        _cover(draws, tuple(outlines), backdrop),
        radius,
        motion,
        bend=draws.uniform(0.01, 0.06) if draws.chance(0.3) else 0.0,
        shadow=draws.integer(2, 6) if draws.chance(0.3) else 0,
    )


def _cover(draws: Draws, outlines: tuple[np.ndarray, ...], backdrop: Colour) -> Sprite:
    """Draw a texture in a colour unlike the backdrop; some have a patch, a rim or shading."""
    texture = draw_texture(draws, SPRITE_SIZE, draw_colours(draws, backdrop))
    if draws.chance(0.35):
        patch = draw_patch(draws, SPRITE_SIZE) > 0
        texture = np.where(patch, draw_texture(draws, SPRITE_SIZE, draw_colours(draws, backdrop)), texture)
    field = outlines[0]
    if draws.chance(0.5):
        texture = texture * (np.float32(0.7) + np.float32(0.6) * np.clip(field, 0, 0.5))
    if draws.chance(0.15):
        texture = np.where(field < np.float32(0.08), texture * np.float32(0.4), texture)
    return Sprite(outlines, _as_bytes(texture).reshape(-1, 3))


def _draw_background(draws: Draws, size: Size, colours: tuple[Colour, Colour]) -> np.ndarray:
    """Draw one texture, or two side by side."""
    height, width = (side + 2 * camera_reach(size) for side in size)
    side = max(height, width)
    texture = draw_texture(draws, side, colours)
    if draws.chance(0.4):
        texture = np.where(draw_patch(draws, side) > 0, draw_texture(draws, side, draw_colours(draws)), texture)
    return _as_bytes(texture[:, :height, :width])


def _draw_light(draws: Draws, length: int) -> np.ndarray:
    flicker = 0.08 * draws.uniforms(-1, 1, length) * draws.chance(0.3)
    middle = draws.uniform(0.75, 1.2) + flicker
    across = np.full((length, 2), draws.uniforms(-0.3, 0.3, 2))
    return np.column_stack((middle, across)).astype(np.float32)


def _as_bytes(texture: np.ndarray) -> np.ndarray:
    """(3, height, width) to (height, width, 3) uint8."""
    return np.ascontiguousarray(np.clip(texture, 0, 255).astype(np.uint8).transpose(1, 2, 0))
