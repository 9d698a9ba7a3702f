import gc
import random
import threading
import weakref

import pytest
from clips import number_in
from kinds_of_clips import COUNT
from threads import reading_threads

from sam2_hf.video_io.open_video import open_video


@pytest.mark.parametrize("name", ["closed.mp4", "closed.mkv"])
def test_many_threads_share_one_source(clips, name):
    wrong = []

    def work(seed):
        pick = random.Random(seed)
        for _ in range(3):
            start = pick.randrange(COUNT)
            step = pick.choice([-1, 1])
            wrong.extend(index for index, frame in video.iterate(start, step=step) if number_in(frame) != index)
            wrong.extend(index for index in pick.sample(range(COUNT), 5) if number_in(video[index]) != index)

    with open_video(clips(name)) as video:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_threads_that_ask_for_single_frames_do_not_get_in_each_others_way(clips):
    wrong = []

    def work(seed):
        pick = random.Random(seed)
        wrong.extend(index for index in pick.choices(range(COUNT), k=60) if number_in(video[index]) != index)

    with open_video(clips("closed.mp4"), cache_size=1) as video:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_closing_ends_all_reading(clips):
    video = open_video(clips("long.mp4"))
    reading = video.iterate()
    next(reading)
    unstarted = video.iterate(step=-1)
    video.close()
    video.close()
    assert not reading_threads()
    assert "closed" in repr(video)
    for use in (lambda: next(reading), lambda: next(unstarted), lambda: video[0], lambda: video.iterate()):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.parametrize("name", ["long.mp4", "untimed.avi"])
def test_a_decoder_is_let_go_at_once_and_not_when_garbage_is_collected(clips, monkeypatch, name):
    from sam2_hf.video_io.file_source import FileSource

    decoders = []
    make = FileSource._new_decoder

    def remember(self, frame_threads):
        decoder = make(self, frame_threads)
        decoders.append(weakref.ref(decoder))
        return decoder

    monkeypatch.setattr(FileSource, "_new_decoder", remember)
    gc.collect()
    gc.disable()
    try:
        with open_video(clips(name)) as video:
            for step in (1, -1):
                assert len(list(video.iterate(step=step))) == COUNT
            reading = video.iterate()
            next(reading)
            reading.close()
            assert number_in(video[20]) == 20
        assert len(decoders) == 4
        assert [decoder() for decoder in decoders] == [None] * 4
    finally:
        gc.enable()


def test_leaving_a_loop_ends_its_thread(clips):
    with open_video(clips("long.mp4")) as video:
        for index, _ in video.iterate():
            if index == 3:
                break
        gc.collect()
        assert not reading_threads()


def test_frames_can_be_prepared_on_the_thread_that_reads_them(clips):
    threads = set()

    def prepare(frame):
        threads.add(threading.current_thread().name)
        return frame[:, :1]

    with open_video(clips("long.mp4")) as video:
        for index, row in video.iterate(0, 3, prepare=prepare):
            assert row.shape == (3, 1, video.width) and row.equal(video[index][:, :1])
    assert threads == {"video-prefetch"}
