"""SAM 2 and SAM 2.1 for Hugging Face Transformers: promptable segmentation in images and videos.

Importing the package is cheap: a class is imported when its name is first used. It also registers our classes with
transformers' Auto classes and its `mask-generation` pipeline; `unregister` takes that back. `replace_in_transformers`
goes further: code that imports SAM 2 from transformers gets our classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .hub.auto_classes import register, unregister
from .hub.replacing import replace_in_transformers
from .version import __version__

if TYPE_CHECKING:
    from .configuration_sam2 import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2MaskDecoderConfig,
        Sam2PromptEncoderConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )
    from .everything.everything_tracker import EverythingTracker, segment_and_track_everything
    from .exporters.folder import ExportedFolder, export
    from .fast.allocator import keep_freed_memory
    from .hub.bundled import bundled_checkpoint
    from .image_processing_sam2 import Sam2ImageProcessor
    from .mask_generation.pipeline import Sam2MaskGenerationPipeline
    from .masks.polygons import mask_to_polygons
    from .modeling_sam2 import Sam2HieraDetModel, Sam2Model, Sam2PreTrainedModel, Sam2VisionModel
    from .modeling_sam2_video import Sam2VideoModel, Sam2VideoPreTrainedModel
    from .outputs import Sam2ImageSegmentationOutput, Sam2VideoSegmentationOutput, Sam2VisionEncoderOutput
    from .predictors.embedding_cache import EmbeddingCache
    from .predictors.loaded_models import release_models
    from .predictors.promptable_pipeline import Sam2PromptableSegmentationPipeline
    from .predictors.segmenter import Segmentation, Segmenter, segment, segment_everything
    from .predictors.together import TogetherTracker, track_together
    from .predictors.tracker import Tracker, Tracks, track
    from .presets import PRESETS
    from .processing_sam2 import Sam2Processor
    from .processing_sam2_video import Sam2VideoProcessor
    from .results.clip_result import ClipResult
    from .results.image_result import ImageResult
    from .results.overlay import OverlayStyle
    from .tracking.session import Sam2VideoInferenceSession
    from .video_processing_sam2 import Sam2VideoVideoProcessor

_NAMES = {
    "exporters.folder": ("ExportedFolder", "export"),
    "hub.bundled": ("bundled_checkpoint",),
    "configuration_sam2": (
        "Sam2Config",
        "Sam2HieraDetConfig",
        "Sam2MaskDecoderConfig",
        "Sam2PromptEncoderConfig",
        "Sam2VideoConfig",
        "Sam2VideoMaskDecoderConfig",
        "Sam2VideoPromptEncoderConfig",
        "Sam2VisionConfig",
    ),
    "fast.allocator": ("keep_freed_memory",),
    "everything.everything_tracker": ("EverythingTracker", "segment_and_track_everything"),
    "image_processing_sam2": ("Sam2ImageProcessor",),
    "mask_generation.pipeline": ("Sam2MaskGenerationPipeline",),
    "modeling_sam2": ("Sam2HieraDetModel", "Sam2Model", "Sam2PreTrainedModel", "Sam2VisionModel"),
    "modeling_sam2_video": ("Sam2VideoModel", "Sam2VideoPreTrainedModel"),
    "outputs": ("Sam2ImageSegmentationOutput", "Sam2VideoSegmentationOutput", "Sam2VisionEncoderOutput"),
    "predictors.embedding_cache": ("EmbeddingCache",),
    "predictors.loaded_models": ("release_models",),
    "predictors.promptable_pipeline": ("Sam2PromptableSegmentationPipeline",),
    "predictors.segmenter": ("Segmentation", "Segmenter", "segment", "segment_everything"),
    "predictors.together": ("TogetherTracker", "track_together"),
    "predictors.tracker": ("Tracker", "Tracks", "track"),
    "presets": ("PRESETS",),
    "processing_sam2": ("Sam2Processor",),
    "processing_sam2_video": ("Sam2VideoProcessor",),
    "video_processing_sam2": ("Sam2VideoVideoProcessor",),
    "results.clip_result": ("ClipResult",),
    "results.image_result": ("ImageResult",),
    "results.overlay": ("OverlayStyle",),
    "masks.polygons": ("mask_to_polygons",),
    "tracking.session": ("Sam2VideoInferenceSession",),
}
"""What each module gives to the package: at run time what the imports above are for type checkers."""

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", "register", "replace_in_transformers", "unregister", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
