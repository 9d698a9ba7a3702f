from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sam2_hf import Sam2VideoConfig, bundled_checkpoint
from sam2_hf.training.data.sampling import ClipSampling
from sam2_hf.training.loop.recipe_file import load_recipe
from sam2_hf.training.models.depth_growth import deepened_config
from sam2_hf.training.prompting.interaction import Interaction

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = {"model": {"config": "model.json"}, "stages": [{"name": "one", "data": [{"kind": "synthetic"}]}]}


def load(tmp_path, content, changes=()):
    path = tmp_path / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_recipe(path, changes)


def test_what_is_left_out_is_the_default(tmp_path):
    recipe = load(tmp_path, MINIMAL)
    assert recipe.folder == str(tmp_path)
    assert (recipe.seed, recipe.half_precision) == (0, False)
    (stage,) = recipe.stages
    assert stage.clips == ClipSampling()
    assert stage.interaction == Interaction()
    assert vars(stage.loss) == {"focal": 20.0, "dice": 1.0, "iou": 1.0, "object_score": 1.0, "chosen": 0.0}
    assert (stage.freeze, stage.lora, stage.evaluation, stage.augmentation) == ("nothing", None, None, None)


def test_every_part_can_be_said(tmp_path):
    recipe = load(
        tmp_path,
        """
        model: {checkpoint: facebook/sam2.1-hiera-tiny}
        seed: 3
        half_precision: true
        stages:
          - name: clips
            data:
              - {kind: palette, options: {root: MOSE}, repeat: 2}
              - {kind: sa_v_training, options: {root: SA-V, kinds: [manual, auto]}}
            clips: {num_frames: 4, max_objects: 2, strides: [1, 2], reverse: 0.25}
            num_clips: 1000
            interaction: {mask: 0.2, click: 0.4, corrections: 3}
            loss: {iou: 2}
            augmentation: {crop_area: [0.5, 1.0]}
            freeze: image_encoder
            lora: {parts: [memory], rank: 4}
            learning_rates: {mask_decoder: 1e-5}
            arguments: {max_steps: 10, bf16: true}
            evaluation: {data: [{kind: synthetic, options: {count: 5}}], prompt: mask}
        """,
    )
    (stage,) = recipe.stages
    assert (recipe.seed, recipe.half_precision, stage.num_clips) == (3, True, 1000)
    assert [part.repeat for part in stage.data] == [2, 1]
    assert stage.clips == ClipSampling(4, 2, (1, 2), 0.25)
    assert stage.interaction == Interaction(mask=0.2, click=0.4, corrections=3)
    assert stage.augmentation.crop_area == (0.5, 1.0)
    assert stage.lora.parts == ("memory",)
    assert stage.evaluation.data[0].options == {"count": 5}
    assert stage.arguments == {"max_steps": 10, "bf16": True}


def test_values_can_be_changed_from_outside(tmp_path):
    changes = ["seed=7", "stages.0.arguments.max_steps=5", "stages.0.clips.num_frames = 2", "stages.0.name=other"]
    recipe = load(tmp_path, MINIMAL, changes)
    assert recipe.seed == 7
    assert recipe.stages[0].arguments == {"max_steps": 5}
    assert recipe.stages[0].clips.num_frames == 2
    assert recipe.stages[0].name == "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["stages.0.clips.frames=3"], r"recipe.yaml.stages\[0\].clips has no 'frames'; known are num_frames"),
        (["stages.0.interaction.mask=2"], r"recipe.yaml.stages\[0\].interaction: mask must be a probability, got 2"),
        (["stages.0.data=3"], r"recipe.yaml.stages\[0\].data must be a list, got 3"),
        (["stages.0.data=[{}]"], r"recipe.yaml.stages\[0\].data\[0\] needs 'kind'"),
        (["stages.0.loss=20"], r"recipe.yaml.stages\[0\].loss must be a mapping with keys of LossWeights, got 20"),
        (["stages.0.clips.num_frames=many"], r"stages\[0\].clips.num_frames: .* integer.*, got 'many'"),
        (["stages.0.clips.num_frames=2.5"], r"stages\[0\].clips.num_frames: .* integer.*, got 2.5"),
        (["stages.0.freeze=all"], r"stages\[0\].freeze: .*'image_encoder'.*, got 'all'"),
        (["stages.0.arguments=3"], r"stages\[0\].arguments must be a mapping, got 3"),
        (["stages.0.evaluation={data: [{kind: coco, option: 1}]}"], r"evaluation.data\[0\] has no 'option'; .*options"),
        (["stage=1"], "recipe.yaml has no 'stage'; known are model, stages"),
        (["stages=[]"], "recipe.yaml: stages must be at least one"),
        (["stages.0.loss.chosen=2"], r"loss: chosen must be a share between 0 and 1, got 2"),
        (["model.checkpoint=x"], "recipe.yaml.model: model needs either a checkpoint or a config"),
        (["average=[one, two]"], "recipe.yaml: average must name stages, of which 'two' is none"),
        (["stages.0.starts_from=[one]"], r"stages\[0\].starts_from must name earlier stages, of which 'one' is none"),
        (["stages.4.name=x"], "stages.4.name does not exist in the recipe"),
        (["seed"], "a change must be PATH=VALUE, as seed=1, got 'seed'"),
    ],
)
def test_names_the_key_that_is_wrong(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, MINIMAL, changes)


def test_stages_have_names_of_their_own(tmp_path):
    with pytest.raises(ValueError, match=r"different names, got \['one', 'one'\]"):
        load(tmp_path, {**MINIMAL, "stages": MINIMAL["stages"] * 2})


def test_a_recipe_is_a_mapping(tmp_path):
    with pytest.raises(ValueError, match="must hold a mapping, got list"):
        load(tmp_path, "[1, 2]")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_we_ship_can_be_read(path):
    recipe = load_recipe(path)
    if recipe.model.config:
        Sam2VideoConfig.from_json_file(Path(recipe.folder, recipe.model.config))


def architecture(config):
    """A configuration's values, without what saving a model adds about its weights."""

    def plain(values):
        return {name: value for name, value in values.items() if name not in ("architectures", "dtype")}

    return json.loads(config.to_json_string(), object_hook=plain)


def test_the_recipe_of_the_bundled_checkpoint_is_of_its_architecture():
    recipe = load_recipe(CONFIGS / "sam2.1-hiera-micro.yaml")
    config = Sam2VideoConfig.from_json_file(CONFIGS / recipe.model.config)
    for stage in recipe.stages:
        if stage.blocks_per_stage is not None:
            config = deepened_config(config, stage.blocks_per_stage)
    assert architecture(config) == architecture(Sam2VideoConfig.from_pretrained(bundled_checkpoint()))
