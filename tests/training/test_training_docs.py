"""docs/training.md: every block of Python runs as it stands, and recipe and commands name what exists."""

from __future__ import annotations

import importlib.util
import inspect
import re

import numpy as np
import pytest
import torch
from pages import PAGES, blocks, furnish
from small_datasets import block, encode, save_image, save_json, save_numbers
from transformers import Trainer

from sam2_hf import Sam2VideoModel
from sam2_hf.training import Sam2VideoForTraining
from sam2_hf.training.data.data_sets import KINDS
from sam2_hf.training.loop.recipe_file import load_recipe

PAGE = PAGES["docs/training.md"]
TEXT = PAGE.read_text(encoding="utf-8")


def furnish_with_data(folder):
    """Writes a checkpoint, and data in the layouts of MOSE and COCO, of which the page speaks."""
    furnish(folder)
    for frame in range(10):
        save_image(folder / "MOSE/train/JPEGImages/street" / f"{frame}.jpg", frame)
        numbers = block(2, frame) + 2 * block(14, 2 + frame).astype(int)
        save_numbers(folder / "MOSE/train/Annotations/street" / f"{frame}.png", numbers)
    annotations = []
    for number in (1, 2):
        save_image(folder / "train" / f"{number}.jpg", number)
        annotations.append(
            {"id": number, "image_id": number, "segmentation": encode(block(3, 4 * number)), "iscrowd": 0}
        )
    images = [{"id": number, "file_name": f"{number}.jpg", "height": 24, "width": 32} for number in (1, 2)]
    save_json(folder / "instances_train.json", {"images": images, "annotations": annotations})


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The names that the page's blocks define, run in order as they stand; trainings are cut short."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("reader")
    furnish_with_data(folder)
    train = Trainer.train

    def train_shortly(trainer, *args, **kwargs):
        trainer.args.max_steps = min(trainer.args.max_steps, 2)
        trainer.args.gradient_accumulation_steps, trainer.args.dataloader_num_workers = 1, 0
        trainer.args.logging_steps = 1
        return train(trainer, *args, **kwargs)

    names: dict = {"__name__": PAGE.stem}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(Trainer, "train", train_shortly)
        torch.manual_seed(0)
        for part in blocks(PAGE, "python"):
            if "add_lora" in part.text and importlib.util.find_spec("peft") is None:
                continue
            exec(compile("\n" * (part.line - 1) + part.text, str(PAGE), "exec"), names)
        yield {**names, "folder": folder}


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_fine_tuning_on_the_page_trains_a_model_that_tracks(reader):
    assert len(losses(reader["trainer"])) == 2 and np.isfinite(losses(reader["trainer"])).all()
    tuned = Sam2VideoModel.from_pretrained(reader["folder"] / "outputs/mose/model")
    before = Sam2VideoModel.from_pretrained(reader["folder"] / "facebook/sam2.1-hiera-tiny").state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in tuned.state_dict().items())


def test_images_alone_on_the_page_do_not_diverge(reader):
    """On random weights, too, for three epochs."""
    found = losses(reader["image_trainer"])
    assert len(found) == 3 and max(found) < 1.5 * found[0]


def test_adapters_on_the_page_are_saved_and_merged(reader):
    pytest.importorskip("peft")
    assert (reader["folder"] / "outputs/adapters/adapter_config.json").is_file()
    assert type(reader["merged"]) is Sam2VideoForTraining


def test_the_frozen_part_on_the_page_does_not_learn(reader):
    learns = {name: p.requires_grad for name, p in reader["trainer"].model.named_parameters()}
    assert not any(value for name, value in learns.items() if name.startswith("vision_encoder"))
    assert any(learns.values())


def test_evaluation_on_the_page_measures(reader):
    assert list(reader["scores"]) == ["1 click", "3 clicks", "box"] and reader["scores"]["1 click"] > 0.5
    assert all(0 <= score.both <= 1 for score in reader["tracked"])


def test_the_synthetic_example_gives_a_clip(reader):
    assert reader["clip"].frames.shape == (40, 256, 256, 3)


def test_the_copy_on_the_page_has_its_input_size(reader):
    assert Sam2VideoModel.from_pretrained(reader["folder"] / "outputs/at-256").config.image_size == 256


def test_the_recipe_can_be_read_and_its_data_have_the_options_that_it_names(tmp_path):
    (content,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(content)
    (stage,) = load_recipe(tmp_path / "recipe.yaml").stages
    for part in [*stage.data, *stage.evaluation.data]:
        inspect.signature(KINDS[part.kind]).bind(**part.options)


def test_commands_name_data_and_options_that_exist():
    commands = re.findall(r"sam2 evaluate CHECKPOINT (clicks|tracking) (\w+) (.*)", TEXT)
    assert len(commands) == 4
    for _, kind, rest in commands:
        options = [word.split("=")[0] for word in rest.split(" --")[0].split()]
        inspect.signature(KINDS[kind]).bind(**dict.fromkeys(options))


def test_every_data_set_is_in_the_table():
    for kind in KINDS.values():
        assert f"| `{kind.__name__}(" in TEXT
