import csv

import numpy as np
import torch
from transformers import Sam2VideoModel, Sam2VideoProcessor
from transformers.video_utils import load_video

model = Sam2VideoModel.from_pretrained("facebook/sam2.1-hiera-tiny")
processor = Sam2VideoProcessor.from_pretrained("facebook/sam2.1-hiera-tiny")
frames, info = load_video("clip.mp4", backend="pyav")
session = processor.init_video_session(video=frames, inference_device="cpu")
processor.add_inputs_to_inference_session(
    inference_session=session, frame_idx=0, obj_ids=1, input_points=[[[[210, 350]]]], input_labels=[[[1]]]
)
with torch.no_grad():
    model(inference_session=session, frame_idx=0)
with open("tracked.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["frame", "id", "x0", "y0", "x1", "y1", "area", "object_score", "visible"])
    for output in model.propagate_in_video_iterator(session):
        size = [[session.video_height, session.video_width]]
        mask = processor.post_process_masks([output.pred_masks], size)[0][0, 0].numpy()
        if mask.any():
            y, x = np.nonzero(mask)
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        else:
            box = (0, 0, 0, 0)
        score = output.object_score_logits.item()
        writer.writerow([output.frame_idx, 1, *box, mask.sum(), score, int(score > 0 and mask.any())])
