"""What golden values of the official code are made of, and a loader for them.

The official code is not installed where these tests run. `goldens/make_official_goldens.py` ran it on small models and
stored the prompts as JSON and the outputs as safetensors. Weights, image and clip are drawn from seeds instead, by
the functions here, in the same way on both sides.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sam2_hf.configuration_sam2 import Sam2VideoConfig

GOLDENS = Path(__file__).parent / "goldens"
IMAGE_SIZE = 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# A trunk in miniature that still has every kind of block: windows that pad, a global block, a stage change of each
# kind. The other widths are those of the official yaml files, divided.
SMALL_TRUNK = {
    "embed_dim": 16,
    "num_heads": 1,
    "stages": [1, 2, 3, 1],
    "global_att_blocks": [4],
    "window_pos_embed_bkg_spatial_size": [7, 7],
    "window_spec": [8, 4, 14, 7],
}
HIDDEN, MEMORY, FEED_FORWARD = 64, 16, 128


def small_config(
    version: str, trunk: dict[str, Any] = SMALL_TRUNK, image_size: int = IMAGE_SIZE, **overrides: Any
) -> Sam2VideoConfig:
    """This package's configuration of the small official model."""
    doubling = [2**stage for stage in range(len(trunk["stages"]))]
    backbone = {
        "hidden_size": trunk["embed_dim"],
        "num_attention_heads": trunk["num_heads"],
        "embed_dim_per_stage": [trunk["embed_dim"] * factor for factor in doubling],
        "num_attention_heads_per_stage": [trunk["num_heads"] * factor for factor in doubling],
        "blocks_per_stage": trunk["stages"],
        "global_attention_blocks": trunk["global_att_blocks"],
        "window_size_per_stage": trunk["window_spec"],
        "window_positional_embedding_background_size": trunk["window_pos_embed_bkg_spatial_size"],
        "image_size": image_size,
    }
    return Sam2VideoConfig(
        vision_config={"backbone_config": backbone, "fpn_hidden_size": HIDDEN},
        prompt_encoder_config={"hidden_size": HIDDEN, "image_size": image_size},
        mask_decoder_config={"hidden_size": HIDDEN},
        enable_occlusion_spatial_embedding=version == "sam2.1",
        enable_temporal_pos_encoding_for_object_pointers=version == "sam2.1",
        memory_attention_hidden_size=HIDDEN,
        memory_attention_feed_forward_hidden_size=FEED_FORWARD,
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
        memory_fuser_intermediate_dim=4 * HIDDEN,
        **overrides,
    )


# Norms and embeddings that do not say so in their names.
NORMS = (
    "mask_downscaling.1",
    "mask_downscaling.4",
    "output_upscaling.1",
    *(f"mask_downsampler.encoder.{index}" for index in (1, 4, 7, 10)),
)
# Scores that differ clearly from mask to mask, so that no choice between masks hangs on rounding; a single mask so
# faint that some prompts give a stable one and some do not; and pointers that weigh in beside many more memories.
GAINS = {
    "sam_mask_decoder.iou_prediction_head.layers.2": 5.0,
    "sam_mask_decoder.pred_obj_score_head.layers.2": 20.0,
    "sam_mask_decoder.output_hypernetworks_mlps.0.layers.2": 0.25,
    "obj_ptr_proj.layers.2": 2.0,
    "obj_ptr_tpos_proj": 2.0,
}
EMBEDDINGS = ("token", "embed", "tpos_enc", "pos_enc", "no_obj", "gaussian")


def draw_tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A weight that depends on its name, shape and `seed` alone, of a scale that keeps activations alive."""
    # The stream of RandomState is frozen for good, which numpy does not promise of its newer generators.
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    noise = torch.from_numpy(random.standard_normal(shape).astype(np.float32))
    module, _, kind = name.rpartition(".")
    if kind == "bias":
        return 0.1 * noise
    if kind == "weight" and ("norm" in module or module.endswith(NORMS)):
        return 1 + 0.2 * noise
    if kind == "gamma":
        return 0.5 + 0.1 * noise
    if kind == "weight" and not any(part in name for part in EMBEDDINGS):
        return noise * GAINS.get(module, 1.0) / int(np.prod(shape[1:])) ** 0.5
    return 0.7 * noise


def draw_state_dict(
    shapes: dict[str, list[int]], seed: int, changes: dict[str, float] | None = None
) -> dict[str, Tensor]:
    """An official state dict; `changes` adds a constant to the tensors that it names."""
    state = {name: draw_tensor(name, tuple(shape), seed) for name, shape in shapes.items()}
    for name, offset in (changes or {}).items():
        state[name] = state[name] + offset
    return state


@cache
def draw_clip(num_frames: int) -> np.ndarray:
    """uint8 (frame, height, width, channel): two discs that move over a textured ground."""
    random = np.random.RandomState(7)
    tiles = random.randint(40, 120, size=(IMAGE_SIZE // 8, IMAGE_SIZE // 8, 3))
    ground = tiles.repeat(8, axis=0).repeat(8, axis=1)
    frames = []
    for index in range(num_frames):
        frame = ground.copy()
        frame[disc(36 + 4 * index, 44 + 2 * index, 20)] = (230, 200, 60)
        frame[disc(96 - 4 * index, 90, 14)] = (60, 90, 240)
        frames.append(frame.astype(np.uint8))
    return np.stack(frames)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """bool (height, width): a disc, in pixels. A radius under 0 gives an empty mask."""
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    return (columns - x) ** 2 + (rows - y) ** 2 <= np.sign(radius) * radius**2


def mask_logits(circle: list[float]) -> Tensor:
    """The low-resolution logits (height, width) of a mask prompt: +6 in the disc, -6 around it."""
    full = torch.from_numpy(disc(*circle))[None, None].float()
    return torch.nn.functional.avg_pool2d(full, 4)[0, 0] * 12 - 6


def to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 (…, height, width, channel) to normalised (…, channel, height, width)."""
    scaled = torch.from_numpy(frames).float().movedim(-1, -3) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (scaled - mean) / std


def official_shapes(model: str) -> dict[str, list[int]]:
    """Names and shapes of an official state dict: `"small-sam2"`, `"small-sam2.1"`, or the name of a preset."""
    with gzip.open(GOLDENS / "official_shapes.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)[model]


@dataclass(frozen=True)
class OfficialCase:
    """One golden case: what went into the official code, and what came out.

    `prompts` is the JSON entry as it stands in the goldens. `expected` is keyed by output name.
    """

    name: str
    version: str
    prompts: dict[str, Any]
    expected: dict[str, Tensor]

    def official_state_dict(self) -> dict[str, Tensor]:
        shapes = official_shapes(f"small-{self.version}")
        return draw_state_dict(shapes, self.prompts["seed"], self.prompts.get("weight_offsets"))


def case_names(kind: str) -> list[str]:
    """Names of the cases of a kind, `"image"` or `"video"`."""
    return list(json.loads((GOLDENS / f"official_{kind}.json").read_text(encoding="utf-8")))


def load_case(kind: str, name: str) -> OfficialCase:
    prompts = json.loads((GOLDENS / f"official_{kind}.json").read_text(encoding="utf-8"))[name]
    tensors = load_file(GOLDENS / f"official_{kind}.safetensors")
    prefix = f"{name}/"
    expected = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return OfficialCase(name, prompts["version"], prompts, expected)
