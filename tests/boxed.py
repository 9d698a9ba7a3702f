"""The bundled checkpoint and the part of its world that no training sees."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from sam2_hf import Sam2Model, Sam2Processor, Sam2VideoModel, Sam2VideoProcessor, bundled_checkpoint
from sam2_hf.training.prompting.distance import deepest_points
from sam2_hf.training.synthetic.rendering import RenderedClip
from sam2_hf.training.synthetic.world import SyntheticVideos


@cache
def image_model() -> tuple[Sam2Model, Sam2Processor]:
    folder = bundled_checkpoint()
    return Sam2Model.from_pretrained(folder).eval(), Sam2Processor.from_pretrained(folder)


@cache
def video_model() -> tuple[Sam2VideoModel, Sam2VideoProcessor]:
    folder = bundled_checkpoint()
    return Sam2VideoModel.from_pretrained(folder).eval(), Sam2VideoProcessor.from_pretrained(folder)


def images(count: int) -> SyntheticVideos:
    """Images of the test split."""
    return SyntheticVideos(count, split="test", objects=(3, 8), moving=False)


@cache
def clip(number: int) -> RenderedClip:
    """All forty frames of a clip of the test split."""
    return SyntheticVideos(number + 1, split="test")[number].render(range(40))


def middles(masks: np.ndarray) -> Tensor:
    """The deepest point (x, y) of each mask (N, H, W), (N, 2)."""
    return deepest_points(torch.from_numpy(masks))[0]


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Of two masks (H, W); two empty ones agree."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0
