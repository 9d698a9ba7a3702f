"""`Sam2ImageProcessor`: images to the model's pixels, and the model's masks back to the images' size."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_utils import SizeDict

from .hub.remote_code import SavesItsCode
from .inputs.images import (
    LoadedImage,
    read_images,
    read_label_maps,
    read_pixels,
    write_normalised,
)
from .inputs.pixel_options import VALUE_OPTIONS, PixelOptions, complete_options, sizes_at
from .inputs.resizing import resize, resize_nearest
from .mask_generation.filtering import filter_masks, prompts_of_crops, suppress_duplicates
from .masks.postprocessing import MaskRestorer
from .sizes import read_size


class Sam2ImageProcessor(SavesItsCode, BaseImageProcessor):
    """Turns images into pixels for SAM 2, and mask logits into masks of the images.

    Works on torch alone, on the CPU or, with ``device=``, on an accelerator. Accepts PIL images of every mode,
    arrays, tensors, file names and URLs, one, several or nested; `inputs.images` says what their values mean.

    Args:
        do_resize: resize to `size`, each direction on its own, as SAM 2 was trained.
        size: (height, width) of the model's input; one number for a square.
        resample: 0 nearest, 2 bilinear (default), 3 bicubic; antialiased.
        do_rescale: multiply grey levels 0 to 255 by `rescale_factor`.
        do_normalize: subtract `image_mean` and divide by `image_std`, one number or one for each channel.
        do_convert_rgb: blend transparency over white and make three channels of grey and palette images.
        mask_size: (height, width) of the labels made of segmentation maps.
        input_data_format: where arrays have their channels, "channels_first" or "channels_last"; by default seen
            from the shape.
        device: where to work and leave the pixels; not saved.
        input_range: (black, white) in the images' own values, for scans of 12 bits in 16, signed or floating data;
            instead of the range that their type says.
        input_percentiles: the same as percentages of each image's pixels, such as (2, 98).
        nodata: the value of pixels that were not measured, with `input_range` or `input_percentiles`; they are black.

    Raises:
        TypeError: for a setting that does not exist.
        ValueError: for one that cannot be met.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    valid_kwargs = PixelOptions  # the names that from_pretrained may override

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        options = complete_options(PixelOptions(), settings)._asdict()
        for name in ("size", "mask_size"):
            height, width = options[name]
            options[name] = SizeDict(height=height, width=width)
        for name, value in options.items():
            setattr(self, name, value)

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from the fields of a JSON file; fields of other versions and classes are passed over.

        Args:
            image_processor_dict: the fields.
            kwargs: settings that replace them; `image_size` (pixels, int or (height, width)) is `size`, and gives
                `mask_size` the same share of it as in the file, a quarter where the file has none.

        Raises:
            ValueError: a setting that cannot be met, or `image_size` beside `size`.
        """
        fields = image_processor_dict.get("image_processor", image_processor_dict)
        known = {name: value for name, value in fields.items() if name in PixelOptions._fields}
        image_size = kwargs.pop("image_size", None)
        if image_size is not None:
            if kwargs.get("size") is not None:
                raise ValueError(f"give either image_size or size, not both: {image_size!r} and {kwargs['size']!r}")
            known |= sizes_at(read_size(image_size, "image_size"), known)
        return super().from_dict(known, **kwargs)

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike) -> Any:
        """Build from a JSON file."""
        return cls.from_dict(cls.get_image_processor_dict(json_file)[0])

    def to_dict(self) -> dict[str, Any]:
        """The fields of the JSON file, the same as in transformers."""
        fields = {name: value for name, value in super().to_dict().items() if name != "device"}
        return {name: value for name, value in fields.items() if name not in VALUE_OPTIONS or value is not None}

    def for_bytes(self) -> Sam2ImageProcessor:
        """The same processor for images whose values were brought to 8 bits already."""
        if not self.options().value_range.is_set:
            return self
        return Sam2ImageProcessor(**{**self.options()._asdict(), **dict.fromkeys(VALUE_OPTIONS)})

    def options(self, **overrides: Any) -> PixelOptions:
        """The settings of this processor with those of one call put over them, complete and checked."""
        stored = {name: getattr(self, name) for name in PixelOptions._fields}
        return complete_options(complete_options(PixelOptions(), stored), overrides)

    def preprocess(
        self,
        images: Any,
        segmentation_maps: Any = None,
        return_tensors: str | None = None,
        **overrides: Any,
    ) -> BatchFeature:
        """Images to pixels.

        Args:
            images: one image, several, or nested.
            segmentation_maps: for training, a map (height, width) of class or object indices for each image.
            return_tensors: "pt" or "np". Without it `original_sizes` is a list of tuples, and pixels of images that
                are not resized may be a list of tensors.
            overrides: any setting of the class, for this call alone.

        Returns:
            `pixel_values` (images, 3, height, width) float32, `original_sizes` (height, width) of each image, and
            with segmentation maps `labels` (images, mask height, mask width) int64.
        """
        options = self.options(**overrides)
        loaded = read_images(
            images,
            data_format=options.input_data_format,
            convert_rgb=options.do_convert_rgb,
            check_range=options.do_rescale,
            device=options.device,
            value_range=options.value_range,
        )
        data: dict[str, Any] = {"pixel_values": _to_pixel_values(loaded, options)}
        if return_tensors is not None and isinstance(data["pixel_values"], list):
            raise ValueError(
                f"images of different sizes make no tensor with do_resize=False: got "
                f"{sorted({image.size for image in loaded})}"
            )
        data["original_sizes"] = [image.size for image in loaded]
        if return_tensors == "pt":  # on the CPU, whatever default device a program sets
            data["original_sizes"] = torch.tensor(data["original_sizes"], device="cpu")
        if segmentation_maps is not None:
            maps = read_label_maps(segmentation_maps, "segmentation_maps", options.device)
            if len(maps) != len(loaded):
                raise ValueError(
                    f"segmentation_maps must hold a map for each image: expected {len(loaded)}, got {len(maps)}"
                )
            data["labels"] = torch.stack([resize_nearest(labels, options.mask_size) for labels in maps])
        return BatchFeature(data, tensor_type=return_tensors)

    def post_process_masks(
        self,
        masks: torch.Tensor | np.ndarray | Iterable[torch.Tensor | np.ndarray],
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Bring mask logits to the size of their images, and cut them to masks.

        Args:
            masks: (images, objects, masks, height, width), or for each image (objects, masks, height, width). Logits
                of any floating dtype; or bool, which counts as 0 and 1 and is cut at one half.
            original_sizes: (height, width) of each image.
            mask_threshold: the logit above which a pixel belongs to the object.
            binarize: return bool masks; otherwise logits in the dtype given.
            max_hole_area: holes of at most this many pixels *of the returned masks* are filled.
            max_sprinkle_area: specks of at most this many pixels of the returned masks are removed.
            apply_non_overlapping_constraints: give each pixel to the object with the highest logit there; the logits
                of the others are lowered to at most 10 below the threshold.
            kwargs: `pad_size` and `reshaped_input_sizes`, which SAM 1 needed, are passed over.

        Returns:
            For each image (objects, masks, image height, image width).

        Raises:
            TypeError, ValueError: masks of another kind or rank, or not as many as sizes.
        """
        unknown = set(kwargs) - {"pad_size", "reshaped_input_sizes"}
        if unknown:
            raise TypeError(f"unknown argument {min(unknown)!r}")
        restore = MaskRestorer(
            mask_threshold, binarize, max_hole_area, max_sprinkle_area, apply_non_overlapping_constraints
        )
        return restore(masks, original_sizes)

    def generate_crop_boxes(
        self,
        image: Any,
        target_size: Any,
        crop_n_layers: int = 0,
        overlap_ratio: float = 512 / 1500,
        points_per_crop: int | None = 32,
        crop_n_points_downscale_factor: float = 1,
        device: str | torch.device | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], torch.Tensor]:
        """Cut an image into crops with a grid of points on each, for transformers' `MaskGenerationPipeline`.

        Args:
            image: a single image, see `preprocess`.
            target_size: of the model's input, one number or (height, width).
            crop_n_layers: further layers of crops, 0 for the whole image alone.
            overlap_ratio: how much crops overlap, as a part of the image's shorter side.
            points_per_crop: points along each side of the grid.
            crop_n_points_downscale_factor: in layer n, `points_per_crop` is divided by the n-th power of it.
            device: where to put boxes, points and labels; the CPU by default.

        Returns:
            crop_boxes (crops, 4), left, top, right, bottom in pixels of the image; points (1, points, crops, 2), (x, y)
            in pixels of the model's input; the crops, (channels, height, width); labels (1, points, crops).

        Raises:
            TypeError, ValueError: what is no single image, or a layer without points.
        """
        options = self.options()
        if options.value_range.is_set:  # applied when the crops are encoded
            images = [pixels for _, pixels in read_pixels(image, options.input_data_format, options.do_convert_rgb)]
        else:
            loaded = read_images(image, options.input_data_format, options.do_convert_rgb, options.do_rescale)
            images = [item.as_bytes() for item in loaded]
        if len(images) != 1:
            raise ValueError(f"image must be a single image, got {len(images)}")
        boxes, points, crops, labels = prompts_of_crops(
            images[0],
            read_size(target_size, "target_size"),
            crop_n_layers,
            overlap_ratio,
            32 if points_per_crop is None else points_per_crop,
            crop_n_points_downscale_factor,
        )
        return boxes.to(device), points.to(device), crops, labels.to(device)

    def filter_masks(
        self,
        masks: torch.Tensor,
        iou_scores: torch.Tensor,
        original_size: Any,
        cropped_box_image: Any,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        mask_threshold: float = 0.0,
        stability_score_offset: float = 1.0,
    ) -> tuple[list[dict[str, Any]], torch.Tensor, torch.Tensor]:
        """Keep the good masks of a crop, for transformers' `MaskGenerationPipeline`.

        Args:
            masks: logits (prompts, masks, crop height, crop width).
            iou_scores: (prompts, masks).
            original_size: (height, width) of the image.
            cropped_box_image: left, top, right, bottom of the crop in the image.
            pred_iou_thresh: scores must be above it.
            stability_score_thresh: stabilities must be above it.
            mask_threshold: the logit above which a pixel belongs to the mask.
            stability_score_offset: in logits.

        Returns:
            Of the K masks that stay, uncompressed COCO RLE, scores (K,) and boxes (K, 4), all in the image.
        """
        return filter_masks(
            masks,
            iou_scores,
            read_size(original_size, "original_size"),
            cropped_box_image,
            pred_iou_thresh,
            stability_score_thresh,
            mask_threshold,
            stability_score_offset,
        )

    def post_process_for_mask_generation(
        self,
        all_masks: list[dict[str, Any]],
        all_scores: torch.Tensor,
        all_boxes: torch.Tensor,
        crops_nms_thresh: float,
    ) -> tuple[list[torch.Tensor], torch.Tensor, list[dict[str, Any]], torch.Tensor]:
        """Suppress duplicates among the masks of all crops, for transformers' `MaskGenerationPipeline`.

        Args:
            all_masks: RLE of each mask.
            all_scores: (masks,).
            all_boxes: (masks, 4).
            crops_nms_thresh: boxes with an IoU above it suppress each other.

        Returns:
            Of the masks that stay, best first: masks (height, width) bool, scores, RLE, boxes.
        """
        return suppress_duplicates(all_masks, all_scores, all_boxes, crops_nms_thresh)


def _to_pixel_values(images: list[LoadedImage], options: PixelOptions) -> torch.Tensor | list[torch.Tensor]:
    """Resize and normalise, straight into one batch if the images have one size then."""
    if options.do_resize:
        images = [image._replace(pixels=resize(image.pixels, options.size, options.resample)) for image in images]
    factor = options.rescale_factor if options.do_rescale else None
    untouched = factor is None and not options.do_normalize
    keep_bytes = untouched and all(image.pixels.dtype == torch.uint8 for image in images)
    dtype = torch.uint8 if keep_bytes else torch.float32
    device = torch.device(options.device or images[0].pixels.device)
    shapes = [(3 if options.do_convert_rgb else len(image.pixels), *image.size) for image in images]
    result: torch.Tensor | list[torch.Tensor]
    if len(set(shapes)) == 1:
        result = torch.empty((len(shapes), *shapes[0]), dtype=dtype, device=device)
    else:
        result = [torch.empty(shape, dtype=dtype, device=device) for shape in shapes]
    for out, image in zip(result, images, strict=True):
        mean = _for_channels(options.image_mean if options.do_normalize else 0.0, len(out), "image_mean")
        std = _for_channels(options.image_std if options.do_normalize else 1.0, len(out), "image_std")
        write_normalised(out, image, factor, mean, std)
    return result


def _for_channels(value: float | tuple[float, ...], channels: int, name: str) -> tuple[float, ...]:
    values = value if isinstance(value, tuple) else (value,) * channels
    if len(values) != channels:
        raise ValueError(f"{name} must be one number or one for each of {channels} channels, got {len(values)}")
    return values
