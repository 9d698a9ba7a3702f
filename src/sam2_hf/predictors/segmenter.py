"""Images in one call: the objects that prompts mean, or everything there is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inputs.window_files import open_windows
from ..masks.rle import counts_dtype
from ..results.image_result import ImageResult
from ..results.records import ObjectMask
from ..sizes import Size
from .encoded_image import EncodedImage, as_bytes, file_name_of, read_image
from .encoded_image import Segmentation as Segmentation
from .tiled_image import PREVIEW, TiledImage

if TYPE_CHECKING:
    import torch

    from .image_engine import ImageEngine
    from .loaded_models import LoadedModel


class Segmenter:
    """Segments images with one model, which stays loaded.

    Args:
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of its weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of its input in pixels, int or (height, width); that of the checkpoint by default. A smaller one is
            faster and less exact.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        image_size: int | Size | None = None,
    ):
        from .image_engine import ModelEngine
        from .loaded_models import load_model

        self.loaded: LoadedModel = load_model(checkpoint, device, dtype, image_size, video=False)
        self.engine: ImageEngine = ModelEngine(self.loaded)
        """What computes."""

    @property
    def model(self) -> Any:
        """The `Sam2Model`."""
        return self.loaded.model

    @property
    def processor(self) -> Any:
        """The `Sam2Processor`."""
        return self.loaded.processor

    def encode(self, image: Any) -> EncodedImage:
        """Encode an image, for any number of prompts.

        Args:
            image: a PIL image, path, URL, array or tensor.

        Raises:
            TypeError, ValueError: it cannot be read.
        """
        return EncodedImage(self, image, read_image(image, self.engine.as_tensors))

    def encode_batch(self, images: Sequence[Any]) -> list[EncodedImage]:
        """Encode images of any sizes in one pass of the encoder, for any number of prompts each.

        Args:
            images: as those of `encode`; what they are encoded to is the same up to rounding.

        Raises:
            TypeError, ValueError: one cannot be read.
        """
        loaded = [read_image(image, self.engine.as_tensors) for image in images]
        embeddings = self.engine.encode_batch(images, loaded)
        return [EncodedImage(self, *parts) for parts in zip(images, loaded, embeddings, strict=True)]

    def open_tiled(self, image: Any, tile_size: int = 1024, cache: Any = None) -> TiledImage:
        """Open an image of any size, of which only windows around prompts are read and encoded; see `TiledImage`."""
        return TiledImage(self, image, tile_size, cache)

    def segment(
        self,
        image: Any,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        tile_size: int | None = None,
        cache: Any = None,
    ) -> Any:
        """Segment the objects that prompts mean; see `segment`."""
        if cache is not None and tile_size is None:
            raise ValueError("cache keeps embeddings of tiles: give tile_size with it")
        if not isinstance(image, (list, tuple)):
            if tile_size is not None:
                return self.open_tiled(image, tile_size, cache).segment(points, labels, boxes, masks)
            return self.encode(image).segment(points, labels, boxes, masks)
        given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
        for name, values in given.items():
            if values is not None and (not hasattr(values, "__len__") or len(values) != len(image)):
                raise ValueError(f"{name} must be a list with those of each of the {len(image)} images, got {values!r}")
        return [
            self.segment(
                one,
                **{name: None if values is None else values[i] for name, values in given.items()},
                tile_size=tile_size,
                cache=cache,
            )
            for i, one in enumerate(image)
        ]

    def segment_everything(self, image: Any, **settings: Any) -> Any:
        """Segment everything in an image; see `segment_everything`."""
        if isinstance(image, (list, tuple)):
            return [self.segment_everything(one, **settings) for one in image]
        settings = {**self.engine.thresholds, **settings}
        if settings.get("tile_size") is not None:
            windows = open_windows(image)
            objects = everything_objects(self.engine.find_everything(windows, settings))
            return ImageResult(objects, windows.shown_at(PREVIEW), windows.size, windows.file_name)
        pixels = as_bytes(read_image(image, self.engine.as_tensors))
        objects = everything_objects(self.engine.find_everything(pixels, settings))
        return ImageResult(objects, pixels, (pixels.shape[0], pixels.shape[1]), file_name_of(image))


def segment(
    image: Any,
    points: Any = None,
    labels: Any = None,
    boxes: Any = None,
    masks: Any = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    tile_size: int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Any:
    """Segment the objects of an image that prompts mean.

    Prompts are in pixels of the image, flat for one object, a list for several, or a dictionary by name. The model
    stays loaded for the next call. A single point may mean several things: of three masks the one with the best score
    is taken, and `candidates()` has them all. A mask alone stands for itself and the box around it.

    Args:
        image: a PIL image, path, URL, array or tensor; or a list of images, and then each prompt is a list with those
            of each image.
        points: (x, y) or [(x, y), ...] for one object, [[(x, y), ...], ...] for several, {name: [(x, y), ...]}.
        labels: as `points`, with 1 (on the object) or 0 (on the background) instead of (x, y); 1 by default.
        boxes: (x0, y0, x1, y1) for one object, a list of them for several, {name: (x0, y0, x1, y1)}.
        masks: rough masks (height, width) to start from, of any size: one, a list of them, or {name: mask}.
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of the model's weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of the model's input in pixels, int or (height, width); that of the checkpoint by default.
        tile_size: for images much larger than the model's input: only a window of so many pixels a side around each
            prompt is read and encoded, and a larger one where the object does not fit.
        cache: a folder in which embeddings of tiles are kept for later calls, at most 4 GiB.

    Returns:
        A `Segmentation` with `masks`, `boxes`, `scores`, `polygons()`, `save(path)`, `refine(...)`; a list of them
        for a list of images.

    Raises:
        ValueError, TypeError: naming the argument, what was expected and what came.
        OSError: the checkpoint cannot be found.
    """
    segmenter = Segmenter(checkpoint, device, dtype, image_size)
    return segmenter.segment(image, points, labels, boxes, masks, tile_size, cache)


def segment_everything(
    image: Any,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    progress: bool = False,
    **settings: Any,
) -> Any:
    """Segment everything in an image, by a grid of points.

    Args:
        image: a PIL image, path, URL, array or tensor; or a list of images.
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of the model's weights; that of the checkpoint by default.
        image_size: of the model's input in pixels, int or (height, width); that of the checkpoint by default.
        progress: whether a bar shows how far it is, where that takes longer than a second.
        settings: of `Sam2MaskGenerationPipeline`, such as `points_per_crop=16` or `pred_iou_thresh=0.8`.

    Returns:
        An `ImageResult`, its objects numbered from 1 by descending predicted IoU; a list of them for a list of images.
    """
    return Segmenter(checkpoint, device, dtype, image_size).segment_everything(image, progress=progress, **settings)


def everything_objects(records: Sequence[Mapping[str, Any]]) -> list[ObjectMask]:
    """Make objects, numbered from 1, of the records of mask generation with run lengths in lists or arrays."""
    objects = []
    for number, record in enumerate(records, start=1):
        height, width = record["segmentation"]["size"]
        counts = np.asarray(record["segmentation"]["counts"], counts_dtype(height * width))
        rle = {"size": [height, width], "counts": counts}
        stability = {"stability_score": record["stability_score"]}
        objects.append(ObjectMask(number, rle, record["predicted_iou"], extra=stability))
    return objects
