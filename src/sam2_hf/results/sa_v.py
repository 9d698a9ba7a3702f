"""SA-V JSON of a clip: the run lengths of every fourth frame, as the data set of SAM 2 has them."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from typing import IO, Any

from .json_file import GrowingJsonFile, as_json
from .records import ImageRecord

FRAMES_A_MASK = 4


class SaVEntries:
    """Turns the records of a clip into what SA-V JSON holds.

    Args:
        names: of the objects.
        video_id: name of the clip.
        fps: frames a second; None where it is not known.
    """

    def __init__(self, names: Sequence[Hashable], video_id: str, fps: float | None):
        self.names = list(names)
        self.video_id = video_id
        self.fps = fps
        self._count = 0
        self._size = (0, 0)

    def add(self, record: ImageRecord) -> list[list[Any]]:
        """Take a frame; the entry of `masklet` if it has one, in a list."""
        number = self._count if record.frame is None else record.frame
        self._count, self._size = max(self._count, number + 1), record.size
        if number % FRAMES_A_MASK:
            return []
        by_name = {item.name: item for item in record.objects}
        shown = [by_name.get(name) for name in self.names]
        return [[item.compressed_rle() if item is not None and item.visible else None for item in shown]]

    def facts(self) -> dict[str, Any]:
        """All that is not `masklet`."""
        height, width = self._size
        return {
            "video_id": self.video_id,
            "video_duration": self._count / self.fps if self.fps else None,
            "video_frame_count": self._count,
            "video_height": height,
            "video_width": width,
            "video_resolution": height * width,
            "masklet_num": len(self.names),
            "masklet_id": list(range(len(self.names))),
            "masklet_name": [str(name) for name in self.names],
        }


def to_sa_v(
    records: Iterable[ImageRecord], names: Sequence[Hashable], video_id: str, fps: float | None
) -> dict[str, Any]:
    """Describe a clip as SA-V does.

    Args:
        records: the frames of a clip, in their order.
        names: of the objects.
        video_id: name of the clip; the file is to be called `{video_id}_manual.json`, beside `{video_id}.mp4`.
        fps: frames a second; None where it is not known.

    Returns:
        `masklet` holds for every fourth frame the run lengths of each object, None where it is not in sight.
    """
    entries = SaVEntries(names, video_id, fps)
    masklet = [entry for record in records for entry in entries.add(record)]
    return {**entries.facts(), "masklet": masklet}


class SaVWriter:
    """Writes SA-V JSON while the frames of a clip pass, in constant memory. The file is complete JSON at any time.

    Args:
        path: the file.
        names: of the objects.
        video_id: name of the clip.
        fps: frames a second; None where it is not known.
    """

    def __init__(
        self, path: str | os.PathLike[str], names: Sequence[Hashable], video_id: str, fps: float | None = None
    ):
        self._entries = SaVEntries(names, video_id, fps)
        self._file = GrowingJsonFile(path, "masklet", self._write_rest)

    def write(self, record: ImageRecord) -> None:
        """Write a frame."""
        self._file.append(*self._entries.add(record))

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._file.close()

    def _write_rest(self, file: IO[bytes]) -> None:
        file.write(f", {as_json(self._entries.facts())[1:-1]}".encode())
