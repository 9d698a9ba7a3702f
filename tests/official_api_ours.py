"""This package's forms of Meta's predictors on the small models, for the conversations of the golden cases."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from official_goldens import GOLDENS, draw_state_dict, official_shapes, small_config
from safetensors.numpy import load_file

from sam2_hf import official
from sam2_hf.convert.checkpoint_folder import convert_checkpoint

Case = dict[str, Any]


def load_cases(kind: str) -> dict[str, Case]:
    return json.loads((GOLDENS / f"official_api_{kind}.json").read_text(encoding="utf-8"))


@cache
def _answers(kind: str) -> dict[str, np.ndarray]:
    return load_file(GOLDENS / f"official_api_{kind}.safetensors")


def load_answers(kind: str, name: str) -> dict[str, np.ndarray]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in _answers(kind).items() if key.startswith(prefix)}


def checkpoint(case: Case, folder: Path) -> Path:
    """A folder in the layout of Transformers with the weights of a case."""
    original = folder / "original.pt"
    state = draw_state_dict(official_shapes(f"small-{case['version']}"), case["seed"], case["weight_offsets"])
    torch.save({"model": state}, original)
    return convert_checkpoint(original, folder / "converted", config=small_config(case["version"])).folder


def arguments_of(case: Case) -> dict[str, Any]:
    """Arguments of the builders."""
    return {
        "device": "cpu",
        "apply_postprocessing": case["postprocessing"],
        "hydra_overrides_extra": [f"++model.{name}={json.dumps(value)}" for name, value in case["settings"].items()],
    }


def image_predictor(case: Case, folder: Path) -> official.SAM2ImagePredictor:
    model = official.build_sam2_hf(str(checkpoint(case, folder)), **arguments_of(case))
    return official.SAM2ImagePredictor(model, **case["arguments"])


def video_predictor(case: Case, folder: Path) -> official.SAM2VideoPredictor:
    return official.build_sam2_video_predictor_hf(str(checkpoint(case, folder)), **arguments_of(case))


def mask_generator(case: Case, folder: Path) -> official.SAM2AutomaticMaskGenerator:
    model = official.build_sam2_hf(str(checkpoint(case, folder)), **arguments_of(case))
    return official.SAM2AutomaticMaskGenerator(model, **case["arguments"])
