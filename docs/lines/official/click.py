from PIL import Image
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

predictor = SAM2ImagePredictor(build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt", device="cpu"))
image = Image.open("photo.jpg").convert("RGB")
predictor.set_image(image)
masks, scores, _ = predictor.predict(point_coords=[[500, 375]], point_labels=[1])
mask = masks[scores.argmax()] > 0
