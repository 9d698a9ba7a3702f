"""`Sam2Trainer`: the standard `Trainer` with the terms of the loss in its log, and a learning rate for each part.

The plain `Trainer` trains the models as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import EvalPrediction, Trainer

from ...network.losses import IGNORED_LABEL
from .muon import MuonWithAdamW


class Sam2Trainer(Trainer):
    """Trains `Sam2VideoForTraining` and `Sam2Model`.

    Beside "loss", the log holds its terms without their weights: "loss_focal", "loss_dice", "loss_iou" and
    "loss_object_score", each averaged over the steps since the last entry, on the process that writes the log.

    Args:
        args: as `Trainer`.
        learning_rates: peak rates of parts of the model, such as {"vision_encoder": 3e-6}, in place of that of the
            training arguments. All follow the same schedule.
        muon: whether to step matrices with Muon instead of the optimizer of the training arguments; see
            `MuonWithAdamW`.
        kwargs: as `Trainer`.
    """

    optimizer: torch.optim.Optimizer | None

    def __init__(
        self, *args: Any, learning_rates: Mapping[str, float] | None = None, muon: bool = False, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.learning_rates, self.muon = dict(learning_rates or {}), muon
        self._terms: dict[str, list[Tensor]] = defaultdict(list)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Create the optimizer of `Trainer`, with separate groups for parts that have a learning rate of their own."""
        is_new = self.optimizer is None
        if is_new and self.muon:
            args = self.args
            self.optimizer = MuonWithAdamW(
                self.model, args.learning_rate, args.weight_decay, (args.adam_beta1, args.adam_beta2), args.adam_epsilon
            )
        optimizer = super().create_optimizer(model)
        if is_new:
            names = {id(parameter): name for name, parameter in (model or self.model).named_parameters()}
            for part, rate in self.learning_rates.items():
                _split_off(optimizer, part, rate, names)
        return optimizer

    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training and isinstance(outputs, Mapping):
            for name, term in (outputs.get("loss_terms") or {}).items():
                self._terms[name].append(term.detach().mean())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs and self._terms:
            logs.update({f"loss_{name}": round(float(torch.stack(v).mean()), 5) for name, v in self._terms.items()})
            self._terms.clear()
        super().log(logs, *args, **kwargs)


def _split_off(optimizer: torch.optim.Optimizer, part: str, rate: float, names: dict[int, str]) -> None:
    """Move the parameters of a part into groups with another learning rate."""
    found = False
    for group in list(optimizer.param_groups):
        is_inside = [f".{part}." in f".{names[id(parameter)]}." for parameter in group["params"]]
        moved = [parameter for parameter, inside in zip(group["params"], is_inside, strict=True) if inside]
        group["params"] = [
            parameter for parameter, inside in zip(group["params"], is_inside, strict=True) if not inside
        ]
        if moved:
            found = True
            optimizer.add_param_group({**group, "params": moved, "lr": rate})
    if not found:
        raise ValueError(f"learning_rates names {part!r}, which is no part of the model that learns")


def clip_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Average the results of `Sam2VideoForTraining` on evaluation clips, for `compute_metrics`.

    Args:
        prediction: outputs of all clips; batches have equally many objects, see `ClipCollator.num_objects`.

    Returns:
        "mean_iou", the IoU of the masks at the decoder's resolution, and "visibility", the share of objects and frames
        that are rightly judged visible or not.
    """
    _, ious, right = prediction.predictions
    counted = np.asarray(ious) != IGNORED_LABEL
    return {
        "mean_iou": float(np.asarray(ious)[counted].mean()),
        "visibility": float(np.asarray(right)[counted].mean()),
    }
