from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from types import ModuleType

import huggingface_hub
import pytest
import torch
from huggingface_hub.repocard import metadata_load
from official_goldens import draw_state_dict, official_shapes, small_config
from safetensors.torch import load_file
from tiny import tiny_video_model
from torch import Tensor
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig as TransformersConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel as TransformersModel

from sam2_hf.configuration_sam2 import PRESETS, Sam2VideoConfig
from sam2_hf.hub import conversion
from sam2_hf.hub.conversion import (
    ConversionError,
    check_tensors,
    convert_checkpoint,
    convert_state_dict,
    read_checkpoint,
    recognise_variant,
    verify_folder,
)
from sam2_hf.hub.key_mapping import POINT_TABLE, original_name
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.processing_sam2 import Sam2Processor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor

GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def on_meta(model: str) -> dict[str, Tensor]:
    """An official checkpoint without values."""
    return {name: torch.empty(shape, device="meta") for name, shape in official_shapes(model).items()}


@pytest.fixture(scope="module")
def small_original() -> dict[str, Tensor]:
    """A checkpoint in the original layout, as small as the official classes allow."""
    return draw_state_dict(official_shapes("small-sam2.1"), seed=0)


@pytest.fixture
def checkpoint(tmp_path: Path, small_original: dict[str, Tensor]) -> Path:
    path = tmp_path / "original.pt"
    torch.save({"model": small_original}, path)
    return path


def to_original(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Back to the original layout."""
    original = {original_name(name): tensor for name, tensor in state.items() if name != POINT_TABLE}
    for index, row in enumerate(state[POINT_TABLE]):
        original[f"sam_prompt_encoder.point_embeddings.{index}.weight"] = row[None]
    return original


# The table


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_official_tensor_becomes_a_tensor_of_the_model(preset: str) -> None:
    original = on_meta(preset)
    assert recognise_variant(original) == preset
    check_tensors(convert_state_dict(original), Sam2VideoConfig.from_preset(preset))


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


def test_the_gaussian_matrix_serves_picture_and_prompts(small_original: dict[str, Tensor]) -> None:
    converted = convert_state_dict(small_original)
    picture, prompts = (
        converted[f"{part}.positional_embedding"]
        for part in ("shared_image_embedding", "prompt_encoder.shared_embedding")
    )
    assert torch.equal(picture, small_original[GAUSSIAN])
    assert torch.equal(prompts, picture)
    assert prompts.data_ptr() != picture.data_ptr()


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


def test_missing_and_misshapen_tensors_are_all_listed_by_their_original_names(
    checkpoint: Path, small_original: dict[str, Tensor], tmp_path: Path
) -> None:
    missing = ["memory_encoder.out_proj.weight", "memory_encoder.mask_downsampler.encoder.12.bias", GAUSSIAN]
    damaged = {name: tensor for name, tensor in small_original.items() if name not in missing}
    damaged["memory_attention.norm.weight"] = torch.zeros(7)
    torch.save({"model": damaged}, checkpoint)
    with pytest.raises(ConversionError) as error:
        convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1"))
    for line in [*missing, "memory_attention.norm.weight: (7,) in the checkpoint, (64,) in the model"]:
        assert line in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


def test_a_checkpoint_of_2_1_is_no_checkpoint_of_2_0() -> None:
    converted = convert_state_dict(on_meta("sam2.1-hiera-tiny"))
    with pytest.raises(ConversionError, match=r"3 unknown:\s+no_obj_embed_spatial\s+obj_ptr_tpos_proj.bias"):
        check_tensors(converted, Sam2VideoConfig.from_preset("sam2-hiera-tiny"))


def test_a_trunk_of_no_preset_asks_for_a_configuration(small_original: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"trunk 16 wide with \[1, 2, 3, 1\] blocks a stage.*--config"):
        recognise_variant(small_original)


def test_a_state_dict_of_something_else_is_named_as_such() -> None:
    with pytest.raises(ValueError, match="no SAM 2 checkpoint"):
        recognise_variant({"layer.weight": torch.zeros(1)})


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
        ({"epoch": 3, "loss": 0.5}, r"other values under \['epoch', 'loss'\]"),
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


# Writing


def test_the_folder_loads_as_image_and_as_video_model(checkpoint: Path, tmp_path: Path) -> None:
    folder = convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1"), verify=True).folder
    expected = convert_state_dict(read_checkpoint(checkpoint))
    for model_class in (Sam2VideoModel, Sam2Model):
        model, report = model_class.from_pretrained(folder, output_loading_info=True)
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    for processor_class in (Sam2VideoProcessor, Sam2Processor):
        processor = processor_class.from_pretrained(folder)
        assert processor.image_processor.size == {"height": 128, "width": 128}
        assert processor.image_processor.mask_size == {"height": 32, "width": 32}


def test_transformers_loads_the_folder(tmp_path: Path) -> None:
    # Transformers knows no memory width but 64.
    model = tiny_video_model(width=128, memory_width=64)
    torch.save({"model": to_original(model.state_dict())}, tmp_path / "original.pt")
    folder = convert_checkpoint(tmp_path / "original.pt", tmp_path / "out", config=model.config).folder
    loaded, report = TransformersModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_half_precision_stays_half_precision(
    checkpoint: Path, small_original: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({name: tensor.bfloat16() for name, tensor in small_original.items()}, checkpoint)
    folder = convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1"), verify=True).folder
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert Sam2VideoConfig.from_pretrained(folder).dtype == torch.bfloat16


def test_a_folder_with_content_is_refused_and_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="not empty"):
        convert_checkpoint(checkpoint, out, config=small_config("sam2.1"))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_all_files_have_the_permissions_of_ordinary_ones(checkpoint: Path, tmp_path: Path) -> None:
    folder = convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1")).folder
    (tmp_path / "ordinary").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(tmp_path / "ordinary").stat().st_mode}


def test_an_empty_folder_is_taken_and_a_full_one_replaced_on_request(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    convert_checkpoint(checkpoint, out, config=small_config("sam2.1"))
    (out / "old.txt").write_text("from before")
    convert_checkpoint(checkpoint, out, config=small_config("sam2.1"), overwrite=True)
    assert not (out / "old.txt").exists()
    assert (out / "model.safetensors").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_failure_while_writing_leaves_things_as_they_were(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    out = convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1")).folder
    before = {path: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(conversion, "save_file", disk_full)
    for folder, overwrite in ((out, True), (tmp_path / "other", False)):
        with pytest.raises(OSError, match="no space left"):
            convert_checkpoint(checkpoint, folder, config=small_config("sam2.1"), overwrite=overwrite)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original.pt", "out"]


def test_variant_and_config_exclude_each_other(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        convert_checkpoint(checkpoint, tmp_path / "out", variant="sam2-hiera-tiny", config=small_config("sam2"))


def test_verification_sees_one_changed_bit(checkpoint: Path, tmp_path: Path) -> None:
    folder = convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1")).folder
    expected = convert_state_dict(read_checkpoint(checkpoint))
    verify_folder(folder, expected)
    changed = expected["no_memory_embedding"].clone()
    changed.view(torch.int32)[0, 0, 0] ^= 1
    with pytest.raises(ConversionError, match=r"1 tensors.*'no_memory_embedding'"):
        verify_folder(folder, {**expected, "no_memory_embedding": changed})


def test_verification_runs_the_model(checkpoint: Path, small_original: dict[str, Tensor], tmp_path: Path) -> None:
    broken = {**small_original, "sam_mask_decoder.iou_token.weight": torch.full((1, 64), float("nan"))}
    torch.save({"model": broken}, checkpoint)
    with pytest.raises(ConversionError, match="not finite"):
        convert_checkpoint(checkpoint, tmp_path / "out", config=small_config("sam2.1"), verify=True)
    assert not (tmp_path / "out").exists()


def test_the_model_card_tells_the_hub_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    folder = convert_checkpoint(
        checkpoint, tmp_path / "my-sam2", config=small_config("sam2.1"), repo_id="me/my-sam2"
    ).folder
    metadata = metadata_load(folder / "README.md")
    assert metadata["license"] == "apache-2.0"
    assert metadata["pipeline_tag"] == "mask-generation"
    assert metadata["library_name"] == "transformers"
    text = (folder / "README.md").read_text()
    assert "# my-sam2" in text
    assert 'from_pretrained("me/my-sam2")' in text
    assert "$" not in text


# The command line


@pytest.fixture
def command() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "convert_checkpoint.py"
    spec = importlib.util.spec_from_file_location("convert_checkpoint", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    small_config("sam2.1").to_json_file(path)
    return path


def test_the_command_converts_verifies_and_uploads(
    command: ModuleType,
    checkpoint: Path,
    config_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uploaded = {}

    class Hub:
        def create_repo(self, repo_id: str, exist_ok: bool) -> huggingface_hub.RepoUrl:
            assert exist_ok
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, repo_id: str, folder_path: str, **_: object) -> None:
            uploaded[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    out = tmp_path / "out"
    options = ["--config", str(config_file), "--verify", "--push-to-hub", "me/sam2"]
    assert command.main([str(checkpoint), str(out), *options]) == 0
    assert {"README.md", "config.json", "model.safetensors", "processor_config.json"} <= set(uploaded["me/sam2"])
    printed = capsys.readouterr().out
    assert "verified" in printed
    assert "https://huggingface.co/me/sam2" in printed


def test_the_command_says_what_is_wrong_in_one_message(
    command: ModuleType, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(checkpoint), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: no preset has a trunk 16 wide")
    assert command.main([str(checkpoint), str(tmp_path / "out"), "--variant", "sam2.1-hiera-tiny"]) == 1
    assert "of another shape" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text("no JSON")
    assert command.main([str(checkpoint), str(tmp_path / "out"), "--config", str(tmp_path / "broken.json")]) == 1
    assert "broken.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
