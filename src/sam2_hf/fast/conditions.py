"""When forms that are made for CPUs may be used: what they ask of tensors, layers and the state of the thread."""

from __future__ import annotations

from contextvars import ContextVar

import torch
from torch import Tensor, nn

# Whether other forms than the plain ones are used, in this thread and what it awaits.
FORMS_ARE_WANTED: ContextVar[bool] = ContextVar("FORMS_ARE_WANTED", default=True)

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_TENSORS = (Tensor, nn.Parameter)


def enabled() -> bool:
    """Whether fast forms are used in this context."""
    return FORMS_ARE_WANTED.get()


def suit(tensor: Tensor, keeps_gradients: bool = False) -> bool:
    """Whether forms that are made for CPUs may work on a tensor.

    That is so for a plain one that lies there, when nothing is recorded, for gradients or by a compiler, and no
    autocast changes dtypes on the way.

    Args:
        tensor: what a form is to work on.
        keeps_gradients: whether the form writes over nothing and builds no tensors of a dtype of its own: then it may
            be used in training and under autocast as well.
    """
    if not FORMS_ARE_WANTED.get() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if not keeps_gradients and (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")):
        return False
    return tensor.device.type == "cpu" and type(tensor) in _TENSORS


def may_read_weights(*layers: nn.Module, device_type: str = "cpu") -> bool:
    """Whether the layers do no more than their weights say, and the weights are there to be read, on such a device.

    Adapters (LoRA) and quantisation put modules of their own in a layer's place, or tensors of their own in that of
    its weights; hooks change what comes in and out, and offloading leaves no weights at all. Past these no fast form
    may look.
    """
    for layer in layers:
        if type(layer) not in _LAYERS or "forward" in layer.__dict__:
            return False
        if layer._forward_hooks or layer._forward_pre_hooks:
            return False
        weight, bias = layer.weight, layer.bias
        if type(weight) not in _TENSORS or weight.device.type != device_type:
            return False
        if bias is not None and type(bias) not in _TENSORS:
            return False
    return True
