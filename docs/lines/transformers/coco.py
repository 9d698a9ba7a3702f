import json

import numpy as np
import torch
from PIL import Image
from pycocotools.mask import area, encode, toBbox
from transformers import Sam2Model, Sam2Processor

model = Sam2Model.from_pretrained("facebook/sam2.1-hiera-tiny")
processor = Sam2Processor.from_pretrained("facebook/sam2.1-hiera-tiny")
image = Image.open("photo.jpg").convert("RGB")
inputs = processor(images=image, input_points=[[[[500, 375]]]], input_labels=[[[1]]], return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0]
mask = masks[0, outputs.iou_scores[0, 0].argmax()].numpy()
rle = encode(np.asfortranarray(mask.astype(np.uint8)))
annotation = {
    "id": 1,
    "image_id": 1,
    "category_id": 1,
    "iscrowd": 0,
    "area": int(area(rle)),
    "bbox": toBbox(rle).tolist(),
}
annotation["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
photo = {"id": 1, "file_name": "photo.jpg", "width": mask.shape[1], "height": mask.shape[0]}
data = {"images": [photo], "annotations": [annotation], "categories": [{"id": 1, "name": "object"}]}
with open("coco.json", "w") as file:
    json.dump(data, file)
