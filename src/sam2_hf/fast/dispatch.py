"""The switch between fast and plain forms of the same arithmetic.

Some computations are written twice: as the equations say, and in a faster order that gives the same up to rounding.
The fast form is a function beside the plain one, and a test shows that they agree. Where results must be compared, or
a doubt be settled, `plain_paths` turns all fast forms off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_enabled = True


def enabled() -> bool:
    """Whether fast forms are used."""
    return _enabled


def may_read_weights(*layers: nn.Module) -> bool:
    """Whether the layers do no more than their weights say.

    Adapters (LoRA) and quantisation put modules of their own in a layer's place, past which no fast form may look.
    """
    return all(type(layer) in (nn.Linear, nn.ConvTranspose2d) for layer in layers)


def suit(tensor: torch.Tensor, keeps_gradients: bool = False) -> bool:
    """Whether forms that are made for CPUs may work on a tensor: one that lies there, when nothing is recorded, for
    gradients or by a compiler, and no autocast changes dtypes on the way.

    A form that `keeps_gradients` writes over nothing and builds no tensors of a dtype of its own: it learns as well.
    """
    trains = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return _enabled and tensor.device.type == "cpu" and not recorded and (keeps_gradients or not trains)


@contextmanager
def plain_paths() -> Iterator[None]:
    """Within this context, in all threads, everything is computed in its plain form."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before
