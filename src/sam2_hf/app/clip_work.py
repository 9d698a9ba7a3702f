"""The work on one clip: prompts on any frame, tracking that can be stopped and taken up, undo and redo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..predictors.tracker import Tracker, Tracks
from ..results.clip_result import ClipResult
from ..results.records import ObjectMask, ShownPrompt
from ..video_io.open_video import VideoSource
from .objects import ObjectList
from .undoable_work import UndoableWork, WorkState

_LONGEST_HISTORY = 20  # each state may hold the memories of a whole clip
NOT_COMPUTED, OUT_OF_SIGHT, VISIBLE = ".", "0", "1"

_Prompts = Mapping[tuple[int, int], ShownPrompt]  # by the object's number and the frame


@dataclass(frozen=True, kw_only=True)
class _State(WorkState):
    """`tracks` of a state that was left are not changed; those of the current one grow while tracking goes on."""

    tracks: Tracks
    prompts: _Prompts = field(default_factory=dict)
    is_complete: bool = True  # nothing was changed since tracking reached the end


class ClipWork(UndoableWork[_State]):
    """A clip with its objects.

    Args:
        tracker: the model.
        clip: an open source that can be read in any order; closed with this.
        name: of the clip, for files that name it.
    """

    ground = "frame"

    def __init__(self, tracker: Tracker, clip: VideoSource, name: str = "clip"):
        super().__init__(_State(tracks=Tracks(tracker, clip, name)), _LONGEST_HISTORY)
        self.clip = clip
        self._run: object | None = None  # the one run that goes on
        self._visible: dict[int, tuple[list[ObjectMask], dict[int, bool]]] = {}

    # What is there

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""
        return self.clip.size

    @property
    def is_tracking(self) -> bool:
        """Whether a run goes on."""
        return self._run is not None

    @property
    def needs_tracking(self) -> bool:
        """Whether there are frames that the prompts of now have not been followed to."""
        return bool(self._state.prompts) and not self._state.is_complete

    def pixels(self, frame: int) -> np.ndarray:
        """A frame, uint8 (height, width, 3).

        Raises:
            IndexError: the clip has no such frame.
        """
        return self.clip[frame].permute(1, 2, 0).cpu().numpy()

    def masks(self, frame: int) -> dict[int, ObjectMask]:
        """The masks of a frame that are computed, by the objects' numbers."""
        tracks = self._state.tracks
        found = tracks[frame].objects if frame in tracks.frames else []
        return {_number(item): item for item in found}

    def is_prompted(self, number: int) -> bool:
        """Whether an object has been prompted, on any frame."""
        return any(other == number for other, _ in self._state.prompts)

    def prompt(self, number: int, frame: int) -> ShownPrompt:
        """What an object was prompted with on a frame."""
        return self._state.prompts.get((number, frame), ShownPrompt())

    def prompted_frames(self, number: int) -> list[int]:
        """The frames that an object was prompted on, ascending."""
        return sorted(frame for other, frame in self._state.prompts if other == number)

    def timelines(self) -> dict[int, str]:
        """For each object a text with a sign for each frame: `VISIBLE`, `OUT_OF_SIGHT` or `NOT_COMPUTED`."""
        signs = {item.number: [NOT_COMPUTED] * len(self) for item in self.objects.objects}
        for frame in self._state.tracks.frames:
            for number, visible in self._visible_on(frame).items():
                if number in signs:
                    signs[number][frame] = VISIBLE if visible else OUT_OF_SIGHT
        return {number: "".join(row) for number, row in signs.items()}

    def result(self) -> ClipResult:
        """All objects of the frames that are computed, by their names.

        Raises:
            ValueError: there are none.
        """
        if not self._state.tracks.frames or not self._state.prompts:
            raise ValueError("there is no mask yet: click on an object")
        return self._state.tracks.renamed(self.objects.names())

    # What is done

    def add_point(self, frame: int, x: float, y: float, label: int = 1) -> None:
        """Prompt the active object on a frame with a point; a new object where there is none.

        Args:
            frame: its number.
            x: in pixels of the frame.
            y: in pixels of the frame.
            label: 1 on the object, 0 on the background.

        Raises:
            ValueError: the point is outside of the frame, or the object's first point is on the background.
            IndexError: the clip has no such frame.
        """
        objects, number, before = self._meant(frame)
        point = self._read_point(x, y, label, number)
        self._prompt(
            objects,
            frame,
            before._replace(points=(*before.points, point), labels=(*before.labels, int(label))),
        )

    def add_box(self, frame: int, x0: float, y0: float, x1: float, y1: float) -> None:
        """Prompt the active object on a frame with a box between two corners; a new object where there is none.

        Raises:
            ValueError: a corner is outside of the frame.
            IndexError: the clip has no such frame.
        """
        box = self._read_box(x0, y0, x1, y1)
        objects, _, before = self._meant(frame)
        self._prompt(objects, frame, before._replace(box=box))

    def remove(self, number: int) -> None:
        """Remove an object and its masks; the others are not touched."""
        objects, tracks = self.objects.without(number), self._state.tracks.fork()
        if number in tracks.names:
            tracks.remove(number)
        prompts = {key: prompt for key, prompt in self._state.prompts.items() if key[0] != number}
        self._change(replace(self._state, tracks=tracks, objects=objects, prompts=prompts))

    def track(self) -> Iterator[int]:
        """Compute what is not computed yet, over the whole clip.

        It ends early after `stop`, and when the objects are changed; what is computed until then is kept.

        Returns:
            The number of each frame, as it is computed.

        Raises:
            ValueError: there are no prompts.
        """
        if not self._state.prompts:
            raise ValueError("there is nothing to track yet: click on an object")
        run = self._run = object()
        tracks = self._state.tracks
        try:
            for frame in tracks.steps():
                yield frame
                if self._run is not run:
                    return
            self._state = replace(self._state, is_complete=True)
        finally:
            if self._run is run:
                self._run = None

    def steps_to_do(self) -> int:
        """How many frames `track` hands out, those included whose results still stand."""
        firsts = [min(self.prompted_frames(item.number), default=0) for item in self.objects.objects]
        return len(self) - min(firsts, default=0) + max(firsts, default=0)

    def stop(self) -> None:
        """End a run that goes on."""
        self._run = None

    def close(self) -> None:
        """Stop, and close the clip."""
        self.stop()
        self.clip.close()

    def _meant(self, frame: int) -> tuple[ObjectList, int, ShownPrompt]:
        """The objects with one that prompts go to, its number, and its prompt on the frame until now."""
        if not 0 <= frame < len(self):
            raise IndexError(f"the clip has the frames 0 to {len(self) - 1}, got {frame}")
        objects, number = self._with_active()
        return objects, number, self.prompt(number, frame)

    def _prompt(self, objects: ObjectList, frame: int, prompt: ShownPrompt) -> None:
        number = objects.active
        assert number is not None
        given: dict[str, Any] = {"frame": frame}
        if prompt.points:
            given.update(points=list(prompt.points), labels=list(prompt.labels))
        if prompt.box is not None:
            given["box"] = prompt.box
        tracks = self._state.tracks.fork()
        tracks.add({number: given})
        tracks.segment_frame(frame)
        prompts = {**self._state.prompts, (number, frame): prompt}
        self._change(_State(tracks=tracks, objects=objects, prompts=prompts, is_complete=len(self) == 1))

    def _change(self, state: _State) -> None:
        if state.tracks is not self._state.tracks:
            self.stop()
        super()._change(state)

    def _go_to(self, state: _State) -> None:
        self.stop()
        super()._go_to(state)

    def _visible_on(self, frame: int) -> dict[int, bool]:
        """Which objects are in sight; looked up again only where the masks of the frame have changed."""
        items = self._state.tracks[frame].objects
        known, visible = self._visible.get(frame, ([], {}))
        if len(known) != len(items) or any(one is not other for one, other in zip(known, items, strict=True)):
            visible = {_number(item): item.visible for item in items}
            self._visible[frame] = items, visible
        return visible


def _number(item: ObjectMask) -> int:
    assert isinstance(item.name, int)  # tracks are named by the objects' numbers
    return item.name
