"""The folder that an original checkpoint is converted to, and the command that writes it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import huggingface_hub
import pytest
import torch
from huggingface_hub.repocard import metadata_load
from official_goldens import small_config
from original_layout import small_checkpoint, to_original
from safetensors.torch import load_file
from tiny import tiny_video_model
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel as TransformersModel

from sam2_hf.configuration_sam2 import Sam2VideoConfig
from sam2_hf.convert import checkpoint_folder
from sam2_hf.convert.checkpoint_folder import convert_checkpoint, verify_folder
from sam2_hf.hub.conversion import ConversionError, convert_state_dict, read_checkpoint
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.processing_sam2 import Sam2Processor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor

GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


@pytest.fixture
def small_original() -> dict[str, Tensor]:
    return dict(small_checkpoint())


@pytest.fixture
def checkpoint(tmp_path: Path, small_original: dict[str, Tensor]) -> Path:
    path = tmp_path / "original.pt"
    torch.save({"model": small_original}, path)
    return path


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
    monkeypatch.setattr(checkpoint_folder, "save_file", disk_full)
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
