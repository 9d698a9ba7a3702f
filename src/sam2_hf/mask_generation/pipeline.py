"""The `mask-generation` pipeline."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

import torch
from transformers.pipelines.base import Pipeline

from ..inputs.fetching import fetch_image
from ..inputs.images import read_images
from ..inputs.window_files import open_windows
from ..inputs.windows import ArrayWindows, ImageWindows, reading_size
from ..masks.rle import rle_to_mask
from .crops import Crop
from .generator import find_masks
from .mask_table import MaskTable, as_lists
from .progress import counting_points
from .search import count_points, join_parts, layout
from .settings import MaskGenerationSettings, OutputSettings, resolve_names


class Sam2MaskGenerationPipeline(Pipeline):
    """Segments everything in an image: a grid of points is clicked, and the good masks among the answers are kept.

    Made for a model that is not ours, it is transformers' `MaskGenerationPipeline`, which serves the other models of
    this task.

    ```python
    >>> from transformers import pipeline
    >>> import sam2_hf

    >>> generator = pipeline("mask-generation", model="facebook/sam2.1-hiera-large")
    >>> outputs = generator("truck.jpg")
    >>> len(outputs["masks"])
    ```

    All arguments below can be given when the pipeline is made or when it is called. An argument that does not exist
    is an error.

    Where to click:

    - points_per_crop (32): points along each side of the grid on the image, and on each crop. `points_per_side` is
      the same.
    - point_grids: instead of these grids, one array (points, 2) of (x, y) between 0 and 1 for each layer.
    - points_per_batch (64): points in the model at once, at most; None for all.
    - crops_n_layers (0): further layers of crops to search, with 4, 16, ... crops. `crop_n_layers` is the same.
    - crop_overlap_ratio (512 / 1500): how much crops overlap, as a part of the image's shorter side.
    - tile_size (None): search an image in tiles of so many pixels a side, each with its own grid, and join masks
      across seams where they agree in what tiles share. For images much larger than the model's input.
    - tile_overlap (256): how many pixels neighbouring tiles share, at least.
    - tile_levels (None): how many levels of tiles are searched. Tiles of each further level cover twice as much along
      a side, at half the resolution, so that objects larger than a tile are seen whole. None for as many as it takes
      until one tile holds the image; 1 for the finest alone.
    - crop_n_points_downscale_factor (1): in layer n, `points_per_crop` is divided by the n-th power of it.

    What the model predicts:

    - multimask_output (True): three masks a point, or one.
    - use_m2m (False): give each mask back to the model together with its point, and take what comes out.

    Which masks stay, in the order of application. The first two filters are off at 0 and below:

    - pred_iou_thresh (0.88): a mask's predicted IoU must be above it.
    - stability_score_thresh (0.95), stability_score_offset (1): a mask's stability must be above the threshold: the
      IoU of the masks cut off at mask_threshold + and - the offset.
    - mask_threshold (0): the logit above which a pixel belongs to the mask.
    - low_res_region_area (0): fill holes and remove islands of up to so many pixels of the low-resolution masks, before
      their stability is measured. The official generator does this, and nothing else, with its min_mask_region_area.
    - max_hole_area, max_sprinkle_area (None): fill holes and remove islands of up to so many pixels of the image.
    - box_nms_thresh (None): remove duplicates within each crop: of masks whose boxes have an IoU above it, the one with
      the best predicted IoU stays. If set, `crops_nms_thresh` works between crops alone, and there prefers masks of
      smaller crops, as in the official generator.
    - crops_nms_thresh (0.7): the same for all masks of the image. `crop_nms_thresh` is the same.
    - nms ("box"): what these compare: "box" for the IoU of boxes, "mask" for that of the masks themselves, which keeps
      objects that lie across each other.
    - min_mask_region_area (0): fill holes and remove islands of fewer pixels than this in the finished masks; of
      duplicates that this makes, those that needed no change are preferred.

    What is returned:

    - output_rle_mask, output_bboxes_mask (False): add "rle_mask" (uncompressed COCO RLE) and "bounding_boxes" (masks,
      4), left, top, right, bottom, inclusive. `output_rle_masks` is the same as the former.
    - output_mode (None): return a list of records instead: dicts with `segmentation`, `area`, `bbox` and `crop_box`
      (left, top, width, height; a mask's width counts from its first to its last column, as in the official code),
      `predicted_iou`, `stability_score`, `point_coords`. The segmentation is an array for "binary_mask", a COCO RLE
      for "uncompressed_rle" and "coco_rle", the same with its counts in an array for "run_lengths", and for "polygons"
      what `sam2_hf.mask_to_polygons` gives: connected parts, each with an exterior and holes, within polygon_tolerance
      (1) pixels.

    Others: progress (False), whether a bar counts the points of a search that takes longer than a second; timeout, in
    seconds, for fetching images; batch_size, how many images, or crops of them, are encoded together; num_workers,
    processes that load images.

    Without torchvision. Memory does not grow with the number of points: masks are compressed as they come.
    """

    _load_processor = False
    _load_image_processor = None  # if it can be; a processor may bring its own
    _load_feature_extractor = False
    _load_tokenizer = False

    def __new__(cls, model: Any = None, *args: Any, **kwargs: Any) -> Any:
        # Without a model, it is a copy that is being made.
        if model is None or (hasattr(model, "decode_prompts") and hasattr(model, "upscale_masks")):
            return super().__new__(cls)
        from transformers import MaskGenerationPipeline

        return MaskGenerationPipeline(*args, model=model, **kwargs)

    def __init__(self, model: Any, *args: Any, **kwargs: Any):
        kwargs.pop("local_files_only", None)  # `pipeline()` hands on what it has used itself
        if kwargs.get("processor") is not None:
            kwargs["image_processor"] = kwargs["processor"].image_processor
        super().__init__(model, *args, **kwargs)
        if self.image_processor is None:
            raise ValueError(
                "image_processor is missing, and could not be loaded with the model: expected a Sam2ImageProcessor, "
                "or a Sam2Processor as processor"
            )

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        """Find the masks of one image or of several.

        Args:
            image: a PIL image, a path, a URL, an array or tensor; or several in a list, a torch `Dataset` or a
                generator, which are read one after another.
            kwargs: see the class.

        Returns:
            For an image, a dict with "masks", a list of (height, width) bool tensors by descending predicted IoU,
            and "scores", (masks,) float32; or what `output_mode` says. For a list, a list of these; for a `Dataset` or
            a generator, an iterator.
        """
        if isinstance(image, (list, tuple)):
            image = list(image)
            if not image:
                self._sanitize_parameters(**_without(kwargs, "num_workers", "batch_size"))
                return []
        # What comes as a batch of images is encoded as one; of a single image, as many crops.
        together = kwargs.get("batch_size") or self._batch_size or 1
        return super().__call__(image, *args, **kwargs, encoded_at_once=together)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        encoding = {name: kwargs.pop(name) for name in ("encoded_at_once",) if name in kwargs}  # from `__call__` alone
        given = resolve_names(kwargs)
        loading = {name: given.pop(name) for name in ("timeout",) if name in given}
        if "tile_size" in given:
            loading["by_windows"] = given["tile_size"] is not None
        output = {field.name: given.pop(field.name) for field in fields(OutputSettings) if field.name in given}
        # Build both, so that what is wrong is refused before any work is done.
        MaskGenerationSettings(**{**getattr(self, "_forward_params", {}), **given})
        OutputSettings(**{**getattr(self, "_postprocess_params", {}), **output})
        return loading, {**given, **encoding}, output

    def preprocess(self, image: Any, timeout: float | None = None, by_windows: bool = False) -> dict[str, Any]:
        # An image in a list passes through batching as it is, whatever its size.
        value_range = self.image_processor.options().value_range
        if by_windows and not (value_range is not None and value_range.is_set) and not _is_address(image):
            return {"images": [open_windows(image)]}
        loaded = _load_image(image, timeout, self.image_processor)
        return {"images": [ArrayWindows(loaded, data_format="channels_first") if by_windows else loaded]}

    def _forward(
        self, model_inputs: dict[str, Any], encoded_at_once: int = 1, **parameters: Any
    ) -> dict[str, list[MaskTable]]:
        settings = MaskGenerationSettings(**parameters)
        images = _flatten(model_inputs["images"])
        found: list[list[MaskTable]] = [[] for _ in images]
        parts = [
            _Part(number, image, crop) for number, image in enumerate(images) for crop in layout(_size(image), settings)
        ]
        total = count_points((part.crop for part in parts), settings)
        with counting_points(total, settings.progress) as asked:
            # Crops of one image and of several alike; no more than one batch of embeddings is held.
            for start in range(0, len(parts), encoded_at_once):
                batch = parts[start : start + encoded_at_once]
                embeddings, input_size = self._encode([part.pixels(settings.tile_size or 0) for part in batch])
                for row, (number, image, crop) in enumerate(batch):
                    embedded = [level[row : row + 1] for level in embeddings]
                    of_image = (crop, _size(image), settings, asked)
                    found[number].append(find_masks(self.model, embedded, input_size, *of_image))
        layouts = [layout(_size(image), settings) for image in images]
        return {"found": [join_parts(tables, crops, settings) for tables, crops in zip(found, layouts, strict=True)]}

    def _encode(self, images: list[torch.Tensor]) -> tuple[list[torch.Tensor], tuple[int, int]]:
        """Image embeddings of (3, height, width) images of any sizes, and the size that they were brought to."""
        inputs = self.image_processor.for_bytes()(
            images=images, input_data_format="channels_first", return_tensors="pt"
        )
        pixels = inputs["pixel_values"].to(self.device, self.model.dtype)
        return self.model.get_image_embeddings(pixels), tuple(pixels.shape[-2:])

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        output_mode: str | None = None,
        output_rle_mask: bool = False,
        output_bboxes_mask: bool = False,
        polygon_tolerance: float = 1.0,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        (found,) = _flatten([model_outputs["found"]])
        if output_mode is not None:
            return found.records(output_mode, polygon_tolerance)
        rles = found.rles()
        output = {"masks": [rle_to_mask(rle) for rle in rles], "scores": torch.from_numpy(found.scores)}
        if output_rle_mask:
            output["rle_mask"] = [as_lists(rle) for rle in rles]
        if output_bboxes_mask:
            output["bounding_boxes"] = torch.from_numpy(found.boxes())
        return output


def _without(arguments: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in names}


def _size(image: torch.Tensor | ImageWindows) -> tuple[int, int]:
    """(height, width) of an image."""
    return image.size if isinstance(image, ImageWindows) else (image.shape[-2], image.shape[-1])


def _is_address(image: Any) -> bool:
    return isinstance(image, str) and image.startswith(("http://", "https://"))


class _Part(NamedTuple):
    """What is encoded as one image: a crop of `image`, the `number`-th that is searched."""

    number: int
    image: torch.Tensor | ImageWindows  # (3, height, width), or what reads tiles
    crop: Crop

    def pixels(self, tile_size: int) -> torch.Tensor:
        """(3, height, width) uint8; of tiles of coarse levels at less resolution."""
        if isinstance(self.image, ImageWindows):
            return torch.from_numpy(self.image.read(self.crop[:4], reading_size(self.crop.size, tile_size)))
        return self.image[:, self.crop.top : self.crop.bottom, self.crop.left : self.crop.right]


def _flatten(items: Any) -> list[Any]:
    """The items of nested lists: alone, an image comes in one list; in a batch, in two."""
    return [leaf for item in items for leaf in _flatten(item)] if isinstance(items, list) else [items]


def _load_image(image: Any, timeout: float | None, processor: Any) -> torch.Tensor:
    """Any single image as (3, height, width) uint8; files and addresses upright, see `inputs.images`."""
    if _is_address(image):
        try:
            image = fetch_image(image, timeout)
        except Exception as error:  # of the network, of many kinds
            raise ValueError(f"image cannot be fetched from {image!r}: {error}") from error
    settings = processor.options()
    loaded = read_images(image, settings.input_data_format, value_range=settings.value_range)
    if len(loaded) != 1:
        raise ValueError(f"image must be a single image, or a list of images, got a batch of {len(loaded)}")
    return loaded[0].as_bytes().cpu()
