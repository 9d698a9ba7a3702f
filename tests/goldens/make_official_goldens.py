"""Runs the official code on the cases of `official_cases.py` and writes its outputs beside this file.

    PYTHONPATH=src:tests python tests/goldens/make_official_goldens.py

Needs the official `sam2` package, with hydra; a CPU will do.
"""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from goldens.official_cases import IMAGE_CASES, VIDEO_CASES
from hydra.core.global_hydra import GlobalHydra
from official_model import small_official_model
from official_runs import Case, check_decisions, run_image_case, run_video_case, small_model
from safetensors.torch import save_file
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2_video_predictor
from torch import Tensor

HERE = Path(__file__).resolve().parent


def write_shapes() -> None:
    """Names and shapes of every official checkpoint, and of the small models."""
    shapes = {}
    for version in ("sam2", "sam2.1"):
        shapes[f"small-{version}"] = small_official_model(version).state_dict()
    for repo, (config, _) in HF_MODEL_ID_TO_FILENAMES.items():
        shapes[repo.removeprefix("facebook/")] = build_sam2_video_predictor(config, device="cpu").state_dict()
    GlobalHydra.instance().clear()
    plain = {model: {name: list(tensor.shape) for name, tensor in state.items()} for model, state in shapes.items()}
    packed = gzip.compress(json.dumps(plain).encode(), mtime=0)
    (HERE / "official_shapes.json.gz").write_bytes(packed)


def write_cases(kind: str, cases: dict[str, Case], run: Callable[[Any, Case], dict[str, Tensor]]) -> None:
    tensors = {}
    for name, case in cases.items():
        model = small_model(case)
        check_decisions(model)
        outputs = run(model, case)
        tensors.update({f"{name}/{key}": value.clone().contiguous() for key, value in outputs.items()})
        print(f"{kind} {name}: {summary(outputs)}")  # noqa: T201
    save_file(tensors, HERE / f"official_{kind}.safetensors")
    (HERE / f"official_{kind}.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")


def summary(outputs: dict[str, Tensor]) -> str:
    """Enough to see that a case is no degenerate one: foreground share and scores."""
    parts = []
    for key, value in outputs.items():
        if key.endswith(("logits", "masks")) and value.ndim > 1:
            parts.append(f"{key.removesuffix('/logits')} {(value > 0).float().mean():.2f} ±{value.std():.1f}")
        elif key.endswith(("object_score", "iou_scores", "object_score_logits", "stability")):
            parts.append("[" + " ".join(f"{score:.2f}" for score in value.flatten().tolist()) + "]")
    return ", ".join(parts)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    write_shapes()
    write_cases("image", IMAGE_CASES, run_image_case)
    write_cases("video", VIDEO_CASES, run_video_case)
