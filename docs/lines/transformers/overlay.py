import numpy as np
import torch
from PIL import Image
from transformers import Sam2Model, Sam2Processor

model = Sam2Model.from_pretrained("facebook/sam2.1-hiera-tiny")
processor = Sam2Processor.from_pretrained("facebook/sam2.1-hiera-tiny")
image = Image.open("photo.jpg").convert("RGB")
inputs = processor(images=image, input_points=[[[[500, 375]]]], input_labels=[[[1]]], return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0]
mask = masks[0, outputs.iou_scores[0, 0].argmax()].numpy()
pixels = np.array(image)
pixels[mask] = pixels[mask] // 2 + np.array([30, 144, 255], np.uint8) // 2
Image.fromarray(pixels).save("overlay.png")
