"""The `promptable-visual-segmentation` pipeline: the objects of images that prompts mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.pipelines.base import Pipeline

_PROMPTS = ("input_points", "input_labels", "input_boxes")
_AXES = {"input_points": 3, "input_labels": 2, "input_boxes": 2}  # of one image: objects, points, (x, y)


class Sam2PromptableSegmentationPipeline(Pipeline):
    """Segments the objects that points and boxes mean.

    ```python
    >>> from transformers import pipeline
    >>> import sam2_hf

    >>> segmenter = pipeline("promptable-visual-segmentation", model="facebook/sam2.1-hiera-tiny")
    >>> segmenter("truck.jpg", input_points=[[[500, 375]]], input_labels=[[1]])
    [{'score': 0.95, 'mask': tensor(...)}, ...]
    ```

    All of these can be given when the pipeline is made or when it is called:

    - multimask_output (True): three masks an object, or one.
    - mask_threshold (0): the logit above which a pixel belongs to the mask.
    - top_k (None): how many masks of an image are returned, the best ones.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: Any, *args: Any, **kwargs: Any):
        kwargs.pop("local_files_only", None)  # `pipeline()` hands on what it has used itself
        super().__init__(model, *args, **kwargs)
        if self.processor is None:
            raise ValueError("processor is missing: expected a Sam2Processor")

    def __call__(self, image: Any = None, **kwargs: Any) -> Any:
        """Segment the objects of one image or of several.

        Args:
            image: a PIL image, path, URL, array or tensor; a dictionary of `image` and its prompts; or several of
                these in a list, a `Dataset` or a generator. `images` is the same.
            kwargs: `input_points` (objects, points, (x, y)), `input_labels` (objects, points) of 1 and 0, `input_boxes`
                (objects, (x0, y0, x1, y1)), in pixels, with an axis of one more in front as for the processor; for a
                list of images, a list of these. And the settings of the class, `batch_size` and `num_workers`.

        Returns:
            For an image, a list of {"score", "mask"} with masks (height, width), bool, by descending score; for
            several, a list of these; for a `Dataset` or a generator, an iterator.

        Raises:
            ValueError: no prompts; prompts for another number of images.
        """
        image = kwargs.pop("images", image)
        prompts = {name: kwargs.pop(name) for name in _PROMPTS if kwargs.get(name) is not None}
        if isinstance(image, (list, tuple)):
            return super().__call__(list(_with_prompts(image, prompts)), **kwargs)
        if prompts:
            if isinstance(image, Mapping):
                raise ValueError(
                    f"prompts must be in an image's dictionary or beside it, got {list(prompts)} beside it"
                )
            image = {"image": image, **prompts}
        return super().__call__(image, **kwargs)

    def _sanitize_parameters(
        self, multimask_output: bool | None = None, mask_threshold: float | None = None, top_k: int | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        forward = {} if multimask_output is None else {"multimask_output": multimask_output}
        given = {"mask_threshold": mask_threshold, "top_k": top_k}
        return {}, forward, {name: value for name, value in given.items() if value is not None}

    def preprocess(self, inputs: Any) -> dict[str, Any]:
        if not isinstance(inputs, Mapping) or not any(inputs.get(name) is not None for name in _PROMPTS):
            raise ValueError(f"expected an image and {', '.join(_PROMPTS)} that say what to segment, got no prompts")
        unknown = sorted(inputs.keys() - {"image", *_PROMPTS})
        if unknown:
            raise ValueError(f"an image's dictionary may have image, {', '.join(_PROMPTS)}, got {', '.join(unknown)}")
        prompts = {name: _of_one_image(name, inputs[name]) for name in _PROMPTS if inputs.get(name) is not None}
        # A list passes through batching as it is: images have different numbers of objects.
        return {"prepared": [self.processor(images=inputs["image"], return_tensors="pt", **prompts)]}

    def _forward(self, model_inputs: dict[str, Any], multimask_output: bool = True) -> dict[str, Any]:
        prepared = list(_flatten(model_inputs["prepared"]))
        pixels = torch.cat([item["pixel_values"] for item in prepared]).to(self.device, self.model.dtype)
        embeddings = self.model.get_image_embeddings(pixels)
        found = []
        for row, item in enumerate(prepared):
            prompts = {name: item[name].to(self.device) for name in _PROMPTS if name in item}
            embedded = [level[row : row + 1] for level in embeddings]
            outputs = self.model(**prompts, image_embeddings=embedded, multimask_output=multimask_output)
            masks, scores = outputs.pred_masks.float().cpu(), outputs.iou_scores.float().cpu()
            found.append((masks, scores, item["original_sizes"]))
        return {"found": found}

    def postprocess(
        self, model_outputs: dict[str, Any], mask_threshold: float = 0.0, top_k: int | None = None
    ) -> list[dict[str, Any]]:
        ((logits, scores, sizes),) = _results(model_outputs["found"])
        order = scores.flatten().argsort(descending=True, stable=True)[:top_k]
        chosen = logits.flatten(1, 2)[:, order]
        (masks,) = self.processor.post_process_masks(chosen[:, :, None], sizes, mask_threshold=mask_threshold)
        return [
            {"score": float(score), "mask": mask}
            for score, mask in zip(scores.flatten()[order], masks[:, 0], strict=True)
        ]


def _with_prompts(images: Any, prompts: Mapping[str, Any]) -> Iterator[Any]:
    """Each of several images in a dictionary with its own prompts."""
    for name, values in prompts.items():
        if len(values) != len(images):
            raise ValueError(f"{name} must hold those of each of the {len(images)} images, got {len(values)}")
    for index, image in enumerate(images):
        yield {"image": image, **{name: values[index] for name, values in prompts.items()}} if prompts else image


def _of_one_image(name: str, values: Any) -> Any:
    """The prompts of one image with the axis of images that the processor wants."""
    return values if _depth(values) > _AXES[name] else [values]


def _depth(values: Any) -> int:
    if hasattr(values, "ndim"):
        return int(values.ndim)
    if not isinstance(values, (list, tuple)):
        return 0
    return 1 + max((_depth(value) for value in values), default=0)


def _flatten(items: Iterable[Any]) -> Iterator[Any]:
    """What batching has nested once more."""
    for item in items:
        if isinstance(item, list):
            yield from _flatten(item)
        else:
            yield item


def _results(found: Any) -> list[tuple[Tensor, Tensor, Tensor]]:
    return [found] if isinstance(found, tuple) else list(found)
