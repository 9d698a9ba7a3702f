# ruff: noqa: T201
"""Pixano's inference models on an image and a video, as its labelling server runs them; prints what came out."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from pixano_inference.configs import ModelDeploymentConfig
from pixano_inference.models.segmentation import SegmentationInput
from pixano_inference.models.tracking import TrackingInput
from pixano_inference_sam.image import Sam2ImageModel
from pixano_inference_sam.video import Sam2VideoModel


def config(name: str, **params: Any) -> ModelDeploymentConfig:
    given = {"path": "checkpoint", "config_file": None, "torch_dtype": "float32", **params}
    return ModelDeploymentConfig(name=name, capability="segmentation", model_class=name, model_params=given)


frames = [
    f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    for path in sorted(Path("frames").iterdir())
]
image_model = Sam2ImageModel(config("Sam2ImageModel"))
image_model.load_model()
answer = image_model.predict(
    SegmentationInput(
        image=frames[0], points=[[[36, 40]]], labels=[[1]], multimask_output=True, return_image_embedding=True
    )
)
print("image", len(answer.masks[0]), answer.scores.to_numpy().shape, answer.image_embedding is not None)

video_model = Sam2VideoModel(config("Sam2VideoModel", vos_optimized=False))
video_model.load_model()
tracked = video_model.predict(
    TrackingInput(
        video=frames, objects_ids=[1, 2], frame_indexes=[0, 0], points=[[[36, 40]], [[96, 84]]], labels=[[1], [1]]
    )
)
print("video", [frame.frame_index for frame in tracked.frames], [item.track_id for item in tracked.frames[-1].objects])
