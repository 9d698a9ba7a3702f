from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from sam2_hf.training.loop.muon import MuonWithAdamW


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 1))


def run(model, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        images = torch.randn(16, 3, 3, 3, generator=generator)
        loss = (model(images)[:, 0] - images.sum(dim=(1, 2, 3))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_matrices_are_stepped_by_muon_and_only_weights_decay():
    model = small_model()
    optimizer = MuonWithAdamW(model, lr=1e-3, weight_decay=0.1)
    muon, kernels, others = optimizer.param_groups
    assert {id(parameter) for parameter in muon["params"]} == {id(model[2].weight), id(model[4].weight)}
    assert [id(parameter) for parameter in kernels["params"]] == [id(model[0].weight)]
    assert (muon["weight_decay"], kernels["weight_decay"], others["weight_decay"]) == (0.1, 0.1, 0.0)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_a_step_turns_every_direction_of_a_matrix_alike():
    layer = nn.Linear(8, 8, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.diag(torch.logspace(-3, 0, 8))
    MuonWithAdamW(layer, lr=0.1).step()
    sizes = torch.linalg.svdvals(layer.weight.detach() - before)
    assert sizes.max() / sizes.min() < 3  # of a gradient whose directions differ a thousandfold


def test_it_learns():
    model = small_model()
    losses = run(model, MuonWithAdamW(model, lr=1e-2), 200)
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])


def test_what_is_frozen_stays():
    model = small_model()
    model[2].requires_grad_(False)
    before = copy.deepcopy(model[2].state_dict())
    run(model, MuonWithAdamW(model, lr=1e-2, weight_decay=0.1), 3)
    assert all(torch.equal(before[name], value) for name, value in model[2].state_dict().items())


def test_schedules_reach_both_parts():
    optimizer = MuonWithAdamW(small_model(), lr=1.0)
    schedule = LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    schedule.step()
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {0.5}


def test_groups_that_are_split_off_learn_at_their_own_rate():
    model = small_model()
    optimizer = MuonWithAdamW(model, lr=1e-2)
    for group, parameter in zip(optimizer.param_groups, (model[4].weight, model[0].weight, model[2].bias), strict=True):
        group["params"] = [other for other in group["params"] if other is not parameter]
        optimizer.add_param_group({**group, "params": [parameter], "lr": 0.0})
    before = copy.deepcopy(model.state_dict())
    run(model, optimizer, 2)
    still = {name for name, value in model.state_dict().items() if torch.equal(before[name], value)}
    assert still == {"4.weight", "0.weight", "2.bias"}
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    before = copy.deepcopy(model.state_dict())
    run(model, optimizer, 2)
    assert not any(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("steps", [1, 5])
def test_a_training_that_was_saved_goes_on_as_if_nothing_had_been(steps):
    model = small_model()
    optimizer = MuonWithAdamW(model, lr=1e-2)
    run(model, optimizer, steps)
    copied = copy.deepcopy(model)
    resumed = MuonWithAdamW(copied, lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert run(copied, resumed, 3, seed=1) == run(model, optimizer, 3, seed=1)
