"""Original checkpoints under our names: the table, what does not fit it, and the reading of files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from official_goldens import official_shapes
from original_layout import on_meta, small_checkpoint, to_original
from torch import Tensor
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig as TransformersConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel as TransformersModel

from sam2_hf.configuration_sam2 import PRESETS, Sam2VideoConfig
from sam2_hf.hub.conversion import (
    ConversionError,
    check_tensors,
    convert_state_dict,
    read_checkpoint,
    recognise_variant,
)
from sam2_hf.hub.key_mapping import POINT_TABLE, original_name
from sam2_hf.modeling_sam2_video import Sam2VideoModel

GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


@pytest.fixture
def small_original() -> dict[str, Tensor]:
    return dict(small_checkpoint())


def model_of(preset: str) -> Sam2VideoModel:
    """A preset's model without values."""
    with torch.device("meta"):
        return Sam2VideoModel(Sam2VideoConfig.from_preset(preset))


# The table


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_official_tensor_becomes_a_tensor_of_the_model(preset: str) -> None:
    original = on_meta(preset)
    assert recognise_variant(original) == preset
    check_tensors(convert_state_dict(original), model_of(preset))


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_names_and_shapes_are_those_of_transformers(version: str) -> None:
    config = Sam2VideoConfig.from_preset(f"{version}-hiera-tiny").to_dict()
    with torch.device("meta"):
        expected = TransformersModel(TransformersConfig.from_dict(config)).state_dict()
    converted = convert_state_dict(on_meta(f"{version}-hiera-tiny"))
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


def test_values_pass_unchanged(small_original: dict[str, Tensor]) -> None:
    converted = convert_state_dict(small_original)
    back = to_original(converted)
    assert back.keys() == small_original.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in small_original.items())


def test_point_embeddings_are_stacked_in_the_order_of_their_labels(small_original: dict[str, Tensor]) -> None:
    shuffled = dict(sorted(small_original.items(), reverse=True))
    table = convert_state_dict(shuffled)[POINT_TABLE]
    for label in range(4):
        assert torch.equal(table[label], small_original[f"sam_prompt_encoder.point_embeddings.{label}.weight"][0])


def test_the_gaussian_matrix_serves_image_and_prompts(small_original: dict[str, Tensor]) -> None:
    converted = convert_state_dict(small_original)
    image, prompts = (
        converted[f"{part}.positional_embedding"]
        for part in ("shared_image_embedding", "prompt_encoder.shared_embedding")
    )
    assert torch.equal(image, small_original[GAUSSIAN])
    assert torch.equal(prompts, image)
    assert prompts.data_ptr() != image.data_ptr()


def test_original_names_are_found_for_every_tensor() -> None:
    for preset in ("sam2-hiera-base-plus", "sam2.1-hiera-large"):
        official = official_shapes(preset).keys() | {original_name(POINT_TABLE)}
        assert {original_name(name) for name in convert_state_dict(on_meta(preset))} <= official


# What does not fit


def test_unknown_tensors_are_all_listed(small_original: dict[str, Tensor]) -> None:
    strange = ["image_encoder.trunk.blocks.0.norm3.weight", "no_mem_embed.weight", "head.0.bias"]
    with pytest.raises(ConversionError) as error:
        convert_state_dict({**small_original, **{name: torch.zeros(1) for name in strange}})
    assert "3 unknown" in str(error.value)
    assert all(name in str(error.value) for name in strange)


def test_a_checkpoint_of_2_1_is_no_checkpoint_of_2_0() -> None:
    converted = convert_state_dict(on_meta("sam2.1-hiera-tiny"))
    with pytest.raises(ConversionError, match=r"3 unknown:\s+no_obj_embed_spatial\s+obj_ptr_tpos_proj.bias"):
        check_tensors(converted, model_of("sam2-hiera-tiny"))


def test_a_trunk_of_no_preset_asks_for_a_configuration(small_original: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"trunk 16 wide with \[1, 2, 3, 1\] blocks a stage.*--config"):
        recognise_variant(small_original)


def test_a_state_dict_of_something_else_is_named_as_such() -> None:
    with pytest.raises(ValueError, match="no SAM 2 checkpoint"):
        recognise_variant({"layer.weight": torch.zeros(1)})


@pytest.mark.parametrize("shape", [(16,), (), (1, 16, 7)])
def test_position_embeddings_of_another_rank_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pos_embed' must be \(1, width, .*got \("):
        recognise_variant({"image_encoder.trunk.pos_embed": torch.zeros(shape)})


@pytest.mark.parametrize("shape", [(16,), (1, 7)])
def test_point_embeddings_that_make_no_table_are_refused(
    shape: tuple[int, ...], small_original: dict[str, Tensor]
) -> None:
    small_original["sam_prompt_encoder.point_embeddings.2.weight"] = torch.zeros(shape)
    with pytest.raises(ConversionError, match=r"point embeddings must be one row \(1, width\) each"):
        convert_state_dict(small_original)


# Reading


def test_a_bare_state_dict_reads_like_a_wrapped_one(tmp_path: Path, small_original: dict[str, Tensor]) -> None:
    for name, content in (("bare", small_original), ("training", {"model": small_original, "epoch": 3})):
        torch.save(content, tmp_path / name)
        read = read_checkpoint(tmp_path / name)
        assert read.keys() == small_original.keys()


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"model": Malicious()}, tmp_path / "malicious.pt")
    with pytest.raises(ValueError, match="holds more than plain tensors"):
        read_checkpoint(tmp_path / "malicious.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "is no PyTorch checkpoint"),
        (b"", "is no PyTorch checkpoint"),
        (pickle.dumps({"a": 1}, protocol=2), "is no PyTorch checkpoint|holds no state dict"),
        ([1, 2], "holds a list"),
        ({}, "an empty dict"),
        ({"model": {}}, "an empty dict"),
        ({"epoch": 3, "loss": 0.5}, r"other names or values under \['epoch', 'loss'\]"),
        ({1: torch.zeros(1), "a": torch.zeros(1)}, r"other names or values under \[1\]"),
        (b"epoch 3, loss 0.5", "is no PyTorch checkpoint"),  # looks like an instruction of a pickle, and then does not
        (b"the quick brown fox", "is no PyTorch checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "file.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pt"):
        read_checkpoint(tmp_path / "absent.pt")
