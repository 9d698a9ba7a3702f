"""Images and clips in one call, over exported graphs, by the names and arguments of `sam2_hf`."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ..predictors import segmenter, tracker
from ..tracking.memory.registry import PolicySetting, read_policy_setting
from ..video_io.source import VideoSource
from .exported_folder import ExportedFolder
from .graphs import Graphs
from .image_engine import GraphEngine
from .processor import Processor, VideoProcessor
from .session import VideoSession
from .video_model import VideoModel
from .video_source import open_video


class Segmenter(segmenter.Segmenter):
    """Segments images with exported graphs, as `sam2_hf.Segmenter` does with a model.

    Args:
        folder: written by `sam2_hf.export`, of an image or a video checkpoint.
        dtype: which of its graphs, "fp32", "fp16" or "int8".
        threads: how many threads compute; onnxruntime's choice by default.
        providers: what computes, in onnxruntime's names; the CPU by default.

    Raises:
        FileNotFoundError, ValueError: the folder is none of that kind.
        ImportError: onnxruntime is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        dtype: str = "fp32",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ):
        exported = ExportedFolder(folder)
        self._processor = Processor(exported)
        self._graphs = Graphs(exported, dtype, threads, providers)
        self.engine = GraphEngine(self._graphs, self._processor)

    @property
    def model(self) -> Graphs:
        """The graphs."""
        return self._graphs

    @property
    def processor(self) -> Processor:
        """Makes the graphs' inputs, and masks of logits."""
        return self._processor


class Tracker(tracker.Tracker):
    """Tracks objects through clips with exported graphs, as `sam2_hf.Tracker` does with a model.

    Args:
        folder: written by `sam2_hf.export`, of a video checkpoint.
        dtype: which of its graphs, "fp32", "fp16" or "int8".
        threads: how many threads compute; onnxruntime's choice by default.
        providers: what computes, in onnxruntime's names; the CPU by default.
        memory_policy: which memories tracking reads, such as "visible"; that of the checkpoint by default.

    Raises:
        FileNotFoundError, ValueError: the folder is none of that kind, or there is no such policy.
        ImportError: onnxruntime is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        dtype: str = "fp32",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        memory_policy: PolicySetting | None = None,
    ):
        self.memory_policy = read_policy_setting(memory_policy)
        exported = ExportedFolder(folder)
        self._processor = VideoProcessor(exported)
        self._model = VideoModel(exported, Graphs(exported, dtype, threads, providers))

    @property
    def model(self) -> VideoModel:
        """Tracks, one session at a time or many."""
        return self._model

    @property
    def processor(self) -> VideoProcessor:
        """Opens sessions and gives them prompts."""
        return self._processor

    def open_session(self, video: VideoSource | None = None, **settings: Any) -> VideoSession:
        """Open a session with this tracker's memory policy.

        Args:
            video: an open source of frames; None for a stream whose frames are handed over one by one.
            settings: further arguments of `VideoProcessor.init_video_session`.

        Returns:
            The session, without objects.
        """
        return self.processor.init_video_session(video, memory_policy=self.memory_policy, **settings)

    def open_video(self, clip: Any) -> VideoSource:
        """Open anything that `open_video` takes, with frames as arrays."""
        return open_video(clip)


def segment(
    image: Any, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None, *, folder: Any, **how: Any
) -> Any:
    """Segment the objects of an image that prompts mean; see `sam2_hf.segment`.

    Args:
        image: see there, as for the prompts.
        points: see there.
        labels: see there.
        boxes: see there.
        masks: see there.
        folder: written by `sam2_hf.export`. It is loaded by each call; a `Segmenter` keeps it loaded.
        how: further arguments of `Segmenter`.

    Returns:
        A `Segmentation`; a list of them for a list of images.
    """
    return Segmenter(folder, **how).segment(image, points, labels, boxes, masks)


def segment_everything(image: Any, *, folder: Any, **settings: Any) -> Any:
    """Segment everything in an image; see `sam2_hf.segment_everything`.

    Args:
        image: see there.
        folder: written by `sam2_hf.export`. It is loaded by each call; a `Segmenter` keeps it loaded.
        settings: see there.

    Returns:
        An `ImageResult`; a list of them for a list of images.
    """
    return Segmenter(folder).segment_everything(image, **settings)


def track(clip: Any, prompts: Mapping[Hashable, Any], *, folder: Any, progress: bool = False, **how: Any) -> Any:
    """Track objects through a clip; see `sam2_hf.track`.

    Args:
        clip: see there.
        prompts: see there.
        folder: written by `sam2_hf.export`. It is loaded by each call; a `Tracker` keeps it loaded.
        progress: whether a bar shows how far it is, which needs tqdm.
        how: further arguments of `Tracker`.

    Returns:
        `Tracks`, which can be corrected.
    """
    return Tracker(folder, **how).track(clip, prompts, progress)
