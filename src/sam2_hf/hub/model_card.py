"""The model card (`README.md`) of a checkpoint: metadata for the Hub, and how to use the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import Template

_CARD = Template(
    """\
---
license: apache-2.0
pipeline_tag: mask-generation
library_name: transformers
tags:
- sam2
- segmentation
- video-segmentation
$tags---

# $title

A checkpoint of SAM 2, promptable segmentation in images and videos
([arXiv 2408.00714](https://arxiv.org/abs/2408.00714)). $origin

## All objects of an image

```python
import sam2_hf
from transformers import pipeline

generator = pipeline("mask-generation", model="$repo")
masks = generator("image.jpg", points_per_batch=64)["masks"]
```

## One click

```python
import torch
from PIL import Image
from sam2_hf import Sam2Model, Sam2Processor

model = Sam2Model.from_pretrained("$repo").eval()
processor = Sam2Processor.from_pretrained("$repo")

image = Image.open("image.jpg").convert("RGB")
inputs = processor(images=image, input_points=[[[[450, 600]]]], input_labels=[[[1]]], return_tensors="pt")
with torch.inference_mode():
    outputs = model(**inputs)
masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0]
```

$video## Citation

```bibtex
@article{ravi2024sam2,
  title   = {SAM 2: Segment Anything in Images and Videos},
  author  = {Ravi, Nikhila and Gabeur, Valentin and Hu, Yuan-Ting and others},
  journal = {arXiv preprint arXiv:2408.00714},
  year    = {2024}
}
```
"""
)


_VIDEO = Template(
    """\
## An object through a video

```python
import torch
from sam2_hf import Sam2VideoModel, Sam2VideoProcessor

model = Sam2VideoModel.from_pretrained("$repo").eval()
processor = Sam2VideoProcessor.from_pretrained("$repo")

session = processor.init_video_session(video="clip.mp4")
processor.add_inputs_to_inference_session(
    inference_session=session, frame_idx=0, obj_ids=1, input_points=[[[[210, 350]]]], input_labels=[[[1]]]
)
size = [[session.video_height, session.video_width]]
for output in model.propagate_in_video_iterator(session):
    masks = processor.post_process_masks([output.pred_masks], original_sizes=size)[0]
```

"""
)

_CONVERTED = """\
It was converted from the original `.pt` to the Transformers layout; the weights are the original ones, bit for bit.
`sam2_hf` loads them as an image model and as a video model; `transformers` loads them too."""
_SAVED = "It was saved by `sam2_hf`; `transformers` loads it too."


def model_card(title: str, repo_id: str | None = None) -> str:
    """Make the card of a converted checkpoint.

    Args:
        title: the name of the model.
        repo_id: where the examples load from, `path/to/<title>` by default.

    Returns:
        The text of `README.md`.
    """
    return _card(title, repo_id, _CONVERTED, is_video=True)


def saved_model_card(title: str, repo_id: str | None = None, is_video: bool = False, tags: Sequence[str] = ()) -> str:
    """Make the card of a model that `save_pretrained` writes.

    Args:
        title: the name of the model.
        repo_id: where the examples load from, `path/to/<title>` by default.
        is_video: whether it is a video model, which has one more example.
        tags: further tags for the Hub.

    Returns:
        The text of `README.md`.
    """
    return _card(title, repo_id, _SAVED, is_video, tags)


def _card(title: str, repo_id: str | None, origin: str, is_video: bool, tags: Sequence[str] = ()) -> str:
    repo = repo_id or f"path/to/{title}"
    video = _VIDEO.substitute(repo=repo) if is_video else ""
    more = "".join(f"- {json.dumps(tag, ensure_ascii=False)}\n" for tag in tags)  # as YAML, which JSON is too
    return _CARD.substitute(title=title, repo=repo, origin=origin, video=video, tags=more)
