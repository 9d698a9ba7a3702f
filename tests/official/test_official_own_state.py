"""Inference states that a program makes itself, and models that it compiles or replaces parts of."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from official_api_ours import checkpoint, load_cases, video_predictor
from official_api_runs import HEIGHT, NUM_FRAMES, WIDTH
from official_goldens import draw_clip
from torch import nn

from sam2_hf import official
from sam2_hf.official.modeling.sam2_base import SAM2Base
from sam2_hf.official.utils import misc

CASE = load_cases("video")["notebook"]
CLICK: dict[str, Any] = {"points": [[36, 40]], "labels": [1]}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> official.SAM2VideoPredictor:
    return video_predictor(CASE, tmp_path_factory.mktemp("official"))


def frames() -> list[Any]:
    return [frame[:HEIGHT] for frame in draw_clip(NUM_FRAMES)]


def own_state() -> dict[str, Any]:
    """What forks and labelling servers make in the place of `init_state`."""
    images, height, width = misc.load_video_frames(frames(), 128, offload_video_to_cpu=True)
    state: dict[str, Any] = {name: {} for name in ("cached_features", "constants", "frames_tracked_per_obj")}
    state |= {f"{name}_per_obj": {} for name in ("point_inputs", "mask_inputs", "output_dict", "temp_output_dict")}
    state |= {"obj_id_to_idx": OrderedDict(), "obj_idx_to_id": OrderedDict(), "obj_ids": []}
    return state | {"images": images, "num_frames": len(images), "video_height": height, "video_width": width}


def test_a_dictionary_of_a_program_gets_the_masks_of_a_state(predictor: official.SAM2VideoPredictor) -> None:
    state = own_state()
    predictor._get_image_feature(state, frame_idx=0, batch_size=1)
    usual = predictor.init_state(frames())
    for known in (state, usual):
        predictor.add_new_points_or_box(inference_state=known, frame_idx=0, obj_id=4, **CLICK)
    found, expected = (list(predictor.propagate_in_video(known)) for known in (state, usual))
    assert [frame for frame, *_ in found] == list(range(NUM_FRAMES))
    for (_, ids, masks), (_, _, same) in zip(found, expected, strict=True):
        assert ids == [4] and masks.shape == (1, 1, HEIGHT, WIDTH)
        torch.testing.assert_close(masks, same)


def test_its_keys_say_what_happened(predictor: official.SAM2VideoPredictor) -> None:
    state = own_state()
    predictor.add_new_points_or_box(state, 0, "cup", **CLICK)
    list(predictor.propagate_in_video(state, max_frame_num_to_track=2))
    assert state["obj_ids"] == ["cup"] and dict(state["obj_id_to_idx"]) == {"cup": 0}
    assert set(state["output_dict_per_obj"][0]["non_cond_frame_outputs"]) == {1, 2}
    assert len(state["point_inputs_per_obj"]) == 1
    predictor.reset_state(state)
    assert state["obj_ids"] == [] and not state["output_dict_per_obj"]


def test_what_is_no_state_is_named(predictor: official.SAM2VideoPredictor) -> None:
    with pytest.raises(TypeError, match=r"inference_state must come from init_state.*got list"):
        predictor.reset_state([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lacks video_height, video_width"):
        predictor.add_new_points_or_box({"images": []}, 0, 1, **CLICK)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must begin without objects, got \[3\]"):
        predictor.add_new_points_or_box({**own_state(), "obj_ids": [3]}, 0, 1, **CLICK)  # type: ignore[arg-type]


class OwnPredictor(official.SAM2VideoPredictor):
    """A predictor of a program."""


def test_an_override_names_the_class(tmp_path: Path) -> None:
    folder = str(checkpoint(CASE, tmp_path))

    def built(target: str) -> SAM2Base:
        return official.build_sam2(None, folder, device="cpu", hydra_overrides_extra=[f"++model._target_={target}"])

    assert type(built("sam2.sam2_video_predictor.SAM2VideoPredictor")) is official.SAM2VideoPredictor
    assert type(built(f"{__name__}.OwnPredictor")) is OwnPredictor
    for wrong, message in (("sam2.nowhere.Thing", "names no class"), ("torch.nn.Linear", "must be a SAM2Base")):
        with pytest.raises(ValueError, match=message):
            built(wrong)


class Compiled(nn.Module):
    """What `torch.compile` makes of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module


def test_compiled_models_and_parts_are_those_that_were_compiled(predictor: official.SAM2VideoPredictor) -> None:
    assert official.SAM2ImagePredictor(Compiled(predictor)).model is predictor  # type: ignore[arg-type]
    assert official.SAM2AutomaticMaskGenerator(Compiled(predictor)).predictor.model is predictor  # type: ignore[arg-type]
    names = set(predictor.state_dict())
    encoder = predictor.image_encoder
    predictor.image_encoder = Compiled(encoder)  # type: ignore[misc]
    assert predictor.image_encoder is encoder and predictor.network.vision_encoder is encoder
    assert set(predictor.state_dict()) == names
