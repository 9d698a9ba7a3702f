import av
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
with av.open("tracked.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=round(info.fps))
    stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
    for output in model.propagate_in_video_iterator(session):
        size = [[session.video_height, session.video_width]]
        mask = processor.post_process_masks([output.pred_masks], size)[0][0, 0].numpy()
        pixels = np.array(frames[output.frame_idx])
        pixels[mask] = pixels[mask] // 2 + np.array([30, 144, 255], np.uint8) // 2
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
    container.mux(stream.encode(None))
