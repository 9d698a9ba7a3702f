"""Which methods of the models are parts that presets compile, and `compile` itself.

A model that is given a preset gets its parts' programs in place of the methods of these names; the network knows
nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

from torch import Tensor

from .compilation import Programs, compilable, points_bucket


def _fill_up_prompts(model: Any, arguments: Sequence[Any]) -> Sequence[Any] | None:
    """Brings prompts to points (B, P, N, 2) with labels (B, P, N), where N is one of a few numbers."""
    maps, points, labels, boxes, masks, *options = arguments
    if any(value is not None and value is not False for value in options[-3:]):
        return None  # guidance, or attentions to be returned
    images = len(maps) if isinstance(maps, Tensor) else len(maps[-1])
    points, labels = model.prompt_encoder.as_points(points, labels, boxes, masks, images)
    points, labels = model.prompt_encoder.fill_up(points, labels, points_bucket(labels.shape[2]))
    return [maps, points, labels, None, masks, *options]


def _fill_up_points(model: Any, arguments: Sequence[Any]) -> Sequence[Any]:
    """The same for `segment`, which takes no boxes."""
    features, embedding, points, labels, masks, multimask = arguments
    points, labels = model.prompt_encoder.as_points(points, labels, None, masks, len(embedding))
    points, labels = model.prompt_encoder.fill_up(points, labels, points_bucket(labels.shape[2]))
    return [features, embedding, points, labels, masks, multimask]


def _spread_rows(model: Any, arguments: Sequence[Any]) -> Sequence[Any]:
    """Gives every object a row of its own, or each program would come twice, with and without."""
    features, maps, temporal_indices, pointers, distances = arguments
    count = len(maps)
    distances = None if distances is None else distances.expand(count, -1)
    return [features, maps, temporal_indices.expand(count, -1), pointers, distances]


PARTS: dict[str, Callable[[Any], Any]] = {
    "encode_maps": compilable("b", pixel_values="b"),
    "decode": compilable("b", "p", embedding="b", points="bp", labels="bp", masks="bp", prepare=_fill_up_prompts),
    "predict": compilable(
        "b", "p", image_embeddings="b", points="bp", labels="bp", masks="bp", prepare=_fill_up_prompts
    ),
    "upscale": compilable("k", hidden="k", mask_tokens="k", fine="k"),
    "segment": compilable(
        "bp",
        features="b",
        embedding="b",
        points="bp",
        labels="bp",
        previous_logits="bp",
        prepare=_fill_up_points,
    ),
    "read_stored": compilable(
        "n",
        features="n",
        maps="nk",
        temporal_indices="nk",
        pointers="np",
        distances="np",
        changing=True,
        prepare=_spread_rows,
    ),
    "encode_memory": compilable("n", features="n", logits="n", object_score="n", binarize="n"),
}
"""The methods of our models that can be programs, as far as a model has them."""

_TORCH = "torch"  # in the place of a preset: what `nn.Module.compile` does


class PresetCompilation:
    """A model that can be compiled by a preset; a base class to go before that of the network."""

    _programs: Programs | None = None

    def compile(self, preset: str | None = _TORCH, **options: Any) -> None:
        """Compiles the model's parts for inference, by a preset; they are compiled when they are first used.

        Args:
            preset: "latency" answers one person fast: CUDA graphs. "throughput" is for many images, frames or
                objects: no graphs, and nothing is rounded up. Neither compiles again between clicks or objects: there
                is a program for one object and one for several. None undoes everything and goes back to the plain
                form. Without a preset, this is `torch.nn.Module.compile`.
            options: arguments of `torch.compile` that go before those of the preset.

        With gradients, in `fast.dispatch.plain_paths` and, of CUDA graphs, on other threads than this one, the plain
        form is used.

        Raises:
            ValueError: for an unknown preset.
        """
        if preset == _TORCH:
            super().compile(**options)  # type: ignore[misc]
            return
        self._programs = None if preset is None else Programs(preset, **options)
        self._compiled_call_impl = None
        for name, part in PARTS.items():
            self.__dict__.pop(name, None)
            if preset is not None and hasattr(type(self), name):
                self.__dict__[name] = MethodType(part(getattr(type(self), name)), self)

    def __getstate__(self) -> dict[str, Any]:
        # Programs are neither copied nor pickled; like those of torch, they are gone in the copy.
        return {name: value for name, value in self.__dict__.items() if name not in ("_programs", *PARTS)}
