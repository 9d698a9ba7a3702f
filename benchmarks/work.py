"""Counts of operations, and the rates of this machine: the least time that the work can take.

Arithmetic is counted in floating-point operations, two for a multiplication with an addition. Traffic is what all
operations together read and write if each goes to memory for it, which fused operations and caches do less of.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# Those of torch, which lack the attention that CPUs use.
_FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[
        torch.ops.aten._scaled_dot_product_flash_attention
    ],
}
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


class _Work(TorchDispatchMode):
    """Adds up the floating-point operations of all calls, and the bytes that they read and write; views do neither."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.traffic = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        # Under inference mode composite operations arrive whole. They are taken apart as they would be without it, and
        # not by `func.decompose`, which prefers the longer ways that are written for compilers.
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE):
            with self:
                return func._op_dk(_COMPOSITE, *args, **kwargs)
        result = func(*args, **kwargs)
        if func._overloadpacket in _FORMULAS:
            self.flops += _FORMULAS[func._overloadpacket](*args, **kwargs, out_val=result)
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.traffic += sum(tensor.nbytes for tensor in tensors)
        return result


def count_work(run: Callable[[], Any]) -> dict[str, int]:
    """Runs once and returns its `flops` and its `traffic` in bytes."""
    with _Work() as work:
        run()
    return {"flops": work.flops, "traffic": work.traffic}


def measure_rates(threads: int | None = None) -> dict[str, float]:
    """The best rates of a float32 matrix product (`flops`, per second) and of a copy (`bytes` per second)."""
    if threads is not None:
        torch.set_num_threads(threads)
    side = 2048
    matrix = torch.randn(side, side)
    source, target = torch.zeros(2**26), torch.zeros(2**26)
    return {
        "flops": 2 * side**3 / _best_time(lambda: matrix @ matrix),
        "bytes": 2 * source.nbytes / _best_time(lambda: target.copy_(source)),
    }


def _best_time(run: Callable[[], Any], times: int = 12) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_rates(*map(int, sys.argv[1:]))) + "\n")
