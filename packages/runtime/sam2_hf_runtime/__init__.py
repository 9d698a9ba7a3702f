"""SAM 2 by NumPy and onnxruntime: exported checkpoints segment images and track through clips, without torch.

The code is that of `sam2_hf.runtime`, copied here with the modules that it needs when this distribution is built.
"""

from __future__ import annotations

from .runtime import (
    LiveTracks,
    Segmenter,
    Tracker,
    VideoModel,
    VideoProcessor,
    VideoSession,
    open_video,
    segment,
    segment_everything,
    track,
)
from .version import __version__

__all__ = [
    "LiveTracks",
    "Segmenter",
    "Tracker",
    "VideoModel",
    "VideoProcessor",
    "VideoSession",
    "__version__",
    "open_video",
    "segment",
    "segment_everything",
    "track",
]
