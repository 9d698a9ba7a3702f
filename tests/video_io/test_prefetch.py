import gc
import sys
import threading
import time
import weakref

import pytest
from threads import reading_threads, wait_until

from sam2_hf.video_io.prefetch import Prefetcher


def counting(taken, stop=10**9):
    for number in range(stop):
        taken.append(number)
        yield number


def test_all_items_arrive_in_order():
    assert list(Prefetcher(iter(range(50)), depth=3)) == list(range(50))


def test_reads_ahead_before_being_asked_and_no_further_than_its_depth():
    taken = []
    reader = Prefetcher(counting(taken), depth=3)
    wait_until(lambda: len(taken) == 4)  # three in the buffer, one in hand
    time.sleep(0.02)
    assert len(taken) == 4
    assert next(reader) == 0
    wait_until(lambda: len(taken) == 5)
    reader.close()


def test_an_exception_arrives_in_its_place_and_again_when_asked_again():
    def broken():
        yield 1
        yield 2
        raise RuntimeError("no more")

    reader = Prefetcher(broken(), depth=8)
    assert [next(reader), next(reader)] == [1, 2]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no more"):
            next(reader)


def test_close_ends_the_thread_and_closes_the_items():
    events = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            events.append("closed")

    reader = Prefetcher(endless(), depth=2)
    next(reader)
    reader.close()
    assert events == ["closed"]
    assert not reading_threads()
    with pytest.raises(ValueError, match="closed"):
        next(reader)
    reader.close()


def test_dropping_a_prefetcher_ends_its_thread():
    reader = Prefetcher(counting([]), depth=2)
    next(reader)
    alive = weakref.ref(reader)
    del reader
    gc.collect()
    assert alive() is None
    assert not reading_threads()


def test_a_prefetcher_may_be_dropped_by_its_own_thread(monkeypatch):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    holder = []

    def letting_go():
        yield 0
        wait_until(lambda: holder)
        holder.clear()
        gc.collect()
        yield 1

    holder.append(Prefetcher(letting_go(), depth=1))
    wait_until(lambda: not reading_threads())
    assert complaints == []


def test_close_wakes_a_consumer_that_waits():
    release = threading.Event()

    def silent():
        release.wait(5)
        yield 0

    reader = Prefetcher(silent(), depth=1)
    caught = []

    def consume():
        try:
            next(reader)
        except ValueError as error:
            caught.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    closer = threading.Thread(target=reader.close)
    closer.start()
    consumer.join(5)
    assert len(caught) == 1
    release.set()
    closer.join(5)
    assert not reading_threads()


def test_with_drop_oldest_the_newest_item_wins():
    taken = []
    reader = Prefetcher(counting(taken, stop=100), depth=1, drop_oldest=True)
    wait_until(lambda: len(taken) == 100 and not reading_threads())
    assert list(reader) == [99]
    assert reader.dropped == 99


def test_refuses_a_depth_of_nothing():
    with pytest.raises(ValueError, match="depth"):
        Prefetcher(iter(()), depth=0)
