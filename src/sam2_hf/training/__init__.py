"""Training and evaluation: data, simulated prompts, the model that learns from clips, recipes and metrics.

The names below are all that fine-tuning needs. Each is imported when it is first used; nothing here is needed to use a
model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collage.collages import Collages
    from .data.annotated_video import AnnotatedVideo, Clip
    from .data.augmentation import standard_augmentation
    from .data.coco import CocoImages
    from .data.collation import ClipCollator, ImageCollator
    from .data.image_folder import ImageFolder
    from .data.palette_folder import PaletteFolder
    from .data.sa_v import SaVEvaluation, SaVTraining
    from .data.sampling import ClipDataset, ClipSampling
    from .evaluation.prompt_evaluation import evaluate_prompts
    from .evaluation.tracking_evaluation import evaluate_tracking
    from .loop.recipe_file import load_recipe
    from .loop.run_recipe import train
    from .loop.trainer import Sam2Trainer, clip_metrics
    from .models.clip_model import Sam2VideoForTraining
    from .models.freezing import freeze
    from .models.lora import add_lora
    from .prompting.interaction import Interaction
    from .synthetic.world import SyntheticVideos

_NAMES = {
    "data.annotated_video": ("AnnotatedVideo", "Clip"),
    "data.augmentation": ("standard_augmentation",),
    "data.coco": ("CocoImages",),
    "data.collation": ("ClipCollator", "ImageCollator"),
    "data.image_folder": ("ImageFolder",),
    "data.palette_folder": ("PaletteFolder",),
    "data.sa_v": ("SaVEvaluation", "SaVTraining"),
    "data.sampling": ("ClipDataset", "ClipSampling"),
    "evaluation.prompt_evaluation": ("evaluate_prompts",),
    "evaluation.tracking_evaluation": ("evaluate_tracking",),
    "loop.recipe_file": ("load_recipe",),
    "loop.run_recipe": ("train",),
    "loop.trainer": ("Sam2Trainer", "clip_metrics"),
    "models.clip_model": ("Sam2VideoForTraining",),
    "models.freezing": ("freeze",),
    "models.lora": ("add_lora",),
    "prompting.interaction": ("Interaction",),
    "collage.collages": ("Collages",),
    "synthetic.world": ("SyntheticVideos",),
}
"""What each module gives to the package: at run time what the imports above are for type checkers."""

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
