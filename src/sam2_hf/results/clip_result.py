"""The objects of a clip, frame by frame, and what can be made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import to_numpy
from ..masks.drawing import Colour
from ..video_io.open_video import VideoSource
from ..video_io.write_video import write_video
from .coco import to_coco
from .image_result import ImageResult
from .json_file import written_json
from .label_maps import LabelMapWriter
from .overlay import OverlayStyle, colours_of, draw_overlay, read_style
from .record_writer import write_records
from .records import ImageRecord, ObjectMask, frame_file_name
from .sa_v import to_sa_v
from .supervision import to_detections
from .tables import CsvWriter, ParquetWriter

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")
DEFAULT_FPS = 25.0


class ClipResult:
    """The objects of a clip. Masks are kept as run lengths, pixels are read from the clip when they are asked for.

    Args:
        video: where the frames come from.
        name: of the clip, for files that name it.
    """

    def __init__(self, video: VideoSource, name: str = "clip"):
        self.video = video
        self.name = name
        self._objects: dict[int, list[ObjectMask]] = {}

    def put(self, frame: int, objects: list[ObjectMask]) -> None:
        """Keep the objects of a frame, instead of those that were kept of it."""
        self._objects[frame] = objects

    # Values

    @property
    def names(self) -> list[Hashable]:
        """The names of the objects, in the order in which they came."""
        return list(dict.fromkeys(item.name for frame in self.frames for item in self._objects[frame]))

    @property
    def frames(self) -> list[int]:
        """The numbers of the frames that were tracked, ascending."""
        return sorted(self._objects)

    @property
    def fps(self) -> float | None:
        """Frames a second; None where the clip does not say."""
        return self.video.fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.video.size

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[ImageResult]:
        return (self[frame] for frame in self.frames)

    def __getitem__(self, frame: int) -> ImageResult:
        """Take a frame by its number.

        Raises:
            IndexError: it was not tracked.
        """
        if frame not in self._objects:
            known = f"frames {self.frames[0]} to {self.frames[-1]}" if self._objects else "none yet"
            raise IndexError(f"frame {frame} was not tracked; there are {known}")
        return ImageResult(
            self._objects[frame], lambda: self._pixels(frame), self.size, frame_file_name(self.name, frame), frame
        )

    def records(self) -> Iterator[ImageRecord]:
        """Go through the tracked frames without their pixels, as the writers of files take them."""
        return (
            ImageRecord(self._objects[frame], self.size, frame_file_name(self.name, frame), frame)
            for frame in self.frames
        )

    def masks(self, name: Hashable) -> Iterator[tuple[int, np.ndarray]]:
        """Go through the masks of one object: pairs of a frame's number and a mask (height, width), bool.

        Raises:
            KeyError: there is no object of that name.
        """
        if name not in self.names:
            raise KeyError(f"there is no object {name!r}, only {self.names}")
        return ((result.frame or 0, result[name].mask) for result in self if name in result.names)

    def visible(self, name: Hashable) -> list[bool]:
        """Tell in which of the tracked frames an object is in sight."""
        return [any(item.name == name and item.visible for item in self._objects[frame]) for frame in self.frames]

    def renamed(self, names: Mapping[Any, Hashable]) -> ClipResult:
        """Give objects other names; those that are not among `names` are left out."""
        result = ClipResult(self.video, self.name)
        for frame in self.frames:
            result.put(frame, self[frame].renamed(names).objects)
        return result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self)} frames, objects {self.names}>"

    def _pixels(self, frame: int) -> np.ndarray:
        return to_numpy(self.video[frame]).transpose(1, 2, 0)

    # Files

    def save(self, path: str | os.PathLike[str], **style: Any) -> Path:
        """Write a file of the kind that its suffix names.

        Args:
            path: ".mp4", ".mkv", ".mov", ".avi": the clip with overlays. ".json": COCO. ".csv", ".parquet": a table.
                No suffix: a folder of label maps as DAVIS and MOSE have them.
            style: of the overlays; see `overlays`.

        Returns:
            The path.

        Raises:
            ValueError: a suffix of another kind.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        writers: dict[str, Callable[[], Any]] = {
            ".json": lambda: self.to_coco(path),
            ".csv": lambda: self.to_csv(path),
            ".parquet": lambda: self.to_parquet(path),
            "": lambda: self.to_label_maps(path),
        }
        if suffix in VIDEO_SUFFIXES:
            write_video(path, self.overlays(**style), fps=self.fps or DEFAULT_FPS)
        elif suffix in writers:
            writers[suffix]()
        else:
            known = ", ".join((*VIDEO_SUFFIXES, ".json", ".csv", ".parquet"))
            raise ValueError(f"path must end in one of {known}, or be a folder, got '{path}'")
        return path

    def overlays(
        self, style: str | OverlayStyle = "fill", colours: Mapping[Hashable, Colour] | None = None, **changes: Any
    ) -> Iterator[np.ndarray]:
        """Draw the objects over the frames, one frame after the other.

        Args:
            style: "fill", "contour", "spotlight", "legend", "plain" or an `OverlayStyle`.
            colours: an RGB colour by name, 0 to 255.
            changes: settings of `OverlayStyle` that replace those of the style.

        Returns:
            uint8 (height, width, 3) of each tracked frame.
        """
        chosen = read_style(style, changes)
        return overlaid_frames((self[frame] for frame in self.frames), chosen, self.names, colours)

    def to_coco(
        self, path: str | os.PathLike[str] | None = None, as_polygons: bool = False, tolerance: float = 1.0
    ) -> dict[str, Any]:
        """Describe the objects as a COCO data set, and write it where a path is given; see `coco.to_coco`."""
        return written_json(to_coco(self.records(), as_polygons, tolerance), path)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table with a row for each object of each frame; see `tables.table_rows`."""
        write_records(self.records(), CsvWriter(path))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table with run lengths as Parquet; see `tables.ParquetWriter`."""
        write_records(self.records(), ParquetWriter(path))

    def to_label_maps(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write palette PNGs, as DAVIS and MOSE have them: 00000.png, 00001.png, ...

        Returns:
            The files that were written.
        """
        write_records(self.records(), LabelMapWriter(folder, self.names))
        return [Path(folder) / f"{frame:05d}.png" for frame in self.frames]

    def to_sa_v(self, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Describe the clip as SA-V does, and write it where a path is given; see `sa_v.to_sa_v`."""
        return written_json(to_sa_v(self.records(), self.names, self.name, self.fps), path)

    def to_supervision(self, frame: int) -> Any:
        """Make `supervision.Detections` of a frame, with `tracker_id` and `confidence`."""
        return to_detections(self[frame].record, self.names)


def overlaid_frames(
    results: Iterable[ImageResult],
    style: OverlayStyle,
    names: list[Hashable] | None = None,
    colours: Mapping[Hashable, Colour] | None = None,
) -> Iterator[np.ndarray]:
    """Draw results over their frames, one at a time, in constant memory.

    Args:
        results: frames of a clip or stream.
        style: how to draw.
        names: of all objects, which fix their colours; by default each has one by the order in which it came.
        colours: an RGB colour by name instead, for all objects.

    Returns:
        uint8 (height, width, 3) of each.
    """
    known = list(names or [])
    for result in results:
        known += [name for name in result.names if name not in known]
        yield np.asarray(draw_overlay(result.image, result.objects, style, colours or colours_of(known)))
