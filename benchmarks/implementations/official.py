"""The official code, where it is installed: our weights in its layout, through its own predictors."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..images import Clip
from ..settings import Output, Runtime, Unavailable
from .base import Track, require

_CONFIGS = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}


class Official:
    """The package `sam2`. Below float32 it runs under autocast, as its authors do."""

    name = "official"
    import_code = "from sam2.sam2_image_predictor import SAM2ImagePredictor"

    def load_code(self, weights: Path) -> str:
        raise Unavailable("reads checkpoints of its own layout")

    def image_model(self, weights: Path, runtime: Runtime) -> Any:
        model = _load(_module("build_sam").build_sam2, weights, runtime)
        predictor = _module("sam2_image_predictor").SAM2ImagePredictor(model)
        size = predictor.model.image_size
        # The predictor has the sizes for 1024 pixels as constants.
        predictor._bb_feat_sizes = [(size // stride,) * 2 for stride in (4, 8, 16)]
        predictor.context = _autocast(runtime)
        return predictor

    def encode(self, model: Any, pixels: torch.Tensor) -> Any:
        with model.context():
            features = model.model.forward_image(pixels)
            _, levels, _, _ = model.model._prepare_backbone_features(features)
            levels[-1] = levels[-1] + model.model.no_mem_embed
            maps = [
                level.permute(1, 2, 0).unflatten(2, size)
                for level, size in zip(levels, model._bb_feat_sizes, strict=True)
            ]
        return {"image_embed": maps[-1], "high_res_feats": maps[:-1]}

    def segment(self, model: Any, encoded: Any, points: torch.Tensor) -> Output:
        model._features, model._is_image_set, model._orig_hw = encoded, True, [(model.model.image_size,) * 2]
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        with model.context():
            _, scores, logits = model._predict(points[:, None], labels, return_logits=True)
        return {"logits": logits, "scores": scores}

    def track(self, weights: Path, runtime: Runtime, clip: Clip, points: torch.Tensor) -> Track:
        model = _load(_module("build_sam").build_sam2_video_predictor, weights, runtime)
        context = _autocast(runtime)
        model.fill_hole_area = 0  # of the three implementations, only this one fills holes
        size = clip[0].shape[-1]
        _module("sam2_video_predictor").load_video_frames = lambda **_: (_OnDevice(clip, runtime), size, size)
        with context():
            state = model.init_state(video_path="")
            for number, point in enumerate(points):
                model.add_new_points_or_box(state, 0, number, points=point[None].cpu(), labels=[1])
        return Track(_frames(model, state, context), state)

    def mask_generator(
        self, weights: Path, runtime: Runtime, points_per_side: int, nms: float
    ) -> Callable[[Image.Image], Any]:
        context = _autocast(runtime)
        generator = _module("automatic_mask_generator").SAM2AutomaticMaskGenerator(
            _load(_module("build_sam").build_sam2, weights, runtime),
            points_per_side=points_per_side,
            pred_iou_thresh=0.88,  # its default is lower than that of the other two
            box_nms_thresh=nms,
        )

        def generate(image: Image.Image) -> Any:
            with context():
                return generator.generate(np.array(image))

        return generate

    def found(self, raw: Any) -> Output:
        masks = [torch.from_numpy(record["segmentation"]) for record in raw]
        scores = torch.tensor([record["predicted_iou"] for record in raw])
        return {"masks": torch.stack(masks) if masks else torch.zeros(0, 1, 1).bool(), "scores": scores}

    def preprocess(self, weights: Path) -> Callable[[Image.Image], torch.Tensor]:
        transforms = self._transforms()
        return lambda image: transforms(image)[None]

    def restore(self, weights: Path) -> Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]:
        transforms = self._transforms()
        return lambda logits, size: transforms.postprocess_masks(logits, size) > 0

    def _transforms(self) -> Any:
        return _module("utils.transforms").SAM2Transforms(resolution=1024, mask_threshold=0.0)


class _OnDevice:
    """A clip whose frames are moved to the device when they are read."""

    def __init__(self, clip: Clip, runtime: Runtime):
        self._clip, self._runtime = clip, runtime

    def __len__(self) -> int:
        return len(self._clip)

    def __getitem__(self, frame: int) -> torch.Tensor:
        return self._clip[frame].to(self._runtime.device)


def _module(name: str) -> Any:
    """One of the official code's modules."""
    require("sam2")
    return importlib.import_module(f"sam2.{name}")


def _frames(model: Any, state: Any, context: Callable[[], Any]) -> Iterator[torch.Tensor]:
    for frame, ids, _ in model.propagate_in_video(state):
        kept = [state["output_dict_per_obj"][number] for number in ids]
        kind = "cond_frame_outputs" if frame == 0 else "non_cond_frame_outputs"
        yield torch.cat([outputs[kind][frame]["pred_masks"][:, 0] for outputs in kept])


def _load(build: Callable[..., Any], weights: Path, runtime: Runtime) -> Any:
    from safetensors.torch import load_file

    size = json.loads((weights / "config.json").read_text())["prompt_encoder_config"]["image_size"]
    model = build(_config_file(weights), device=runtime.device, hydra_overrides_extra=[f"++model.image_size={size}"])
    model.load_state_dict(_original_layout(load_file(weights / "model.safetensors")))
    return model.eval()


def _config_file(weights: Path) -> str:
    """The official settings for a folder named after its preset, such as `sam2.1-hiera-tiny-1024`."""
    version, _, rest = weights.name.partition("-hiera-")
    variant = next(name for name in _CONFIGS if rest.startswith(name))
    return f"configs/{version}/{version}_hiera_{_CONFIGS[variant]}.yaml"


def _original_layout(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from sam2_hf.hub.key_mapping import POINT_TABLE, PROMPT_MATRIX, original_name

    original = {original_name(name): tensor for name, tensor in tensors.items() if name != POINT_TABLE}
    assert PROMPT_MATRIX in tensors  # the same as the grid's matrix, under whose name both go
    for number, row in enumerate(tensors[POINT_TABLE]):
        original[f"sam_prompt_encoder.point_embeddings.{number}.weight"] = row[None]
    return original


def _autocast(runtime: Runtime) -> Callable[[], Any]:
    if runtime.dtype == "float32":
        return nullcontext
    device, dtype = torch.device(runtime.device).type, getattr(torch, runtime.dtype)
    return lambda: torch.autocast(device, dtype)
