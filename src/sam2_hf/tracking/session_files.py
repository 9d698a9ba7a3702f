"""A folder with one JSON file and the tensors that it names, replaced in a single step.

The tensors are written first, under a new name, and `session.json` replaces the earlier one in a single
rename: a save that is cut short leaves the earlier one readable. Savers wait for each other on a lock file. Nothing in
such a folder is ever executed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, deserialize

from ..arrays import Array, is_tensor

SESSION_FILE = "session.json"
LOCK_FILE = ".session.lock"
PARTIAL = ".saving-"
FORMER_PARTIAL = "session.partial"  # of version 0.1
TENSORS_NAME = re.compile(r"tensors-[0-9a-f]{16}\.safetensors")
# Of the tensors of a session, as safetensors names them and NumPy has them.
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "U16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
# How long a saver waits for another one, in seconds.
LOCK_TIMEOUT = 600


def write_folder(folder: Path, description: dict[str, Any], tensors: dict[str, Array]) -> None:
    """Write a description and its tensors, in place of those in the folder.

    Args:
        folder: made if need be.
        description: what JSON can hold; the name and the checksum of the tensors' file are added.
        tensors: on any device.

    Raises:
        OSError: if the disk is full or the folder cannot be written. What was there is then as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK_FILE, timeout=LOCK_TIMEOUT):
        token = secrets.token_hex(8)
        partial = folder / f"{PARTIAL}{token}"
        path = folder / f"tensors-{token}.safetensors"
        try:
            partial.mkdir()
            _write_tensors(partial / path.name, tensors)
            stored = {**description, "tensors": path.name, "sha256": _checksum(partial / path.name)}
            (partial / SESSION_FILE).write_text(json.dumps(stored), encoding="utf-8")
            _flush(partial / path.name)
            _flush(partial / SESSION_FILE)
            (partial / path.name).replace(path)
            (partial / SESSION_FILE).replace(folder / SESSION_FILE)
        except BaseException:
            if _named_tensors(folder) != path.name:
                path.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _remove_leftovers(folder, keep=path)


def read_folder(folder: Path, as_tensors: bool) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a description and its tensors, which share no memory with the file.

    Args:
        folder: as `write_folder` left it.
        as_tensors: give tensors of torch, on the CPU; else NumPy arrays. NumPy has no bfloat16: where a file has it,
            the array is of its bits, uint16.

    Raises:
        FileNotFoundError: if there is no `session.json`.
        ValueError: if the files are damaged, or the description names a file outside the folder.
    """
    path = folder / SESSION_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no session in {folder}: there is no {SESSION_FILE}")
    with naming_the_file(path):
        try:
            return _read_once(path, as_tensors)
        except FileNotFoundError:
            # Somebody saved in between and removed what the description named. Now nobody can.
            with FileLock(folder / LOCK_FILE, timeout=LOCK_TIMEOUT):
                return _read_once(path, as_tensors)


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Raise a `ValueError` that names the file for whatever is wrong with what it says."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError, SafetensorError) as error:
        raise ValueError(f"{path} does not describe a session: {error!r}") from error


def _read_once(path: Path, as_tensors: bool) -> tuple[dict[str, Any], dict[str, Array]]:
    description = json.loads(path.read_text(encoding="utf-8"))
    name = description["tensors"]
    if Path(name).name != name:
        raise ValueError(f"it names tensors outside its folder: {name!r}")
    # Not memory-mapped: a file that is cut short later would take the process with it.
    content = (path.parent / name).read_bytes()
    expected = description.get("sha256")  # earlier versions wrote none
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(f"the checksum of {name} is not {expected}: the file was changed or damaged")
    return description, _read_tensors(content) if as_tensors else _read_arrays(content)


def _remove_leftovers(folder: Path, keep: Path) -> None:
    """Remove what earlier saves wrote, and what killed ones left. The lock is held, so nobody else is saving now.

    Only names that are given here are touched, so that other files of the user stay.
    """
    for path in folder.iterdir():
        if path.name.startswith(PARTIAL) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != keep and (TENSORS_NAME.fullmatch(path.name) or path.name == FORMER_PARTIAL):
            path.unlink(missing_ok=True)


def _write_tensors(path: Path, tensors: dict[str, Array]) -> None:
    try:
        if any(map(is_tensor, tensors.values())):
            from safetensors.torch import save_file

            save_file(_apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}), path)
        else:
            from safetensors.numpy import save_file as save_arrays

            save_arrays({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(errno.EIO, f"the tensors cannot be written: {error}", str(path)) from error


def _read_tensors(content: bytes) -> dict[str, Array]:
    import torch
    from safetensors.torch import load

    # Arrays of uint16 are bits of bfloat16, see `stored_arrays`.
    return {
        name: tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor
        for name, tensor in load(content).items()
    }


def _read_arrays(content: bytes) -> dict[str, Array]:
    return {
        name: np.frombuffer(stored["data"], _DTYPES[stored["dtype"]]).reshape(stored["shape"]).copy()
        for name, stored in deserialize(content)
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    """The same on Python 3.10."""
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _named_tensors(folder: Path) -> str | None:
    """The tensors' file of the session that is there; None if there is none, or it is no name of ours."""
    try:
        name = json.loads((folder / SESSION_FILE).read_text(encoding="utf-8"))["tensors"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) and TENSORS_NAME.fullmatch(name) else None


def _flush(path: Path) -> None:
    """Wait until a file is on the disk, so that what names it is not there before it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """Copy tensors that share memory with an earlier one, as the states of a policy may: files hold none such."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return apart
