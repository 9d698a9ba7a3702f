"""Names, checkpoints and settings of the builders."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from official_api_ours import arguments_of, checkpoint, load_cases
from official_goldens import draw_state_dict, official_shapes

from sam2_hf import Sam2Model, Sam2VideoModel, official
from sam2_hf.official import build_sam, device
from sam2_hf.official.modeling.sam2_base import SAM2Base
from sam2_hf.official.settings import CONFIG_FILES, PRESET_OF_FILE, preset_of, read_settings

CASE = load_cases("image")["notebook"]
SMALL_IMAGE = "++model.image_size=128"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(CASE, tmp_path_factory.mktemp("official"))


def test_each_of_metas_names_is_a_preset() -> None:
    assert len(PRESET_OF_FILE) == 8
    assert preset_of("configs/sam2.1/sam2.1_hiera_b+.yaml") == "sam2.1-hiera-base-plus"
    assert preset_of("sam2_hiera_l.yaml") == preset_of("sam2_hiera_l") == "sam2-hiera-large"
    assert preset_of("//home/me/sam2/configs/sam2/sam2_hiera_t.yaml") == "sam2-hiera-tiny"
    assert CONFIG_FILES["facebook/sam2.1-hiera-base-plus"] == (
        "configs/sam2.1/sam2.1_hiera_b+.yaml",
        "sam2.1_hiera_base_plus.pt",
    )
    with pytest.raises(ValueError, match=r"config_file must be one of Meta's eight.*'sam2_hiera_xl.yaml'"):
        preset_of("sam2_hiera_xl.yaml")


def test_an_original_checkpoint_with_a_name(tmp_path: Path) -> None:
    weights = draw_state_dict(official_shapes("sam2.1-hiera-tiny"), seed=0)
    torch.save({"model": weights}, tmp_path / "sam2.1_hiera_tiny.pt")
    model = official.build_sam2(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        str(tmp_path / "sam2.1_hiera_tiny.pt"),
        device="cpu",
        hydra_overrides_extra=[SMALL_IMAGE],
    )
    assert model.image_size == 128 and not model.training
    state = model.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    with pytest.raises(ValueError, match="does not fit"):
        official.build_sam2("sam2.1_hiera_s.yaml", str(tmp_path / "sam2.1_hiera_tiny.pt"), device="cpu")


def test_weights_go_out_and_come_in_under_metas_names(folder: Path, tmp_path: Path) -> None:
    model = official.build_sam2_hf(str(folder), device="cpu")
    torch.save(model.state_dict(), tmp_path / "tuned.torch")
    other = official.build_sam2_hf(str(folder), device="cpu")
    with torch.no_grad():
        other.network.no_memory_embedding.add_(1)
    other.load_state_dict(torch.load(tmp_path / "tuned.torch"))
    assert torch.equal(other.network.no_memory_embedding, model.network.no_memory_embedding)


def test_what_programs_call_to_build_by_hand(tmp_path: Path) -> None:
    model = SAM2Base(build_sam.build_network("sam2.1_hiera_t.yaml", image_size=128), image_size=128)
    assert model.image_size == 128 and model.feature_sizes == [(32, 32), (16, 16), (8, 8)]
    assert official.SAM2ImagePredictor(model)._bb_feat_sizes == model.feature_sizes
    weights = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "zeros.pt")
    build_sam._load_checkpoint(model, None)
    assert model.no_mem_embed.any()
    build_sam._load_checkpoint(model, str(tmp_path / "zeros.pt"))
    assert not model.no_mem_embed.any()


def test_the_files_that_hydra_composes_name_their_model() -> None:
    of_the_first_release = [name for name in PRESET_OF_FILE if name.startswith("sam2_")]
    for name in (*of_the_first_release, *(path for path, _ in CONFIG_FILES.values())):
        text = (Path(official.__file__).parent / name).read_text(encoding="utf-8")
        assert text.startswith("# @package _global_\n") and f"config_file: {Path(name).name}\n" in text


def test_without_a_checkpoint_weights_are_random() -> None:
    predictor = official.build_sam2_video_predictor("sam2_hiera_t", device="cpu", hydra_overrides_extra=[SMALL_IMAGE])
    assert sum(parameter.numel() for parameter in predictor.parameters()) > 38e6
    with pytest.raises(ValueError, match="config_file"):
        official.build_sam2(None, device="cpu")


def test_a_folder_has_a_configuration_of_its_own(folder: Path) -> None:
    assert official.build_sam2(None, folder, device="cpu").image_size == 128
    with pytest.raises(ValueError, match=r"config_file 'sam2_hiera_t.yaml' names a trunk"):
        official.build_sam2("sam2_hiera_t.yaml", folder, device="cpu")


def test_a_checkpoint_for_images_alone(folder: Path, tmp_path: Path) -> None:
    Sam2Model.from_pretrained(folder).save_pretrained(tmp_path)
    predictor = official.SAM2ImagePredictor.from_pretrained(str(tmp_path), device="cpu")
    assert isinstance(predictor.model.network, Sam2Model)
    with pytest.raises(TypeError, match="without memory parts"):
        official.SAM2VideoPredictor.from_pretrained(str(tmp_path), device="cpu")


def test_a_model_of_this_package_is_taken_as_it_is_and_stays_so(folder: Path) -> None:
    model = Sam2VideoModel.from_pretrained(folder)
    predictor = official.SAM2VideoPredictor(model)
    assert predictor.network.vision_encoder is model.vision_encoder
    assert not predictor.add_all_frames_to_correct_as_cond and model.config.add_all_frames_to_correct_as_cond
    with pytest.raises(TypeError, match="network must be"):
        official.SAM2ImagePredictor(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_postprocessing_and_overrides_reach_the_model(folder: Path) -> None:
    plain = official.build_sam2_video_predictor_hf(str(folder), **arguments_of({**CASE, "postprocessing": False}))
    assert plain.fill_hole_area == 0
    assert not plain.network.config.binarize_prompted_memory
    assert not plain.network.config.mask_decoder_config.dynamic_multimask_via_stability
    overrides = ["++model.fill_hole_area=3", "+model.non_overlap_masks=true", "model.max_cond_frames_in_attn=4"]
    changed = official.build_sam2_video_predictor_hf(
        str(folder), device="cpu", hydra_overrides_extra=overrides, apply_postprocessing=False
    )
    assert (changed.fill_hole_area, changed.non_overlap_masks) == (3, True)
    assert changed.network.memory_policy.max_cond_frame_num == 4
    # As in Meta's code, where post-processing comes after them.
    assert read_settings(overrides, apply_postprocessing=True).config["fill_hole_area"] == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("++model.fill_hole_aera=8", "unknown name"),
        ("++model.image_encoder.trunk.embed_dim=96", "unknown name"),
        ("++model.fill_hole_area=many", "must be of the type int"),
        ("++model.non_overlap_masks=1", "must be of the type bool"),
        ("++model.non_overlap_masks_for_mem_enc=true", "cannot have the value True"),
        ("fill_hole_area=8", r"\+\+model.NAME=VALUE"),
    ],
)
def test_overrides_that_are_not_known_are_errors(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings([override], apply_postprocessing=False)


def test_cuda_where_it_is_missing_is_the_cpu_with_one_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_warned", [])
    with pytest.warns(UserWarning, match="CUDA is not available"):
        predictor = official.build_sam2_hf(str(folder))
    assert predictor.device.type == "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        official.build_sam2_hf(str(folder))
