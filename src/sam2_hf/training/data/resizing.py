"""Resizing of clips."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from ...inputs.resizing import resize, resize_nearest
from .annotated_video import Clip

Size = tuple[int, int]


def resize_frames(frames: np.ndarray, size: Size) -> np.ndarray:
    """Resize (T, H, W, 3) uint8 to (T, *size, 3) uint8, with antialiasing."""
    if frames.shape[1:3] == size:
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    return np.stack([resize(frame, size).permute(1, 2, 0).numpy() for frame in pixels])


def resize_masks(masks: np.ndarray, size: Size) -> np.ndarray:
    """Resize (..., H, W) bool to (..., *size) bool: a pixel belongs to the object if half of it does."""
    if masks.shape[-2:] == size:
        return masks
    if masks.size == 0:
        return np.zeros((*masks.shape[:-2], *size), bool)
    values = torch.from_numpy(np.ascontiguousarray(masks).reshape(-1, 1, *masks.shape[-2:])).float()
    resized = F.interpolate(values, size=size, mode="bilinear", antialias=True) >= 0.5
    return resized.numpy().reshape(*masks.shape[:-2], *size)


def resize_clip(clip: Clip, size: Size) -> Clip:
    """Resize a clip to (height, width) in pixels; the aspect ratio may change."""
    ignored = None
    if clip.ignored is not None:
        ignored = resize_nearest(torch.from_numpy(np.ascontiguousarray(clip.ignored)), size).numpy()
    return Clip(resize_frames(clip.frames, size), resize_masks(clip.masks, size), clip.object_ids, ignored)
