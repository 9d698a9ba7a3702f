"""The cache of what was used last."""

from __future__ import annotations

import pytest

from sam2_hf.inputs.lru_cache import LruCache


def test_it_gives_back_what_was_put() -> None:
    cache = LruCache(2)
    cache.put(7, 1.0)
    assert cache.get(7) == 1.0
    assert cache.get(8) is None
    assert 7 in cache and 8 not in cache and len(cache) == 1


@pytest.mark.parametrize("order", [range(5), range(5, 0, -1), [9, 1, 5, 2]], ids=["forward", "backward", "jumping"])
def test_it_keeps_the_frames_last_used_whatever_their_numbers(order) -> None:
    cache = LruCache(2)
    for frame in order:
        cache.put(frame, frame)
    assert [frame for frame in range(10) if frame in cache] == sorted(list(order)[-2:])


def test_reading_a_frame_is_using_it() -> None:
    cache = LruCache(2)
    cache.put(1, 1)
    cache.put(2, 2)
    cache.get(1)
    cache.put(3, 3)
    assert 1 in cache and 2 not in cache


def test_a_frame_put_again_replaces_its_features_and_evicts_nothing() -> None:
    cache = LruCache(2)
    for frame, value in ((1, 1.0), (2, 2.0), (1, 3.0)):
        cache.put(frame, value)
    assert cache.get(1) == 3.0 and len(cache) == 2


def test_its_keys_come_in_the_order_of_use_and_looking_at_them_is_not_using():
    cache = LruCache(3)
    for key in (1, 2, 3):
        cache.put(key, None)
    cache.get(1)
    assert list(cache) == [2, 3, 1] and list(cache) == [2, 3, 1]
    assert 2 in cache
    cache.put(4, None)
    assert list(cache) == [3, 1, 4]


def test_clearing_leaves_nothing() -> None:
    cache = LruCache(1)
    cache.put(0, 0)
    cache.clear()
    assert len(cache) == 0 and cache.get(0) is None


@pytest.mark.parametrize("size", [0, -1])
def test_a_cache_of_nothing_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"cache_size must be at least 1, got {size}"):
        LruCache(size, "cache_size")
