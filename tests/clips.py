"""Small videos whose every frame says its own number, for tests of reading and writing videos."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

BITS = 14
HEIGHT, WIDTH = 32, 8 * BITS
ENCODERS = {".webm": "libvpx-vp9"}


def numbered(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width, 3) uint8: the bits of `index` as bright and dark bars, lowest first, over a faint texture."""
    bits = (index >> np.arange(BITS)) & 1
    row = np.repeat(40 + 160 * bits, width // BITS)
    ramp = np.arange(height)[:, None] // 2
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : len(row)] = (row[None] + ramp)[..., None]
    return image


def number_in(frame: torch.Tensor) -> int:
    """The number that a frame (3, height, width) shows."""
    bars = frame.float().mean((0, 1))[: frame.shape[2] // BITS * BITS].view(BITS, -1)
    return sum(1 << bit for bit in range(BITS) if bars[bit, 2:-2].mean() > 128)


def numbers_in(frames: Iterator[torch.Tensor]) -> list[int]:
    return [number_in(frame) for frame in frames]


def write_clip(
    path: Path,
    count: int = 40,
    *,
    codec: str = "libx264",
    gop: int = 12,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: Callable[[int], int] | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    pixel_format: str = "yuv420p",
    draw: Callable[..., np.ndarray] = numbered,
) -> Path:
    """Write `count` numbered frames at 25 a second, or at `times(index)` milliseconds.

    Each is drawn by `draw(index, height, width)`. H.264 comes with B-frames, so that the order of packets is not the
    order of frames.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size = gop
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(draw(index, *size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times(index), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    """A file with a stream of sound and no video, at most a cover image."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        if cover:
            image = container.add_stream("mjpeg", rate=1)
            image.height, image.width, image.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic.value
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        for packet in (*stream.encode(sound), *stream.encode(None)):
            container.mux(packet)
        if cover:
            frame = av.VideoFrame.from_ndarray(numbered(0), format="rgb24")
            container.mux((*image.encode(frame), *image.encode(None)))
    return path


def write_images(folder: Path, frames: Iterator[torch.Tensor], name: str = "frame{}.png") -> Path:
    """Frames as PNGs, numbered without leading zeros."""
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / name.format(index))
    return folder


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Overwrite how an MP4 wants to be shown: stored (x, y) at (a x + c y, b x + d y), y downward."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    assert content[header] == 0, "a version 1 header has its matrix elsewhere"
    one = 1 << 16
    matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, header + 40, *matrix)
    path.write_bytes(content)
    return path


def cut(path: Path, fraction: float) -> Path:
    """Keep the first part of a file, as a broken download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


def blank_frame(path: Path, index: int, keep: int = 0) -> Path:
    """Overwrite one frame's data with zeros, except the first `keep` bytes of it."""
    with av.open(str(path)) as container:
        packets = sorted((packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size)
    _, position, size = packets[index]
    content = bytearray(path.read_bytes())
    content[position + keep : position + size] = bytes(size - keep)
    path.write_bytes(content)
    return path


class Faulty:
    """An open container whose packets come from `demux(container)` instead."""

    def __init__(self, container: av.container.InputContainer, demux: Callable[..., Iterator[av.Packet]]):
        self._container = container
        self._demux = demux

    def demux(self, *args: object) -> Iterator[av.Packet]:
        return self._demux(self._container)

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)

    def __enter__(self) -> Faulty:
        return self

    def __exit__(self, *args: object) -> None:
        self._container.close()
