# ruff: noqa: T201
"""simple-sam2's service: prompts on a video that is split into batches of frames; prints what came out."""

from __future__ import annotations

import os

from simple_sam2 import SAM2Service

service = SAM2Service(cfg=None, ckpt="checkpoint", batch_size=4, storage_dir="storage")
print("frames", service.init_video("clip", video_path="clip.mp4")["total_frames"])
mask = service.add_prompts("clip", frame_idx=0, obj_id=1, pos_points=[[36, 40]])
print("mask", mask.shape, mask.dtype)
service.propagate_and_save("clip", obj_labels={"1": "disc"})
print("saved", len(os.listdir("storage/clip/masks")))
