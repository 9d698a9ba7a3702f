"""The tensors of original SAM 2 checkpoints (`.pt`) under the names of this package and of Transformers.

Strict both ways: a tensor that the table of `key_mapping` does not name raises, and so does one that the model has and
the checkpoint has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..presets import PRESETS
from .key_mapping import GRID_MATRIX, POINT_EMBEDDING, POINT_TABLE, PROMPT_MATRIX, original_name, rename

StateDict = Mapping[str, Tensor]

# Only checkpoints of SAM 2.1 hold these.
NEW_IN_2_1 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")


class ConversionError(ValueError):
    """A checkpoint does not fit: its message lists every unknown, missing and wrongly shaped tensor."""


def convert_state_dict(original: StateDict) -> dict[str, Tensor]:
    """Name the tensors of an original checkpoint as this package does; values and dtypes stay as they are.

    Args:
        original: tensors by their original names.

    Returns:
        The same tensors by the names of `Sam2VideoModel`; the point embeddings are one table.

    Raises:
        ConversionError: listing every name that the tables do not cover, or point embeddings of unequal shapes.
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
        rows = {tuple(row.shape) for row in points.values()}
        if len(rows) > 1 or len(next(iter(rows))) != 2:
            raise ConversionError(f"point embeddings must be one row (1, width) each and alike, got {sorted(rows)}")
        converted[POINT_TABLE] = torch.cat([points[index] for index in sorted(points)])
    if GRID_MATRIX in converted:
        converted[PROMPT_MATRIX] = converted[GRID_MATRIX].clone()
    return converted


def _raise_if_any(unknown: Iterable[str] = (), missing: Iterable[str] = (), shapes: Iterable[str] = ()) -> None:
    kinds = {"unknown": sorted(unknown), "missing": sorted(set(missing)), "of another shape": sorted(set(shapes))}
    found = [f"{len(names)} {kind}:\n  " + "\n  ".join(names) for kind, names in kinds.items() if names]
    if found:
        raise ConversionError("the checkpoint does not fit the model; tensors " + "\n".join(found))


def check_tensors(converted: StateDict, model: nn.Module) -> None:
    """Check that the tensors are exactly those of a model.

    Args:
        converted: tensors by this package's names.
        model: the model that they are for; on the "meta" device it takes no memory.

    Raises:
        ConversionError: listing every unknown, missing and wrongly shaped tensor by its original name.
    """
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    unknown = map(original_name, converted.keys() - expected.keys())
    missing = map(original_name, expected.keys() - converted.keys())
    shapes = [
        f"{original_name(name)}: {tuple(converted[name].shape)} in the checkpoint, {tuple(shape)} in the model"
        for name, shape in expected.items()
        if name in converted and converted[name].shape != shape
    ]
    _raise_if_any(unknown, missing, shapes)


def recognise_variant(original: StateDict) -> str:
    """Find the preset that a checkpoint's trunk and version belong to.

    The trunk tells by its width and its blocks a stage (a block that changes the width opens a stage), the version by
    the tensors that 2.1 added.

    Args:
        original: tensors by their original names.

    Returns:
        A key of `PRESETS`.

    Raises:
        ValueError: with what was found if no preset is like it.
    """
    position = original.get("image_encoder.trunk.pos_embed")
    if position is None:
        raise ValueError("this is no SAM 2 checkpoint: it has no tensor 'image_encoder.trunk.pos_embed'")
    if position.ndim != 4:
        raise ValueError(
            f"'image_encoder.trunk.pos_embed' must be (1, width, height, width of the map), got {tuple(position.shape)}"
        )
    width = position.shape[1]
    blocks = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.(norm1|proj)\.weight")
    found = [match.groups() for match in map(blocks.fullmatch, original) if match]
    starts = sorted(int(index) for index, part in found if part == "proj")
    edges = [0, *starts, sum(part == "norm1" for _, part in found)]
    per_stage = [end - start for start, end in pairwise(edges)]
    version = "sam2.1" if any(name in original for name in NEW_IN_2_1) else "sam2"
    for name in PRESETS:
        trunk = PRESETS[name]["vision_config"]["backbone_config"]
        same_trunk = (trunk["hidden_size"], trunk["blocks_per_stage"]) == (width, per_stage)
        if same_trunk and name.startswith(f"{version}-"):
            return name
    raise ValueError(
        f"no preset has a trunk {width} wide with {per_stage} blocks a stage ({version}); "
        "name the preset with --variant, or describe the model with --config"
    )


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of an original checkpoint: `{"model": state_dict}`, or a state dict alone.

    Nothing in the file is executed (`weights_only`).

    Args:
        path: the `.pt` file.

    Returns:
        Its tensors by name, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: saying what the file is instead.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle end in errors of every kind
        raise ValueError(f"{path} is no PyTorch checkpoint, or holds more than plain tensors") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected {{'model': state_dict}}")
    others = [name for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if not content or others:
        raise ValueError(
            f"{path} holds no state dict: expected {{'model': state_dict}} or a dict of tensors by name, "
            f"got {'an empty dict' if not content else f'other names or values under {others[:5]}'}"
        )
    return content
