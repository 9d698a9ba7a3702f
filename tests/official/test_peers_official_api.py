"""Conversations with Meta's predictors and with ours, side by side, where Meta's package is installed (`-m peers`).

Meta's answers come from a Python of their own, for one process has one `sam2`. The golden cases are replayed with
weights from other seeds, and with prompts in a random order.
"""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_api_ours import image_predictor, load_cases, mask_generator, video_predictor
from official_api_runs import (
    Answers,
    run_generator_calls,
    run_image_calls,
    run_lower_calls,
    run_video_calls,
    write_frames,
)
from official_goldens import disc
from test_official_api_goldens import assert_same_answers, frames_by_pillow

from sam2_hf.official import sam2_video_predictor
from sam2_hf.official.utils import amg, misc

pytestmark = pytest.mark.peers

ASK = """
import pickle, sys, warnings
from pathlib import Path
import torch
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
import official_api, official_api_runs as runs
kind, case, folder = pickle.load(sys.stdin.buffer)
with torch.inference_mode():
    if kind == "image":
        answers = runs.run_image_calls(official_api.official_image_predictor(case), case)
    elif kind == "video":
        answers = runs.run_video_calls(official_api.official_model(case), Path(folder), case)
    elif kind == "generator":
        answers = runs.run_generator_calls(official_api.official_mask_generator(case), case)
    else:
        answers = runs.run_lower_calls(official_api.official_model(case), case)
Path(sys.argv[1]).write_bytes(pickle.dumps(answers))
"""
HELPERS = """
import pickle, sys
import numpy as np
import official_api
from sam2.utils import amg, misc
misc.get_connected_components = official_api.connected_components
masks, logits = pickle.load(sys.stdin.buffer)
data = {
    "rle": amg.mask_to_rle_pytorch(masks),
    "coco": [amg.coco_encode_rle(rle) for rle in amg.mask_to_rle_pytorch(masks)],
    "area": [amg.area_from_rle(rle) for rle in amg.mask_to_rle_pytorch(masks)],
    "boxes": amg.batched_mask_to_box(masks),
    "stability": amg.calculate_stability_score(logits, 0.2, 0.7),
    "grid": amg.build_all_layer_point_grids(6, 2, 2),
    "crops": amg.generate_crop_boxes((90, 140), 2, 0.3),
    "near": amg.is_box_near_crop_edge(amg.batched_mask_to_box(masks), [20, 10, 148, 138], [0, 0, 160, 150]),
    "uncropped": amg.uncrop_masks(masks, [20, 10, 148, 138], 150, 160),
    "small": [amg.remove_small_regions(mask.numpy(), 30, mode) for mask in masks[:3] for mode in ("holes", "islands")],
    "filled": misc.fill_holes_in_mask_scores(logits[:, None], 12),
    "box": misc.mask_to_box(masks[:, None]),
}
from pathlib import Path
Path(sys.argv[1]).write_bytes(pickle.dumps(data))
"""


def ask(code: str, question: Any, folder: Path) -> Any:
    """What a Python of its own answers, which imports Meta's package."""
    pytest.importorskip("torchvision")
    answer = folder / "answer.pickle"
    command = [sys.executable, "-c", code, str(answer)]
    done = subprocess.run(
        command, input=pickle.dumps(question), env={"PYTHONPATH": ":".join(sys.path), "PATH": ""}, capture_output=True
    )
    if b"No module named 'sam2'" in done.stderr:
        pytest.skip("Meta's package is not installed")
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(answer.read_bytes())


def compare(
    kind: str, case: dict[str, Any], ours: Answers, folder: Path, tolerance: float, pixels: float = 1e-3
) -> None:
    theirs = ask(ASK, (kind, case, str(folder / "frames")), folder)
    assert_same_answers(ours, theirs, tolerance, pixels)


@pytest.mark.parametrize("seed", [47, 5, 11])
@pytest.mark.parametrize("name", ["notebook", "prompts", "cleaned"])
def test_images(name: str, seed: int, tmp_path: Path) -> None:
    case = {**load_cases("image")[name], "seed": seed}
    compare("image", case, run_image_calls(image_predictor(case, tmp_path), case), tmp_path, 2e-4)


@pytest.mark.parametrize("name", ["notebook", "single"])
def test_masks_of_everything(name: str, tmp_path: Path) -> None:
    case = load_cases("generator")[name]
    ours = run_generator_calls(mask_generator(case, tmp_path), case)
    theirs = ask(ASK, ("generator", case, ""), tmp_path)
    for key in ("point_coords", "predicted_iou", "crop_box"):
        np.testing.assert_allclose(ours[key], theirs[key], atol=1e-3)


@pytest.mark.parametrize("name", ["mask_sam2.1", "points_sam2"])
def test_lower_calls(name: str, tmp_path: Path) -> None:
    case = load_cases("lower")[name]
    compare("lower", case, run_lower_calls(video_predictor(case, tmp_path), case), tmp_path, 2e-3)


def random_calls(draw: random.Random) -> list[dict[str, Any]]:
    """Prompts of three objects before the first pass, then corrections, removals and passes either way.

    What rounding could tip, a binarised memory, is left out: post-processing is off.
    """

    def position() -> list[float]:
        return [draw.uniform(8, 120), draw.uniform(8, 88)]

    def prompt(frame: int, obj_id: int) -> dict[str, Any]:
        kind = draw.choice(["click", "clicks", "box", "mask"])
        at = {"frame_idx": frame, "obj_id": obj_id}
        if kind == "mask":
            return {"do": "add_new_mask", **at, "disc": [*position(), draw.uniform(8, 24)], "scale": 1}
        points = [position() for _ in range(3 if kind == "clicks" else 1)]
        given = {"points": points, "labels": [1, 0, 1][: len(points)]}
        if kind == "box":
            left, top = draw.uniform(4, 60), draw.uniform(4, 40)
            given = {"box": [left, top, left + draw.uniform(16, 60), top + draw.uniform(16, 44)]}
        return {"do": "add_new_points_or_box", **at, **given}

    calls = [prompt(draw.randrange(3), obj_id) for obj_id in range(3)]
    calls.append({"do": "propagate_in_video", "start_frame_idx": 0})
    corrected = draw.randrange(3)
    calls.append(prompt(draw.randrange(3, 8), corrected))
    calls.append({"do": "remove_object", "obj_id": draw.randrange(3)})
    calls.append({"do": "propagate_in_video", "start_frame_idx": 7, "reverse": True, "max_frame_num_to_track": 4})
    return calls


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
@pytest.mark.parametrize("seed", range(6))
def test_random_conversations_on_videos(
    seed: int, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam2_video_predictor, "load_video_frames", frames_by_pillow)
    case = {
        **load_cases("video")["notebook_plain"],
        "version": version,
        "calls": random_calls(random.Random(seed)),
        "settings": {"add_all_frames_to_correct_as_cond": seed % 2 == 1},
    }
    video = write_frames(tmp_path / "frames")
    ours = run_video_calls(video_predictor(case, tmp_path), video, case)
    # Drawn at random, some corrections magnify rounding: noise of 1e-4 in the pixels moves one of them by 7e-2 here.
    compare("video", case, ours, tmp_path, 5e-2, pixels=1e-2)


def test_helpers(tmp_path: Path) -> None:
    masks = np.stack([disc(40, 52, 20), disc(100, 30, 9), np.zeros((128, 128), bool), disc(126, 126, 12)])
    masks[0, 50:53, 38:41], masks[1, 100:104, 4:8] = False, True
    logits = np.where(masks, 3.0, -3.0) + np.random.default_rng(0).normal(size=masks.shape)
    masks, logits = torch.from_numpy(masks), torch.from_numpy(logits).float()
    theirs = ask(HELPERS, (masks, logits), tmp_path)
    rles = amg.mask_to_rle_pytorch(masks)
    assert rles == theirs["rle"]
    assert [amg.coco_encode_rle(rle) for rle in rles] == theirs["coco"]
    assert [amg.area_from_rle(rle) for rle in rles] == theirs["area"]
    assert torch.equal(amg.batched_mask_to_box(masks), theirs["boxes"])
    torch.testing.assert_close(amg.calculate_stability_score(logits, 0.2, 0.7), theirs["stability"])
    for mine, grid in zip(amg.build_all_layer_point_grids(6, 2, 2), theirs["grid"], strict=True):
        np.testing.assert_allclose(mine, grid, atol=1e-7)
    assert amg.generate_crop_boxes((90, 140), 2, 0.3) == theirs["crops"]
    crop, image = [20, 10, 148, 138], [0, 0, 160, 150]
    assert torch.equal(amg.is_box_near_crop_edge(amg.batched_mask_to_box(masks), crop, image), theirs["near"])
    assert torch.equal(amg.uncrop_masks(masks, crop, 150, 160), theirs["uncropped"])
    small = [amg.remove_small_regions(mask.numpy(), 30, mode) for mask in masks[:3] for mode in ("holes", "islands")]
    for (mine, changed), (other, theirs_changed) in zip(small, theirs["small"], strict=True):
        assert changed == theirs_changed
        np.testing.assert_array_equal(mine, other)
    torch.testing.assert_close(misc.fill_holes_in_mask_scores(logits[:, None], 12), theirs["filled"])
    assert torch.equal(misc.mask_to_box(masks[:, None]), theirs["box"])
