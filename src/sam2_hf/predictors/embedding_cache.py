"""Embeddings kept in a folder, so that what was encoded once is not encoded again by a later program."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from ..arrays import Array, is_tensor

_SUFFIX, _PARTIAL = ".safetensors", ".partial-"
_ABANDONED = 3600.0  # seconds after which a partial file is one of a program that was killed


class EmbeddingCache:
    """Embeddings of images or parts of them, one file each, at most so many bytes together.

    Several programs may share a folder. A file is written under another name and renamed, so a reader sees all of it or
    nothing; one that is damaged counts as missing.

    Args:
        folder: made if need be. Only files that this class wrote are ever removed.
        max_bytes: those that were not used for longest go first.

    Raises:
        ValueError: `max_bytes` is not positive.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = 4 * 2**30):
        if max_bytes <= 0:
            raise ValueError(f"max_bytes must be positive, got {max_bytes}")
        self.folder = Path(folder)
        self.max_bytes = max_bytes

    def get(self, key: Sequence[Any], as_tensors: bool) -> list[Array] | None:
        """Look embeddings up, which counts as using them.

        Args:
            key: what they depend on, in values whose `repr` tells them apart.
            as_tensors: give tensors of torch, on the CPU; else NumPy arrays.

        Returns:
            As they were put in; None if they are not there.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        try:
            found = _load(content, as_tensors)
            return [found[str(index)] for index in range(len(found))]
        except (SafetensorError, ValueError, KeyError):
            path.unlink(missing_ok=True)
            return None

    def put(self, key: Sequence[Any], embeddings: Sequence[Array]) -> None:
        """Store embeddings. A folder that cannot be written is warned of; the work goes on without it."""
        content = _save({str(index): array for index, array in enumerate(embeddings)})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(self._path(key), content)
            self._trim()
        except OSError as error:
            warnings.warn(f"embeddings cannot be kept in {str(self.folder)!r}: {error}", stacklevel=2)

    def nbytes(self) -> int:
        """How many bytes are stored."""
        return sum(size for _, size, _ in self._files())

    def clear(self) -> None:
        """Remove all embeddings."""
        for _, _, path in self._files():
            path.unlink(missing_ok=True)

    def _path(self, key: Sequence[Any]) -> Path:
        return self.folder / f"{hashlib.sha256(repr(tuple(key)).encode()).hexdigest()}{_SUFFIX}"

    def _write(self, path: Path, content: bytes) -> None:
        partial = self.folder / f"{_PARTIAL}{secrets.token_hex(8)}"
        try:
            partial.write_bytes(content)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of the last use, bytes, path) of what is stored, those not used for longest first."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                known = path.stat()
            except FileNotFoundError:  # another program was faster
                continue
            if len(path.stem) == 64:
                found.append((known.st_mtime, known.st_size, path))
        return sorted(found)

    def _trim(self) -> None:
        files = self._files()
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for _, size, path in files:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
        for path in self.folder.glob(f"{_PARTIAL}*"):
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
            except FileNotFoundError:
                continue


def _save(arrays: dict[str, Array]) -> bytes:
    if any(map(is_tensor, arrays.values())):
        from safetensors.torch import save

        return save({name: tensor.detach().cpu().contiguous() for name, tensor in arrays.items()})
    from safetensors.numpy import save as save_arrays

    return save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _load(content: bytes, as_tensors: bool) -> dict[str, Array]:
    if as_tensors:
        from safetensors.torch import load

        return load(content)
    from safetensors.numpy import load as load_arrays

    return load_arrays(content)
