"""What computes for a `Segmenter`: the graphs of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..mask_generation.upsampled_masks import encode, upsample
from .everything import find_everything
from .processor import Processor

if TYPE_CHECKING:
    from ..inputs.images import LoadedImage
    from ..inputs.windows import ImageWindows
    from ..sizes import Size
    from .graphs import Graphs

_LEVELS = ("image_embeddings.0", "image_embeddings.1", "image_embeddings.2")


class GraphEngine:
    """Graphs and the processor that goes with them. An `ImageEngine` of `predictors`.

    Args:
        graphs: of an image or a video checkpoint.
        processor: of the same folder.
    """

    as_tensors = False

    def __init__(self, graphs: Graphs, processor: Processor):
        self._graphs = graphs
        self._processor = processor
        self.thresholds: Mapping[str, float] = processor.folder.thresholds

    def encode(self, image: Any, loaded: LoadedImage) -> list[np.ndarray]:
        """Encode an image; see `ImageEngine`, as for the other methods."""
        return self._graphs.run("vision_encoder", {"pixel_values": self._processor.pixel_values(loaded)}, _LEVELS)

    def encode_batch(self, images: Sequence[Any], loaded: Sequence[LoadedImage]) -> list[list[np.ndarray]]:
        """Encode images, one after the other."""
        return [self.encode(*pair) for pair in zip(images, loaded, strict=True)]

    def decode(
        self,
        embeddings: list[np.ndarray],
        size: Size,
        prompts: Mapping[str, Any],
        logits: Sequence[np.ndarray],
        multimask: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode the prompts of an image."""
        inputs = self._processor.prompts(size, prompts)
        if logits:
            inputs["input_masks"] = np.stack(logits)[None]
        masks, scores = self.decode_inputs(embeddings, inputs, multimask)
        return masks[0], scores[0]

    def decode_inputs(
        self, embeddings: list[np.ndarray], inputs: Mapping[str, np.ndarray], multimask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode prompts that are the graphs' inputs already.

        Args:
            embeddings: from `encode`.
            inputs: from `Processor.prompts`.
            multimask: whether to give three masks a prompt, or one.

        Returns:
            Logits (1, P, M, h, w) and predicted IoUs (1, P, M).
        """
        given = {**inputs, **dict(zip(_LEVELS, embeddings, strict=True))}
        name = "prompt_encoder_mask_decoder"
        if "input_masks" in given:
            name += "_with_masks"
        wanted = ["pred_masks", "iou_scores"] if multimask else ["single_masks", "single_iou_scores"]
        masks, scores = self._graphs.run(name, given, wanted)
        return masks, scores

    def restore(self, logits: np.ndarray, size: Size) -> np.ndarray:
        """Bring logits to masks of a size."""
        return self._processor.post_process_masks(logits[None, :, None], [list(size)])[0][:, 0]

    def run_lengths(
        self, logits: np.ndarray, size: Size, image_size: Size, offset: tuple[int, int]
    ) -> list[np.ndarray]:
        """Bring logits to run lengths of masks of an image, without masks in pixels in between."""
        return encode(upsample(logits, size), 0.0, image_size, offset)

    @property
    def fingerprint(self) -> str:
        """What embeddings depend on beside the pixels."""
        return self._graphs.fingerprint("vision_encoder")

    def as_array(self, pixels: np.ndarray) -> np.ndarray:
        """The pixels themselves."""
        return pixels

    def place(self, embeddings: list[np.ndarray]) -> list[np.ndarray]:
        """The embeddings themselves."""
        return embeddings

    def find_everything(self, image: np.ndarray | ImageWindows, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Segment everything in an image."""
        table = find_everything(self, image, self._processor.folder.image_size, settings)
        return table.records("run_lengths")
