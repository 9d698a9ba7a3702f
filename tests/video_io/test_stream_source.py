import gc
import itertools
import threading
import time

import av
import numpy as np
import pytest
from clips import Faulty, blank_frame, number_in, numbered, numbers_in, write_clip
from threads import reading_threads, wait_until

from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.source import FrameUnavailableError, VideoDecodingError


def frames(count=10**9, taken=None):
    for index in range(count):
        if taken is not None:
            taken.append(index)
        yield numbered(index)


def test_a_generator_gives_each_frame_once_and_ends_when_it_ends():
    with open_video(frames(20)) as video:
        assert video.num_frames is None
        assert not video.seekable
        assert numbers_in(video) == list(range(20))
        with pytest.raises(IndexError, match="ended after 20 frames"):
            video[20]
        with pytest.raises(TypeError, match="no known length"):
            len(video)
        assert list(video.iterate()) == []


def test_a_source_is_true_whether_or_not_it_has_a_length():
    assert open_video(frames())
    assert open_video([numbered(0)])


@pytest.mark.parametrize("prefetch", [0, 3])
def test_the_last_frames_can_be_had_again_and_earlier_ones_not(prefetch):
    with open_video(frames(), cache_size=3, prefetch=prefetch) as video:
        assert number_in(video[10]) == 10  # passes over the ones before
        assert [number_in(video[index]) for index in (9, 8, 10)] == [9, 8, 10]
        with pytest.raises(FrameUnavailableError, match=r"frame 7 .* has gone by.* last 3 .*stands at frame 11"):
            video[7]
        assert number_in(video[11]) == 11  # and the refusal cost nothing


def test_iterating_goes_on_where_the_last_use_stopped():
    with open_video(frames(), prefetch=2) as video:
        assert number_in(video[0]) == 0
        assert [(index, number_in(frame)) for index, frame in video.iterate(0, 3)] == [(0, 0), (1, 1), (2, 2)]
        for index, _ in video.iterate():
            if index == 5:
                break
        assert next(video.iterate())[0] == 6
        assert [index for index, _ in video.iterate(10, 20, 4)] == [10, 14, 18]


def test_the_size_is_known_without_using_up_the_first_frame():
    with open_video(frames()) as video:
        assert (video.height, video.width) == (32, 112)
        assert "112x32" in repr(video)
        assert next(video.iterate())[0] == 0


def test_a_generator_runs_only_when_a_frame_is_asked_for_and_in_the_same_thread():
    taken, threads = [], set()

    def reacting():
        for frame in frames(taken=taken):
            threads.add(threading.current_thread())
            yield frame

    with open_video(reacting()) as video:
        assert taken == []
        video[0], video[1]
        assert taken == [0, 1]
    assert threads == {threading.current_thread()}


def test_a_generator_may_be_read_ahead():
    taken = []
    with open_video(frames(taken=taken), prefetch=3) as video:
        video[0]
        wait_until(lambda: len(taken) == 5)  # one used, three waiting, one in hand
        time.sleep(0.02)
        assert len(taken) == 5
    assert not reading_threads()


def test_a_stream_that_is_dropped_ends_its_thread():
    video = open_video(frames(), prefetch=3)
    video[0]
    del video
    gc.collect()
    assert not reading_threads()


@pytest.mark.parametrize("prefetch", [0, 3])
def test_what_a_generator_raises_arrives_as_it_is_after_the_frames_before(prefetch):
    def broken():
        yield from frames(3)
        raise ConnectionError("unplugged")

    with open_video(broken(), prefetch=prefetch) as video:
        seen = []
        for _ in range(2):  # and stays the answer
            with pytest.raises(ConnectionError, match="unplugged"):
                for index, _ in video.iterate():
                    seen.append(index)
        assert seen == [0, 1, 2]


def test_a_frame_of_another_size_is_named():
    images = iter([numbered(0), numbered(1, height=40)])
    with open_video(images) as video, pytest.raises(VideoDecodingError, match=r"frame 1 .*40x112.*32x112"):
        list(video)


def test_a_stream_without_frames_has_no_size():
    with open_video(iter([])) as video, pytest.raises(ValueError, match="ended before its first frame"):
        _ = video.height


def test_a_stream_cannot_go_backward():
    with open_video(frames()) as video, pytest.raises(ValueError, match="forward only"):
        video.iterate(step=-1)


def test_threads_that_share_a_stream_all_see_its_frames():
    seen = {seed: [] for seed in range(3)}

    def work(seed):
        for index, frame in video.iterate(0, 60):
            seen[seed].append((index, number_in(frame)))

    with open_video(frames(), cache_size=60) as video:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in seen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(pairs == [(index, index) for index in range(60)] for pairs in seen.values())


def test_closing_a_stream_wakes_who_waits_for_it():
    release, caught = threading.Event(), []

    def silent():
        yield numbered(0)
        release.wait(5)

    def wait():
        try:
            video[1]
        except ValueError as error:
            caught.append(str(error))

    video = open_video(silent(), prefetch=1)
    video[0]
    waiting = threading.Thread(target=wait)
    waiting.start()
    closing = threading.Thread(target=video.close)
    closing.start()
    waiting.join(5)
    assert len(caught) == 1
    assert "closed" in caught[0]
    release.set()
    closing.join(5)
    with pytest.raises(ValueError, match="closed"):
        video[2]


# Cameras, with FFmpeg's generated images standing in for one

camera = pytest.mark.skipif("lavfi" not in av.formats_available, reason="this PyAV has no generated images")


@camera
def test_a_camera_is_read_for_as_long_as_it_is_wanted():
    with open_video("testsrc=size=64x48:rate=10", format="lavfi") as video:
        assert (video.num_frames, video.height, video.width, video.fps) == (None, 48, 64, 10.0)
        times = [video.timestamp(index) for index, _ in video.iterate(stop=30)]
        assert times == pytest.approx([index / 10 for index in range(30)])
    assert not reading_threads()


@camera
def test_a_camera_that_nobody_reads_is_let_go():
    video = open_video("testsrc=size=64x48:rate=10", format="lavfi")
    video.close()
    assert not reading_threads()


@camera
def test_with_drop_frames_a_slow_taker_gets_the_newest():
    with open_video("testsrc=size=64x48:rate=1000", format="lavfi", drop_frames=True) as video:
        video[0]
        dropped = video.frames_dropped
        wait_until(lambda: video.frames_dropped >= dropped + 50)
        video[1]
        # On the camera's clock, a thousandth a frame: what was between is gone.
        assert video.timestamp(1) - video.timestamp(0) > 0.05


@camera
def test_refuses_what_a_camera_cannot_do():
    with pytest.raises(ValueError, match=r"live.*stream=False"):
        open_video("testsrc", format="lavfi", stream=False)
    with pytest.raises(ValueError, match="prefetch must be at least 1"):
        open_video("testsrc", format="lavfi", prefetch=0)


def test_a_file_can_be_read_as_a_stream(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 20)
    with open_video(path, stream=True) as video:
        assert video.num_frames is None
        assert numbers_in(video) == list(range(20))


def test_a_live_stream_passes_over_a_damaged_packet(tmp_path, caplog):
    path = blank_frame(write_clip(tmp_path / "clip.mp4", 40, codec="mpeg4"), 30)
    with open_video(path, stream=True) as video:
        numbers = numbers_in(video)
    assert numbers[:30] == list(range(30))
    assert numbers[-4:] == [36, 37, 38, 39]  # a key frame has come since
    assert "damaged packet" in caplog.text


def test_a_stream_that_breaks_off_says_so_after_its_last_frame(tmp_path, monkeypatch):
    from sam2_hf.video_io import open_location as opening

    def breaks_off(container):
        yield from itertools.islice(container.demux(video=0), 10)
        raise av.error.TimeoutError(110, "nothing came for a while")

    path = write_clip(tmp_path / "clip.mp4", 40, codec="mpeg4")
    opened = opening.open_container
    monkeypatch.setattr(opening, "open_container", lambda *args, **kwargs: Faulty(opened(*args, **kwargs), breaks_off))
    with open_video(path, stream=True) as video:
        seen = []
        with pytest.raises(VideoDecodingError, match=r"broke off: nothing came for a while"):
            for index, frame in video.iterate():
                seen.append((index, number_in(frame)))
        assert seen == [(index, index) for index in range(len(seen))]
        assert len(seen) >= 8
        with pytest.raises(VideoDecodingError, match=f"frame {len(seen)} "):
            video[len(seen)]


# What gives frames as OpenCV does


class Capture:
    """The part of `cv2.VideoCapture` that is used. Its frames are BGR."""

    def __init__(self, count, is_open=True):
        self._frames = frames(count)
        self._is_open = is_open

    def isOpened(self):
        return self._is_open

    def read(self):
        frame = next(self._frames, None)
        return (False, None) if frame is None else (True, np.ascontiguousarray(tinted(frame)[..., ::-1]))

    def get(self, what):
        return 12.5 if what == 5 else 0.0


def tinted(frame):
    return frame // np.array([1, 2, 4], np.uint8)


def test_a_capture_is_a_stream_of_bgr_frames():
    with open_video(Capture(10)) as video:
        assert (video.num_frames, video.size, video.fps, video.seekable) == (None, (32, 112), 12.5, False)
        seen = list(video)
    assert len(seen) == 10
    for index, frame in enumerate(seen):
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), tinted(numbered(index)))
    with open_video(Capture(1), channel_order="rgb") as video:
        assert np.array_equal(video[0].permute(1, 2, 0).numpy(), tinted(numbered(0))[..., ::-1])


def test_a_capture_that_is_not_open_is_told():
    with open_video(Capture(10, is_open=False)) as video, pytest.raises(ValueError, match="Capture is not open: check"):
        video[0]


def test_options_that_a_capture_does_not_have_are_refused():
    with pytest.raises(ValueError, match="the Capture cannot be opened with stream=False"):
        open_video(Capture(1), stream=False)


def test_a_live_stream_whose_frames_change_in_size_says_what_to_do(tmp_path):
    first = write_clip(tmp_path / "first.ts", 10)
    second = write_clip(tmp_path / "second.ts", 10, size=(48, 112))
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with open_video(path, stream=True) as video:
        seen = []
        message = r"changed its frames to 48x112 .*began with 32x112; open it again .* new session .* resizes"
        with pytest.raises(VideoDecodingError, match=message) as caught:
            for frame in video:
                seen.append(number_in(frame))
        assert seen == list(range(10))
        assert caught.value.index == 10
    with open_video(path) as video:  # a recording is scaled, as players do
        assert [frame.shape[1:] for frame in video] == [(32, 112)] * 20
