"""Runs the authors' code of SAMURAI and DAM4SAM on a small random model, and writes their decisions beside this file.

    PYTHONPATH=SAMURAI/sam2:src:tests python tests/goldens/make_policy_goldens.py samurai
    PYTHONPATH=DAM4SAM:src:tests python tests/goldens/make_policy_goldens.py dam4sam

SAMURAI and DAM4SAM are checkouts of github.com/yangchris11/samurai and github.com/jovanavidenovic/DAM4SAM, whose forks
of the official package are both called `sam2`. They need hydra, SciPy and loguru; the second also OpenCV and
vot-toolkit before 0.8. A CPU will do: what the second asks of CUDA is answered by the CPU.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import sam2.sam2_video_predictor as official_video
import torch
from official_goldens import IMAGE_SIZE, disc, draw_state_dict, to_pixels
from official_model import small_official_model
from PIL import Image
from policy_cases import CASES, Case, draw_crossing
from torch import Tensor

HERE = Path(__file__).resolve().parent


class Watched:
    """What a model decides, frame by frame."""

    def __init__(self, model: Any):
        self.frames: list[dict[str, Any]] = []
        self._stored: dict[int, Tensor] = {}
        self._heads, self._prepare = model._forward_sam_heads, model._prepare_memory_conditioned_features
        model._forward_sam_heads, model._prepare_memory_conditioned_features = self.heads, self.prepare
        model.memory_attention.register_forward_pre_hook(self.attention, with_kwargs=True)
        self._size = (IMAGE_SIZE // 16) ** 2

    def prepare(self, **given: Any) -> Tensor:
        """Note where the memories lie that the frame may read."""
        outputs = given["output_dict"]
        self._stored = {
            frame: out["maskmem_features"].flatten(2).permute(2, 0, 1).float()
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs")
            for frame, out in outputs[kind].items()
        }
        if not given["is_init_cond_frame"]:
            self.frames.append({"frame": given["frame_idx"]})
        return self._prepare(**given)

    def attention(self, _: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Note which memories are read: their features are found again among those stored."""
        memory = kwargs["memory"].float()
        count = (len(memory) - kwargs["num_obj_ptr_tokens"]) // self._size
        read = [
            next(frame for frame, features in self._stored.items() if torch.equal(features, chunk))
            for chunk in memory[: count * self._size].split(self._size)
        ]
        self.frames[-1] |= {"memories": read, "pointers": kwargs["num_obj_ptr_tokens"]}
        return args, {**kwargs, "memory": memory}

    def heads(self, **given: Any) -> tuple:
        """Note which mask is taken."""
        found = self._heads(**given)
        candidates, _, ious, taken = found[:4]
        score = found[6].item()
        if candidates.shape[1] > 1 and self.frames:
            same = [torch.equal(candidates[0, index], taken[0, 0]) for index in range(candidates.shape[1])]
            self.frames[-1] |= {"chosen": same.index(True) if sum(same) == 1 else None, "score": round(score, 3)}
            self.frames[-1]["ious"] = [round(iou, 4) for iou in ious[0].tolist()]
        return found


def build(case: Case, **settings: Any) -> Any:
    """The small model in the authors' code."""
    model = small_official_model("sam2.1", **settings)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(draw_state_dict(shapes, case["seed"], case["offsets"]))
    return model


@torch.inference_mode()
def run_samurai(case: Case) -> list[dict[str, Any]]:
    """Track as SAMURAI's scripts do, from a mask on the first frame."""
    settings = {"samurai_mode": True, "kf_score_weight": case["motion_weight"], "min_obj_score_logits": 0}
    settings |= {"stable_frames_threshold": case["stable_frames"], "stable_ious_threshold": 0.3}
    settings |= {"memory_bank_iou_threshold": 0.5, "memory_bank_obj_score_threshold": 0.0}
    model = build(case, **settings, memory_bank_kf_score_threshold=0.0)
    pixels = to_pixels(draw_crossing(case["num_frames"]))
    official_video.load_video_frames = lambda **_: (pixels, IMAGE_SIZE, IMAGE_SIZE)
    state = model.init_state(video_path="")
    model.add_new_mask(state, 0, 0, torch.from_numpy(disc(*case["disc"])))
    watched = Watched(model)
    for _ in model.propagate_in_video(state):
        pass
    return watched.frames


@torch.inference_mode()
def run_dam4sam(case: Case) -> list[dict[str, Any]]:
    """Track with the authors' tracker, from a mask on the first frame."""
    import dam4sam_tracker

    on_cpu = types.SimpleNamespace(**{**vars(torch), "device": lambda _: torch.device("cpu")})
    dam4sam_tracker.torch = on_cpu
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    settings = {"memory_temporal_stride_for_eval": 5, "max_cond_frames_in_attn": 4, "multimask_max_pt_num": 3}
    tracker = dam4sam_tracker.DAM4SAMTracker.__new__(dam4sam_tracker.DAM4SAMTracker)
    tracker.predictor = build(case, **settings, add_all_frames_to_correct_as_cond=True)
    tracker.input_image_size = IMAGE_SIZE
    tracker.img_mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    tracker.img_std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    images = [Image.fromarray(frame) for frame in draw_crossing(case["num_frames"])]
    tracker.initialize(images[0], disc(*case["disc"]))
    watched = Watched(tracker.predictor)
    promoted = []
    for image in images[1:]:
        tracker.track(image)
        promoted.append(tracker.last_added == tracker.frame_index)
    return [{**frame, "promoted": promotes} for frame, promotes in zip(watched.frames, promoted, strict=True)]


if __name__ == "__main__":
    name = sys.argv[1]
    torch.set_num_threads(1)
    run = {"samurai": run_samurai, "dam4sam": run_dam4sam}[name]
    decisions = {case: run(CASES[name][case]) for case in CASES[name]}
    for case, frames in decisions.items():
        for frame in frames:
            print(case, frame)  # noqa: T201
    text = json.dumps(decisions).replace("}, ", "},\n")
    (HERE / f"policies_{name}.json").write_text(text + "\n", encoding="utf-8")
