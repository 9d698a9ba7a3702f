"""The folder of a run: its shards, each a Parquet file and a manifest that makes it count.

A shard is written under a temporary name and renamed, and then its manifest is, so a shard is finished or absent,
whenever the process was killed. Nothing in the folder depends on when or by whom it was written.

    job.json                    what the results depend on
    shards/shard-000000.parquet the results
    manifests/shard-000000.json which rows they are of, how many there are, and the hash of the file
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .optional_libraries import import_parquet
from .result_table import COLUMN_NAMES, schema, to_table
from .rows import CLIP, IMAGE

_TEMPORARY = ".tmp"
_ROWS_A_GROUP = 1024
_MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Shard:
    """A range of a source's rows, from `start` up to and without `stop`, and its number."""

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"shard-{self.number:06d}"


def divide(count: int, rows_a_shard: int) -> list[Shard]:
    """Divide rows into shards; the last one may be smaller."""
    starts = range(0, count, rows_a_shard)
    return [Shard(number, start, min(start + rows_a_shard, count)) for number, start in enumerate(starts)]


class ShardStore:
    """The folder of a run; see the head of this module.

    Args:
        folder: where it is, or is made.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).absolute()
        self.shards = self.folder / "shards"
        self.manifests = self.folder / "manifests"

    def open(self, job: Mapping[str, Any]) -> None:
        """Make the folder for a job, or check that it is that of the same job.

        Args:
            job: what the results depend on, as JSON has it.

        Raises:
            ValueError: naming what differs.
        """
        path = self.folder / "job.json"
        wanted = json.loads(json.dumps(job, default=str))
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            different = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
            if different:
                told = "; ".join(f"{key} was {known.get(key)!r} and is {wanted.get(key)!r}" for key in different)
                raise ValueError(f"{self.folder} belongs to another run, give another folder: {told}")
        for folder in (self.shards, self.manifests):
            folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_json(path, wanted)

    def job(self) -> dict[str, Any]:
        """Read what the results depend on.

        Raises:
            FileNotFoundError: there is no run in the folder.
        """
        path = self.folder / "job.json"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder} holds no run: there is no job.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def finished(self, shard: Shard, verify: bool = False) -> dict[str, Any] | None:
        """Read the manifest of a shard that is finished.

        Args:
            shard: the shard.
            verify: whether the file is read, and its hash compared.

        Returns:
            None where it is not finished, or is another range of rows, or its file has another size or hash.
        """
        path = self.path(shard)
        try:
            found: dict[str, Any] = json.loads(self._manifest(shard).read_text(encoding="utf-8"))
            is_same = (found["start"], found["stop"]) == (shard.start, shard.stop)
            is_same = is_same and path.stat().st_size == found["bytes"]
        except (OSError, ValueError, KeyError):
            return None
        return found if is_same and (not verify or _hash(path) == found["sha256"]) else None

    def path(self, shard: Shard) -> Path:
        """The Parquet file of a shard."""
        return self.shards / f"{shard.name}.parquet"

    def write(self, shard: Shard, parts: Iterable[list[dict[str, Any]]]) -> dict[str, Any]:
        """Write a shard while its rows are computed, and its manifest at the end.

        Args:
            shard: the shard.
            parts: rows of `result_table.schema`.

        Returns:
            The manifest.

        Raises:
            OSError: the disk is full, or another; the shard is then not finished, and no file of it is left.
        """
        counts = _Counts()
        with _temporary(self.path(shard)) as path:
            with import_parquet().ParquetWriter(os.fspath(path), schema(), compression="zstd") as writer:
                for rows in _regrouped(counts.counted(parts)):
                    writer.write_table(to_table(rows))
            found = {"shard": shard.number, "start": shard.start, "stop": shard.stop, **counts.found}
            manifest = {**found, "examples": counts.examples, "bytes": path.stat().st_size, "sha256": _hash(path)}
        _write_json(self._manifest(shard), manifest)
        return manifest

    def forget(self, shard: Shard) -> None:
        """Have a finished shard computed again."""
        self._manifest(shard).unlink(missing_ok=True)

    def remove_temporary_files(self) -> None:
        """Remove what processes left that were killed. No process may be writing meanwhile."""
        for folder in (self.folder, self.shards, self.manifests):
            for path in folder.glob(f".*{_TEMPORARY}"):
                path.unlink(missing_ok=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Go through the rows of all finished shards, in the order of the source, in constant memory."""
        for manifest in sorted(self.manifests.glob("shard-*.json")):
            with import_parquet().ParquetFile(self.shards / f"{manifest.stem}.parquet") as file:
                for batch in file.iter_batches(_ROWS_A_GROUP):
                    yield from batch.to_pylist()

    def _manifest(self, shard: Shard) -> Path:
        return self.manifests / f"{shard.name}.json"


class _Counts:
    """Counts what passes."""

    def __init__(self) -> None:
        self.found = {"images": 0, "clips": 0, "frames": 0, "objects": 0, "errors": 0}
        self.examples: list[list[str]] = []

    def counted(self, parts: Iterable[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        """Hand the parts on."""
        for part in parts:
            for values in part:
                self._count(values)
            yield part

    def _count(self, values: dict[str, Any]) -> None:
        found = self.found
        if values.get("error") is not None:
            found["errors"] += 1
            if len(self.examples) < _MOST_EXAMPLES:
                self.examples.append([values["id"], values["error"]])
            return
        found["images"] += values["kind"] == IMAGE
        if values["kind"] == CLIP:
            found["frames"] += 1
            found["clips"] += values["frame"] == 0
        found["objects"] += sum(area > 0 for area in values["areas"])


def _regrouped(parts: Iterable[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Join parts to groups of a fixed number of rows, so that files do not depend on how rows came."""
    waiting: list[dict[str, Any]] = []
    for part in parts:
        waiting += [{name: values.get(name) for name in COLUMN_NAMES} for values in part]
        while len(waiting) >= _ROWS_A_GROUP:
            yield waiting[:_ROWS_A_GROUP]
            waiting = waiting[_ROWS_A_GROUP:]
    if waiting:
        yield waiting


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A file beside `path` that becomes it when all is written, or is removed when something raises."""
    temporary = path.with_name(f".{path.name}-{platform.node()}-{os.getpid()}{_TEMPORARY}")
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with _temporary(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, outlive a loss of power."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()
