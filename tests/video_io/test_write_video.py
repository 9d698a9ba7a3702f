import shutil

import av
import numpy as np
import pytest
import torch
from clips import numbered, numbers_in
from PIL import Image

from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("codec", [None, "mpeg4"])
def test_what_is_written_can_be_read(tmp_path, suffix, codec):
    path = tmp_path / f"clip{suffix}"
    write_video(path, (numbered(index) for index in range(30)), fps=12.5, codec=codec)
    with open_video(path) as video:
        assert numbers_in(video) == list(range(30))
        assert video.fps == 12.5
        assert np.abs(video[17].permute(1, 2, 0).numpy().astype(int) - numbered(17)).mean() < 4  # grey levels


@pytest.mark.parametrize("kind", [np.asarray, Image.fromarray, lambda frame: torch.from_numpy(frame).permute(2, 0, 1)])
def test_frames_may_be_images_arrays_or_tensors(tmp_path, kind):
    write_video(tmp_path / "clip.mp4", [kind(numbered(index)) for index in range(5)])
    with open_video(tmp_path / "clip.mp4") as video:
        assert numbers_in(video) == list(range(5))


def test_a_source_can_be_written_as_it_is(tmp_path):
    with open_video(np.stack([numbered(index) for index in range(5)])) as source:
        write_video(tmp_path / "clip.mp4", source)
    with open_video(tmp_path / "clip.mp4") as video:
        assert numbers_in(video) == list(range(5))


def test_odd_sides_gain_a_row_and_a_column(tmp_path):
    write_video(tmp_path / "clip.mp4", [numbered(3, 33, 113)] * 2)
    with open_video(tmp_path / "clip.mp4") as video:
        assert video.size == (34, 114)


@pytest.mark.parametrize("size", [(64, 64), (720, 1280)])
def test_colours_come_back(tmp_path, size):
    colour = np.array([200, 60, 30], np.uint8)
    write_video(tmp_path / "clip.mp4", [np.broadcast_to(colour, (*size, 3))] * 2)
    with open_video(tmp_path / "clip.mp4") as video:
        assert video[0][:, size[0] // 2, size[1] // 2].tolist() == pytest.approx(colour.tolist(), abs=4)  # grey levels
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"


def test_frames_are_taken_one_at_a_time(tmp_path):
    alive = []

    class Frame(np.ndarray):
        def __del__(self):
            alive.remove(id(self))

    def frames():
        for index in range(20):
            frame = numbered(index).view(Frame)
            alive.append(id(frame))
            assert len(alive) <= 4
            yield frame

    write_video(tmp_path / "clip.mp4", frames())


def test_what_came_before_a_failure_is_playable(tmp_path):
    def frames():
        yield from (numbered(index) for index in range(7))
        raise RuntimeError("tracking stopped")

    with pytest.raises(RuntimeError, match="tracking stopped"):
        write_video(tmp_path / "clip.mp4", frames())
    with open_video(tmp_path / "clip.mp4") as video:
        assert numbers_in(video) == list(range(7))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_what_is_on_the_disk_while_it_is_written_is_playable(tmp_path, suffix):
    path, left = tmp_path / f"clip{suffix}", tmp_path / f"left{suffix}"

    def frames():
        for index in range(200):
            yield numbered(index)
            if index == 180:
                shutil.copy(path, left)  # what a process that is killed here leaves

    write_video(path, frames(), fps=25)
    with open_video(left) as video:
        found = numbers_in(video)
    assert found[:120] == list(range(120)) and found == sorted(found)  # what the last refer to may be missing
    with open_video(path) as video:
        assert len(video) == 200


def test_refuses_no_frames_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "clip.mp4", [])
    assert not (tmp_path / "clip.mp4").exists()


def test_refuses_frames_of_two_sizes(tmp_path):
    with pytest.raises(ValueError, match=r"frame 1 .*40x112.*32x112"):
        write_video(tmp_path / "clip.mp4", [numbered(0), numbered(1, height=40)])
