import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from clips import numbered
from PIL import Image, ImageOps

from sam2_hf.video_io.open_video import open_video

ORIENTATION = 0x0112  # EXIF: how the camera was held
TURNS = range(1, 9)


def stored(turn, kind):
    """An image file in memory whose EXIF data asks for a turn."""
    image = Image.fromarray(numbered(5))
    exif = image.getexif()
    exif[ORIENTATION] = turn
    content = io.BytesIO()
    image.save(content, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return content.getvalue()


def upright(content):
    """What Pillow shows of an image file: uint8 (3, height, width)."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def close(frame, expected):
    """Whether two decoders agree, in grey levels; for JPEG each has its own way to interpolate the colours."""
    return frame.shape == expected.shape and (frame.int() - expected.int()).abs().float().mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("turn", TURNS)
def test_an_image_with_exif_data_opened_as_a_video_is_upright(tmp_path, kind, turn):
    content = stored(turn, kind)
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(content)
    with open_video(path) as video:
        assert len(video) == 1
        assert close(video[0], upright(content))


@pytest.mark.parametrize("suffix", [".avi", ".mov", ".mkv"])
@pytest.mark.parametrize("turn", TURNS)
def test_frames_with_exif_data_in_a_container_are_upright(tmp_path, suffix, turn):
    content = stored(turn, "JPEG")
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 112, "yuvj420p"
        for index in range(3):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            container.mux(packet)
    for stream in (None, True):
        with open_video(path, stream=stream) as video:
            frames = list(video)
        assert len(frames) == 3
        assert all(close(frame, upright(content)) for frame in frames)
