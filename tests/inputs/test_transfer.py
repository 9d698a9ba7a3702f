"""Tensors on their way to a device."""

import pytest
import torch

from sam2_hf.inputs.transfer import send


def test_send_takes_lists_and_tensors():
    cpu = torch.device("cpu")
    assert torch.equal(send([[1, 2], [3, 4]], cpu), torch.tensor([[1, 2], [3, 4]]))
    assert send([1, 2], cpu, torch.float32).dtype == torch.float32
    assert send([True, False], cpu).dtype == torch.bool
    given = torch.rand(3)
    assert send(given, cpu) is given
    assert send(given, torch.device("meta")).device.type == "meta"


@pytest.mark.gpu
def test_sending_to_a_gpu_and_back_loses_nothing():
    device, given = torch.device("cuda"), torch.rand(1000)
    assert torch.equal(send(send(given, device), torch.device("cpu")), given)
