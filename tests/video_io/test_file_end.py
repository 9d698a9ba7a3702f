import random

import av
import numpy as np
import pytest
import torch
from clips import cut, number_in, numbered, write_clip
from PIL import Image

from sam2_hf.video_io.file_end import MissingEnd, explain_missing_index, find_missing_end
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.source import VideoDecodingError

COUNT = 20


def textured(index, height=64, width=112):
    """A numbered frame with noise, so that a frame takes many packets and half of one is easily told."""
    noise = np.random.default_rng(index).integers(-30, 30, (height, width, 1))
    return np.clip(numbered(index, height, width).astype(int) + noise, 0, 255).astype(np.uint8)


def write_gif(path):
    first, *others = (Image.fromarray(textured(index)) for index in range(COUNT))
    first.save(path, save_all=True, append_images=others, duration=40)
    return path


def write(path):
    if path.suffix == ".gif":
        return write_gif(path)
    if path.suffix == ".avi":
        return write_clip(path, COUNT, codec="mpeg4", draw=textured)
    options = {"x264-params": "scenecut=0:bframes=3"} if "reordered" in path.name else {"bf": "0"}
    return write_clip(path, COUNT, options=options, draw=textured)


@pytest.mark.parametrize("name", ["clip.gif", "plain.ts", "reordered.ts", "plain.mkv", "reordered.mkv", "simple.avi"])
def test_a_file_that_is_cut_anywhere_gives_whole_frames_and_then_says_so(tmp_path, name):
    path = write(tmp_path / name)
    with open_video(path) as video:
        whole = list(video)
        assert len(whole) == COUNT
    content, pick = path.read_bytes(), random.Random(0)
    silent = 0
    for _ in range(25):
        end = pick.randrange(len(content) // 2, len(content) * 9 // 10)
        end += name.endswith("ts") and end % 188 == 0  # a cut between packets leaves no trace
        path.write_bytes(content[:end])
        seen = []
        try:
            with open_video(path) as video:
                seen.extend(video)
        except VideoDecodingError as damage:
            assert damage.index == len(seen), end
        except ValueError:  # the start of some AVIs cannot be read without their index
            assert name.endswith("avi")
        else:
            silent += len(seen) < COUNT
        assert all(torch.equal(frame, other) for frame, other in zip(seen, whole, strict=False)), end
    assert silent == 0


@pytest.mark.parametrize("name", ["clip.gif", "plain.ts", "reordered.mkv", "simple.avi", "clip.mp4", "clip.webm"])
def test_a_whole_file_lacks_nothing(tmp_path, name):
    codec = {".webm": "libvpx"}.get(name[-5:])
    path = write_clip(tmp_path / name, COUNT, codec=codec) if codec else write(tmp_path / name)
    assert find_missing_end(path) == MissingEnd()
    assert explain_missing_index(path) == ""


def test_a_gif_without_its_end_mark_is_whole(tmp_path):
    path = write_gif(tmp_path / "clip.gif")
    path.write_bytes(path.read_bytes()[:-1])
    with open_video(path) as video:
        assert len(list(video)) == COUNT


def test_a_matroska_file_may_lack_its_index(tmp_path):
    path = write(tmp_path / "plain.mkv")
    path.write_bytes(path.read_bytes()[:-10])
    with open_video(path) as video:
        assert [number_in(frame) for frame in video] == list(range(COUNT))


def test_a_live_recording_of_unknown_length_lacks_nothing(tmp_path):
    path = write_clip(tmp_path / "live.mkv", COUNT, container_options={"live": "1"})
    assert find_missing_end(path) == MissingEnd()


@pytest.mark.parametrize(
    ("keep", "reason"),
    [(0.4, r"its index \(the moov box\) is missing, because .* broke off"), (-0.3, r"its index .* is cut short")],
)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov"])
def test_an_mp4_without_its_index_is_told(tmp_path, name, keep, reason):
    path = write_clip(tmp_path / name, COUNT)
    content = path.read_bytes()
    index = content.index(b"moov")
    path.write_bytes(content[: int(index * keep) if keep > 0 else index + int((len(content) - index) * -keep)])
    with pytest.raises(ValueError, match=rf"clip\.m..' is not a video that can be read: {reason}"):
        open_video(path)


def test_an_mp4_whose_last_box_is_cut_can_be_read(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", COUNT)
    path.write_bytes(path.read_bytes()[:-10])
    with open_video(path) as video:
        assert len(list(video)) == COUNT


def test_a_large_box_is_measured_by_its_own_length(tmp_path):
    path = tmp_path / "large.mp4"
    media = b"\0\0\0\1mdat" + (16 + 100).to_bytes(8, "big") + bytes(100)
    path.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + media + b"\0\0\1\0moov")
    assert explain_missing_index(path) == "its index (the moov box) is cut short"


@pytest.mark.parametrize("content", [b"", b"\0", b"GIF89a", b"RIFF\0\0\0\0AVI ", b"\x1a\x45\xdf\xa3", b"ftyp" * 9])
def test_a_file_of_a_few_bytes_is_no_reason_to_fail(tmp_path, content):
    path = tmp_path / "short"
    path.write_bytes(content)
    assert isinstance(find_missing_end(path), MissingEnd)
    assert isinstance(explain_missing_index(path), str)


def test_damaged_structure_is_no_reason_to_fail(tmp_path):
    pick = random.Random(0)
    for name in ("clip.gif", "plain.mkv", "simple.avi", "clip.mp4"):
        content = write(tmp_path / name).read_bytes()
        for _ in range(30):
            damaged = bytearray(content)
            for _ in range(20):
                damaged[pick.randrange(400)] = pick.randrange(256)
            (tmp_path / name).write_bytes(damaged)
            assert isinstance(find_missing_end(tmp_path / name), MissingEnd)
            assert isinstance(explain_missing_index(tmp_path / name), str)


def test_a_frame_that_was_lost_beside_damage_is_not_replaced_by_the_one_before(tmp_path):
    try:
        av.Codec("mpeg1video", "w")
    except ValueError:
        pytest.skip("this PyAV has no encoder mpeg1video")
    path = write_clip(tmp_path / "old.mpg", COUNT, codec="mpeg1video", options={"bf": "2"}, draw=textured)
    with open_video(path) as video:
        whole = list(video)
    with open_video(cut(path, 0.7)) as video:
        seen = []
        with pytest.raises(VideoDecodingError):
            for frame in video:
                seen.append(frame)
    assert seen and all(torch.equal(frame, other) for frame, other in zip(seen, whole, strict=False))
