import json

import numpy as np
from PIL import Image
from pycocotools.mask import area, encode, toBbox
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

predictor = SAM2ImagePredictor(build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt", device="cpu"))
image = Image.open("photo.jpg").convert("RGB")
predictor.set_image(image)
masks, scores, _ = predictor.predict(point_coords=[[500, 375]], point_labels=[1])
mask = masks[scores.argmax()] > 0
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
