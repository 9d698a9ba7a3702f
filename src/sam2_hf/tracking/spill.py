"""Blocks of results in files, memory-mapped: for clips whose state is larger than the memory of the host.

A session has a folder of its own in the directory that was given. It is removed with the session, and so is each file
with the last block in it. What a process that was killed has left is removed by the next session in the same directory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..arrays import is_tensor
from .archive import Block

PREFIX = "sam2-session-"
LOCK_FILE = ".lock"
DIRECTORY_LOCK_FILE = ".sam2-sessions.lock"
# Blocks wait in memory until a file is worth its while.
BYTES_PER_FILE = 2**26


class SpilledFile:
    """A file of blocks, removed when no block refers to it any more."""

    def __init__(self, path: Path):
        self.path = path
        weakref.finalize(self, _remove_file, path)


class Spill:
    """Writes blocks to files of about `BYTES_PER_FILE`. May be used by several threads.

    Args:
        directory: made if need be; the session's folder is made in it.

    Raises:
        OSError: if it cannot be written to.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / DIRECTORY_LOCK_FILE):
            _remove_leftovers(root)
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
            self._in_use = FileLock(self.folder / LOCK_FILE)
            self._in_use.acquire()
        self._waiting: list[weakref.ref[Block]] = []
        self._num_files = 0
        self._lock = threading.Lock()
        weakref.finalize(self, _remove_folder, self.folder, self._in_use)

    def add(self, blocks: Iterable[Block]) -> None:
        """Take up new blocks, and write those that wait if they are many.

        Raises:
            TypeError: for blocks of NumPy arrays.
            OSError: if the disk is full. The blocks then stay in memory, and are written with the next ones.
        """
        with self._lock:
            self._waiting += [weakref.ref(block) for block in blocks]
            alive = [block for block in (known() for known in self._waiting) if block is not None]
            if sum(block.nbytes for block in alive) >= BYTES_PER_FILE:
                self._write(alive)

    def flush(self) -> None:
        """Write all blocks that wait.

        Raises:
            TypeError, OSError: see `add`.
        """
        with self._lock:
            alive = [block for block in (known() for known in self._waiting) if block is not None]
            if alive:
                self._write(alive)

    def _write(self, blocks: list[Block]) -> None:
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import save_file

        if not all(is_tensor(array) for block in blocks for array in block.arrays.values()):
            raise TypeError("a directory of files is for sessions of tensors, not of NumPy arrays")
        path = self.folder / f"{self._num_files:06d}.safetensors"
        partial = path.with_suffix(".partial")
        named = {f"{index}.{name}": array for index, block in enumerate(blocks) for name, array in block.arrays.items()}
        try:
            save_file(named, partial)
            partial.replace(path)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        file = SpilledFile(path)
        self._num_files += 1
        with safe_open(path, framework="pt", device="cpu") as mapped:
            for index, block in enumerate(blocks):
                block.move({name: mapped.get_tensor(f"{index}.{name}") for name in block.arrays}, file)
        self._waiting.clear()


def _remove_leftovers(root: Path) -> None:
    """Remove folders that no process uses. The lock of the directory is held, so none is just being made."""
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(Timeout), FileLock(folder / LOCK_FILE, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_file(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _remove_folder(folder: Path, in_use: FileLock) -> None:
    in_use.release()
    shutil.rmtree(folder, ignore_errors=True)
