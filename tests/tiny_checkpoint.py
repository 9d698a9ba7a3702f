"""A tiny random checkpoint on disk, with its processor."""

from __future__ import annotations

from pathlib import Path

from tiny import tiny_image_model, tiny_video_model

from sam2_hf import Sam2ImageProcessor, Sam2Processor, Sam2VideoProcessor


def save_tiny_checkpoint(folder: Path, image_size: int = 64, seed: int = 0, video: bool = False) -> Path:
    """Saves a `sam2` or `sam2_video` model for images of `image_size` pixels a side; returns `folder`."""
    model, processor = (tiny_video_model, Sam2VideoProcessor) if video else (tiny_image_model, Sam2Processor)
    model(seed, image_size=image_size).save_pretrained(folder)
    size = {"height": image_size, "width": image_size}
    mask_size = {"height": image_size // 4, "width": image_size // 4}
    processor(Sam2ImageProcessor(size=size, mask_size=mask_size)).save_pretrained(folder)
    return folder
