"""SAM 2 by NumPy and onnxruntime: exported checkpoints segment images and track through clips without torch.

`Segmenter` and `Tracker` are those of `sam2_hf`, over a folder that `sam2_hf.export` wrote. Nothing here imports torch
or transformers. The separate distribution `sam2-hf-runtime` has the same code as the package `sam2_hf_runtime`.
"""

from __future__ import annotations

from ..predictors.live import LiveTracks
from .one_call import Segmenter, Tracker, open_video, segment, segment_everything, track
from .processor import VideoProcessor
from .session import VideoSession
from .video_model import VideoModel

__all__ = [
    "LiveTracks",
    "Segmenter",
    "Tracker",
    "VideoModel",
    "VideoProcessor",
    "VideoSession",
    "open_video",
    "segment",
    "segment_everything",
    "track",
]
