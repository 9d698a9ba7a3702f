"""What a forked process does with an open video. `test_forking.py` runs these in a process of their own."""

import multiprocessing
import threading

import pytest
import torch
from clips import number_in, numbered, numbers_in, write_clip
from PIL import Image
from threads import reading_threads

from sam2_hf.video_io.open_video import open_video

COUNT = 40
SECONDS = 60  # a child that hangs is ended and counted as one that failed


def in_child(work):
    """What `work()` returns, or the text of its error, in a forked process."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def run():
        # As the workers of a `DataLoader` do: the threads of torch's own operations are not there in a child, either.
        torch.set_num_threads(1)
        try:
            queue.put(work())
        except Exception as error:
            queue.put(f"{type(error).__name__}: {error}")

    child = context.Process(target=run)
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
        return "it hangs"
    return queue.get()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", COUNT, size=(96, 224))


def test_an_open_file_can_be_read_in_a_child(clip):
    with open_video(clip) as video:
        assert number_in(video[20]) == 20
        assert in_child(lambda: [number_in(video[index]) for index in (35, 3, 20)]) == [35, 3, 20]
        assert in_child(lambda: numbers_in(video)) == list(range(COUNT))
        assert number_in(video[36]) == 36  # the parent's position in the file has not moved


def test_a_pass_without_a_thread_goes_on_in_both(clip):
    with open_video(clip, prefetch=0) as video:
        frames = video.iterate()
        assert next(frames)[0] == 0
        assert in_child(lambda: [number_in(frame) for _, frame in frames]) == list(range(1, COUNT))
        assert [number_in(frame) for _, frame in frames] == list(range(1, COUNT))


def test_a_pass_that_is_read_ahead_by_a_thread_of_the_parent_says_so(clip):
    with open_video(clip) as video:
        frames = video.iterate()
        next(frames)
        assert "being read ahead in the parent process: begin again" in in_child(lambda: next(frames))
        assert in_child(lambda: numbers_in(video)) == list(range(COUNT))
        assert [number_in(frame) for _, frame in frames] == list(range(1, COUNT))
    assert not reading_threads()


def test_a_lock_that_another_thread_holds_does_not_stop_a_child(clip):
    with open_video(clip) as video:
        number_in(video[5])
        held, release = threading.Event(), threading.Event()

        def hold():
            with video._decoder_lock, video._table_lock:
                held.set()
                release.wait(SECONDS)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(SECONDS)
        try:
            assert in_child(lambda: number_in(video[30])) == 30
        finally:
            release.set()
            holder.join()


def test_closing_in_a_child_leaves_the_parent_its_video(clip):
    with open_video(clip) as video:
        number_in(video[5])
        assert in_child(lambda: video.close() or "closed") == "closed"
        assert numbers_in(video) == list(range(COUNT))


def test_pages_and_images_can_be_read_in_a_child(tmp_path):
    first, *others = (Image.fromarray(numbered(index)) for index in range(COUNT))
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    for kind in (tmp_path / "stack.tif", [numbered(index) for index in range(COUNT)]):
        with open_video(kind, cache_size=1) as video:
            assert number_in(video[7]) == 7
            assert in_child(lambda video=video: numbers_in(video)) == list(range(COUNT))
            assert numbers_in(video) == list(range(COUNT))


def test_a_stream_that_a_thread_reads_belongs_to_the_parent(clip):
    with open_video(clip, stream=True) as video:
        assert number_in(video[3]) == 3
        assert "read by the parent process: open it in this one" in in_child(lambda: video[4])
        assert number_in(video[4]) == 4


def test_a_generator_goes_on_in_both():
    with open_video(numbered(index) for index in range(5)) as video:
        assert number_in(video[1]) == 1
        assert in_child(lambda: [number_in(video[index]) for index in (2, 3, 4)]) == [2, 3, 4]
        assert number_in(video[2]) == 2


def test_workers_of_a_data_loader_read_one_video(clip):
    from torch.utils.data import DataLoader

    with open_video(clip) as video:
        number_in(video[0])
        loader = DataLoader(video, batch_size=8, num_workers=2, multiprocessing_context="fork", timeout=SECONDS)
        assert [number_in(frame) for batch in loader for frame in batch] == list(range(COUNT))
