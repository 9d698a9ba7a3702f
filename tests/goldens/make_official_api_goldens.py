"""Runs the conversations of `official_api_cases.py` with Meta's predictors and writes their answers beside this file.

    PYTHONPATH=src:tests python tests/goldens/make_official_api_goldens.py

Needs the official `sam2` package and scipy, which finds connected components in the place of Meta's CUDA extension; a
CPU will do.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from goldens.official_api_cases import (
    API_GENERATOR_CASES,
    API_HEAD_CASES,
    API_IMAGE_CASES,
    API_LOWER_CASES,
    API_VIDEO_CASES,
)
from official_api import official_image_predictor, official_mask_generator, official_model
from official_api_runs import (
    Answers,
    run_generator_calls,
    run_head_calls,
    run_image_calls,
    run_lower_calls,
    run_video_calls,
    write_frames,
)
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent


def write(kind: str, cases: dict, answers: dict[str, Answers]) -> None:
    """The cases as JSON, the answers in one file; masks of nothing but 0 and 1 as bytes."""
    tensors = {f"{name}/{key}": compact(value) for name, case in answers.items() for key, value in case.items()}
    save_file(tensors, HERE / f"official_api_{kind}.safetensors")
    (HERE / f"official_api_{kind}.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    print(kind, {name: summary(case) for name, case in answers.items()})  # noqa: T201


def compact(value: np.ndarray) -> np.ndarray:
    value = np.ascontiguousarray(value)
    return value.astype(np.uint8) if np.isin(value, (0, 1)).all() and value.ndim > 1 else value


def summary(answers: Answers) -> str:
    """Enough to see that a case is no degenerate one: how many answers, and their share of foreground."""
    shares = [f"{(value > 0).mean():.2f}" for key, value in answers.items() if key.endswith(("masks", "logits"))]
    return f"{len(answers)} values, foreground {' '.join(shares)}"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        video = write_frames(Path(folder) / "frames")
        images = {name: run_image_calls(official_image_predictor(case), case) for name, case in API_IMAGE_CASES.items()}
        write("image", API_IMAGE_CASES, images)
        videos = {name: run_video_calls(official_model(case), video, case) for name, case in API_VIDEO_CASES.items()}
        write("video", API_VIDEO_CASES, videos)
        records = {
            name: run_generator_calls(official_mask_generator(case), case) for name, case in API_GENERATOR_CASES.items()
        }
        write("generator", API_GENERATOR_CASES, records)
        lower = {name: run_lower_calls(official_model(case), case) for name, case in API_LOWER_CASES.items()}
        write("lower", API_LOWER_CASES, lower)
        heads = {name: run_head_calls(official_model(case)) for name, case in API_HEAD_CASES.items()}
        write("head", API_HEAD_CASES, heads)
