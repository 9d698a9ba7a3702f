"""The work on a camera: frames come one by one, and clicks say what to track."""

from __future__ import annotations

import numpy as np

from ..predictors.live import LiveTracks
from ..predictors.tracker import Tracker
from ..results.image_result import ImageResult
from .objects import ObjectList


class LiveWork:
    """A stream of frames with its objects.

    Args:
        tracker: the model.
    """

    def __init__(self, tracker: Tracker):
        self.objects = ObjectList()
        self.size: tuple[int, int] | None = None
        self.newest: ImageResult | None = None
        self._tracks = LiveTracks(tracker)
        self._tracker = tracker

    def step(self, frame: np.ndarray) -> ImageResult:
        """Track the objects to the next frame, uint8 (height, width, 3). A frame of another size starts anew."""
        size = (frame.shape[0], frame.shape[1])
        if size != self.size:
            self.clear()
        self.size = size
        self.newest = self._tracks.step(frame)
        return self.newest

    def add_point(self, x: float, y: float, label: int = 1) -> None:
        """Prompt the active object on the newest frame; a new one where there is none.

        Raises:
            ValueError: there is no frame yet, or the object's first point is on the background.
        """
        objects = self.objects.added() if self.objects.active is None else self.objects
        if label == 0 and objects.active not in self._tracks.names:
            raise ValueError("the first point must be on the object; the next ones may be on the background")
        self._tracks.prompt(objects.active, [(float(x), float(y))], [int(label)])
        self.objects = objects

    def add_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Prompt the active object on the newest frame with a box between two corners; a new one where there is none.

        Raises:
            ValueError: there is no frame yet.
        """
        objects = self.objects.added() if self.objects.active is None else self.objects
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self._tracks.prompt(objects.active, box=box)
        self.objects = objects

    def add_object(self) -> None:
        """Make a new object, which the next prompts go to. One that is still empty is used again."""
        for item in self.objects.objects:
            if item.number not in self._tracks.names:
                self.objects = self.objects.with_active(item.number)
                return
        self.objects = self.objects.added()

    def select(self, number: int) -> None:
        """Choose the object that the next prompts go to."""
        self.objects = self.objects.with_active(number)

    def rename(self, number: int, name: str) -> None:
        """Give an object another name; see `ObjectList.renamed`."""
        self.objects = self.objects.renamed(number, name)

    def remove(self, number: int) -> None:
        """Forget an object."""
        self.objects = self.objects.without(number)
        if number in self._tracks.names:
            self._tracks.remove(number)

    def clear(self) -> None:
        """Forget all objects."""
        self.objects, self.newest = ObjectList(), None
        self._tracks = LiveTracks(self._tracker)
