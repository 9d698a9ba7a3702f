"""Ours and that of transformers, which have the same classes, arguments and checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..images import Clip
from ..settings import Output, Runtime
from .base import Track, require, settle


class HubImplementation:
    """What the two share. They differ in the modules of their classes and in how a session is prompted."""

    name: str
    modules: dict[str, str]
    """The module of each class."""

    @property
    def import_code(self) -> str:
        return f"from {self.modules['Sam2Model']} import Sam2Model"

    def load_code(self, weights: Path) -> str:
        return f"{self.import_code}\nSam2Model.from_pretrained({str(weights)!r})"

    def find(self, name: str) -> Any:
        """One of the classes."""
        return getattr(importlib.import_module(self.modules[name]), name)

    def image_model(self, weights: Path, runtime: Runtime) -> Any:
        return settle(self.find("Sam2Model").from_pretrained(weights), runtime)

    def encode(self, model: Any, pixels: torch.Tensor) -> Any:
        return model.get_image_embeddings(pixels)

    def segment(self, model: Any, encoded: Any, points: torch.Tensor) -> Output:
        labels = torch.ones(1, len(points), 1, dtype=torch.int64, device=points.device)
        output = model(image_embeddings=encoded, input_points=points[None, :, None], input_labels=labels)
        return {"logits": output.pred_masks[0], "scores": output.iou_scores[0]}

    def track(self, weights: Path, runtime: Runtime, clip: Clip, points: torch.Tensor) -> Track:
        model = settle(self.find("Sam2VideoModel").from_pretrained(weights), runtime)
        session = self.open_session(runtime, clip[0].shape[-1], points)
        return Track(_frames(model, session, clip), session)

    def open_session(self, runtime: Runtime, image_size: int, points: torch.Tensor) -> Any:
        """A session for a stream, prompted on its first frame."""
        raise NotImplementedError

    def mask_generator(
        self, weights: Path, runtime: Runtime, points_per_side: int, nms: float
    ) -> Callable[[Image.Image], Any]:
        pipeline = self.find(self.pipeline)(
            model=self.image_model(weights, runtime),
            image_processor=self._image_processor(weights),
            device=runtime.device,
        )
        return lambda image: pipeline(image, points_per_crop=points_per_side, crops_nms_thresh=nms)

    pipeline: str

    def found(self, raw: Any) -> Output:
        masks = [torch.as_tensor(mask).cpu() for mask in raw["masks"]]
        return {"masks": torch.stack(masks) if masks else torch.zeros(0, 1, 1).bool(), "scores": raw["scores"].cpu()}

    def preprocess(self, weights: Path) -> Callable[[Image.Image], torch.Tensor]:
        processor = self._image_processor(weights)
        return lambda image: processor(image, return_tensors="pt")["pixel_values"]

    def restore(self, weights: Path) -> Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]:
        processor = self._image_processor(weights)
        return lambda logits, size: processor.post_process_masks([logits], [list(size)])[0]

    def _image_processor(self, weights: Path) -> Any:
        return self.find("Sam2ImageProcessor").from_pretrained(weights)


class Ours(HubImplementation):
    """sam2_hf."""

    name = "ours"
    pipeline = "Sam2MaskGenerationPipeline"
    modules = dict.fromkeys(
        ("Sam2Model", "Sam2VideoModel", "Sam2VideoProcessor", "Sam2ImageProcessor", pipeline), "sam2_hf"
    )

    def open_session(self, runtime: Runtime, image_size: int, points: torch.Tensor) -> Any:
        size = {"height": image_size, "width": image_size}
        processor = self.find("Sam2VideoProcessor")(self.find("Sam2ImageProcessor")(size=size))
        session = processor.init_video_session(inference_device=runtime.device, dtype=runtime.dtype)
        processor.add_inputs_to_inference_session(
            session,
            frame_idx=0,
            obj_ids=list(range(len(points))),
            input_points=[[[point] for point in points.tolist()]],
            input_labels=[[[1]] * len(points)],
            original_size=(image_size, image_size),
        )
        return session


class Transformers(HubImplementation):
    """transformers. Its processors and its pipeline need torchvision; its models do not."""

    name = "transformers"
    pipeline = "MaskGenerationPipeline"
    modules = {  # noqa: RUF012
        "Sam2Model": "transformers.models.sam2.modeling_sam2",
        "Sam2VideoModel": "transformers.models.sam2_video.modeling_sam2_video",
        "Sam2VideoInferenceSession": "transformers.models.sam2_video.modeling_sam2_video",
        "Sam2ImageProcessor": "transformers.models.sam2.image_processing_sam2",
        pipeline: "transformers.pipelines.mask_generation",
    }

    def _image_processor(self, weights: Path) -> Any:
        require("torchvision")
        return super()._image_processor(weights)

    def open_session(self, runtime: Runtime, image_size: int, points: torch.Tensor) -> Any:
        session = self.find("Sam2VideoInferenceSession")(
            video_height=image_size,
            video_width=image_size,
            inference_device=runtime.device,
            inference_state_device=runtime.device,
            video_storage_device=runtime.device,
            dtype=getattr(torch, runtime.dtype),
        )
        # As its own processor does, which needs torchvision.
        for number, point in enumerate(points):
            prompt = {
                "point_coords": point.view(1, 1, 1, 2).to(getattr(torch, runtime.dtype)),
                "point_labels": torch.ones(1, 1, 1, dtype=torch.int32),
            }
            session.add_point_inputs(session.obj_id_to_idx(number), 0, prompt)
        session.obj_with_new_inputs = list(range(len(points)))
        return session


def _frames(model: Any, session: Any, clip: Clip) -> Iterator[torch.Tensor]:
    for index in range(len(clip)):
        logits = model(session, frame=clip[index].to(model.dtype)).pred_masks
        yield logits.flatten(0, -3)
