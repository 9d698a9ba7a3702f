"""Frames of a clip or stream of any length, drawn and written as they pass."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..video_io.write_video import write_video
from .clip_result import DEFAULT_FPS, VIDEO_SUFFIXES, overlaid_frames
from .coco import CocoWriter
from .image_result import ImageResult
from .label_maps import LabelMapWriter
from .overlay import read_style
from .record_writer import RecordWriter
from .tables import CsvWriter, ParquetWriter


class ResultStream(Iterator[ImageResult]):
    """Frames as they are tracked, each once. Nothing of them is kept.

    ```python
    frames = Tracker().stream("clip.mp4", {"cup": [(210, 350)]})
    frames.save("out.mp4", "out.csv", "out.json")
    ```

    Args:
        results: the frames.
        names: of all objects, which fix their colours and labels.
        fps: frames a second; None where it is not known.
        name: of the clip.
    """

    def __init__(
        self, results: Iterable[ImageResult], names: Sequence[Hashable], fps: float | None = None, name: str = "clip"
    ):
        self.names = list(names)
        self.fps = fps
        self.name = name
        self._results = iter(results)

    def __next__(self) -> ImageResult:
        return next(self._results)

    def close(self) -> None:
        """Take no more frames, and finish what is being written."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()

    def writing(self, *targets: str | os.PathLike[str] | RecordWriter) -> ResultStream:
        """Write frames while they pass.

        Args:
            targets: writers, or paths: ".json" is COCO, ".csv" and ".parquet" a table, no suffix a folder of label
                maps. They are finished when the frames end, when a frame raises, or when nobody takes the rest.

        Returns:
            The same frames, each after it was written.

        Raises:
            ValueError: a path of another kind.
        """
        kinds = [_writer_kind(Path(target)) if isinstance(target, (str, os.PathLike)) else None for target in targets]

        def written() -> Iterator[ImageResult]:
            with ExitStack() as stack:
                writers: list[RecordWriter] = []
                for target, kind in zip(targets, kinds, strict=True):
                    writer = target if kind is None else kind(target, self.names)
                    stack.callback(writer.close)  # type: ignore[union-attr]
                    writers.append(writer)  # type: ignore[arg-type]
                for result in self._results:
                    for writer in writers:
                        writer.write(result.record)
                    yield result

        return ResultStream(written(), self.names, self.fps, self.name)

    def save(self, *targets: str | os.PathLike[str] | RecordWriter, **style: Any) -> int:
        """Write all frames that are left, in constant memory.

        What was written until then is readable if a frame raises, or if Ctrl-C interrupts it.

        Args:
            targets: those of `writing`, and one of ".mp4", ".mkv", ".mov", ".avi" for the clip with overlays.
            style: of the overlays: `style="contour"`, and settings of `OverlayStyle`.

        Returns:
            How many frames were written.

        Raises:
            ValueError: a path of another kind, or two clips.
        """
        clips = [path for path in targets if isinstance(path, (str, os.PathLike)) and _is_clip(path)]
        if len(clips) > 1:
            raise ValueError(f"targets may have one clip with overlays, got {len(clips)}")
        chosen = read_style(style.pop("style", "fill"), style)
        frames = self.writing(*(target for target in targets if target not in clips))
        counted = _Counted(frames)
        try:
            if clips:
                write_video(clips[0], overlaid_frames(counted, chosen, self.names), fps=self.fps or DEFAULT_FPS)
            else:
                for _ in counted:
                    pass
        finally:
            frames.close()
        return counted.count


class _Counted(Iterator[ImageResult]):
    def __init__(self, results: Iterator[ImageResult]):
        self.count = 0
        self._results = results

    def __next__(self) -> ImageResult:
        result = next(self._results)
        self.count += 1
        return result


def write_csv_rows(results: Iterable[ImageResult], path: str | os.PathLike[str]) -> Iterator[ImageResult]:
    """Write a table while frames pass.

    Args:
        results: frames of a clip or stream.
        path: the file.

    Returns:
        The same frames, each after its rows are in the file.
    """
    return ResultStream(results, []).writing(CsvWriter(path))


def write_label_map_files(
    results: Iterable[ImageResult], folder: str | os.PathLike[str], names: Sequence[Hashable]
) -> Iterator[ImageResult]:
    """Write palette PNGs, as DAVIS and MOSE have them, while frames pass.

    Args:
        results: frames of a clip or stream.
        folder: where 00000.png, 00001.png, ... go, by the numbers of the frames.
        names: of all objects; an object's label is its position in them, from 1.

    Returns:
        The same frames, each after its file is written.
    """
    return ResultStream(results, names).writing(LabelMapWriter(folder, names))


def _is_clip(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _writer_kind(path: Path) -> Any:
    kinds: dict[str, Any] = {
        ".json": lambda path, _: CocoWriter(path),
        ".csv": lambda path, _: CsvWriter(path),
        ".parquet": lambda path, _: ParquetWriter(path),
        "": LabelMapWriter,
    }
    if path.suffix.lower() not in kinds:
        known = ", ".join((*VIDEO_SUFFIXES, *filter(None, kinds)))
        raise ValueError(f"path must end in one of {known}, or be a folder, got '{path}'")
    return kinds[path.suffix.lower()]
