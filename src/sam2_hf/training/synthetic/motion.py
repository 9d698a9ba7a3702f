"""Motion of objects: smooth paths through a few positions, rotation, scaling and squeezing.

Units are pixels of the frame. Arrays cover a whole timeline, one entry for each frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from .draws import Draws

# Kinds of motion: moving about; leaving the image and returning; entering late; hiding behind the wall for a while;
# standing still; moving about fast.
Plot = Literal["wander", "leave", "enter", "hide", "still", "dash"]
DASH_STOPS = 10
Size = tuple[int, int]


@dataclass(frozen=True)
class Motion:
    """Position and appearance of an object in every frame, (frames,) each except for the first.

    Attributes:
        centre: (frames, 2), (x, y).
        angle: in radians.
        scale: factor of its size.
        squeeze: factor of its width.
        bend: phase of the bending, in radians.
        change: interpolation to its other shape, 0 to 1.
    """

    centre: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    squeeze: np.ndarray
    bend: np.ndarray
    change: np.ndarray


@dataclass(frozen=True)
class Wall:
    """What objects hide behind: its middle and half its width."""

    middle: float
    half: float


def draw_motion(
    draws: Draws,
    plot: Plot,
    size: Size,
    length: int,
    radius: float,
    wall: Wall | None = None,
    hidden: int | None = None,
) -> Motion:
    """Draw the motion of an object of some radius in an image (height, width).

    Args:
        draws: random numbers.
        plot: the kind of motion.
        size: of the image.
        length: in frames.
        radius: of the object.
        wall: for the plot "hide".
        hidden: for how many frames an object hides or is outside; drawn by default.
    """
    time = _timeline(length)
    away = None if hidden is None else hidden / 2 / max(length - 1, 1)
    stops, positions = _route(draws, plot, size, radius, wall, away)
    centre = np.stack([_smooth(time, stops, [position[axis] for position in positions]) for axis in range(2)], axis=1)
    turn, scale, squeeze, bend, change = draws.uniforms(-1, 1, 5) * (plot != "still")
    return Motion(
        centre=centre,
        angle=draws.uniform(0, 2 * math.pi) + turn * 2.5 * time,
        scale=1 + 0.3 * scale * _sway(draws, time),
        squeeze=1 + 0.25 * squeeze * _sway(draws, time),
        bend=bend * 12 * time,
        change=np.clip(0.5 + change * _sway(draws, time), 0, 1),
    )


def stand(centre: tuple[float, float], length: int, squeeze: float = 1.0) -> Motion:
    """Make the motion of an object that stands still."""
    nothing, one = np.zeros(length), np.ones(length)
    return Motion(np.tile(centre, (length, 1)), nothing, one, squeeze * one, nothing, nothing)


def draw_camera(draws: Draws, size: Size, length: int) -> np.ndarray:
    """Draw the motion of the camera, (frames, 2) whole pixels; half of the cameras stand still."""
    if draws.chance(0.5):
        return np.zeros((length, 2), np.int64)
    time, reach = _timeline(length), camera_reach(size)
    positions = draws.uniforms(-reach, reach, (3, 2))
    path = [_smooth(time, [0, 0.5, 1], positions[:, axis].tolist()) for axis in range(2)]
    return np.rint(np.stack(path, axis=1)).astype(np.int64)


def camera_reach(size: Size) -> int:
    """Return the largest offset of the camera, in pixels."""
    return min(size) // 8


def _route(
    draws: Draws, plot: Plot, size: Size, radius: float, wall: Wall | None, away: float | None
) -> tuple[list[float], list[np.ndarray]]:
    """Draw times from 0 to 1, and positions (x, y) of the object then; it hides or is outside for twice `away`."""
    height, width = size
    if plot == "hide" and wall is not None:
        return _behind_the_wall(draws, size, radius, wall, away)
    if plot == "dash":
        return np.linspace(0, 1, DASH_STOPS).tolist(), [_inside(draws, size, radius) for _ in range(DASH_STOPS)]
    inside = [_inside(draws, size, radius) for _ in range(4)]
    if plot == "still":
        return [0, 1], [inside[0], inside[0]]
    if plot == "leave":
        gone = draws.uniform(0.35, 0.6)
        away = 0.08 if away is None else away
        return [0, gone - away, gone + away, 1], [inside[0], *[_outside(draws, size, radius)] * 2, inside[1]]
    if plot == "enter":
        return [0, 0.15, 0.6, 1], [*[_outside(draws, size, radius)] * 2, inside[1], inside[2]]
    # At most half an image between two stops.
    reach = 0.5 * min(height, width)
    for before, after in pairwise(inside):
        after[:] = before + np.clip(after - before, -reach, reach)
    return [0, 0.3, 0.7, 1], inside


def _behind_the_wall(
    draws: Draws, size: Size, radius: float, wall: Wall, away: float | None
) -> tuple[list[float], list[np.ndarray]]:
    """Draw a path from one side of the wall to its middle, a while there, and out on either side."""
    height, width = size
    hidden, stay = draws.uniform(0.4, 0.55), draws.uniform(0.05, 0.12)
    if away is not None:
        stay = away
        hidden = min(max(hidden, stay + 0.15), 0.85 - stay)
    beside = 1.3 * (wall.half + radius)
    sides = [wall.middle - beside, wall.middle + beside]
    # Where the wall is close to the image's edge, only the other side is visible.
    visible = [side for side in sides if 0.3 * radius < side < width - 0.3 * radius] or sides
    rows = draws.uniforms(0.3 * height, 0.7 * height, 3)
    hidden_at = (wall.middle, rows[1])
    positions = [(draws.choose(visible), rows[0]), hidden_at, hidden_at, (draws.choose(visible), rows[2])]
    return [0, hidden - stay, hidden + stay, 1], [np.array(position) for position in positions]


def _inside(draws: Draws, size: Size, radius: float) -> np.ndarray:
    height, width = size
    margin = 0.7 * radius
    return np.array([draws.uniform(margin, width - margin), draws.uniform(margin, height - margin)])


def _outside(draws: Draws, size: Size, radius: float) -> np.ndarray:
    height, width = size
    x, y = draws.uniform(0, width), draws.uniform(0, height)
    beyond = 1.6 * radius
    return np.array(draws.choose([(-beyond, y), (width + beyond, y), (x, -beyond), (x, height + beyond)]))


def _timeline(length: int) -> np.ndarray:
    """From 0 to 1."""
    return np.arange(length) / max(length - 1, 1)


def _sway(draws: Draws, time: np.ndarray) -> np.ndarray:
    """Draw a smooth curve between -1 and 1."""
    values = draws.uniforms(-1, 1, 4).tolist()
    return _smooth(time, [0, 0.33, 0.67, 1], values)


def _smooth(time: np.ndarray, stops: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """Interpolate between values, with zero slope at each of them."""
    result = np.full(len(time), float(values[0]))
    for index in range(len(stops) - 1):
        share = np.clip((time - stops[index]) / (stops[index + 1] - stops[index]), 0, 1)
        result += (values[index + 1] - values[index]) * (share * share * (3 - 2 * share))
    return result
