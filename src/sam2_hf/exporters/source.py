"""What is exported: a model with its image processor, loaded from a checkpoint or given."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import PreTrainedConfig

from ..hub.loading import is_original_file
from ..image_processing_sam2 import Sam2ImageProcessor
from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from ..processing_sam2 import Sam2Processor
from ..sizes import Size, read_size

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork


class ExportSource(NamedTuple):
    """A model in float32 in evaluation mode on the CPU, its image processor, a title, and the checkpoint's folder."""

    model: Any
    processor: Sam2ImageProcessor
    title: str
    folder: Path


def load_source(
    checkpoint: str | os.PathLike[str] | Sam2PromptableNetwork, image_size: int | Size | None = None
) -> ExportSource:
    """Load what is to be exported.

    Args:
        checkpoint: a folder, a name on the Hub, an original `.pt` file, or a model.
        image_size: of the model's input in pixels; that of the checkpoint by default.

    Returns:
        The video model where the checkpoint is of one, else the image model.

    Raises:
        ValueError: a model that is not of this package, or that is to have another size.
        OSError: as `from_pretrained`.
    """
    if isinstance(checkpoint, torch.nn.Module):
        if image_size is not None:
            raise ValueError("image_size is that of the model, which is loaded: give image_size to from_pretrained")
        return _of_model(checkpoint)
    name = os.fspath(checkpoint)
    is_video = is_original_file(name) or PreTrainedConfig.get_config_dict(name)[0].get("model_type") == "sam2_video"
    kind: Any = Sam2VideoModel if is_video else Sam2Model
    size = {} if image_size is None else {"image_size": read_size(image_size, "image_size")}
    model = kind.from_pretrained(name, dtype=torch.float32, device_map=None, **size)
    processor = Sam2Processor.from_pretrained(name, **size).image_processor
    return ExportSource(
        model.eval(), processor, Path(name).stem if is_original_file(name) else Path(name).name, Path(name)
    )


def _of_model(model: torch.nn.Module) -> ExportSource:
    if not isinstance(model, (Sam2Model, Sam2VideoModel)):
        raise ValueError(f"checkpoint must be a Sam2Model, a Sam2VideoModel or a path, got {type(model).__name__}")
    (height, width), mask = (
        read_size(model.prompt_encoder.image_size, "image_size"),
        model.prompt_encoder.mask_input_size,
    )
    processor = Sam2ImageProcessor(
        size={"height": height, "width": width}, mask_size={"height": mask[0], "width": mask[1]}
    )
    name = str(model.config.name_or_path or model.config.model_type)
    return ExportSource(_prepared(model), processor, Path(name).name, Path(name))


def _prepared(model: torch.nn.Module) -> torch.nn.Module:
    """The model as graphs are recorded of it; a copy where it is not so already, for it is somebody's."""
    weights = [*model.parameters(), *model.buffers()]
    is_single = all(weight.dtype == torch.float32 or not weight.is_floating_point() for weight in weights)
    if is_single and not model.training and all(weight.device.type == "cpu" for weight in weights):
        return model
    return copy.deepcopy(model).float().cpu().eval()
