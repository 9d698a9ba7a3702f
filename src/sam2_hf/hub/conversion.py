"""Original SAM 2 checkpoints (`.pt`) to the layout of this package and of Transformers.

Strict both ways: a tensor that `conversion_table` does not name raises, and so does one that the model has and the
checkpoint has not. The output is a folder with a video checkpoint, which `Sam2Model` loads as well.
"""

from __future__ import annotations

import pickle
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..configuration_sam2 import PRESETS, Sam2VideoConfig
from ..image_processing_sam2 import Sam2ImageProcessor
from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from ..processing_sam2_video import Sam2VideoProcessor
from .key_mapping import GRID_MATRIX, POINT_EMBEDDING, POINT_TABLE, PROMPT_MATRIX, original_name, rename
from .model_card import model_card

StateDict = Mapping[str, Tensor]

WEIGHTS = "model.safetensors"

# Only checkpoints of SAM 2.1 hold these.
NEW_IN_2_1 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")


class ConversionError(ValueError):
    """A checkpoint does not fit: its message lists every unknown, missing and wrongly shaped tensor."""


def convert_state_dict(original: StateDict) -> dict[str, Tensor]:
    """The tensors of an original checkpoint under this package's names; values and dtypes stay as they are.

    Raises a `ConversionError` that lists every name the tables do not cover.
    """
    converted: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    unknown = []
    for name, tensor in original.items():
        point = POINT_EMBEDDING.fullmatch(name)
        if point:
            points[int(point.group(1))] = tensor
            continue
        try:
            converted[rename(name)] = tensor
        except KeyError:
            unknown.append(name)
    _raise_if_any(unknown=unknown)
    if points:
        converted[POINT_TABLE] = torch.cat([points[index] for index in sorted(points)])
    if GRID_MATRIX in converted:
        converted[PROMPT_MATRIX] = converted[GRID_MATRIX].clone()
    return converted


def _raise_if_any(unknown: Iterable[str] = (), missing: Iterable[str] = (), shapes: Iterable[str] = ()) -> None:
    kinds = {"unknown": sorted(unknown), "missing": sorted(set(missing)), "of another shape": sorted(set(shapes))}
    found = [f"{len(names)} {kind}:\n  " + "\n  ".join(names) for kind, names in kinds.items() if names]
    if found:
        raise ConversionError("the checkpoint does not fit the model; tensors " + "\n".join(found))


def check_tensors(converted: StateDict, config: Sam2VideoConfig) -> None:
    """Raises a `ConversionError` unless `converted` holds exactly the tensors of `Sam2VideoModel(config)`."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in Sam2VideoModel(config).state_dict().items()}
    unknown = map(original_name, converted.keys() - expected.keys())
    missing = map(original_name, expected.keys() - converted.keys())
    shapes = [
        f"{original_name(name)}: {tuple(converted[name].shape)} in the checkpoint, {tuple(shape)} in the model"
        for name, shape in expected.items()
        if name in converted and converted[name].shape != shape
    ]
    _raise_if_any(unknown, missing, shapes)


def recognise_variant(original: StateDict) -> str:
    """The preset (a key of `PRESETS`) that a checkpoint's trunk and version belong to.

    The trunk tells by its width and its blocks a stage (a block that changes the width opens a stage), the version by
    the tensors that 2.1 added. Raises a `ValueError` with what was found if no preset is like it.
    """
    try:
        width = original["image_encoder.trunk.pos_embed"].shape[1]
    except KeyError:
        raise ValueError("this is no SAM 2 checkpoint: it has no tensor 'image_encoder.trunk.pos_embed'") from None
    blocks = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.(norm1|proj)\.weight")
    found = [match.groups() for match in map(blocks.fullmatch, original) if match]
    starts = sorted(int(index) for index, part in found if part == "proj")
    edges = [0, *starts, sum(part == "norm1" for _, part in found)]
    per_stage = [end - start for start, end in pairwise(edges)]
    version = "sam2.1" if any(name in original for name in NEW_IN_2_1) else "sam2"
    for name in PRESETS:
        trunk = Sam2VideoConfig.from_preset(name).vision_config.backbone_config
        same_trunk = (trunk.hidden_size, trunk.blocks_per_stage) == (width, per_stage)
        if same_trunk and name.startswith(f"{version}-"):
            return name
    raise ValueError(
        f"no preset has a trunk {width} wide with {per_stage} blocks a stage ({version}); "
        "name the preset with --variant, or describe the model with --config"
    )


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict of an original checkpoint: `{"model": state_dict}`, or a state dict alone.

    Nothing in the file is executed (`weights_only`). Raises a `FileNotFoundError` or a `ValueError` that says what
    the file is instead.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no PyTorch checkpoint, or holds more than plain tensors") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected {{'model': state_dict}}")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if not content or others:
        raise ValueError(
            f"{path} holds no state dict: expected {{'model': state_dict}} or a dict of tensors, "
            f"got {'an empty dict' if not content else f'other values under {others[:5]}'}"
        )
    return content


class Converted(NamedTuple):
    """What was written where. `variant` is a key of `PRESETS`, or None for a model described by a configuration."""

    folder: Path
    variant: str | None
    num_parameters: int


def convert_checkpoint(
    checkpoint: str | Path,
    output_dir: str | Path,
    *,
    variant: str | None = None,
    config: Sam2VideoConfig | None = None,
    overwrite: bool = False,
    verify: bool = False,
    repo_id: str | None = None,
) -> Converted:
    """Writes an original checkpoint as a folder of model, configuration, processor and model card.

    `variant` names a preset and `config` describes any other model; with neither, the preset is recognised from the
    weights. The folder appears whole or not at all; `verify` loads it first (see `verify_folder`). `repo_id` is where
    the examples of the card load the model from.

    Raises a `ConversionError` if the tensors do not fit, a `FileExistsError` if `output_dir` is not empty and
    `overwrite` is off, and a `ValueError` for a file that is no checkpoint or an unknown variant.
    """
    output_dir = Path(output_dir).resolve()
    if variant is not None and config is not None:
        raise ValueError("give a variant or a config, not both")
    if output_dir.exists() and not overwrite and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise FileExistsError(f"{output_dir} exists and is not empty; overwrite=True (--overwrite) replaces it")
    original = read_checkpoint(checkpoint)
    converted = convert_state_dict(original)
    if config is None:
        variant = variant or recognise_variant(original)
        config = Sam2VideoConfig.from_preset(variant)
    check_tensors(converted, config)

    partial = output_dir.with_name(f".{output_dir.name}.{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        _write_folder(partial, converted, config)
        card = model_card(variant or output_dir.name, repo_id or str(output_dir))
        (partial / "README.md").write_text(card, encoding="utf-8")
        if verify:
            verify_folder(partial, converted)
        _replace(output_dir, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Converted(output_dir, variant, sum(tensor.numel() for tensor in original.values()))


def _write_folder(folder: Path, converted: StateDict, config: Sam2VideoConfig) -> None:
    height, width = config.vision_config.backbone_config.image_size
    mask_height, mask_width = config.vision_config.backbone_feature_sizes[0]
    image_processor = Sam2ImageProcessor(
        size={"height": height, "width": width}, mask_size={"height": mask_height, "width": mask_width}
    )
    Sam2VideoProcessor(image_processor).save_pretrained(folder)
    config.architectures = ["Sam2VideoModel"]
    config.dtype = next(iter(converted.values())).dtype
    config.save_pretrained(folder)
    tensors = {name: tensor.contiguous() for name, tensor in converted.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    # safetensors writes for the owner alone.
    shutil.copymode(folder / "config.json", folder / WEIGHTS)


def _replace(output_dir: Path, partial: Path) -> None:
    """Puts `partial` in the place of `output_dir`; what was there goes last."""
    if not output_dir.exists():
        partial.rename(output_dir)
        return
    old = partial.with_name(partial.name + ".old")
    output_dir.rename(old)
    try:
        partial.rename(output_dir)
    except OSError:
        old.rename(output_dir)
        raise
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink()


def verify_folder(folder: str | Path, expected: StateDict) -> None:
    """Checks a converted folder: every tensor in the file bit for bit, then a click on noise by the loaded model.

    `expected` are the tensors by this package's names. Raises a `ConversionError` if anything differs, or if the model
    gives values that are not finite.
    """
    path = Path(folder) / WEIGHTS
    with safe_open(path, "pt") as written:
        names = set(written.keys()) & expected.keys()
        same = {name for name in names if _same_bits(written.get_tensor(name), expected[name])}
        differing = (set(written.keys()) | expected.keys()) - same
    if differing:
        raise ConversionError(f"{len(differing)} tensors in {path} are not as converted: {sorted(differing)}")

    model = Sam2Model.from_pretrained(folder).eval()
    height, width = model.config.vision_config.backbone_config.image_size
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(model.dtype)
    click = torch.tensor([[[[width / 2, height / 2]]]])
    with torch.inference_mode():
        outputs = model(pixel_values=pixels, input_points=click)
    if not (outputs.pred_masks.isfinite().all() and outputs.iou_scores.isfinite().all()):
        raise ConversionError("a forward pass of the converted model gives values that are not finite")


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    # As bytes, so that a NaN equals itself and -0.0 does not equal 0.0.
    return torch.equal(*(tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in (a, b)))


def push_folder(folder: str | Path, repo_id: str) -> str:
    """Uploads a converted folder to the Hub, creating the repository if need be; returns its address."""
    from huggingface_hub import HfApi

    api = HfApi()
    repo = api.create_repo(repo_id, exist_ok=True)
    api.upload_folder(repo_id=repo.repo_id, folder_path=str(folder), commit_message="Upload converted checkpoint")
    return str(repo)
