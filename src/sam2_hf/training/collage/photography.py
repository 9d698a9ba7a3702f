"""What a camera adds to a collage: depth of field, exposure, sensor noise, sharpening, compression."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ..synthetic.draws import Draws


@dataclass(frozen=True)
class Photography:
    """Settings of a camera.

    Attributes:
        background_blur: radius in pixels.
        gain: (3,) factors of the colours, for exposure and white balance.
        gamma: exponent of the brightness.
        slope: change of the light over the width and the height, as shares.
        noise: standard deviation of a pixel, from 0 to 1.
        sharpening: percent of an unsharp mask; 0 for none.
        quality: of JPEG, from 1 to 95; None for no compression.
        grey: whether colours are taken away.
    """

    background_blur: float
    gain: np.ndarray
    gamma: float
    slope: tuple[float, float]
    noise: float
    sharpening: int
    quality: int | None
    grey: bool

    def expose(self, image: np.ndarray, draws: Draws) -> np.ndarray:
        """Turn a frame (H, W, 3) float32 from 0 to 1 into what a camera saves, uint8.

        Args:
            image: the frame, not changed.
            draws: the stream of the noise.
        """
        height, width = image.shape[:2]
        across = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(self.slope[0])
        down = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(self.slope[1])
        light = np.clip(image, 0, 1) ** np.float32(self.gamma)
        light *= (1 + across + down[:, None])[..., None] * self.gain.astype(np.float32)
        if self.noise > 0:
            # The sum of four bytes is close to a normal distribution, whose deviation is 147.8.
            grain = sum(draws.bytes(light.shape).astype(np.float32) for _ in range(4)) - np.float32(510)
            light += grain * np.float32(self.noise / 147.8)
        if self.grey:
            light = np.repeat(light.mean(axis=-1, keepdims=True), 3, axis=-1)
        saved_image = Image.fromarray((np.clip(light, 0, 1) * 255 + 0.5).astype(np.uint8))
        if self.sharpening:
            saved_image = saved_image.filter(ImageFilter.UnsharpMask(1.2, self.sharpening, 0))
        return np.asarray(saved_image if self.quality is None else _compressed(saved_image, self.quality))


def draw_photography(draws: Draws, side: int) -> Photography:
    """Draw a camera for images whose shorter side has so many pixels."""
    return Photography(
        background_blur=draws.uniform(0, side / 100) if draws.chance(0.4) else 0.0,
        gain=draws.uniform(0.75, 1.2) * draws.uniforms(0.92, 1.08, 3),
        gamma=draws.uniform(0.8, 1.25),
        slope=(draws.uniform(-0.3, 0.3), draws.uniform(-0.3, 0.3)),
        noise=draws.uniform(0, 0.06) if draws.chance(0.6) else 0.0,
        sharpening=draws.integer(30, 150) if draws.chance(0.25) else 0,
        quality=draws.integer(35, 95) if draws.chance(0.6) else None,
        grey=draws.chance(0.08),
    )


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    saved = io.BytesIO()
    image.save(saved, "JPEG", quality=quality)
    return Image.open(saved)
