"""`Sam2VideoModel` against the one of transformers, on the same weights and the same clip, where the two agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_close_in_scale
from tiny import tiny_video_model
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession as ReferenceSession
from transformers_reference import ReferenceVideoModel
from video_scenes import PROCESSOR, PROMPTS, Masks, clip, collect, pixels, track

from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.tracking.prompts import MaskPrompt

# In both, the length of a clip under 16 frames is part of the encoding of pointers; this one is longer.
LENGTH = 18
TOLERANCE = 2e-3


# transformers remembers a given mask as it is; here, as officially, it goes through the low resolution of the other
# masks first, which rounds its corners. A mask without corners is remembered alike.
HALF = np.arange(128)[None].repeat(128, axis=0) < 64
KINDS = {**PROMPTS, "mask": {"input_masks": HALF}}


@torch.no_grad()
def build_model(**config) -> Sam2VideoModel:
    """Of the memory width that transformers needs. All layers are turned down: as drawn they pass every difference on
    upsampled, so that after some frames rounding alone decides what the masks are."""
    model = tiny_video_model(seed=6, width=128, memory_width=64, **config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and not any(part in name for part in ("norm", "embed", "token")):
            parameter.mul_(0.55 if name.startswith("memory_attention.") else 0.8)
    return model


@pytest.fixture(scope="module", params=["sam2.1", "sam2"])
def models(request, tmp_path_factory) -> tuple[Sam2VideoModel, ReferenceVideoModel]:
    """Ours, and theirs as loaded from what ours saved."""
    is_new = request.param == "sam2.1"
    flags = ("enable_occlusion_spatial_embedding", "enable_temporal_pos_encoding_for_object_pointers")
    ours = build_model(**dict.fromkeys(flags, is_new))
    folder = tmp_path_factory.mktemp(request.param)
    ours.save_pretrained(folder)
    return ours, ReferenceVideoModel.from_pretrained(folder).eval()


class Pair:
    """Two sessions that are given the same."""

    def __init__(self, models: tuple[Sam2VideoModel, ReferenceVideoModel], num_frames: int = LENGTH):
        self.models = models
        self.ours = PROCESSOR.init_video_session(clip(num_frames))
        frames = torch.stack([pixels(index) for index in range(num_frames)])
        self.theirs = ReferenceSession(frames, 128, 128, dtype=torch.float32)

    def give(self, frame_idx: int, obj_ids: list[int], **inputs) -> None:
        """Prompts by way of our processor; transformers' needs torchvision, and does the same to them."""
        PROCESSOR.add_inputs_to_inference_session(self.ours, frame_idx, obj_ids, **inputs)
        for obj_id in obj_ids:
            prompt, index = self.ours.tracks[obj_id].prompts[frame_idx], self.theirs.obj_id_to_idx(obj_id)
            if isinstance(prompt, MaskPrompt):
                self.theirs.add_mask_inputs(index, frame_idx, prompt.mask[None, None])
            else:
                points = {"point_coords": prompt.points[None, None], "point_labels": prompt.labels[None, None]}
                self.theirs.add_point_inputs(index, frame_idx, points)
        self.theirs.obj_with_new_inputs = list(obj_ids)

    @torch.inference_mode()
    def segment(self, frame_idx: int) -> None:
        ours, theirs = (
            model(session, frame_idx=frame_idx)
            for model, session in zip(self.models, (self.ours, self.theirs), strict=True)
        )
        assert ours.object_ids == theirs.object_ids
        assert_close_in_scale(ours.pred_masks, theirs.pred_masks.float(), TOLERANCE)
        assert_close_in_scale(ours.object_score_logits.flatten(), theirs.object_score_logits.flatten(), TOLERANCE)

    def propagate(self, **settings) -> None:
        ours = track(self.models[0], self.ours, **settings)
        theirs = collect(self.models[1].propagate_in_video_iterator(self.theirs, **settings))
        assert_same_masks(ours, theirs)


def assert_same_masks(ours: Masks, theirs: Masks) -> None:
    assert list(ours) == list(theirs)
    for frame, masks in theirs.items():
        assert list(ours[frame]) == list(masks)
        for obj_id, mask in masks.items():
            assert_close_in_scale(ours[frame][obj_id], mask.float(), TOLERANCE)
            assert intersection_over_union(ours[frame][obj_id] > 0, mask > 0) > 0.99


def intersection_over_union(one: Tensor, other: Tensor) -> float:
    union = (one | other).sum().item()
    return (one & other).sum().item() / union if union else 1.0


@pytest.mark.parametrize("kind", ["click", "clicks", "box", "box_and_click", "mask"])
def test_one_object_is_tracked_alike(models, kind: str) -> None:
    pair = Pair(models)
    pair.give(0, [1], **KINDS[kind])
    pair.segment(0)
    pair.propagate()


def test_a_clip_is_tracked_backward_alike(models) -> None:
    pair = Pair(models)
    pair.give(LENGTH - 1, [1], **KINDS["click"])
    pair.segment(LENGTH - 1)
    pair.propagate(reverse=True)


def test_several_objects_are_tracked_alike(models) -> None:
    pair = Pair(models)
    points = [[[[36, 44]], [[96, 90]], [[64, 20]]]]
    pair.give(0, [5, 2, 9], input_points=points, input_labels=[[[1], [1], [1]]])
    pair.segment(0)
    pair.propagate()


def test_a_part_of_a_clip_is_tracked_alike(models) -> None:
    pair = Pair(models)
    pair.give(3, [1], **KINDS["box"])
    pair.segment(3)
    pair.propagate(max_frame_num_to_track=4)
    pair.propagate(start_frame_idx=8, max_frame_num_to_track=2)


def test_conditioning_frames_in_the_middle_serve_alike(models) -> None:
    pair = Pair(models)
    for frame in (0, 6, 12):
        pair.give(frame, [1], **KINDS["click"])
        pair.segment(frame)
    pair.propagate()


def test_a_short_clip_is_tracked_alike(models) -> None:
    pair = Pair(models, num_frames=5)
    pair.give(0, [1], **KINDS["click"])
    pair.segment(0)
    pair.propagate()


def test_a_stream_is_tracked_alike(models) -> None:
    ours, theirs = PROCESSOR.init_video_session(), ReferenceSession(None, 128, 128, dtype=torch.float32)
    PROCESSOR.add_inputs_to_inference_session(ours, 0, 1, **KINDS["click"], original_size=(128, 128))
    prompt = ours.tracks[1].prompts[0]
    points = {"point_coords": prompt.points[None, None], "point_labels": prompt.labels[None, None]}
    theirs.add_point_inputs(theirs.obj_id_to_idx(1), 0, points)
    theirs.obj_with_new_inputs = [1]
    with torch.inference_mode():
        for index in range(LENGTH):
            mine, reference = (
                model(session, frame=pixels(index)) for model, session in zip(models, (ours, theirs), strict=True)
            )
            assert_close_in_scale(mine.pred_masks, reference.pred_masks.float(), TOLERANCE)


def test_a_model_that_transformers_saved_is_ours(models, tmp_path: Path) -> None:
    ours, theirs = models
    theirs.save_pretrained(tmp_path)
    loaded, info = Sam2VideoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert loaded.config.num_maskmem == ours.config.num_maskmem
    for name, tensor in ours.state_dict().items():
        assert tensor.equal(loaded.state_dict()[name]), name
    assert loaded.config.memory_encoder_output_channels == 64


def test_masks_are_worth_comparing(models) -> None:
    """Neither full nor empty, of different objects different, and far from what no memory would give."""
    session = PROCESSOR.init_video_session(clip(8))
    for obj_id, kind in enumerate(("click", "mask")):
        PROCESSOR.add_inputs_to_inference_session(session, 0, obj_id, **KINDS[kind])
    masks = track(models[0], session)[7]
    for mask in masks.values():
        assert 0.05 < (mask > 0).float().mean() < 0.95
    assert (masks[0] - masks[1]).abs().max() > 3 * TOLERANCE * masks[0].abs().max()
