"""A Kalman filter for boxes that move at constant velocity, as trackers of boxes have it.

The state is the centre (x, y), the aspect ratio (width / height) and the height of a box, each with its velocity. The
noise of each of the four is independent of the others, and so are their first covariances. So the filter of 8 states is
four filters of 2 states, and no matrix is inverted.

Source: Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric" (arXiv 1703.07402), whose
noise Yang et al., "SAMURAI" (arXiv 2411.11922) took over.
"""

from __future__ import annotations

from typing import NamedTuple

# Standard deviations as parts of the height; those of the aspect ratio are absolute.
POSITION_NOISE = 1 / 20
VELOCITY_NOISE = 1 / 160
ASPECT_NOISE = 1e-2
ASPECT_VELOCITY_NOISE = 1e-5
MEASURED_ASPECT_NOISE = 1e-1
ASPECT, HEIGHT = 2, 3

Box = tuple[float, float, float, float]


class Quantity(NamedTuple):
    """One of the four quantities: its estimate, its velocity, and their covariances."""

    value: float
    velocity: float
    variance: float
    covariance: float
    velocity_variance: float


Motion = tuple[Quantity, ...]
"""The estimate of a moving box: x, y, aspect ratio and height."""


def start(box: Box) -> Motion:
    """Start from a box (left, top, right, bottom) at rest."""
    measured = _measured(box)
    position, velocity = 2 * POSITION_NOISE * measured[HEIGHT], 10 * VELOCITY_NOISE * measured[HEIGHT]
    return tuple(
        Quantity(value, 0.0, ASPECT_NOISE**2, 0.0, ASPECT_VELOCITY_NOISE**2)
        if index == ASPECT
        else Quantity(value, 0.0, position**2, 0.0, velocity**2)
        for index, value in enumerate(measured)
    )


def predict(motion: Motion) -> Motion:
    """Go on by one frame."""
    height = motion[HEIGHT].value
    predicted = []
    for index, (value, velocity, variance, covariance, velocity_variance) in enumerate(motion):
        noise = ASPECT_NOISE if index == ASPECT else POSITION_NOISE * height
        velocity_noise = ASPECT_VELOCITY_NOISE if index == ASPECT else VELOCITY_NOISE * height
        predicted.append(
            Quantity(
                value + velocity,
                velocity,
                variance + 2 * covariance + velocity_variance + noise**2,
                covariance + velocity_variance,
                velocity_variance + velocity_noise**2,
            )
        )
    return tuple(predicted)


def update(motion: Motion, box: Box) -> Motion:
    """Correct a prediction by the box (left, top, right, bottom) that was measured."""
    height = motion[HEIGHT].value
    updated = []
    for index, (quantity, measured) in enumerate(zip(motion, _measured(box), strict=True)):
        value, velocity, variance, covariance, velocity_variance = quantity
        noise = MEASURED_ASPECT_NOISE if index == ASPECT else POSITION_NOISE * height
        total = variance + noise**2
        gain, velocity_gain = variance / total, covariance / total
        updated.append(
            Quantity(
                value + gain * (measured - value),
                velocity + velocity_gain * (measured - value),
                variance - gain * variance,
                covariance - gain * covariance,
                velocity_variance - velocity_gain * covariance,
            )
        )
    return tuple(updated)


def box_of(motion: Motion) -> Box:
    """The box (left, top, right, bottom) of an estimate."""
    x, y, aspect, height = (quantity.value for quantity in motion)
    width = aspect * height
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _measured(box: Box) -> Box:
    """Centre, aspect ratio and height of a box; a flat one counts as one pixel high."""
    left, top, right, bottom = box
    height = (bottom - top) or 1.0
    return (left + right) / 2, (top + bottom) / 2, (right - left) / height, height
