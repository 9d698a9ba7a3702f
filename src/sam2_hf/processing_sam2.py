"""`Sam2Processor`: images and prompts to the inputs of `Sam2Model`, its masks back to the images' size."""

from __future__ import annotations

import difflib
import os
from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .configuration_sam2 import Sam2Config, Sam2VideoConfig
from .hub.loading import is_missing_file, is_original_file
from .hub.remote_code import SavesItsCode
from .image_processing_sam2 import Sam2ImageProcessor
from .inputs.mask_prompts import mask_prompts, read_batch_of_masks
from .inputs.pixel_options import PixelOptions
from .inputs.prompts import read_prompts, scale_prompts
from .prompt_values import PAD_VALUE
from .sizes import Size, read_size, read_sizes

_COORDINATES = ("input_points", "input_boxes")
_ARGUMENTS = (
    *("images", "segmentation_maps", "input_points", "input_labels", "input_boxes", "input_masks"),
    *("original_sizes", "return_tensors"),
)


class Sam2Inputs(BatchFeature):
    """The inputs of the model, with attribute access and `.to(device)`.

    A dtype given to `.to` applies to the pixels. Coordinates stay in float32: bfloat16 has eight bits for a number
    and so would move a point by up to two pixels in a thousand.
    """

    def to(self, *args: Any, **kwargs: Any) -> Sam2Inputs:
        """Move every tensor, and cast the pixels, as `torch.Tensor.to` does."""
        exact = {name: self.data[name] for name in _COORDINATES if name in self.data}
        super().to(*args, **kwargs)
        for name, before in exact.items():
            if isinstance(before, torch.Tensor):
                self.data[name] = before.to(self.data[name].device)
        return self


class _SavedProcessor(SavesItsCode, ProcessorMixin):
    """One base class that has all of `ProcessorMixin`: transformers compares methods with those of the first base."""


class Sam2Processor(_SavedProcessor):
    """Images and prompts to the inputs of `Sam2Model`, and its masks back to the images' size.

    Args:
        image_processor: makes the pixels and restores the masks; one of transformers is taken by its settings.
        target_size: the frame that coordinates are scaled to, one number or (height, width), where it is not what
            the image processor resizes to. Normally it is, and follows it.
        point_pad_value: -10 and no other value: it is what the model masks out.
        kwargs: those of transformers' `ProcessorMixin`.

    Raises:
        TypeError: an image processor of another kind.
    """

    def __init__(
        self,
        image_processor: Any,
        target_size: int | Size | None = None,
        point_pad_value: int = PAD_VALUE,
        **kwargs: Any,
    ) -> None:
        super().__init__(_our_image_processor(image_processor), **kwargs)
        self._set_frame(target_size, point_pad_value)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Load as transformers does. An original `.pt` file has no processor in it, so it gets that of the presets.

        Args:
            pretrained_model_name_or_path: a folder, a name on the Hub, or an original `.pt` file.
            args: as in transformers.
            kwargs: as in transformers; settings of the image processor among them, and `image_size` (pixels, int or
                (height, width)) for a model that is loaded with that `image_size`.
        """
        if is_missing_file(pretrained_model_name_or_path):
            raise FileNotFoundError(f"there is no checkpoint at {pretrained_model_name_or_path}")
        if is_original_file(pretrained_model_name_or_path):
            config = Sam2Config()
            image_size = kwargs.get("image_size")
            return cls.from_config(config if image_size is None else config.with_image_size(image_size))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    def _set_frame(self, target_size: int | Size | None, point_pad_value: int) -> None:
        if point_pad_value != PAD_VALUE:
            raise ValueError(f"point_pad_value must be {PAD_VALUE}, which the model masks out, got {point_pad_value}")
        self.point_pad_value = point_pad_value
        self.target_size = target_size

    @property
    def target_size(self) -> int | Size:
        """The frame that coordinates are scaled to, one number if it is a square."""
        return self._target_size or _shortest(read_size(self.image_processor.size, "size"))

    @target_size.setter
    def target_size(self, size: int | Size | None) -> None:
        self._target_size = None if size is None else _shortest(read_size(size, "target_size"))

    @property
    def model_input_names(self) -> list[str]:
        """Every name that a call may return, `labels` for training apart."""
        return [
            *self.image_processor.model_input_names,
            "original_sizes",
            "input_points",
            "input_labels",
            "input_boxes",
            "input_masks",
        ]

    def __call__(
        self,
        images: Any = None,
        segmentation_maps: Any = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        original_sizes: Any = None,
        return_tensors: str | None = None,
        input_masks: Any = None,
        **kwargs: Any,
    ) -> Sam2Inputs:
        """Prepare images, prompts or both for the model.

        Prompts are in pixels of the original images, ragged at will. An object without points, or without a box,
        is None or an empty list; points without any labels mean the object.

        Args:
            images: one image, several or nested; see `Sam2ImageProcessor`.
            segmentation_maps: for training, a map (height, width) for each image.
            input_points: nested images, objects, points, (x, y).
            input_labels: nested images, objects, labels: 1 object, 0 background, 2 and 3 (as a pair) the upper left and
                lower right corner of a box, -1 not a point, -10 padding.
            input_boxes: nested images, objects, (x0, y0, x1, y1).
            original_sizes: (height, width) of each image, for prompts without `images`.
            return_tensors: "pt" or "np".
            input_masks: a mask of each object to start from, nested images, objects, (height, width); equally many for
                every image. Arrays, tensors or images of any size, which are resized to that of their image; see
                `inputs.mask_prompts` for what their values mean.
            kwargs: settings of the image processor for this call, `device=` among them.

        Returns:
            `pixel_values` (images, 3, height, width) and `labels`, where images and maps were given;
            `original_sizes` (images, 2), (height, width); `input_points` (images, objects, points, 2) float32,
            `input_labels` (images, objects, points) int64 and `input_boxes` (images, objects, 4) float32 in pixels
            of the model's input, where given, padded with -10; `input_masks` (images, objects, height / 4, width / 4)
            float32, logits, with the height and width of the model's input.

        Raises:
            TypeError, ValueError: naming the argument, what was expected and what came.
        """
        _check_names(kwargs)
        prompts = read_prompts(input_points, input_labels, input_boxes)
        options = self.image_processor.options(**kwargs)
        if images is not None:
            data = self.image_processor(images, segmentation_maps, return_tensors=return_tensors, **kwargs).data
            sizes = _agreeing_sizes(read_sizes(data["original_sizes"]), original_sizes)
        elif original_sizes is None:
            raise ValueError("images or original_sizes must be given: coordinates are in pixels of an image")
        elif segmentation_maps is not None:
            raise ValueError("segmentation_maps need images beside them")
        else:
            sizes = read_sizes(original_sizes)
            data = {"original_sizes": sizes}
        frames = self._frames(sizes, options)
        tensors = scale_prompts(prompts, sizes, frames).named()
        if input_masks is not None:
            tensors["input_masks"] = mask_prompts(read_batch_of_masks(input_masks, len(sizes)), frames)
            _check_same_count(tensors)
        for name, tensor in tensors.items():
            data[name] = tensor if options.device is None else tensor.to(options.device)
        return Sam2Inputs(data, tensor_type=return_tensors)

    @classmethod
    def from_preset(cls, name: str, image_size: int | Size | None = None, **settings: Any) -> Any:
        """Make the processor of a preset's model, for models that are made from scratch.

        Args:
            name: of `PRESETS`, as for `Sam2Config.from_preset`.
            image_size: of the model's input, one number or (height, width); the preset's by default.
            settings: further settings of `Sam2ImageProcessor`.

        Raises:
            ValueError: there is no such preset, or a size that the model cannot have.
        """
        return cls.from_config(Sam2Config.from_preset(name, image_size=image_size), **settings)

    @classmethod
    def from_config(cls, config: Sam2Config | Sam2VideoConfig, **settings: Any) -> Any:
        """Make the processor of a model with this configuration.

        Args:
            config: of the model: its input size, and labels of the size of its masks.
            settings: further settings of `Sam2ImageProcessor`.
        """
        vision = config.vision_config
        sizes = {"size": vision.input_size, "mask_size": tuple(vision.backbone_feature_sizes[0])}
        return cls(Sam2ImageProcessor(**{**sizes, **settings}))

    def _frames(self, sizes: list[Size], options: PixelOptions) -> list[Size]:
        """(height, width) that the coordinates of each image are scaled to."""
        if self._target_size is not None:
            return [read_size(self._target_size, "target_size")] * len(sizes)
        return [options.size] * len(sizes) if options.do_resize else sizes

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Bring mask logits to the size of their images; see `Sam2ImageProcessor.post_process_masks`."""
        return self.image_processor.post_process_masks(
            masks,
            original_sizes,
            mask_threshold,
            binarize,
            max_hole_area,
            max_sprinkle_area,
            apply_non_overlapping_constraints,
            **kwargs,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of the JSON file, the same as in transformers, which knows square frames alone."""
        frame = self.target_size if isinstance(self.target_size, int) else self._target_size
        return {**super().to_dict(), "target_size": frame}

    @classmethod
    def from_args_and_dict(cls, args: list[Any], processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from loaded parts and the fields of a JSON file.

        Files repeat the image processor's size as `target_size`. That is left out, so that a `size` given to
        `from_pretrained` moves the frame of the coordinates as well.
        """
        fields = dict(processor_dict)
        if kwargs.pop("image_size", None) is not None:
            fields.pop("target_size", None)
        image_fields = fields.get("image_processor") or {}
        stored = fields.get("target_size")
        if stored is None or "size" not in image_fields or stored == _shortest(read_size(image_fields["size"], "size")):
            fields.pop("target_size", None)
        return super().from_args_and_dict(args, fields, **kwargs)

    @classmethod
    def _get_arguments_from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, processor_dict: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Load the parts as classes of ours.

        Transformers would look up the class that the file names, and files name its own, or that of a video
        checkpoint. The image processor's file is found in either layout by its own `from_pretrained`.
        """
        return [Sam2ImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)]


def _our_image_processor(given: Any) -> Sam2ImageProcessor:
    if isinstance(given, Sam2ImageProcessor):
        return given
    if not hasattr(given, "to_dict"):
        raise TypeError(f"image_processor must be a Sam2ImageProcessor, got {type(given).__name__}")
    return Sam2ImageProcessor.from_dict(given.to_dict())


def _check_names(given: dict[str, Any]) -> None:
    """Suggest the argument that a misspelt one may have meant; other unknown ones the image processor refuses."""
    for name in given.keys() - {*PixelOptions._fields}:
        close = difflib.get_close_matches(name, _ARGUMENTS, n=1, cutoff=0.8)
        if close:
            raise TypeError(f"unknown argument {name!r}; did you mean {close[0]!r}?")


def _check_same_count(prompts: dict[str, torch.Tensor]) -> None:
    """Masks must be as many as the other prompts."""
    count = prompts["input_masks"].shape[1]
    for name in ("input_points", "input_boxes"):
        if name in prompts and prompts[name].shape[1] != count:
            raise ValueError(
                f"input_masks must hold a mask for each of the {prompts[name].shape[1]} objects of {name}, got {count}"
            )


def _shortest(size: Size) -> int | Size:
    height, width = size
    return height if height == width else size


def _agreeing_sizes(sizes: list[Size], claimed: Any) -> list[Size]:
    """The sizes of images, which `original_sizes` beside them may repeat but not contradict."""
    if claimed is not None and read_sizes(claimed) != sizes:
        raise ValueError(
            f"original_sizes must be those of images where both are given: expected {sizes}, got {read_sizes(claimed)}"
        )
    return sizes
