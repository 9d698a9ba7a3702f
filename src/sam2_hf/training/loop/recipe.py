"""A training written down: a YAML file that says which model learns what, from which data, in which stages.

`docs/training.md` shows one; `configs/` holds those that were used. Every key is a field of a class below, and an
unknown one is refused with its place in the file.
"""

from __future__ import annotations

import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from ...network.losses import LossWeights
from ..data.sampling import ClipSampling
from ..models.freezing import Preset
from ..prompting.interaction import Interaction, PromptKind

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class ModelRecipe:
    """Where the model comes from: `checkpoint`, a folder or a name on the Hub, or `config`, a JSON file of
    `Sam2VideoConfig` for a model from nothing. A path is relative to the recipe."""

    checkpoint: str | None = None
    config: str | None = None

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.config is None):
            raise ValueError("model needs either a checkpoint or a config")


@dataclass(frozen=True)
class DataRecipe:
    """Annotated videos or images: `kind` is a key of `data_sets.KINDS`, `options` are the arguments of its class.

    `repeat` counts the data that often, to weigh several sets against each other.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1


@dataclass(frozen=True)
class AugmentationRecipe:
    """What is done to clips: mirroring, cutting out a part of so much of the area, recolouring."""

    crop_area: tuple[float, float] = (0.4, 1.0)


@dataclass(frozen=True)
class LoraRecipe:
    """Adapters that learn in place of the weights; see `add_lora`."""

    parts: tuple[str, ...] = ("image_encoder", "memory")
    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class PixelAffinityRecipe:
    """By how many places of each image, and how many objects are clicked as well; see `PixelAffinityForTraining`."""

    seeds: int = 64
    clicked_objects: int = 0


@dataclass(frozen=True)
class ImagesRecipe:
    """Images that a stage of clips learns from as well, in `share` of its batches; see `ClipsAndImages`."""

    data: tuple[DataRecipe, ...]
    share: float = 0.5
    max_objects: int = 3
    num_images: int | None = None
    augmentation: AugmentationRecipe | None = None


@dataclass(frozen=True)
class EvaluationRecipe:
    """What is measured on the way: clips of `data`, cut as in training, the same every time. The first frame gets a
    prompt, and corrections."""

    data: tuple[DataRecipe, ...]
    prompt: PromptKind = "click"
    corrections: int = 0


@dataclass(frozen=True)
class StageRecipe:
    """One training.

    Attributes:
        name: of the folder that it writes.
        data: what it learns from.
        clips: which clips are cut out of it. With one frame, they are images.
        num_clips, views: how many different ones, and how many of them in a row from the same video; see `ClipDataset`.
        starts_from: earlier stages whose mean it starts from, in place of the stage before; see `average_weights`.
        image_size: pixels of the model's input in this stage, where it differs from that of the finished model. Half
            the side is a quarter of the work, and most of what is learnt stays true.
        blocks_per_stage: of the image trunk, from this training on, where it is to become deeper; see `deepen`.
        arguments: of transformers' `TrainingArguments`.
        interaction, loss: how people act, and what counts.
        augmentation: None leaves clips as they are.
        freeze: a preset of `freeze`.
        lora: adapters; they are made part of the weights at the end.
        learning_rates: for parts of the model, where it differs from the arguments'.
        muon: steps matrices with Muon; see `MuonWithAdamW`.
        evaluation: what is measured on the way.
        images: that it learns from as well, in batches of their own.
        pixel_affinity: the image encoder is taught what belongs together, in place of clicks or beside them.
    """

    name: str
    data: tuple[DataRecipe, ...]
    clips: ClipSampling = field(default_factory=ClipSampling)
    num_clips: int | None = None
    views: int = 1
    starts_from: tuple[str, ...] = ()
    image_size: int | None = None
    blocks_per_stage: tuple[int, ...] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    interaction: Interaction = field(default_factory=Interaction)
    loss: LossWeights = field(default_factory=LossWeights)
    augmentation: AugmentationRecipe | None = None
    freeze: Preset = "nothing"
    lora: LoraRecipe | None = None
    learning_rates: dict[str, float] = field(default_factory=dict)
    muon: bool = False
    evaluation: EvaluationRecipe | None = None
    images: ImagesRecipe | None = None
    pixel_affinity: PixelAffinityRecipe | None = None


@dataclass(frozen=True)
class Recipe:
    """A model, and the stages that it goes through; every stage starts with what the one before has learnt, unless it
    says otherwise.

    `seed` fixes the initial weights and everything that is drawn. `average` names stages whose mean is the finished
    model, in place of the last one, each counting as often as it is named; see `average_weights`. `object_score_shift`
    is added to the logit of the object score of the finished model; choose it on validation data.
    `half_precision` says that the model is stored in float16. `folder` is where paths in the recipe start from.
    """

    model: ModelRecipe
    stages: tuple[StageRecipe, ...]
    seed: int = 0
    average: tuple[str, ...] = ()
    object_score_shift: float = 0.0
    half_precision: bool = False
    folder: str = "."

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"stages must be at least one, with different names, got {names}")
        _check_names("average must name stages", self.average, names)
        for index, stage in enumerate(self.stages):
            _check_names(f"stages[{index}].starts_from must name earlier stages", stage.starts_from, names[:index])


def _check_names(rule: str, chosen: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise ValueError(f"{rule}, of which {unknown[0]!r} is none")


def load_recipe(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe from a YAML file.

    `changes` replace single values, as "stages.0.arguments.max_steps=10": the path of a value, and the value in YAML.
    Raises a `ValueError` that names the place of what is wrong.
    """
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for change in changes:
        _change(content, change)
    if not isinstance(content, Mapping):
        raise ValueError(f"{os.fspath(path)} must hold a mapping, got {type(content).__name__}")
    return _build(Recipe, {"folder": str(Path(path).parent), **content}, os.path.basename(path))


def _change(content: Any, change: str) -> None:
    """Sets one value in nested mappings and lists."""
    path, separator, value = change.partition("=")
    *parents, last = (int(part) if part.isdigit() else part for part in path.strip().split("."))
    if not separator:
        raise ValueError(f"a change must be PATH=VALUE, as seed=1, got {change!r}")
    target = content
    try:
        for part in parents:
            target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
        target[last] = yaml.safe_load(value)
    except (IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not exist in the recipe, and so cannot be changed") from error


def _build(kind: type[Kind], content: Any, place: str) -> Kind:
    """An instance of a dataclass from a mapping; `place` says where it stands in the file."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} must be a mapping with keys of {kind.__name__}, got {content!r}")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise ValueError(f"{place} has no {unknown[0]!r}; known are {', '.join(known)}")
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in required if name not in content]
    if missing:
        raise ValueError(f"{place} needs {missing[0]!r}")
    hints = get_type_hints(kind)
    values = {name: _read(hints[name], value, f"{place}.{name}") for name, value in content.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error


def _read(hint: Any, value: Any, place: str) -> Any:
    """A value of the file as the type that a field has."""
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        return None if value is None else _read(options[0], value, place)
    if is_dataclass(hint):
        return _build(hint, value, place)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{place} must be a list, got {value!r}")
        return tuple(_read(get_args(hint)[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if hint is float and isinstance(value, str):
        return float(value)  # YAML takes 1e-4, without a dot, for a text
    return value
