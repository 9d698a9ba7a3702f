"""Runs a recipe: trains its stages and writes the finished model to a folder."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ...configuration_sam2 import Sam2VideoConfig
from ...image_processing_sam2 import Sam2ImageProcessor
from ...modeling_sam2_video import Sam2VideoModel
from ...processing_sam2_video import Sam2VideoProcessor
from ..data.augmentation import Compose, standard_augmentation
from ..data.collation import ClipCollator
from ..data.data_sets import Joined, open_data
from ..data.mixing import ClipsAndImages
from ..data.sampling import ClipDataset, ClipSampling
from ..models.clip_model import Sam2VideoForTraining
from ..models.depth_growth import deepen, deepened_config
from ..models.freezing import freeze
from ..models.initialisation import initialise
from ..models.lora import add_lora
from ..models.pixel_affinity import PixelAffinityForTraining
from ..prompting.interaction import evaluation_plan
from .averaging import average_weights
from .recipe import AugmentationRecipe, DataRecipe, ModelRecipe, Recipe, StageRecipe
from .trainer import Sam2Trainer, clip_metrics

# Training arguments that `Sam2VideoForTraining` needs, unless a recipe has others.
_ARGUMENTS: dict[str, Any] = {
    "remove_unused_columns": False,
    "label_names": ["labels"],
    "ddp_find_unused_parameters": True,  # which parts a clip uses depends on its prompts
    "report_to": "none",
}


def train(recipe: Recipe, output: str | Path, resume: bool = False) -> Path:
    """Train all stages of a recipe.

    Every stage writes checkpoints and its finished model to a folder of its name. The finished model is a checkpoint of
    `Sam2VideoModel` with its processor, for `from_pretrained`.

    Args:
        recipe: from `load_recipe`.
        output: the folder to write.
        resume: whether to skip finished stages and to continue an interrupted one from its last checkpoint.

    Returns:
        The folder of the finished model, `output`/model.

    Raises:
        FileExistsError: if a stage was run already, and `resume` is not set.
        ValueError: if data, options or stages do not fit together.
    """
    from accelerate import PartialState

    output = Path(output)
    started = [stage.name for stage in recipe.stages if (output / stage.name).exists()]
    if started and not resume:
        raise FileExistsError(f"{output / started[0]} exists: resume, or choose another folder")
    set_seed(recipe.seed)
    model, processor = _start(recipe)
    full = model.config
    for stage in recipe.stages:
        folder = output / stage.name
        if stage.blocks_per_stage is not None:
            full = deepened_config(full, stage.blocks_per_stage)
        if (folder / "model.safetensors").is_file():
            model = Sam2VideoForTraining.from_pretrained(folder, dtype=torch.float32)
        else:
            if stage.blocks_per_stage is not None:
                model = deepen(model, stage.blocks_per_stage)
            if stage.starts_from:
                model.load_state_dict(average_weights([output / name for name in stage.starts_from]))
            model, processor = _with_config(model, processor, _resized_config(full, stage.image_size))
            model = _run_stage(model, processor, stage, recipe.seed, folder, resume)
        gc.collect()
    if recipe.average:
        model.load_state_dict(average_weights([output / name for name in recipe.average]))
    _shift_object_score(model, recipe.object_score_shift)
    model, processor = _with_config(model, processor, full)
    if PartialState().is_main_process:
        export(model, processor, output / "model", recipe.half_precision)
    return output / "model"


def export(
    model: Sam2VideoModel, processor: Sam2VideoProcessor, folder: str | Path, half_precision: bool = False
) -> None:
    """Save a model with its processor, optionally in float16; it still loads as float32 by default."""
    if half_precision:
        model = model.to(torch.float16)
    model.save_pretrained(folder)
    if half_precision:
        config = Sam2VideoConfig.from_pretrained(folder)
        config.dtype = torch.float32
        config.save_pretrained(folder)
        model.to(torch.float32)
    processor.save_pretrained(folder)


def _start(recipe: Recipe) -> tuple[Sam2VideoForTraining, Sam2VideoProcessor]:
    """Build the model before the first stage, and its processor."""
    source: ModelRecipe = recipe.model
    if source.checkpoint is not None:
        local = Path(recipe.folder, source.checkpoint)
        name = str(local) if local.is_dir() else source.checkpoint
        model = Sam2VideoForTraining.from_pretrained(name, dtype=torch.float32)
        return model, Sam2VideoProcessor.from_pretrained(name)
    config = Sam2VideoConfig.from_json_file(Path(recipe.folder, source.config or ""))
    model = Sam2VideoForTraining(config)
    initialise(model)
    return model, Sam2VideoProcessor(_resized(Sam2ImageProcessor(), config))


@torch.no_grad()
def _shift_object_score(model: Sam2VideoModel, shift: float) -> None:
    """Add to the logit of the object score: above 0, more objects count as visible."""
    model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(shift)


def _resized_config(full: Sam2VideoConfig, size: int | None) -> Sam2VideoConfig:
    """Change the configuration to another input size; None leaves it as it is.

    Windows are no larger than their maps: padding would take part in attention, which costs time and does not happen
    at full size.
    """
    if size is None:
        return full
    config = full.with_image_size(size)
    backbone = config.vision_config.backbone_config
    sides = [
        min(config.vision_config.input_size) // min(backbone.both_sides("patch_stride")) // 2**stage
        for stage in range(4)
    ]
    windows = zip(backbone.window_size_per_stage, sides, strict=True)
    backbone.window_size_per_stage = [min(window, side) for window, side in windows]
    return config


def _with_config(
    model: Sam2VideoForTraining, processor: Sam2VideoProcessor, config: Sam2VideoConfig
) -> tuple[Sam2VideoForTraining, Sam2VideoProcessor]:
    """Change model and processor to another input size, with the same weights; unchanged where the size is theirs."""
    if config.image_size != model.config.image_size:
        resized = Sam2VideoForTraining(config)
        resized.load_state_dict(model.state_dict())
        model = resized
    image_processor = processor.image_processor
    if (image_processor.size["height"], image_processor.size["width"]) != _input_size(config):
        processor = Sam2VideoProcessor(_resized(image_processor, config))
    return model, processor


def _resized(image_processor: Sam2ImageProcessor, config: Sam2VideoConfig) -> Sam2ImageProcessor:
    """Change a processor to the input size of a model, and its masks to a quarter of that."""
    height, width = _input_size(config)
    sizes = {
        "size": {"height": height, "width": width},
        "mask_size": {"height": height // 4, "width": width // 4},
    }
    return Sam2ImageProcessor.from_dict({**image_processor.to_dict(), **sizes})


def _input_size(config: Sam2VideoConfig) -> tuple[int, int]:
    """Return height and width in pixels."""
    height, width = config.vision_config.input_size
    return height, width


def _run_stage(
    model: Sam2VideoForTraining,
    processor: Sam2VideoProcessor,
    stage: StageRecipe,
    seed: int,
    folder: Path,
    resume: bool,
) -> Sam2VideoForTraining:
    """Train one stage; the folder then holds the model, the log and the last checkpoints."""
    model.interaction = stage.interaction
    model.loss_weights = stage.loss
    if stage.evaluation is not None:
        model.evaluation = evaluation_plan(stage.evaluation.prompt, stage.evaluation.corrections)
    freeze(model, stage.freeze)
    trainer = _trainer(_learner(model, stage), processor, stage, seed, folder)
    last = get_last_checkpoint(str(folder)) if resume and folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    trained = trainer.model.merge_and_unload() if stage.lora else model
    freeze(trained, "nothing")
    if trainer.is_world_process_zero():
        trained.save_pretrained(folder)
        processor.save_pretrained(folder)
        trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    return trained


def _learner(model: Sam2VideoForTraining, stage: StageRecipe) -> nn.Module:
    """Wrap the model as the stage needs it."""
    if stage.lora:
        return add_lora(model, **vars(stage.lora))
    if stage.pixel_affinity:
        return PixelAffinityForTraining(model, stage.pixel_affinity.seeds, stage.pixel_affinity.clicked_objects)
    return model


def _trainer(
    model: nn.Module, processor: Sam2VideoProcessor, stage: StageRecipe, seed: int, folder: Path
) -> Sam2Trainer:
    image_processor = processor.image_processor
    evaluation = stage.evaluation
    if evaluation is not None:
        # Evaluation concatenates batches, which therefore have one shape.
        collator = ClipCollator(image_processor, stage.clips.max_objects)
    else:
        collator = ClipCollator(image_processor)
    # `TrainingArguments` refuses bfloat16 on a CPU without this argument.
    device = {"use_cpu": not torch.accelerator.is_available()}
    given = {"seed": seed, **_ARGUMENTS, **device, **stage.arguments}
    arguments = TrainingArguments(output_dir=str(folder), **given)
    return Sam2Trainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=_training_data(stage, image_processor, seed, arguments),
        eval_dataset=ClipDataset(_videos(evaluation.data), stage.clips) if evaluation else None,
        compute_metrics=clip_metrics if evaluation else None,
        processing_class=image_processor,  # `Trainer` looks for a tokenizer in a whole processor
        learning_rates=stage.learning_rates,
        muon=stage.muon,
    )


def _training_data(
    stage: StageRecipe, image_processor: Sam2ImageProcessor, seed: int, arguments: TrainingArguments
) -> ClipDataset | ClipsAndImages:
    """Open the data of a stage.

    Raises:
        ValueError: if clips and images could come into one batch.
    """
    size = (image_processor.size["height"], image_processor.size["width"])

    def augmentation(recipe: AugmentationRecipe | None) -> Compose | None:
        return standard_augmentation(size, recipe.crop_area) if recipe else None

    videos, more = _videos(stage.data), stage.images
    clips = ClipDataset(
        videos, stage.clips, augmentation(stage.augmentation), stage.num_clips, seed, stage.clips_per_video
    )
    if more is None:
        return clips
    if arguments.train_sampling_strategy != "sequential":
        raise ValueError(
            "a stage with images needs train_sampling_strategy: sequential among its arguments: a batch holds "
            f"either clips or images; got {arguments.train_sampling_strategy!r}"
        )
    batch = arguments.train_batch_size * arguments.world_size  # on all devices together
    single = ClipSampling(num_frames=1, max_objects=more.max_objects)
    images = ClipDataset(_videos(more.data), single, augmentation(more.augmentation), more.num_images, seed)
    return ClipsAndImages(clips, images, stage.clips.num_frames, more.share, batch)


def _videos(parts: Sequence[DataRecipe]) -> Joined:
    opened = [open_data(part.kind, part.options) for part in parts]
    return Joined([videos for videos, part in zip(opened, parts, strict=True) for _ in range(part.repeat)])
