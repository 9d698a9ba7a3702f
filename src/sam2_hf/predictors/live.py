"""Objects tracked through frames that come one by one, as from a camera, prompted while they come."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from ..results.image_result import ImageResult
from .object_prompts import read_object_prompt
from .tracker import Tracker, add_prompts, tracked_objects


class LiveTracks:
    """The objects of a stream whose frames are handed over one by one. Memory does not grow with their number.

    Until there is an object, frames are only kept, the newest one, and cost nothing.

    Args:
        tracker: computes them.
    """

    def __init__(self, tracker: Tracker):
        self.tracker = tracker
        self._session: Any = None
        self._newest: np.ndarray | None = None

    @property
    def names(self) -> list[Hashable]:
        """The names of the objects, in the order in which they came."""
        return [] if self._session is None else list(self._session.obj_ids)

    def step(self, frame: np.ndarray) -> ImageResult:
        """Track the objects to the next frame.

        Args:
            frame: uint8 (height, width, 3), RGB, of the size of the frames before.

        Returns:
            The frame with its objects.

        Raises:
            ValueError: it is of another shape or type.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"frame must be uint8 (height, width, 3), got {frame.dtype} {frame.shape}")
        size = (frame.shape[0], frame.shape[1])
        if self._newest is not None and self.names and frame.shape != self._newest.shape:
            raise ValueError(f"frames must keep their size (height, width) {self._newest.shape[:2]}, got {size}")
        self._newest = frame
        if not self.names:
            return ImageResult([], frame, size)
        output = self._take(frame)
        return ImageResult(tracked_objects(self.tracker.processor, output, size), frame, size, frame=output.frame_idx)

    def prompt(self, name: Hashable, points: Any = None, labels: Any = None, box: Any = None) -> None:
        """Prompt an object, known or new, on the newest frame; the next step follows it from there.

        Args:
            name: the object.
            points: (x, y) or [(x, y), ...] in pixels.
            labels: 1 on the object and 0 on the background, one a point; 1 by default.
            box: (x0, y0, x1, y1).

        Raises:
            ValueError, TypeError: naming what is wrong, or there is no frame yet.
        """
        if self._newest is None:
            raise ValueError("there is no frame yet: hand the first one to step()")
        prompt = read_object_prompt(name, points, labels, box)
        if self._session is None:
            self._session = self._open(self._newest)
        add_prompts(self.tracker.processor, self._session, {self._session.newest_streamed: [prompt]})

    def remove(self, name: Hashable) -> None:
        """Forget an object; the others are not touched.

        Raises:
            KeyError: there is no object of that name.
        """
        if name not in self.names:
            raise KeyError(f"name must be one of {self.names}, got {name!r}")
        self._session.remove_object(name)
        if not self.names:
            self._session = None

    def _open(self, frame: np.ndarray) -> Any:
        self._session = self.tracker.open_session()
        self._session.video_height, self._session.video_width = frame.shape[:2]
        self._take(frame)
        return self._session

    def _take(self, frame: np.ndarray) -> Any:
        pixels = self.tracker.processor.image_processor(frame, return_tensors="pt")["pixel_values"][0]
        return self.tracker.model(self._session, frame=pixels)
