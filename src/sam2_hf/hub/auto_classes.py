"""Registration with the Auto classes and the `mask-generation` pipeline of transformers.

Importing transformers' Auto classes pulls in torch, so `register` does not import them: it waits until somebody
else does. And what it then enters are names, which become classes when they are first looked up.

Only the two top-level model types are ours. Those of their parts (`sam2_vision_model`, ...) stay with transformers,
whose own `Sam2Model` builds itself through them and goes on working beside ours.
"""

from __future__ import annotations

import functools
import importlib
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .import_hooks import cancel, when_imported
from .json_files import read_json
from .replacing import restore

CLASSES = {
    "sam2": {
        "AutoConfig": "Sam2Config",
        "AutoModel": "Sam2Model",
        "AutoModelForMaskGeneration": "Sam2Model",
        "AutoProcessor": "Sam2Processor",
        "AutoImageProcessor": "Sam2ImageProcessor",
    },
    "sam2_video": {
        "AutoConfig": "Sam2VideoConfig",
        "AutoModel": "Sam2VideoModel",
        "AutoModelForMaskGeneration": "Sam2Model",
        "AutoProcessor": "Sam2VideoProcessor",
        "AutoImageProcessor": "Sam2ImageProcessor",
        "AutoVideoProcessor": "Sam2VideoVideoProcessor",
    },
}
"""Which class an Auto class gives for a `model_type`, by the name under which the package exports it."""

PIPELINE = ("mask-generation", "Sam2MaskGenerationPipeline")
NEW_PIPELINE = ("promptable-visual-segmentation", "Sam2PromptableSegmentationPipeline")
"""A task that transformers proposes and does not have yet; once it has it, its own pipeline stays."""

Undo = Callable[[], None]

_undo: list[Undo] = []
_registered = False
_PACKAGE = (__package__ or "").rpartition(".")[0]


def register() -> None:
    """Make the Auto classes and `pipeline("mask-generation")` give our classes for SAM 2 checkpoints.

    Importing the package does this. Calling it again changes nothing.
    """
    global _registered
    if _registered:
        return
    _registered = True
    for module, step in _STEPS.items():
        when_imported(module, functools.partial(_take, step))


def unregister() -> None:
    """Take back what `register` and `replace_in_transformers` did: transformers gives its own classes again."""
    global _registered
    _registered = False
    restore()
    for module in _STEPS:
        cancel(module)
    while _undo:
        _undo.pop()()


def _take(step: Callable[[ModuleType], Undo], module: ModuleType) -> None:
    _undo.append(step(module))


@dataclass(frozen=True)
class _Exported:
    """A class of this package that is imported when it is asked for."""

    name: str

    def load(self) -> Any:
        return getattr(importlib.import_module(_PACKAGE), self.name)


class _LoadingValues(UserDict[Any, Any]):
    """A view of a dict that loads each `_Exported` value on its first access; keys and foreign values pass through."""

    def __init__(self, data: dict[Any, Any]):
        self.data = data  # the dict itself and no copy, so that it can simply be put back

    def __getitem__(self, key: Any) -> Any:
        value = self.data[key]
        if isinstance(value, _Exported):
            value = self.data[key] = value.load()
        return value


def _enter(mapping: Any, entries: dict[Any, _Exported]) -> Undo:
    """Put `entries` where `mapping.register` puts its classes, before those that transformers comes with."""
    registered = mapping._extra_content
    before = {key: registered[key] for key in entries if key in registered}
    registered.update(entries)
    mapping._extra_content = _LoadingValues(registered)

    def undo() -> None:
        for key in entries:
            registered.pop(key, None)
        registered.update(before)
        mapping._extra_content = registered

    return undo


def _enter_configs(configuration_auto: ModuleType) -> Undo:
    entries = {model_type: _Exported(classes["AutoConfig"]) for model_type, classes in CLASSES.items()}
    return _enter(configuration_auto.CONFIG_MAPPING, entries)


def _enter_models(modeling_auto: ModuleType) -> Undo:
    undos = []
    for auto_class in ("AutoModel", "AutoModelForMaskGeneration"):
        # Configs are light to import; these mappings need the classes themselves as keys.
        entries = {
            _Exported(classes["AutoConfig"]).load(): _Exported(classes[auto_class])
            for classes in CLASSES.values()
            if auto_class in classes
        }
        undos.append(_enter(getattr(modeling_auto, auto_class)._model_mapping, entries))

    def undo() -> None:
        for undo_one in undos:
            undo_one()

    return undo


def _enter_pipeline(pipelines: ModuleType) -> Undo:
    tasks = pipelines.PIPELINE_REGISTRY.supported_tasks
    task, implementation = PIPELINE
    before = tasks[task]
    # `register_pipeline` would want the class at once, and would have it saved with models as custom code.
    tasks[task] = _LoadingValues({**before, "impl": _Exported(implementation)})
    new_task, new_implementation = NEW_PIPELINE
    is_new = new_task not in tasks
    if is_new:
        tasks[new_task] = _LoadingValues({**before, "impl": _Exported(new_implementation)})

    def undo() -> None:
        tasks[task] = before
        if is_new:
            tasks.pop(new_task, None)

    return undo


def _route_processors(auto_class: str, module: ModuleType) -> Undo:
    """Make `auto_class.from_pretrained` ask for the checkpoint's model type before anything else.

    The processors' own registries are of no use here: a checkpoint names its processor class ("Sam2Processor"), and
    that name finds transformers' class first. A look at the name alone would not do either, since EdgeTAM's
    checkpoints carry the same ones.
    """
    owner = getattr(module, auto_class)
    original = owner.__dict__["from_pretrained"]

    @functools.wraps(original.__func__)
    def from_pretrained(cls: type, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        ours = _processor_name(auto_class, pretrained_model_name_or_path, kwargs)
        if ours is None:
            return original.__func__(cls, pretrained_model_name_or_path, *args, **kwargs)
        for choice in ("config", "use_fast", "backend", "trust_remote_code", "code_revision"):
            kwargs.pop(choice, None)  # they help an Auto class to choose
        return _Exported(ours).load().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    owner.from_pretrained = classmethod(from_pretrained)

    def undo() -> None:
        owner.from_pretrained = original

    return undo


def _processor_name(auto_class: str, source: Any, kwargs: dict[str, Any]) -> str | None:
    """Find which of our classes `auto_class` gives for the checkpoint `source`; None if it is none of ours."""
    config = kwargs.get("config")
    model_type = getattr(config, "model_type", None) or read_json(source, "config.json", kwargs).get("model_type")
    if model_type is not None:
        return CLASSES.get(model_type, {}).get(auto_class)
    # A folder that holds a processor alone: its class name is all there is to go by.
    saved = read_json(source, "preprocessor_config.json", kwargs)
    saved |= read_json(source, "processor_config.json", kwargs)
    if auto_class == "AutoProcessor":
        name = saved.get("processor_class")
    elif auto_class == "AutoVideoProcessor":
        saved |= read_json(source, "video_preprocessor_config.json", kwargs)
        name = (saved | saved.get("video_processor", {})).get("video_processor_type")
    else:
        name = (saved | saved.get("image_processor", {})).get("image_processor_type")
    name = str(name).removesuffix("Fast")
    return name if any(name == classes.get(auto_class) for classes in CLASSES.values()) else None


_STEPS: dict[str, Callable[[ModuleType], Undo]] = {
    "transformers.models.auto.configuration_auto": _enter_configs,
    "transformers.models.auto.modeling_auto": _enter_models,
    "transformers.models.auto.processing_auto": functools.partial(_route_processors, "AutoProcessor"),
    "transformers.models.auto.image_processing_auto": functools.partial(_route_processors, "AutoImageProcessor"),
    "transformers.models.auto.video_processing_auto": functools.partial(_route_processors, "AutoVideoProcessor"),
    "transformers.pipelines": _enter_pipeline,
}
