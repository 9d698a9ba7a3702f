"""Recipes: a training as data, with a class for each part of the YAML file.

`recipe_file.py` reads the file; `docs/training.md` shows one. Every key of the file is a field of a class here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...network.losses import LossWeights
from ..data.sampling import ClipSampling
from ..models.freezing import Preset
from ..prompting.interaction import Interaction, PromptKind


@dataclass(frozen=True)
class ModelRecipe:
    """The model before the first stage: one of two sources.

    Attributes:
        checkpoint: a folder, relative to the recipe, or a name on the Hub.
        config: a JSON file of `Sam2VideoConfig`, relative to the recipe, for a model with random weights.
    """

    checkpoint: str | None = None
    config: str | None = None

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.config is None):
            raise ValueError("model needs either a checkpoint or a config")


@dataclass(frozen=True)
class DataRecipe:
    """Annotated videos or images.

    Attributes:
        kind: a key of `data_sets.KINDS`.
        options: the arguments of the class of that kind.
        repeat: how often the data set counts, as its weight among several.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1


@dataclass(frozen=True)
class AugmentationRecipe:
    """Augmentation of clips: flips, crops and colours.

    Attributes:
        crop_area: range of a crop's share of the frame's area.
    """

    crop_area: tuple[float, float] = (0.4, 1.0)


@dataclass(frozen=True)
class LoraRecipe:
    """Adapters that learn in place of the weights; the fields are the arguments of `add_lora`."""

    parts: tuple[str, ...] = ("image_encoder", "memory")
    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class PixelAffinityRecipe:
    """Pixel-affinity pretraining; the fields are the arguments of `PixelAffinityForTraining`.

    Attributes:
        seeds: positions of each image whose object is predicted.
        clicked_objects: objects of each clip that are prompted and tracked as well.
    """

    seeds: int = 64
    clicked_objects: int = 0


@dataclass(frozen=True)
class ImagesRecipe:
    """Images that a stage of clips learns from as well; see `ClipsAndImages`.

    Attributes:
        data: the images.
        share: of the batches that hold images.
        max_objects: of an image.
        num_images: how many different ones; all by default.
        augmentation: None leaves images as they are.
    """

    data: tuple[DataRecipe, ...]
    share: float = 0.5
    max_objects: int = 3
    num_images: int | None = None
    augmentation: AugmentationRecipe | None = None


@dataclass(frozen=True)
class EvaluationRecipe:
    """Evaluation during training, on clips that are sampled as in training and the same every time.

    Attributes:
        data: the videos.
        prompt: of the first frame.
        corrections: clicks that correct the first frame.
    """

    data: tuple[DataRecipe, ...]
    prompt: PromptKind = "click"
    corrections: int = 0


@dataclass(frozen=True)
class StageRecipe:
    """One stage of a training.

    Attributes:
        name: of the folder that it writes.
        data: what it learns from.
        clips: how clips are sampled. A clip of one frame is an image.
        num_clips: how many different clips there are; see `ClipDataset`.
        clips_per_video: how many of them in a row come from the same video.
        starts_from: earlier stages whose mean it starts from, in place of the stage before; see `average_weights`.
        image_size: side of the model's input in pixels during this stage, where it differs from the finished model's.
        blocks_per_stage: of the image trunk from this stage on, where it becomes deeper; see `deepen`.
        arguments: of transformers' `TrainingArguments`.
        interaction: how prompts and corrections are simulated.
        loss: weights of the terms.
        augmentation: None leaves clips as they are.
        freeze: a preset of `freeze`.
        lora: adapters; they are merged into the weights at the end.
        learning_rates: of parts of the model, where they differ from the arguments'.
        muon: whether matrices are stepped with Muon; see `MuonWithAdamW`.
        evaluation: what is measured during training.
        images: to learn from as well, in batches of their own.
        pixel_affinity: pretraining of the image encoder, in place of prompts or beside them.
    """

    name: str
    data: tuple[DataRecipe, ...]
    clips: ClipSampling = field(default_factory=ClipSampling)
    num_clips: int | None = None
    clips_per_video: int = 1
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
    """A model and the stages of its training. Every stage continues the one before, unless it says otherwise.

    Attributes:
        model: before the first stage.
        stages: in order.
        seed: of the initial weights and everything that is drawn.
        average: stages whose mean is the finished model, in place of the last stage; a stage that is named several
            times counts as often. See `average_weights`.
        object_score_shift: added to the logit of the object score of the finished model; choose it on validation data.
        half_precision: whether the finished model is stored in float16.
        folder: where paths in the recipe start.
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
