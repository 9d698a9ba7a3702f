"""What computes for a `Segmenter`: a model in torch here, graphs in the runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image

from ..arrays import Array, dtype_name
from ..mask_generation.pipeline import Sam2MaskGenerationPipeline
from ..mask_generation.upsampled_masks import encode, upsample

if TYPE_CHECKING:
    from ..inputs.images import LoadedImage
    from ..inputs.windows import ImageWindows
    from ..sizes import Size
    from .loaded_models import LoadedModel


class ImageEngine(Protocol):
    """What a `Segmenter` asks for. Arrays are of one kind, see `as_tensors`, and on the CPU unless said otherwise."""

    as_tensors: bool
    """Whether its arrays are tensors of torch, or NumPy arrays."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Settings of mask generation that suit the checkpoint, instead of the defaults."""

    def encode(self, image: Any, loaded: LoadedImage) -> list[Array]:
        """Encode an image.

        Args:
            image: as it was given.
            loaded: the same, read.

        Returns:
            Three maps, wherever the model wants them.
        """

    def encode_batch(self, images: Sequence[Any], loaded: Sequence[LoadedImage]) -> list[list[Array]]:
        """Encode images of any sizes; see `encode`."""

    def decode(
        self,
        embeddings: list[Array],
        size: Size,
        prompts: Mapping[str, Any],
        logits: Sequence[Array],
        multimask: bool,
    ) -> tuple[Array, Array]:
        """Decode the prompts of an image.

        Args:
            embeddings: from `encode`.
            size: (height, width) of the image.
            prompts: nested, by the names of a processor's arguments.
            logits: (h, w) to start from, one for each object, or none.
            multimask: whether to give three masks an object, or one.

        Returns:
            Logits (objects, masks, h, w) and predicted IoUs (objects, masks), float32.
        """

    def restore(self, logits: Array, size: Size) -> Array:
        """Bring logits (objects, h, w) to masks of a size: bool (objects, height, width)."""

    def run_lengths(self, logits: Array, size: Size, image_size: Size, offset: tuple[int, int]) -> list[np.ndarray]:
        """Bring logits (objects, h, w) to run lengths of masks of an image.

        Args:
            logits: of a part of the image.
            size: (height, width) of the part, in pixels.
            image_size: of the image.
            offset: (top, left) of the part.
        """

    @property
    def fingerprint(self) -> str:
        """What embeddings depend on beside the pixels; it changes with the weights."""

    def as_array(self, pixels: np.ndarray) -> Array:
        """An array of the engine's kind that shares the memory of `pixels`."""

    def place(self, embeddings: list[Array]) -> list[Array]:
        """Bring embeddings that were kept on the CPU to where `encode` leaves them."""

    def find_everything(self, image: np.ndarray | ImageWindows, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Segment everything in an image (height, width, 3), or in one that is read by windows.

        Returns:
            Records with run lengths whose counts are arrays.
        """


class ModelEngine:
    """A `Sam2Model` and its processor.

    Args:
        loaded: both.
    """

    as_tensors = True

    def __init__(self, loaded: LoadedModel):
        self.thresholds: Mapping[str, float] = loaded.thresholds
        self._model = loaded.model
        self._processor = loaded.processor

    def encode(self, image: Any, loaded: LoadedImage) -> list[Array]:
        """Encode an image; see `ImageEngine`, as for the other methods."""
        return self.encode_batch([image], [loaded])[0]

    def encode_batch(self, images: Sequence[Any], loaded: Sequence[LoadedImage]) -> list[list[Array]]:
        """Encode images of any sizes in one pass where all have 8 bits."""
        if all(dtype_name(one.pixels) == "uint8" for one in loaded):
            given = {"images": [one.pixels for one in loaded], "input_data_format": "channels_first"}
        elif len(images) == 1:
            given = {"images": list(images)}
        else:
            return [self.encode(*pair) for pair in zip(images, loaded, strict=True)]
        inputs = self._processor(**given, return_tensors="pt")
        pixel_values = inputs["pixel_values"].to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            levels = self._model.get_image_embeddings(pixel_values)
        return [[level[row : row + 1] for level in levels] for row in range(len(loaded))]

    @torch.inference_mode()
    def decode(
        self,
        embeddings: list[Array],
        size: Size,
        prompts: Mapping[str, Any],
        logits: Sequence[Array],
        multimask: bool,
    ) -> tuple[Array, Array]:
        """Decode the prompts of an image."""
        model = self._model
        inputs = self._processor(original_sizes=[list(size)], return_tensors="pt", **prompts).to(model.device)
        if logits:
            inputs["input_masks"] = torch.stack(list(logits))[None]
        if "input_masks" in inputs:
            inputs["input_masks"] = inputs["input_masks"].to(model.device, model.dtype)
        outputs = model(**inputs, image_embeddings=embeddings, multimask_output=multimask)
        return outputs.pred_masks[0].float().cpu(), outputs.iou_scores[0].float().cpu()

    def restore(self, logits: Array, size: Size) -> Array:
        """Bring logits to masks of a size."""
        return self._processor.post_process_masks(logits[None, :, None], [list(size)])[0][:, 0]

    def run_lengths(self, logits: Array, size: Size, image_size: Size, offset: tuple[int, int]) -> list[np.ndarray]:
        """Bring logits to run lengths, without masks in pixels in between."""
        return encode(upsample(logits, size), 0.0, image_size, offset)

    @cached_property
    def fingerprint(self) -> str:
        """What embeddings depend on beside the pixels."""
        digest = hashlib.sha256(self._processor.image_processor.to_json_string().encode())
        for name, tensor in sorted(self._model.vision_encoder.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def as_array(self, pixels: np.ndarray) -> Array:
        """A tensor that shares the memory of `pixels`."""
        return torch.from_numpy(pixels)

    def place(self, embeddings: list[Array]) -> list[Array]:
        """Bring embeddings to the model's device."""
        return [embedding.to(self._model.device) for embedding in embeddings]

    def find_everything(self, image: np.ndarray | ImageWindows, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Segment everything in an image."""
        generator = Sam2MaskGenerationPipeline(model=self._model, image_processor=self._processor.image_processor)
        given = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        return generator(given, output_mode="run_lengths", **settings)
