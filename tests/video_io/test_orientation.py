import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from clips import numbered, set_display_matrix
from PIL import Image, ImageOps

from sam2_hf.video_io.open_video import open_video

ORIENTATION = 0x0112  # EXIF: how the camera was held
EXIF_TURNS = range(1, 9)


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
@pytest.mark.parametrize("turn", EXIF_TURNS)
def test_an_image_with_exif_data_opened_as_a_video_is_upright(tmp_path, kind, turn):
    content = stored(turn, kind)
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(content)
    with open_video(path) as video:
        assert len(video) == 1
        assert close(video[0], upright(content))


@pytest.mark.parametrize("suffix", [".avi", ".mov", ".mkv"])
@pytest.mark.parametrize("turn", EXIF_TURNS)
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


# (a, b, c, d) of the display matrix and what it does to a (height, width) frame
TURNS = {
    "as it is": ((1, 0, 0, 1), lambda frame: frame),
    "quarter turn clockwise": ((0, 1, -1, 0), lambda frame: torch.rot90(frame, -1, (1, 2))),
    "half turn": ((-1, 0, 0, -1), lambda frame: torch.rot90(frame, 2, (1, 2))),
    "quarter turn counter-clockwise": ((0, -1, 1, 0), lambda frame: torch.rot90(frame, 1, (1, 2))),
    "mirrored left to right": ((-1, 0, 0, 1), lambda frame: frame.flip(2)),
    "mirrored top to bottom": ((1, 0, 0, -1), lambda frame: frame.flip(1)),
    "mirrored on the diagonal": ((0, 1, 1, 0), lambda frame: frame.transpose(1, 2)),
    "mirrored on the other diagonal": ((0, -1, -1, 0), lambda frame: frame.transpose(1, 2).flip(1, 2)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_turned_upright(clips, tmp_path, turn):
    matrix, upright = TURNS[turn]
    path = tmp_path / "turned.mp4"
    path.write_bytes(clips("closed.mp4").read_bytes())
    set_display_matrix(path, *matrix)
    with open_video(clips("closed.mp4")) as stored, open_video(path) as video:
        expected = upright(stored[3])
        assert (video.height, video.width) == tuple(expected.shape[1:])
        assert torch.equal(video[3], expected)


def test_the_turn_is_the_one_that_pyav_tells(clips, tmp_path):
    path = tmp_path / "turned.mp4"
    path.write_bytes(clips("closed.mp4").read_bytes())
    set_display_matrix(path, 0, 1, -1, 0)
    with av.open(str(path)) as container:
        degrees = next(container.decode(video=0)).rotation  # counter-clockwise
    with open_video(clips("closed.mp4")) as stored, open_video(path) as video:
        assert torch.equal(video[0], torch.rot90(stored[0], degrees // 90, (1, 2)))


def write_colour(path, luma, blue, red, matrix, full_range):
    """One lossless frame of one colour in YUV, and what its numbers mean."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        planes = np.stack([np.full((16, 16), value, np.uint8) for value in (luma, blue, red)])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("matrix", "red_weight", "blue_weight"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114)], ids=["BT.709", "BT.601"]
)
def test_colours_are_those_that_the_file_means(tmp_path, matrix, red_weight, blue_weight, full_range):
    luma, blue, red = 120, 100, 160
    path = write_colour(tmp_path / "colour.mkv", luma, blue, red, matrix, full_range)
    y = luma if full_range else (luma - 16) * 255 / 219
    chroma = 1.0 if full_range else 255 / 224
    r = y + 2 * (1 - red_weight) * (red - 128) * chroma
    b = y + 2 * (1 - blue_weight) * (blue - 128) * chroma
    g = (y - red_weight * r - blue_weight * b) / (1 - red_weight - blue_weight)
    with open_video(path) as video:
        assert video[0][:, 8, 8].tolist() == pytest.approx([r, g, b], abs=1.5)  # in whole grey levels
