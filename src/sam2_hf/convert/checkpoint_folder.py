"""An original checkpoint (`.pt`) as a folder that `from_pretrained` loads here and in Transformers.

The folder holds a video checkpoint, its processor and a model card; the image model loads it as well.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..configuration_sam2 import Sam2VideoConfig
from ..hub.conversion import (
    ConversionError,
    StateDict,
    check_tensors,
    convert_state_dict,
    read_checkpoint,
    recognise_variant,
)
from ..hub.model_card import model_card
from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from ..processing_sam2_video import Sam2VideoProcessor

WEIGHTS = "model.safetensors"


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
    """Write an original checkpoint as a folder of model, configuration, processor and model card.

    The folder appears whole or not at all.

    Args:
        checkpoint: the `.pt` file.
        output_dir: the folder to write.
        variant: a key of `PRESETS`; recognised from the weights without it and without `config`.
        config: describes a model of other sizes.
        overwrite: whether a folder that is not empty is replaced.
        verify: whether the folder is checked before it appears, see `verify_folder`.
        repo_id: where the examples of the model card load from.

    Returns:
        What was written where.

    Raises:
        ConversionError: if the tensors do not fit.
        FileExistsError: if `output_dir` is not empty and `overwrite` is off.
        ValueError: for a file that is no checkpoint, or an unknown variant.
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
    with torch.device("meta"):
        model = Sam2VideoModel(config)
    check_tensors(converted, model)

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
    Sam2VideoProcessor.from_config(config).save_pretrained(folder)
    config.architectures = ["Sam2VideoModel"]
    config.dtype = next(iter(converted.values())).dtype
    config.save_pretrained(folder)
    tensors = {name: tensor.contiguous() for name, tensor in converted.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    # safetensors writes for the owner alone.
    shutil.copymode(folder / "config.json", folder / WEIGHTS)


def _replace(output_dir: Path, partial: Path) -> None:
    """Put `partial` in the place of `output_dir`; what was there is removed last."""
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
    """Check a converted folder: every tensor in the file bit for bit, then a click on noise by the loaded model.

    Args:
        folder: the folder.
        expected: the tensors by this package's names.

    Raises:
        ConversionError: if anything differs, or if the model gives values that are not finite.
    """
    path = Path(folder) / WEIGHTS
    with safe_open(path, "pt") as written:
        names = set(written.keys()) & expected.keys()
        same = {name for name in names if _same_bits(written.get_tensor(name), expected[name])}
        differing = (set(written.keys()) | expected.keys()) - same
    if differing:
        raise ConversionError(f"{len(differing)} tensors in {path} are not as converted: {sorted(differing)}")

    model = Sam2Model.from_pretrained(folder).eval()
    height, width = model.config.vision_config.input_size
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
    """Upload a converted folder to the Hub, creating the repository if need be.

    Args:
        folder: the folder.
        repo_id: the repository, such as "me/sam2".

    Returns:
        The address of the repository.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    repo = api.create_repo(repo_id, exist_ok=True)
    api.upload_folder(repo_id=repo.repo_id, folder_path=str(folder), commit_message="Upload converted checkpoint")
    return str(repo)
