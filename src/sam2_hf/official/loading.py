"""A checkpoint, under any of its names, as one of Meta's models or predictors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedConfig

from ..configuration_sam2 import Sam2Config, Sam2VideoConfig
from ..hub.conversion import check_tensors, convert_state_dict, read_checkpoint
from ..modeling_sam2 import Sam2Model
from .device import as_device
from .engine import OfficialVideoModel
from .modeling.sam2_base import SAM2Base
from .settings import Settings, preset_of, read_settings

Kind = TypeVar("Kind", bound=SAM2Base)


def build(
    kind: type[Kind],
    config_file: str | None,
    ckpt_path: Any = None,
    device: Any = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> Kind:
    """Builds a model or a predictor; the arguments are those of `build_sam2` and `build_sam2_video_predictor`.

    Args:
        kind: `SAM2Base`, or a predictor class, which needs a checkpoint with memory parts.
        config_file: one of Meta's eight YAML names; None where `ckpt_path` has a configuration of its own.
        ckpt_path: an original `.pt`; or a folder or a name on the Hub in the layout of Transformers. None for random
            weights.
        device: where the model goes; the CPU, with a warning, where CUDA is asked for and missing.
        mode: "eval", or anything else for training.
        hydra_overrides_extra: settings, each `++model.NAME=VALUE`.
        apply_postprocessing: see `read_settings`.
        vos_optimized: compile the model's parts.
        kwargs: not read.

    Raises:
        ValueError: for unknown names and overrides, or a checkpoint that does not fit.
        FileNotFoundError: for a `.pt` that is not there.
    """
    settings = read_settings(hydra_overrides_extra, apply_postprocessing)
    network = _load(config_file, ckpt_path, settings)
    compiled = settings.predictor.pop("vos_optimized", False) or vos_optimized
    kind = _named_class(settings.target, kind)
    model = kind(network) if kind is SAM2Base else kind(network, **settings.predictor)
    model = model.to(as_device(device)).train(mode != "eval")
    if compiled:
        model.network.compile("throughput")
    return model


def _named_class(target: str | None, usual: type[Kind]) -> type[Kind]:
    """The class that `++model._target_=...` names, which may be a program's own."""
    if target is None:
        return usual
    module, _, name = target.rpartition(".")
    package = __name__.rpartition(".")[0]  # which need not be installed as `sam2`
    own = package + module.removeprefix("sam2") if module.split(".")[0] == "sam2" else module
    try:
        found = getattr(importlib.import_module(own), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"hydra_overrides_extra: model._target_ names no class that is here, got {target!r}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, SAM2Base)):
        raise ValueError(f"hydra_overrides_extra: model._target_ must be a SAM2Base, got {target!r}")
    return found  # type: ignore[return-value]


def _load(config_file: str | None, checkpoint: Any, settings: Settings) -> OfficialVideoModel | Sam2Model:
    """The model of a checkpoint with the settings in its configuration, on the CPU."""
    if checkpoint is None:
        return OfficialVideoModel(_named_config(config_file, settings))
    path = Path(checkpoint)
    if path.suffix in (".pt", ".pth"):
        return _load_original(path, _named_config(config_file, settings))
    fields, _ = PreTrainedConfig.get_config_dict(str(checkpoint))
    if fields.get("model_type") == Sam2Config.model_type:
        image_config = Sam2Config.from_pretrained(str(checkpoint))
        for name, value in settings.decoder.items():
            setattr(image_config.mask_decoder_config, name, value)
        return Sam2Model.from_pretrained(str(checkpoint), config=image_config)
    config = Sam2VideoConfig.from_pretrained(str(checkpoint))
    _check_named(config_file, config)
    return OfficialVideoModel.from_pretrained(str(checkpoint), config=settings.apply(config))


def random_network(config_file: str, image_size: int) -> OfficialVideoModel:
    """A network of one of Meta's eight names, with Meta's settings and random weights.

    Args:
        config_file: the name.
        image_size: side of the model's input in pixels.

    Raises:
        ValueError: for any other name, or a size that is no multiple of 32.
    """
    settings = read_settings([f"++model.image_size={image_size}"], apply_postprocessing=False)
    return OfficialVideoModel(_named_config(config_file, settings)).eval()


def _named_config(config_file: str | None, settings: Settings) -> Sam2VideoConfig:
    if config_file is None:
        raise ValueError("config_file must be one of Meta's eight names where the checkpoint has no configuration")
    return settings.apply(Sam2VideoConfig.from_preset(preset_of(config_file)))


def _load_original(path: Path, config: Sam2VideoConfig) -> OfficialVideoModel:
    tensors = convert_state_dict(read_checkpoint(path))
    network = OfficialVideoModel(config)
    check_tensors(tensors, network)
    network.load_state_dict(tensors)
    return network


def _check_named(config_file: str | None, config: Sam2VideoConfig) -> None:
    """Raises a `ValueError` unless a folder's trunk is the one that `config_file` names."""
    if config_file is None:
        return
    preset = preset_of(config_file)
    trunks = (other.vision_config.backbone_config for other in (Sam2VideoConfig.from_preset(preset), config))
    named, found = ((trunk.hidden_size, trunk.blocks_per_stage) for trunk in trunks)
    if named != found:
        raise ValueError(
            f"config_file {config_file!r} names a trunk of the width and the blocks {named}, the checkpoint has {found}"
        )
