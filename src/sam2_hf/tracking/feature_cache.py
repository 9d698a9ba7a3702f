"""The few frames' features that a session keeps, for prompts on the same frame."""

from __future__ import annotations

from collections import OrderedDict

from ..network.features import FrameFeatures


class FeatureCache:
    """The features of the frames last used, at most `size` of them."""

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"max_vision_features_cache_size must be at least 1, got {size}")
        self.size = size
        self._entries: OrderedDict[int, FrameFeatures] = OrderedDict()

    def get(self, frame_idx: int) -> FrameFeatures | None:
        if frame_idx in self._entries:
            self._entries.move_to_end(frame_idx)
        return self._entries.get(frame_idx)

    def put(self, frame_idx: int, features: FrameFeatures) -> None:
        self._entries[frame_idx] = features
        self._entries.move_to_end(frame_idx)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, frame_idx: int) -> bool:
        return frame_idx in self._entries
