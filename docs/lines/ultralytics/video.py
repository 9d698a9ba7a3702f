from ultralytics.models.sam import SAM2VideoPredictor

settings = {"task": "segment", "mode": "predict", "imgsz": 1024, "model": "sam2.1_t.pt"}
predictor = SAM2VideoPredictor(overrides={**settings, "save": True})
results = predictor(source="clip.mp4", points=[210, 350], labels=[1])
