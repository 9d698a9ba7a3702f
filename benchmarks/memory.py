"""Peak memory of a process, and memory held by an object."""

from __future__ import annotations

import resource
import sys
from collections import deque
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_LEAVES = (str, bytes, int, float, bool, type(None))


def peak_bytes(device: str = "cpu") -> int:
    """The peak memory of this process in bytes: on the GPU for a CUDA device, else resident."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated()
    if _STATUS.exists():
        # `ru_maxrss` is inherited over fork and exec on Linux, so it could be the size of the parent.
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def held_bytes(root: object) -> int:
    """Bytes of all tensors that can be reached from an object. Storage that tensors share counts once."""
    import torch

    storages: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (*_LEAVES, type, torch.nn.Module)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple, set, frozenset, deque)):
            waiting += item
        else:
            waiting += _fields(item)
    return sum(storages.values())


def _fields(item: object) -> list[Any]:
    slots = [name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(item, "__dict__", {}).values(), *(getattr(item, name, None) for name in slots)]
