# ruff: noqa: T201
"""segment-geospatial's SamGeo2 on an image, a batch, everything in an image and a video; prints what came out."""

from __future__ import annotations

import numpy as np
from samgeo.samgeo2 import SamGeo2

MODEL = "sam2-hiera-tiny"

sam = SamGeo2(model_id=MODEL, device="cpu", automatic=False)
sam.set_image("frames/00000.jpg")
masks, scores, logits = sam.predict(point_coords=[[36, 40]], point_labels=1, multimask_output=True, return_results=True)
print("image", masks.shape, scores.shape, logits.shape)
sam.predict(boxes=[[16, 20, 58, 60], [78, 66, 114, 94]], output="boxes.tif", dtype="uint8")
print("boxes", sam.masks.shape)
sam.set_image_batch(["frames/00000.jpg", "frames/00003.jpg"])
batch, _, _ = sam.predict_batch([np.array([[36, 40]])] * 2, [np.array([1])] * 2)
print("batch", [mask.shape for mask in batch])

sam = SamGeo2(model_id=MODEL, device="cpu", points_per_side=4, pred_iou_thresh=0.2, stability_score_thresh=0.0)
sam.generate("frames/00000.jpg", output="everything.tif", foreground=True)
print("everything", len(sam.masks) > 0, sorted(sam.masks[0]))

sam = SamGeo2(model_id=MODEL, device="cpu", video=True)
sam.set_video("frames")
sam.predict_video(
    {1: {"points": [[36, 40]], "labels": [1], "frame_idx": 0}, 2: {"box": [78, 66, 114, 94], "frame_idx": 0}}
)
print("video", sorted(sam.video_segments), sorted(sam.video_segments[0]), sam.video_segments[7][2].shape)
