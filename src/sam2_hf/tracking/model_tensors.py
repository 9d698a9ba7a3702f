"""How a step brings tensors to a model in torch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers.utils.generic import maybe_autocast

from ..inputs.transfer import send


class ModelTensors:
    """Tensors on a model's device. A session without a device of its own takes the model's.

    Args:
        model: has a `device` and a `dtype`.
        session: a `DeviceState`.
    """

    def __init__(self, model: Any, session: Any):
        session.follow(model.device, model.dtype)
        self._model = model
        self._session = session

    def take(self, values: Any, dtype: str | None = None) -> Tensor:
        """Move a tensor, or a list of numbers, to the model's device."""
        if isinstance(values, Tensor):
            return values.to(self._model.device)
        return send(values, self._model.device, None if dtype is None else getattr(torch, dtype))

    def take_memories(self, features: Tensor) -> Tensor:
        """Move memory features; the model brings them to its dtype."""
        return features.to(self._model.device)

    def full(self, shape: tuple[int, ...], value: float) -> Tensor:
        """Make a tensor there of one value, float32, whatever defaults a program sets."""
        return torch.full(shape, value, device=self._model.device, dtype=torch.float32)

    def stacking(self) -> AbstractContextManager[Any]:
        """Autocast has no common dtype for memories in bfloat16 and a model in float16; nothing is computed here."""
        return maybe_autocast(self._session.inference_state_device.type, enabled=False)
