"""`SAM2AutomaticMaskGenerator`: masks of everything in an image, as Meta's class gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..mask_generation.pipeline import Sam2MaskGenerationPipeline
from ..masks.boxes import nms
from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from .loading import build
from .modeling.sam2_base import SAM2Base
from .sam2_image_predictor import SAM2ImagePredictor
from .utils.amg import (
    MaskData,
    batch_iterator,
    batched_mask_to_box,
    build_all_layer_point_grids,
    mask_to_rle_pytorch,
    remove_small_regions,
    rle_to_mask,
)
from .utils.transforms import ExactImageProcessor

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class SAM2AutomaticMaskGenerator:
    """Clicks a grid of points on an image, and keeps the good masks among the answers.

    Args:
        model: from `build_sam2`, a video predictor, or one of this package's models.
        points_per_side: points along each side of the grid; None where `point_grids` are given.
        points_per_batch: points in the model at once.
        pred_iou_thresh: masks whose predicted IoU is not above it are left out; off at 0.
        stability_score_thresh: masks less stable than this are left out; off at 0.
        stability_score_offset: how far the threshold moves either way, in logits, to see how stable a mask is.
        mask_threshold: the logit above which a pixel belongs to a mask.
        box_nms_thresh: of masks of one crop whose boxes have an IoU above it, the best stays.
        crop_n_layers: layers of crops to search besides the image.
        crop_nms_thresh: `box_nms_thresh` between crops.
        crop_overlap_ratio: how much crops overlap, as a part of the image's shorter side.
        crop_n_points_downscale_factor: `points_per_side` is divided by its n-th power in layer n.
        point_grids: in place of the grids, points (points, 2) between 0 and 1 for each layer.
        min_mask_region_area: holes and islands of up to so many pixels of the low-resolution masks are filled and
            removed.
        output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".
        use_m2m: give each mask back to the model once.
        multimask_output: three masks a point, or one.
        kwargs: not read; accepted as Meta's class accepts them.

    Raises:
        ValueError: for settings that mean nothing.
    """

    def __init__(
        self,
        model: SAM2Base | Sam2VideoModel | Sam2Model,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: Any,
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("exactly one of points_per_side and point_grids must be given, the other None")
        if output_mode not in OUTPUT_MODES:
            raise ValueError(f"output_mode must be one of {OUTPUT_MODES}, got {output_mode!r}")
        if points_per_side is not None:
            point_grids = build_all_layer_point_grids(points_per_side, crop_n_layers, crop_n_points_downscale_factor)
        assert point_grids is not None  # one of the two was given
        self.point_grids = point_grids
        self.predictor = SAM2ImagePredictor(
            model, max_hole_area=min_mask_region_area, max_sprinkle_area=min_mask_region_area
        )
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.mask_threshold = mask_threshold
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.use_m2m = use_m2m
        self.multimask_output = multimask_output

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """Loads a checkpoint.

        Args:
            model_id: a name on the Hub or a folder.
            kwargs: arguments of `build_sam2` and of this class.
        """
        return cls(build(SAM2Base, None, model_id, **kwargs), **kwargs)

    @torch.no_grad()
    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Finds the masks of an image (height, width, 3) uint8, RGB.

        Returns:
            A record for each mask: `segmentation`, an array (height, width) bool or run lengths; `area` in pixels;
            `bbox` and `crop_box`, left, top, width, height; `predicted_iou`; `stability_score`; `point_coords`.
        """
        settings: dict[str, Any] = {name: getattr(self, name) for name in _PIPELINE_SETTINGS}
        if self.stability_score_thresh > 0:  # a mask that is just as stable stays, which in the pipeline it does not
            below = np.nextafter(np.float32(self.stability_score_thresh), np.float32(0))
            settings["stability_score_thresh"] = float(below)
        settings |= {"point_grids": self.point_grids, "low_res_region_area": self.min_mask_region_area}
        records = self._pipeline()(np.asarray(image), output_mode=self.output_mode, **settings)
        for record in records:
            record.update({name: [float(side) for side in record[name]] for name in ("bbox", "crop_box")})
        return records

    def _pipeline(self) -> Sam2MaskGenerationPipeline:
        height, width = (self.predictor.transforms.image_processor.size[side] for side in ("height", "width"))
        return Sam2MaskGenerationPipeline(
            model=self.predictor.model.image_model,
            image_processor=ExactImageProcessor(size={"height": height, "width": width}),
            device=self.predictor.device,
        )

    def refine_with_m2m(
        self, points: Tensor, point_labels: Tensor, low_res_masks: Tensor, points_per_batch: int
    ) -> tuple[Tensor, Tensor]:
        """Gives masks back to the model, each with its point.

        Args:
            points: (N, 2) in pixels of the model's input.
            point_labels: (N).
            low_res_masks: logits (N, 4h, 4w).
            points_per_batch: how many at once.

        Returns:
            Logits (N, 1, height, width) at the size of the predictor's image, and IoU scores (N, 1).
        """
        answers = [
            self.predictor.predict_tensors(
                some_points[:, None],
                labels[:, None],
                mask_input=masks[:, None],
                multimask_output=False,
                return_logits=True,
            )
            for some_points, labels, masks in batch_iterator(points_per_batch, points, point_labels, low_res_masks)
        ]
        masks, scores, _ = (torch.cat(field) for field in zip(*answers, strict=True))
        return masks, scores

    @staticmethod
    def postprocess_small_regions(mask_data: MaskData, min_area: int, nms_thresh: float) -> MaskData:
        """Cleans finished masks of small holes and islands, and removes the duplicates that arise.

        Args:
            mask_data: with `rles` and `boxes`; changed in place.
            min_area: in pixels.
            nms_thresh: of masks whose boxes have an IoU above it, one that needed no cleaning stays.

        Returns:
            `mask_data`.
        """
        if not mask_data["rles"]:
            return mask_data
        cleaned, unchanged = [], []
        for rle in mask_data["rles"]:
            mask, filled = remove_small_regions(rle_to_mask(rle), min_area, "holes")
            mask, removed = remove_small_regions(mask, min_area, "islands")
            cleaned.append(torch.as_tensor(np.ascontiguousarray(mask)))
            unchanged.append(not (filled or removed))
        masks = torch.stack(cleaned)
        boxes = batched_mask_to_box(masks)
        kept = nms(boxes, torch.tensor(unchanged).float(), nms_thresh)
        for index in kept.tolist():
            if not unchanged[index]:
                mask_data["rles"][index] = mask_to_rle_pytorch(masks[index : index + 1])[0]
                mask_data["boxes"][index] = boxes[index]
        mask_data.filter(kept)
        return mask_data


_PIPELINE_SETTINGS = (
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "mask_threshold",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "use_m2m",
    "multimask_output",
)
"""Attributes of the generator that the pipeline takes under their names."""
