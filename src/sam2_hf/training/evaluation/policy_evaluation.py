"""Evaluation of memory policies: the same videos tracked with each, and the time that each takes."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.annotated_video import AnnotatedVideo
from ..prompting.interaction import PromptKind
from .metrics import ObjectScore, summarise
from .tracking_evaluation import VideoFrames, track_objects

if TYPE_CHECKING:
    from ...modeling_sam2_video import Sam2VideoModel
    from ...processing_sam2_video import Sam2VideoProcessor
    from ...tracking.memory.registry import PolicySetting


@dataclass
class PolicyScores:
    """What one policy reached.

    Attributes:
        scores: of the objects, by the kind of video.
        seconds: of tracking, for each video.
    """

    scores: dict[str, list[ObjectScore]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def averages(self) -> dict[str, float]:
        """Average over all objects; "J&F KIND" over those of one kind of video."""
        kinds = {f"J&F {kind}": summarise(scores)["J&F"] for kind, scores in self.scores.items()}
        return {**summarise([score for scores in self.scores.values() for score in scores]), **kinds}


def evaluate_policies(
    model: Sam2VideoModel,
    processor: Sam2VideoProcessor,
    videos: Iterable[AnnotatedVideo],
    policies: Mapping[str, PolicySetting],
    prompt: PromptKind = "mask",
) -> dict[str, PolicyScores]:
    """Track every object of every video with every policy.

    Frames are encoded once for all policies. The policies take turns with each video, so that a busy machine slows all
    of them alike; the time of a video is that of encoding its frames and of tracking.

    Args:
        model: the model.
        processor: of the model.
        videos: the annotated videos; a name such as "KIND / 3" says what kind a video is of.
        policies: memory policies by a name for the table.
        prompt: of every object, see `evaluate_tracking`.

    Returns:
        What each policy reached, by its name.
    """
    found = {name: PolicyScores() for name in policies}
    for video in videos:
        known = _Remembered(video)
        kind = video.name.split(" / ")[0]
        features, encoding = _encode(model, processor, known)
        for name, policy in policies.items():
            session = processor.init_video_session(
                VideoFrames(known),
                inference_device=model.device,
                memory_policy=policy,
                max_vision_features_cache_size=video.num_frames,
            )
            for frame, entry in enumerate(features):
                session.feature_cache.put(frame, entry)
            start = time.perf_counter()
            collected = track_objects(model, processor, session, known, prompt)
            found[name].seconds.append(encoding + time.perf_counter() - start)
            for obj_id, frames in collected.items():
                if frames.regions:
                    found[name].scores.setdefault(kind, []).append(frames.score(video.name, obj_id))
    return found


def as_table(found: Mapping[str, PolicyScores]) -> str:
    """Write what policies reached as a table in Markdown.

    Args:
        found: by name; the first is what times are compared with.

    Returns:
        One row for each policy: J&F, J&F of objects that reappear, the share of frames that are rightly judged visible
        or not, J&F by kind of video, and the median over the videos of the time beside that of the first policy.
    """
    rows = {name: scores.averages() for name, scores in found.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row if column not in ("J", "F")))
    lines = [["policy", *columns, "time"], ["---"] * (len(columns) + 2)]
    first = next(iter(found.values())).seconds
    for name, row in rows.items():
        ratio = float(np.median(np.divide(found[name].seconds, first)))
        lines.append([name, *(f"{row.get(column, float('nan')):.3f}" for column in columns), f"{ratio:.2f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@torch.inference_mode()
def _encode(model: Sam2VideoModel, processor: Sam2VideoProcessor, video: AnnotatedVideo) -> tuple[list, float]:
    """The features of all frames, and the seconds that it took."""
    session = processor.init_video_session(VideoFrames(video), inference_device=model.device)
    pixels = [session.pixel_values(frame).to(model.device) for frame in range(video.num_frames)]
    start = time.perf_counter()
    features = [model.encode_frames(frame)[0] for frame in pixels]
    return features, time.perf_counter() - start


class _Remembered(AnnotatedVideo):
    """A video whose frames and masks are read once."""

    def __init__(self, video: AnnotatedVideo):
        self.name, self.num_frames, self.annotated = video.name, video.num_frames, video.annotated
        self.exclusive = video.exclusive
        self._read = {name: lru_cache(None)(getattr(video, name)) for name in ("image", "masks", "ignored")}

    def image(self, frame: int) -> np.ndarray:
        return self._read["image"](frame)

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        return self._read["masks"](frame)

    def ignored(self, frame: int) -> np.ndarray | None:
        return self._read["ignored"](frame)
