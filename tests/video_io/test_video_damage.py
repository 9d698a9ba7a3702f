import itertools
import pickle

import av
import pytest
from clips import Faulty, blank_frame, cut, number_in, numbers_in, write_clip

from sam2_hf.video_io.file_source import FileSource
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.source import VideoDecodingError

COUNT = 40


def frames_before_damage(video, **reading):
    """The numbers of the frames that come before the damage, and the damage."""
    numbers = []
    with pytest.raises(VideoDecodingError) as caught:
        for _, frame in video.iterate(**reading):
            numbers.append(number_in(frame))
    return numbers, caught.value


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi", "cut.webm"])
def test_a_file_that_is_cut_short_gives_what_it_has_and_then_says_so(tmp_path, name):
    codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(name[3:], "libx264")
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_clip(tmp_path / name, 100, codec=codec, container_options=options, options={"crf": "10"})
    with open_video(cut(path, 0.6)) as video:
        numbers, damage = frames_before_damage(video)
        assert 20 < len(numbers) < 90
        assert numbers == list(range(len(numbers)))
        assert damage.index == len(numbers)
        assert video.num_frames == 100
        with pytest.raises(VideoDecodingError, match=r"frame 99 .*cut short"):
            video[99]
        assert number_in(video[len(numbers) - 1]) == len(numbers) - 1  # still there


def broken_clip(path, codec):
    """A clip whose frame 30 has lost its data: not a key frame, and its group goes on to frame 35."""
    write_clip(path, COUNT, codec=codec, options={"x264-params": "scenecut=0:b-adapt=0"} if codec == "libx264" else {})
    return blank_frame(path, 30)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_damage_in_the_middle_stops_there_and_the_rest_can_be_had(tmp_path, codec):
    with open_video(broken_clip(tmp_path / "broken.mp4", codec)) as video:
        numbers, damage = frames_before_damage(video)
        # With B-frames, some frame before may build on the broken one and is as lost.
        assert damage.index in ((28, 29, 30) if codec == "libx264" else (30,))
        assert numbers == list(range(damage.index))
        assert str(damage) == f"frame {damage.index} cannot be read: {damage.reason}"
        assert [number_in(video[index]) for index in (39, 20)] == [39, 20]
        with pytest.raises(VideoDecodingError, match="frame 30 "):
            video[30]
        assert number_in(video[38]) == 38


def test_a_frame_that_only_comes_out_damaged_is_not_given(tmp_path):
    write_clip(tmp_path / "broken.mp4", COUNT, options={"x264-params": "scenecut=0:bframes=0"}, size=(96, 112))
    with open_video(blank_frame(tmp_path / "broken.mp4", 30, keep=20)) as video:
        numbers, damage = frames_before_damage(video)
        assert numbers == list(range(30))
        assert "comes out damaged" in damage.reason


def test_walking_back_to_the_damage_gives_the_frames_behind_it(tmp_path):
    with open_video(broken_clip(tmp_path / "broken.mp4", "mpeg4")) as video:
        numbers, damage = frames_before_damage(video, step=-1)
    assert damage.index == 30
    assert len(numbers) == 9
    assert numbers[:4] == [39, 38, 37, 36]  # those between the damage and the next key frame may show its traces


def test_a_file_that_cannot_be_read_further_gives_what_came_before(tmp_path):
    path = write_clip(tmp_path / "clip.avi", COUNT, codec="mpeg4")

    def failing(container):
        yield from itertools.islice(container.demux(video=0), 20)
        raise av.error.InvalidDataError(5, "the disk is broken")

    def open_clip():
        return Faulty(av.open(str(path)), failing)

    with FileSource(open_clip, "a file on a broken disk") as video:
        numbers, damage = frames_before_damage(video)
        assert numbers == list(range(20))
        assert damage.index == 20
        assert "the disk is broken" in damage.reason


def test_an_untimed_file_gives_the_frames_before_its_damage(tmp_path):
    path = blank_frame(write_clip(tmp_path / "untimed.avi", COUNT), 30)
    with open_video(path) as video:
        numbers, damage = frames_before_damage(video)
        assert numbers == list(range(damage.index))
        assert 25 <= damage.index <= 30  # frames that wait for their turn when the error comes are lost with it
        assert video.num_frames == damage.index + 1


def test_damage_survives_being_sent_to_another_process():
    damage = pickle.loads(pickle.dumps(VideoDecodingError(7, "torn")))
    assert (damage.index, damage.reason, str(damage)) == (7, "torn", "frame 7 cannot be read: torn")


@pytest.mark.parametrize(
    ("name", "reordered"), [("start.mp4", 0), ("start.mkv", 0), ("start.avi", 0), ("start.avi", 3)]
)
def test_a_broken_start_is_passed_over(tmp_path, name, reordered):
    options = {"x264-params": f"scenecut=0:bframes={reordered}"}
    path = blank_frame(write_clip(tmp_path / name, options=options), 0, keep=16)
    with open_video(path, cache_size=1) as video:
        frames = numbers_in(video)
        assert frames == list(range(12, COUNT))  # from the next key frame on
        assert video.num_frames == len(frames)
        assert [number_in(video[index]) for index in (7, 0, 3)] == [19, 12, 15]
