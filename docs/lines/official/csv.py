import csv
import os

import av
import numpy as np
import torch
from sam2.build_sam import build_sam2_video_predictor

predictor = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt", device="cpu")
os.makedirs("frames", exist_ok=True)
with av.open("clip.mp4") as clip:
    for number, frame in enumerate(clip.decode(video=0)):
        frame.to_image().save(f"frames/{number:05d}.jpg")
with torch.inference_mode():
    state = predictor.init_state(video_path="frames")
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, points=[[210, 350]], labels=[1])
    with open("tracked.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "id", "x0", "y0", "x1", "y1", "area", "visible"])
        for frame_idx, _, logits in predictor.propagate_in_video(state):
            mask = (logits[0, 0] > 0).numpy()
            if mask.any():
                y, x = np.nonzero(mask)
                box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            else:
                box = (0, 0, 0, 0)
            writer.writerow([frame_idx, 1, *box, mask.sum(), int(mask.any())])
