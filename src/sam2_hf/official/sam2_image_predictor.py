"""`SAM2ImagePredictor`: prompts on one image or on several, as Meta's class takes and answers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from .loading import build
from .modeling.sam2_base import SAM2Base, without_compilation
from .utils.transforms import SAM2Transforms

_LOGIT_LIMIT = 32.0  # low-resolution logits are handed out within it

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
Prompts = tuple[Any, Any, Any, Any]  # points, labels, boxes, mask


class SAM2ImagePredictor:
    """Encodes an image once, and segments it for any number of prompts.

    Args:
        sam_model: from `build_sam2`, a video predictor, or one of this package's models.
        mask_threshold: the logit above which a pixel belongs to a mask.
        max_hole_area: holes of up to so many pixels of the low-resolution masks are filled.
        max_sprinkle_area: specks of up to so many pixels of them are removed.
        kwargs: not read; accepted as Meta's class accepts them.
    """

    def __init__(
        self,
        sam_model: SAM2Base | Sam2VideoModel | Sam2Model,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        model = without_compilation(sam_model)
        self.model = model if isinstance(model, SAM2Base) else SAM2Base(model)
        self._transforms = SAM2Transforms(self.model.image_size, mask_threshold, max_hole_area, max_sprinkle_area)
        self.mask_threshold = mask_threshold
        self._bb_feat_sizes = self.model.feature_sizes  # programs read and set it
        self.reset_predictor()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2ImagePredictor:
        """Loads a checkpoint.

        Args:
            model_id: a name on the Hub or a folder; see `build_sam2_hf`.
            kwargs: arguments of `build_sam2` and of this class.
        """
        return cls(build(SAM2Base, None, model_id, **kwargs), **kwargs)

    @property
    def transforms(self) -> SAM2Transforms:
        """What brings images, prompts and masks to the model's frame and back."""
        return self._transforms

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    def reset_predictor(self) -> None:
        """Forgets the image."""
        self._is_image_set = False
        self._features: dict[str, Any] | None = None
        self._orig_hw: list[tuple[int, int]] | None = None
        self._is_batch = False

    @torch.no_grad()
    def set_image(self, image: np.ndarray | Image.Image) -> None:
        """Encodes an image, RGB: (height, width, 3) uint8 or a PIL image.

        Raises:
            NotImplementedError: for another type.
            ValueError: for an array of another shape.
        """
        self._encode([image], (np.ndarray, Image.Image))

    @torch.no_grad()
    def set_image_batch(self, image_list: list[np.ndarray]) -> None:
        """Encodes images (height, width, 3) uint8, RGB, of any sizes, for `predict_batch`.

        Raises:
            TypeError: for anything but a list.
            NotImplementedError: for other images.
        """
        if not isinstance(image_list, list):
            raise TypeError(f"image_list must be a list of images, got {type(image_list).__name__}")
        self._encode(image_list, (np.ndarray, Image.Image))
        self._is_batch = True

    def _encode(self, images: list[Any], kinds: tuple[type, ...]) -> None:
        for image in images:
            if not isinstance(image, kinds):
                raise NotImplementedError(
                    f"expected an image as an array (height, width, 3) or a PIL image, got {type(image).__name__}"
                )
        sizes = [image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1] for image in images]
        pixels = self._transforms.forward_batch(images).to(self.device, self.model.network.dtype)
        maps = self.model.network.get_image_embeddings(pixels)
        self.reset_predictor()
        self._features = {"image_embed": maps[-1], "high_res_feats": list(maps[:-1])}
        self._orig_hw = sizes
        self._is_image_set = True

    def get_image_embedding(self) -> Tensor:
        """The embedding of the image, (1, C, h, w); of several, (images, C, h, w).

        Raises:
            RuntimeError: before an image was set.
        """
        return self._image_features()["image_embed"]

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Arrays:
        """Segments the image for one object's prompts, or for those of N objects.

        Args:
            point_coords: (points, 2), or (N, points, 2), as (x, y).
            point_labels: 1 for the object and 0 for the background, (points) or (N, points).
            box: (4) or (N, 4): left, top, right, bottom.
            mask_input: logits (1, 4h, 4w) or (N, 1, 4h, 4w), from an earlier call.
            multimask_output: three masks an object, or one.
            return_logits: give logits in the place of masks.
            normalize_coords: whether coordinates are pixels of the image, or fractions of it.

        Returns:
            Masks (M, height, width), 0 and 1; IoU scores (M); logits (M, 4h, 4w) within -32 and 32. With N > 1
            objects, each has an axis of N in front. All are float32.

        Raises:
            RuntimeError: before an image was set.
            ValueError: for prompts that do not fit together.
        """
        return self._predict_image(
            -1, (point_coords, point_labels, box, mask_input), multimask_output, return_logits, normalize_coords
        )

    def predict_batch(
        self,
        point_coords_batch: Any = None,
        point_labels_batch: Any = None,
        box_batch: Any = None,
        mask_input_batch: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Segments the images of `set_image_batch`.

        Args:
            point_coords_batch, point_labels_batch, box_batch, mask_input_batch: what `predict` takes, for each image.
            multimask_output, return_logits, normalize_coords: see `predict`.

        Returns:
            Three lists: masks, IoU scores and low-resolution logits of each image.

        Raises:
            RuntimeError: before images were set.
            ValueError: if not every image has an entry.
        """
        if self._is_image_set and not self._is_batch:
            raise RuntimeError("predict_batch is for images set with set_image_batch; use predict for one image")
        count = len(self._image_features()["image_embed"])
        batches = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        for batch in batches:
            if batch is not None and len(batch) != count:
                raise ValueError(f"prompts must have an entry for each of the {count} images, got {len(batch)}")
        columns = [[None] * count if batch is None else batch for batch in batches]
        how = (multimask_output, return_logits, normalize_coords)
        answers = [self._predict_image(index, given, *how) for index, given in enumerate(zip(*columns, strict=True))]
        masks, scores, logits = (list(field) for field in zip(*answers, strict=True))
        return masks, scores, logits

    def _predict_image(
        self, img_idx: int, prompts: Prompts, multimask: bool, return_logits: bool, normalize: bool
    ) -> Arrays:
        self._image_features()
        mask_input, coords, labels, box = self._prep_prompts(*prompts, normalize, img_idx)
        fields = self.predict_tensors(coords, labels, box, mask_input, multimask, return_logits, img_idx)
        masks, scores, logits = (field.squeeze(0).float().cpu().numpy() for field in fields)
        return masks, scores, logits

    def _image_features(self) -> dict[str, Any]:
        if not self._is_image_set or self._features is None or self._orig_hw is None:
            raise RuntimeError("an image must be set with set_image, or images with set_image_batch, before this")
        return self._features

    def _prep_prompts(
        self,
        point_coords: Any,
        point_labels: Any,
        box: Any,
        mask_logits: Any,
        normalize_coords: bool,
        img_idx: int = -1,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Prompts as tensors with an axis of objects, in pixels of the model's input.

        Returns:
            Mask input (N, 1, 4h, 4w), coordinates (N, points, 2), labels (N, points), boxes (N, 2, 2), or None each.
        """
        self._image_features()
        assert self._orig_hw is not None  # set with the features
        size = self._orig_hw[img_idx]
        if (point_coords is None) != (point_labels is None):
            raise ValueError("point_coords and point_labels must be given together")
        coords = labels = corners = mask_input = None
        if point_coords is not None:
            coords = self._transforms.transform_coords(self._as_tensor(point_coords), normalize_coords, size)
            labels = self._as_tensor(point_labels, torch.int)
            if coords.ndim == 2:
                coords, labels = coords[None], labels[None]
        if box is not None:
            corners = self._transforms.transform_boxes(self._as_tensor(box), normalize_coords, size)
        if mask_logits is not None:
            mask_input = self._as_tensor(mask_logits)
            mask_input = mask_input[None] if mask_input.ndim == 3 else mask_input
        return mask_input, coords, labels, corners

    def _as_tensor(self, values: Any, dtype: torch.dtype = torch.float) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=self.device)

    @torch.no_grad()
    def predict_tensors(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        img_idx: int = -1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Segments the image for prompts of `_prep_prompts`.

        Returns:
            Masks (N, M, height, width), bool or logits; IoU scores (N, M); logits (N, M, 4h, 4w).
        """
        features = self._image_features()
        assert self._orig_hw is not None  # set with the features
        index = img_idx % len(features["image_embed"])
        maps = [level[index : index + 1] for level in (*features["high_res_feats"], features["image_embed"])]
        if point_coords is None and boxes is None:
            logits, scores = self.model.segment_from_mask(maps, mask_input, multimask_output)
        else:
            output = self.model.image_model(
                image_embeddings=maps,
                input_points=None if point_coords is None else point_coords[None],
                input_labels=None if point_labels is None else point_labels[None],
                input_boxes=None if boxes is None else boxes.reshape(1, -1, 4),
                input_masks=None if mask_input is None else mask_input[:, 0][None],
                multimask_output=multimask_output,
            )
            logits, scores = output.pred_masks[0], output.iou_scores[0]
        restore = self._transforms.postprocess_masks if return_logits else self._transforms.binarize_masks
        return restore(logits, self._orig_hw[index]), scores, logits.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)

    _predict = predict_tensors
