"""Muon for the matrices of a model, AdamW for all else, as one optimizer.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the step size of Liu et
al., "Muon is Scalable for LLM Training" (arXiv 2502.16982), under which learning rates are those of AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Steps the weights of linear layers with Muon, everything else with AdamW.

    Narrow models with random weights learn more from every example this way; `docs/training.md` has figures. Biases,
    norms and embeddings are not decayed.

    Args:
        model: the model; frozen parameters are left out.
        lr: of both.
        weight_decay: of both.
        betas: of AdamW.
        eps: of AdamW.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        matrices = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        hidden = [parameter for parameter in learning if id(parameter) in matrices]
        kernels = [parameter for parameter in learning if id(parameter) not in matrices and parameter.ndim > 2]
        others = [parameter for parameter in learning if id(parameter) not in matrices and parameter.ndim <= 2]
        self.parts: list[Optimizer] = []
        if hidden:
            self.parts.append(Muon(hidden, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
        decayed = [
            {"params": group, "weight_decay": decay}
            for group, decay in ((kernels, weight_decay), (others, 0.0))
            if group
        ]
        if decayed:
            self.parts.append(AdamW(decayed, lr=lr, betas=betas, eps=eps))
        super().__init__([{"params": group["params"]} for group in self._groups()], {})
        # The same objects as the groups of the parts: a learning rate that is changed here changes there.
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the part whose settings it has, as a group has that was split off a group of that part."""
        part = next((part for part in self.parts if set(part.defaults) <= set(param_group)), None)
        if part is None:
            super().add_param_group(param_group)  # as `Optimizer` sets itself up, with parameters alone
            return
        part.add_param_group(param_group)
        self.param_groups = self._groups()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step each part."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of the parts."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()
