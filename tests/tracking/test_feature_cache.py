"""The few frames' features that a session keeps."""

from __future__ import annotations

import pytest
import torch

from sam2_hf.network.features import FrameFeatures
from sam2_hf.tracking.feature_cache import FeatureCache


def features(value: float) -> FrameFeatures:
    maps = torch.full((3, 1, 1, 1, 1), value)
    return FrameFeatures((maps[0], maps[1]), maps[2])


def test_it_gives_back_what_was_put() -> None:
    cache = FeatureCache(2)
    cache.put(7, features(1.0))
    assert cache.get(7).coarsest.item() == 1.0
    assert cache.get(8) is None
    assert 7 in cache and 8 not in cache and len(cache) == 1


@pytest.mark.parametrize("order", [range(5), range(5, 0, -1), [9, 1, 5, 2]], ids=["forward", "backward", "jumping"])
def test_it_keeps_the_frames_last_used_whatever_their_numbers(order) -> None:
    cache = FeatureCache(2)
    for frame in order:
        cache.put(frame, features(frame))
    assert [frame for frame in range(10) if frame in cache] == sorted(list(order)[-2:])


def test_reading_a_frame_is_using_it() -> None:
    cache = FeatureCache(2)
    cache.put(1, features(1))
    cache.put(2, features(2))
    cache.get(1)
    cache.put(3, features(3))
    assert 1 in cache and 2 not in cache


def test_a_frame_put_again_replaces_its_features_and_evicts_nothing() -> None:
    cache = FeatureCache(2)
    for frame, value in ((1, 1.0), (2, 2.0), (1, 3.0)):
        cache.put(frame, features(value))
    assert cache.get(1).coarsest.item() == 3.0 and len(cache) == 2


def test_clearing_leaves_nothing() -> None:
    cache = FeatureCache(1)
    cache.put(0, features(0))
    cache.clear()
    assert len(cache) == 0 and cache.get(0) is None


@pytest.mark.parametrize("size", [0, -1])
def test_a_cache_of_nothing_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"max_vision_features_cache_size must be at least 1, got {size}"):
        FeatureCache(size)
