"""The graphs of an exported folder, computed by a model in torch: the contract of the graphs, without onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2_hf.network.features import FrameFeatures, StoredMemories

GRAPHS = (
    *("vision_encoder", "prompt_encoder_mask_decoder", "prompt_encoder_mask_decoder_with_masks"),
    *("memory_attention", "tracked_mask_decoder", "tracked_mask_decoder_with_masks"),
    *("given_mask_decoder", "memory_encoder"),
)
CONFIG = (
    *("num_maskmem", "max_object_pointers_in_encoder", "max_cond_frame_num", "memory_policy"),
    *("multimask_output_in_sam", "multimask_min_pt_num", "multimask_max_pt_num", "multimask_output_for_tracking"),
    *("add_all_frames_to_correct_as_cond", "track_before_first_prompt", "fill_hole_area", "binarize_prompted_memory"),
)


def write_parameters(model: Any, folder: Path) -> Path:
    """The `parameters.json` of a model, which names graphs that are not there."""
    parameters = {
        "format": "sam2_hf.export",
        "format_version": 1,
        "model_type": "sam2",
        "files": {"fp32": {name: f"onnx/{name}.onnx" for name in GRAPHS}},
        "image_size": list(model.prompt_encoder.image_size),
        "resample": 2,
        "rescale_factor": 1 / 255,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "mask_threshold": 0.0,
        "no_memory_embedding": model.no_memory_embedding.flatten().tolist(),
    }
    if hasattr(model, "memory_encoder"):
        shapes = model.stored_shapes()
        parameters.update(
            model_type="sam2_video",
            mask_size=shapes.masks,
            embedding_size=shapes.memories[1:],
            hidden_size=shapes.pointers[0],
            memory_size=shapes.memories[0],
            video={"config": {name: getattr(model.config, name) for name in CONFIG}},
        )
    (folder / "parameters.json").write_text(json.dumps(parameters))
    return folder


class TorchGraphs:
    """What `Graphs` does, by a video model in torch."""

    def __init__(self, model: Any):
        self.model = model
        self.runs: list[str] = []

    @torch.inference_mode()
    def run(self, name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        self.runs.append(name)
        given = {key: torch.from_numpy(np.array(value)) for key, value in inputs.items()}
        found = getattr(self, f"_{name.removesuffix('_with_masks')}")(given)
        return [found[output].numpy() for output in outputs]

    def _vision_encoder(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = self.model.encode_maps(given["pixel_values"])
        levels = {f"image_embeddings.{index}": level for index, level in enumerate(self.model.add_no_memory(maps))}
        return {**levels, "vision_features": maps[2]}

    def _prompt_encoder_mask_decoder(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        levels = [given[f"image_embeddings.{index}"] for index in range(3)]
        labels, boxes = given["input_labels"], given["input_boxes"]
        decoded = self.model.decode(
            levels[2],
            given["input_points"] if labels.shape[2] else None,
            labels if labels.shape[2] else None,
            boxes if boxes.shape[1] else None,
            given.get("input_masks"),
        )
        found = {}
        for multimask, (masks, ious) in {
            True: ("pred_masks", "iou_scores"),
            False: ("single_masks", "single_iou_scores"),
        }.items():
            found[masks], found[ious], _ = self.model.mask_decoder.chosen(decoded, levels, multimask)
        return found

    def _memory_attention(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        coarsest = given["vision_features"]
        has_pointers = given["object_pointers"].shape[1] > 0
        stored = StoredMemories(
            given["memory_features"],
            given["memory_temporal_indices"],
            given["object_pointers"] if has_pointers else None,
            given["pointer_distances"] if has_pointers else None,
        )
        features = FrameFeatures((coarsest, coarsest), coarsest)
        scales = given["memory_key_scales"]
        scales = None if bool((scales == 1).all()) else scales  # without, the sums are those of a model without scales
        return {"conditioned_features": self.model.read_memories(features, stored, scales)}

    def _tracked_mask_decoder(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        embedding = given["conditioned_features"]
        features = FrameFeatures((given["image_embeddings.0"], given["image_embeddings.1"]), embedding)
        masks = given["input_masks"][:, None] if "input_masks" in given else None
        points, labels = given["input_points"][:, None], given["input_labels"][:, None]
        found = {}
        for multimask, prefix in {True: "", False: "single_"}.items():
            candidates = self.model.candidates(features, embedding, points, labels, masks, multimask)
            visible = candidates.object_score[:, None] > 0
            pointers = self.model.pointer(self.model.object_pointer_proj(candidates.tokens), visible)
            found[f"{prefix}masks" if prefix else "pred_masks"] = candidates.masks
            found[f"{prefix}iou_scores"], found[f"{prefix}object_pointers"] = candidates.ious, pointers
            found["object_score_logits"] = candidates.object_score
        return found

    def _given_mask_decoder(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        fine = (given["image_embeddings.0"], given["image_embeddings.1"])
        masks = self.model.segment_from_masks(
            FrameFeatures(fine, given["vision_features"]), given["input_masks"][:, None] > 0
        )
        return {
            "pred_masks": masks.logits,
            "iou_scores": masks.iou,
            "object_score_logits": masks.object_score,
            "object_pointers": masks.pointer[:, None],
        }

    def _memory_encoder(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        coarsest = given["vision_features"]
        arguments = (given["mask_logits"], given["object_score_logits"], given["binarize"])
        return {"memory_features": self.model.encode_memory(FrameFeatures((coarsest, coarsest), coarsest), *arguments)}
