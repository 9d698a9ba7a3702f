import functools
import http.server
import os
import socketserver
import subprocess
import sys
import threading

import pytest
import torch
from clips import number_in, numbers_in, write_clip, write_images

from sam2_hf.video_io.open_video import VideoSource, open_video

COUNT = 20


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / "clip.mp4", COUNT, container_options={"movflags": "faststart"})


@pytest.fixture(scope="module")
def address(clip):
    """The folder of the clip behind HTTP, from a server that cannot send a part of a file."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(clip.parent))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_clip_is_the_same_as_file_folder_list_array_and_generator(clip, tmp_path):
    with open_video(clip) as video:
        expected = list(video)
    stacked = torch.stack(expected)
    kinds = {
        "folder": write_images(tmp_path / "clip", iter(expected)),
        "list": [frame.permute(1, 2, 0).numpy() for frame in expected],
        "channels first": stacked,
        "channels last": stacked.permute(0, 2, 3, 1).numpy(),
        "floats": stacked.float() / 255,
        "generator": iter(expected),
        "stream of the file": None,
    }
    for name, kind in kinds.items():
        opened = open_video(clip, stream=True) if kind is None else open_video(kind)
        with opened as video:
            frames = list(video)
        assert len(frames) == COUNT, name
        assert all(torch.equal(frame, other) for frame, other in zip(frames, expected, strict=True)), name


def test_an_open_source_is_taken_as_it_is(clip):
    with open_video(clip) as video:
        assert open_video(video) is video
        assert isinstance(video, VideoSource)


@pytest.mark.parametrize("spell", [str, lambda path: path, lambda path: path.as_uri()])
def test_paths_may_be_spelled_in_many_ways(clip, spell):
    with open_video(spell(clip)) as video:
        assert number_in(video[7]) == 7


def test_no_part_of_a_path_is_taken_for_a_protocol(tmp_path, monkeypatch):
    write_clip(tmp_path / "plain.mp4", 3).rename(tmp_path / "http:%03d.mp4")
    monkeypatch.chdir(tmp_path)
    with open_video("http:%03d.mp4") as video:
        assert numbers_in(video) == [0, 1, 2]


def test_a_recording_over_http_can_be_read_in_any_order(address):
    with open_video(f"{address}/clip.mp4?token=secret") as video:
        assert len(video) == COUNT
        assert [number_in(video[index]) for index in (15, 3, 19)] == [15, 3, 19]
        assert "secret" not in repr(video)


def test_a_recording_over_http_can_be_read_as_a_stream(address):
    with open_video(f"{address}/clip.mp4", stream=True) as video:
        assert numbers_in(video) == list(range(COUNT))


@pytest.mark.parametrize("nothing", ["", "  "])
def test_an_empty_name_is_not_the_current_directory(nothing, tmp_path, monkeypatch):
    write_images(tmp_path / "clip", iter([torch.zeros(3, 8, 8, dtype=torch.uint8)]))
    monkeypatch.chdir(tmp_path / "clip")
    with pytest.raises(ValueError, match=f"video must be the path of a file or folder.*got '{nothing}'"):
        open_video(nothing)


def test_an_open_file_is_refused_with_advice(clip):
    with clip.open("rb") as file, pytest.raises(TypeError, match="BufferedReader; give the path of the file"):
        open_video(file)


def test_an_address_with_nothing_behind_it_is_refused(address):
    with pytest.raises((OSError, ValueError), match=r"404|not found|Not Found"):
        open_video(f"{address}/missing.mp4")


def test_an_address_that_nobody_answers_is_refused():
    with pytest.raises(OSError):
        open_video("http://127.0.0.1:9/clip.mp4", timeout=2)


def test_options_of_other_kinds_of_video_are_refused(clip):
    with pytest.raises(ValueError, match="drop_frames"):
        open_video(clip, drop_frames=True)
    with pytest.raises(ValueError, match="the list cannot be opened with format, drop_frames, stream=True"):
        open_video([clip], drop_frames=True, format="mp4", stream=True)
    with pytest.raises(ValueError, match=r"the folder '.*' cannot be opened with options"):
        open_video(clip.parent, options={"probesize": "1000"})
    with pytest.raises(ValueError, match="the generator cannot be opened with stream=False"):
        open_video((frame for frame in ()), stream=False)
    with pytest.raises(ValueError, match="cache_size"):
        open_video(clip, cache_size=0)
    with pytest.raises(ValueError, match="prefetch"):
        open_video(clip, prefetch=-1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_a_stream(tmp_path):
    clip = write_clip(tmp_path / "clip.ts", COUNT)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()))
    writer.start()
    with open_video(pipe) as video:
        assert video.num_frames is None
        assert numbers_in(video) == list(range(COUNT))
    writer.join(5)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="this system has no device files")
def test_a_device_that_is_no_camera_is_refused():
    with pytest.raises((OSError, ValueError)):
        open_video("/dev/null")


def test_a_program_may_end_in_the_middle_of_a_video_and_start_without_pyav(clip):
    script = f"""
import sys
from sam2_hf.video_io.open_video import open_video
assert "av" not in sys.modules
reading = open_video({str(clip)!r}, prefetch=1).iterate()
next(reading)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
