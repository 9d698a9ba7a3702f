from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from sam2_hf.training.loop.averaging import average_weights


def folder(path, **weights):
    path.mkdir()
    save_file(weights, path / "model.safetensors")
    return path


def test_every_weight_is_the_mean_of_its_namesakes(tmp_path):
    folders = [
        folder(tmp_path / f"{number}", w=torch.full((2, 3), number), b=torch.ones(1)) for number in (1.0, 2.0, 6.0)
    ]
    mean = average_weights(folders)
    torch.testing.assert_close(mean, {"w": torch.full((2, 3), 3.0), "b": torch.ones(1)})


def test_what_is_named_twice_counts_twice(tmp_path):
    first, second = (folder(tmp_path / f"{number}", w=torch.tensor([number])) for number in (1.0, 4.0))
    torch.testing.assert_close(average_weights([first, second, second])["w"], torch.tensor([3.0]))


def test_half_precision_is_added_up_in_full(tmp_path):
    values = (1.0, 1.0 + 2**-10)
    folders = [folder(tmp_path / f"{number}", w=torch.tensor([value]).half()) for number, value in enumerate(values)]
    mean = average_weights(folders)["w"]
    assert mean.dtype == torch.float32
    assert mean.item() == 1.0 + 2**-11  # float16 has no such number


@pytest.mark.parametrize(
    "other", [{"w": torch.ones(3)}, {"v": torch.ones(2)}, {"w": torch.ones(2), "v": torch.ones(2)}]
)
def test_different_models_have_no_mean(tmp_path, other):
    first, second = folder(tmp_path / "first", w=torch.ones(2)), folder(tmp_path / "second", **other)
    with pytest.raises(ValueError, match=r"different models have no mean: .*second does not match .*first"):
        average_weights([first, second])
