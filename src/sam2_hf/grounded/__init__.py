"""Objects by their names: boxes of a detector that reads text, segmented in images and tracked through clips.

```python
from transformers import pipeline
from sam2_hf import grounded

detector = pipeline("zero-shot-object-detection", model="IDEA-Research/grounding-dino-tiny")
grounded.segment("photo.jpg", ["a cup"], detector=detector).save("out.png")
grounded.track("clip.mp4", ["a cup"], detector=detector, every=20).save("out.mp4")
```
"""

from .detections import Detection, read_detections
from .grounded_calls import segment, track

__all__ = ["Detection", "read_detections", "segment", "track"]
