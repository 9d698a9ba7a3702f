"""Damaged files: an image or a clip comes out, or an error that says which file; nothing hangs and nothing dies."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from clips import numbered, write_clip
from damage import damaged
from PIL import Image

from sam2_hf.inputs.images import read_images
from sam2_hf.inputs.window_files import open_windows
from sam2_hf.video_io.open_video import VideoDecodingError, open_video
from sam2_hf.video_io.write_video import write_video

pytestmark = pytest.mark.slow

SECONDS = 30
IMAGES = ("png", "jpg", "webp", "bmp", "gif", "tif", "ppm")
CLIPS = {
    "clip.mp4": {},
    "clip.mkv": {},
    "clip.avi": {"codec": "mpeg4"},
    "clip.webm": {"codec": "libvpx"},
    "clip.ts": {},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
}


def image_files(folder: Path) -> list[Path]:
    """An image in each format, of Pillow, and tiled TIFFs where tifffile is there."""
    image = Image.fromarray(numbered(1234, 96, 160))
    paths = [folder / f"image.{suffix}" for suffix in IMAGES]
    for path in paths:
        image.save(path)
    Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 200).save(folder / "deep.png")
    image.convert("P").save(folder / "palette.png")
    image.save(folder / "deflate.tif", compression="tiff_adobe_deflate")
    paths += [folder / "deep.png", folder / "palette.png", folder / "deflate.tif"]
    if find_spec("tifffile"):
        import tifffile

        tifffile.imwrite(folder / "tiles.tif", np.asarray(image), tile=(32, 32), photometric="rgb", compression="zlib")
        tifffile.imwrite(folder / "plain tiles.tif", np.asarray(image), tile=(32, 32), photometric="rgb")
        paths += [folder / "tiles.tif", folder / "plain tiles.tif"]
    return paths


@pytest.mark.filterwarnings("ignore")
def test_damaged_images(campaign, tmp_path) -> None:
    originals = {path: path.read_bytes() for path in image_files(tmp_path)}
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for index in range(campaign.count(500)):
        rng = campaign.rng(index)
        path = list(originals)[index % len(originals)]
        broken = tmp_path / f"broken {path.name}"
        broken.write_bytes(damaged(originals[path], rng))
        for kind, read in (("whole", read_whole), ("windows", read_window)):
            begun = time.perf_counter()
            try:
                with campaign.at_most(SECONDS, f"image {index}, {path.name}"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    pixels = read(broken)
            except ValueError as error:
                assert broken.name in str(error) or "image" in str(error), error
                assert len(str(error)) < 2000
                outcomes[f"{kind}, refused"] += 1
            else:
                assert pixels.ndim == 3 and pixels.dtype in (np.uint8, np.float32) and pixels.size > 0
                outcomes[f"{kind}, read"] += 1
            slowest = max(slowest, time.perf_counter() - begun)
    campaign.record(images=campaign.count(500), slowest_seconds=round(slowest, 2), **outcomes)


def read_whole(path: Path) -> np.ndarray:
    (loaded,) = read_images(str(path), as_tensors=False)
    return loaded.pixels


def read_window(path: Path) -> np.ndarray:
    windows = open_windows(path)
    height, width = windows.size
    return windows.read((0, 0, min(width, 200), min(height, 200)))


@pytest.mark.filterwarnings("ignore")
def test_damaged_clips(campaign, tmp_path) -> None:
    originals = {}
    for name, options in CLIPS.items():
        originals[name] = write_clip(tmp_path / name, 30, **options).read_bytes()
    write_video(tmp_path / "written.mp4", np.stack([numbered(index) for index in range(30)]), fps=25.0)
    originals["written.mp4"] = (tmp_path / "written.mp4").read_bytes()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for index in range(campaign.count(500)):
        rng = campaign.rng(index)
        name = list(originals)[index % len(originals)]
        broken = tmp_path / f"broken {name}"
        broken.write_bytes(damaged(originals[name], rng))
        begun = time.perf_counter()
        with campaign.at_most(SECONDS, f"clip {index}, {name}"):
            outcomes[read_clip(broken)] += 1
        slowest = max(slowest, time.perf_counter() - begun)
    campaign.record(clips=campaign.count(500), slowest_seconds=round(slowest, 2), **outcomes)


def read_clip(path: Path) -> str:
    """What became of a damaged clip. Frames before the damage can be read again after it."""
    try:
        video = open_video(path)
    except (ValueError, OSError) as error:  # VideoDecodingError is one of them
        assert path.name in str(error), error
        return "refused"
    with video:
        read = 0
        try:
            for number, frame in video.iterate():
                assert number == read and tuple(frame.shape[-2:]) == tuple(video.size)
                read += 1
                assert read < 10_000, "more frames than any clip here has"
        except VideoDecodingError as error:
            assert error.index == read
            if read and video.seekable:
                assert video[read - 1].shape[-2:] == tuple(video.size)
            return "read up to the damage" if read else "no frame can be read"
    return "read to the end"
