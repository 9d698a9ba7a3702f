"""Sessions that are tracked together."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from closeness import assert_close_in_scale
from video_scenes import (
    PROCESSOR,
    clip,
    collect,
    give,
)

from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import VideoDecodingError

LENGTH = 5
POLICIES = ("sam2", "visible", "samurai", "dam4sam", "sam2long")
# A batch of another size adds in another order, and memories are kept in bfloat16; see `TestTogetherAndAlone`.
TOLERANCE = 2e-3


def images(shift: int, num_frames: int = LENGTH, scale: int = 1) -> list[np.ndarray]:
    """A clip of its own for every shift, `scale` times as large."""
    return [np.roll(image, 9 * shift, axis=1).repeat(scale, 0).repeat(scale, 1) for image in clip(num_frames)]


def opened(
    shift: int = 0, *prompts: tuple, num_frames: int = LENGTH, scale: int = 1, **more
) -> Sam2VideoInferenceSession:
    """A session over a clip with prompts, by default a click on frame 0."""
    session = PROCESSOR.init_video_session(images(shift, num_frames, scale), **more)
    for frame_idx, obj_id, *kind in prompts or ((0, "a"),):
        give(session, frame_idx, obj_id, *kind)
    return session


def by_session(frames, sessions) -> list[dict]:
    """The masks by frame and object of each session, from what a schedule gave."""
    frames = [frame for frame in frames if frame.output is not None]
    return [collect(frame.output for frame in frames if frame.session is session) for session in sessions]


def assert_near(masks: dict, expected: dict, tolerance: float = TOLERANCE) -> None:
    assert list(masks) == list(expected)
    for frame, by_object in expected.items():
        assert list(masks[frame]) == list(by_object), f"frame {frame}"
        for obj_id, mask in by_object.items():
            assert_close_in_scale(masks[frame][obj_id], mask, tolerance)


def damaged(at: int, shift: int = 0) -> Sam2VideoInferenceSession:
    """A session over a clip that cannot be read from a frame on."""
    session = opened(shift)
    read = session.video._load

    def load(index: int):
        if index >= at:
            raise VideoDecodingError(index, "it is damaged")
        return read(index)

    session.video._load = load
    session.video._read = lambda indices: (load(index) for index in indices)
    return session


class Camera:
    """Frames that come when a test says so; but for the first, which tells their size."""

    def __init__(self, shift: int = 0, num_frames: int = LENGTH):
        self._coming = iter(images(shift, num_frames))
        self._allowed = threading.Semaphore(1)
        self.taken = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in self._coming:
            assert self._allowed.acquire(timeout=20), "the camera was never released"
            self.taken += 1
            yield image

    def release(self, count: int = 1) -> None:
        self._allowed.release(count)

    def session(self) -> Sam2VideoInferenceSession:
        return give(PROCESSOR.init_video_session(iter(self)), 0, "a")
