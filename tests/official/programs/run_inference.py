# ruff: noqa: T201
"""Roboflow's block for SAM 2, its model given in the place of a download; prints what came out."""

from __future__ import annotations

from threading import RLock

import numpy as np
from inference.core.entities.requests.sam2 import Sam2PromptSet
from inference.models.sam2.segment_anything2 import SegmentAnything2
from PIL import Image
from sam2.build_sam import build_sam2

block = SegmentAnything2.__new__(SegmentAnything2)
block.sam = build_sam2(None, "checkpoint", device="cpu")
block.image_size = int(getattr(block.sam, "image_size", 1024))
block.low_res_logits_cache_size = block.embedding_cache_size = 10
block.embedding_cache, block.image_size_cache, block.embedding_cache_keys = {}, {}, []
block.low_res_logits_cache, block.low_res_logits_cache_keys = {}, []
block._state_lock = RLock()

image = np.array(Image.open("frames/00000.jpg"))
prompts = {
    "prompts": [
        {"points": [{"x": 36, "y": 40, "positive": True}]},
        {"points": [{"x": 96, "y": 84, "positive": True}, {"x": 20, "y": 20, "positive": False}]},
    ]
}
masks, scores, logits = block.segment_image(image, "first", prompts=prompts, save_logits_to_cache=True)
print("points", masks.shape, scores.shape, logits.shape)
box = Sam2PromptSet(prompts=[{"box": {"x": 37, "y": 40, "width": 42, "height": 40}}])
print("box", block.segment_image(None, "first", prompts=box, multimask_output=False)[0].shape)
again = block.segment_image(image, "first", prompts=prompts, load_logits_from_cache=True)[0]
print("again", again.shape)
