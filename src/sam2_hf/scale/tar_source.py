"""Rows of WebDataset shards: tar files in which the members of a sample follow each other under one name."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .rows import IMAGE, Row, is_known_file, kind_of_name, read_row
from .sources import hash_texts


class _Member(NamedTuple):
    """A file in an archive: what follows the sample's name, and where its bytes are."""

    ending: str
    offset: int
    size: int


class _Sample(NamedTuple):
    """The members of one name; `error` says why the archive cannot be read from there on."""

    archive: int
    key: str
    members: tuple[_Member, ...]
    error: str = ""


class TarSource:
    """Samples of WebDataset shards: an image or a clip, and JSON with the other columns, such as prompts.

    Headers are read once, when this is made. Members that are neither are left alone.

    Args:
        paths: uncompressed tar files.
        kind: of samples that have both an image and a clip.
    """

    def __init__(self, paths: Sequence[str], kind: str | None = None):
        self._kind = kind
        self._paths = [os.path.abspath(path) for path in paths]
        self._samples = [
            sample for number, path in enumerate(self._paths) for sample in _index(number, path, self._kind)
        ]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read samples; an archive stays open while samples come from it."""
        archive, file = -1, None
        try:
            for number, sample in enumerate(self._samples[start:stop], start=start):
                if sample.archive != archive:
                    if file is not None:
                        file.close()
                    archive, file = sample.archive, open(self._paths[sample.archive], "rb")  # noqa: SIM115
                assert file is not None
                yield self._read_sample(file, sample, number)
        finally:
            if file is not None:
                file.close()

    def fingerprint(self) -> str:
        """Hash the names of archives, and the names and sizes of their members."""
        samples = (
            f"{sample.archive} {sample.key} {[(one.ending, one.offset, one.size) for one in sample.members]}"
            for sample in self._samples
        )
        return hash_texts([str(self._kind), *map(os.path.basename, self._paths), *samples])

    def _read_sample(self, file: Any, sample: _Sample, number: int) -> Row:
        name = os.path.basename(self._paths[sample.archive])
        if sample.error:
            return Row(f"{name}/{sample.key}", self._kind or IMAGE, error=sample.error)
        values: dict[str, Any] = {}
        content = next(one for one in sample.members if one.ending != "json")
        row_kind = kind_of_name(f"x.{content.ending}")
        for member in sample.members:
            file.seek(member.offset)
            found = file.read(member.size)
            if len(found) != member.size:
                reason = f"{name} is cut off in {sample.key}.{member.ending}: {len(found)} of {member.size} bytes"
                return Row(f"{name}/{sample.key}", row_kind, error=reason)
            if member.ending != "json":
                values |= {"bytes": found, "kind": row_kind}
                continue
            try:
                further = json.loads(found)
            except ValueError as error:
                return Row(f"{name}/{sample.key}", row_kind, error=f"{sample.key}.json is not JSON: {error}")
            values = {**further, **values} if isinstance(further, Mapping) else values
        return read_row({"id": f"{name}/{sample.key}", **values}, number)


def _index(number: int, path: str, kind: str | None) -> Iterator[_Sample]:
    """Find the samples of an archive."""
    key: str | None = None
    members: list[_Member] = []
    count, error = 0, ""
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                folder, slash, base = info.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if not info.isfile() or base.startswith("."):
                    continue
                if folder + slash + stem != key:
                    yield from _complete(number, key, members, kind)
                    key, members = folder + slash + stem, []
                members.append(_Member(ending.lower(), info.offset_data, info.size))
                count += 1
    except (tarfile.TarError, EOFError) as found:
        error = f"{os.path.basename(path)} cannot be read after {count} files: {found}"
    yield from _complete(number, key, members, kind)
    if error:
        yield _Sample(number, f"after-{count}", (), error)


def _complete(number: int, key: str | None, members: list[_Member], kind: str | None) -> Iterator[_Sample]:
    """A sample, if it has an image or a clip: the first one of its kind, and its JSON."""
    wanted = [one for one in members if "." not in one.ending and is_known_file(f"x.{one.ending}", kind)]
    if key is not None and wanted:
        yield _Sample(number, key, (wanted[0], *(one for one in members if one.ending == "json")))
