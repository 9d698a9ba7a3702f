import os

import av
import numpy as np
import torch
from PIL import Image
from sam2.build_sam import build_sam2_video_predictor

predictor = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt", device="cpu")
os.makedirs("frames", exist_ok=True)
with av.open("clip.mp4") as clip:
    rate = round(clip.streams.video[0].average_rate)
    for number, frame in enumerate(clip.decode(video=0)):
        frame.to_image().save(f"frames/{number:05d}.jpg")
with torch.inference_mode():
    state = predictor.init_state(video_path="frames")
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, points=[[210, 350]], labels=[1])
    with av.open("tracked.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = state["video_height"], state["video_width"], "yuv420p"
        for frame_idx, _, logits in predictor.propagate_in_video(state):
            mask = (logits[0, 0] > 0).numpy()
            pixels = np.array(Image.open(f"frames/{frame_idx:05d}.jpg"))
            pixels[mask] = pixels[mask] // 2 + np.array([30, 144, 255], np.uint8) // 2
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
