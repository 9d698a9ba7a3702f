import json

import numpy as np
from pycocotools.mask import area, encode, toBbox
from ultralytics import SAM

model = SAM("sam2.1_t.pt")
results = model("photo.jpg", points=[500, 375], labels=[1])
mask = results[0].masks.data[0].cpu().numpy()
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
