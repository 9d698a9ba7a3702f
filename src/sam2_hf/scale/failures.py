"""Which failures belong to a row, and which to the machine; and how a failure is said in one line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping

_MOST_CHARACTERS = 500
_MACHINE_ERRORS = frozenset(
    number
    for name in (
        *("EIO", "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EMFILE", "ENFILE"),
        *("ESTALE", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "EREMOTEIO"),
    )
    if (number := getattr(errno, name, None)) is not None
)
_DEVICE_ERRORS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "device-side assert")


class MachineError(RuntimeError):
    """The storage or the device failed, not a row: what was computed since is not to be trusted, and is not kept."""


def is_machine_failure(error: BaseException) -> bool:
    """Whether an error says that the machine failed: its disk, its network storage or its device.

    A row that is damaged or too large would fail again anywhere, so that is a result. A disk that is full fails every
    row.
    """
    for one in _chain(error):
        if isinstance(one, MachineError):
            return True
        if isinstance(one, OSError) and one.errno in _MACHINE_ERRORS:
            return True
        if isinstance(one, RuntimeError) and any(text in str(one) for text in _DEVICE_ERRORS):
            return type(one).__name__ != "OutOfMemoryError"
    return False


def describe(error: BaseException, renamed: Mapping[str, str] | None = None) -> str:
    """Say in one line what an error says, the same in every run: without addresses of objects.

    Args:
        error: the error.
        renamed: texts to be replaced, such as the names of temporary files.
    """
    text = " ".join(str(error).split())
    for old, new in (renamed or {}).items():
        text = text.replace(old, new)
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    return f"{type(error).__name__}: {text}"[:_MOST_CHARACTERS]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
