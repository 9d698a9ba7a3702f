import csv

from ultralytics.models.sam import SAM2VideoPredictor

settings = {"task": "segment", "mode": "predict", "imgsz": 1024, "model": "sam2.1_t.pt"}
results = SAM2VideoPredictor(overrides=settings)(source="clip.mp4", points=[210, 350], labels=[1], stream=True)
with open("tracked.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["frame", "id", "x0", "y0", "x1", "y1", "area", "score", "visible"])
    for number, result in enumerate(results):
        for box, mask in zip(result.boxes, result.masks or [], strict=True):
            area = int(mask.data.sum())
            writer.writerow([number, 1, *box.xyxy[0].tolist(), area, float(box.conf), int(area > 0)])
