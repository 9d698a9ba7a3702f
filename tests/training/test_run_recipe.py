from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import tiny_config

from sam2_hf import Sam2Model, Sam2VideoModel, Sam2VideoProcessor
from sam2_hf.training.loop.recipe_file import load_recipe
from sam2_hf.training.loop.run_recipe import export, train
from sam2_hf.training.models.clip_model import Sam2VideoForTraining

pytest.importorskip("accelerate")
ROOT = Path(__file__).parents[2]
SIZE = 64


def write_recipe(folder, steps=2):
    """Two stages of as many steps each: images, then clips. After two of them, clips are evaluated."""
    tiny_config(video=True, image_size=SIZE).to_json_file(folder / "model.json", use_diff=False)
    arguments = {
        "max_steps": steps,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    world = {"count": 50, "size": [SIZE, SIZE], "objects": [1, 3]}
    evaluation = {"data": [{"kind": "synthetic", "options": {**world, "count": 2, "split": "test"}}]}
    content = {
        "model": {"config": "model.json"},
        "half_precision": True,
        "stages": [
            {
                "name": "images",
                "data": [{"kind": "synthetic", "options": {**world, "moving": False}}],
                "clips": {"num_frames": 1, "max_objects": 2},
                "interaction": {"corrections": 1},
                "augmentation": {},
                "arguments": {**arguments},
            },
            {
                "name": "clips",
                "data": [{"kind": "synthetic", "options": world}],
                "clips": {"num_frames": 3, "max_objects": 2, "strides": [1, 4]},
                "interaction": {"corrections": 0},
                "freeze": "image_encoder",
                "learning_rates": {"mask_decoder": 1.0e-4},
                "arguments": {**arguments},
            },
        ],
    }
    if steps == 2:
        content["stages"][1]["arguments"] = {**arguments, "eval_strategy": "steps", "eval_steps": 2}
        content["stages"][1]["evaluation"] = evaluation
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_stage_may_train_at_another_size_and_with_muon(recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    content["stages"][0].update(image_size=SIZE // 2, muon=True)
    recipe.write_text(yaml.safe_dump(content))
    folder = train(load_recipe(recipe), tmp_path / "out")
    stages = [Sam2VideoModel.from_pretrained(tmp_path / "out" / name) for name in ("images", "clips")]
    assert [model.config.image_size for model in stages] == [SIZE // 2, SIZE]
    windows = [model.config.vision_config.backbone_config.window_size_per_stage for model in stages]
    full = json.loads((recipe.parent / "model.json").read_text())["vision_config"]["backbone_config"]
    assert list(windows[1]) == full["window_size_per_stage"]
    assert all(window <= SIZE // 2 // 4 // 2**stage for stage, window in enumerate(windows[0]))
    assert Sam2VideoProcessor.from_pretrained(tmp_path / "out" / "images").image_processor.size["height"] == SIZE // 2
    assert Sam2VideoProcessor.from_pretrained(folder).image_processor.size["height"] == SIZE


def test_a_stage_may_learn_by_adapters(recipe, tmp_path):
    pytest.importorskip("peft")
    content = yaml.safe_load(recipe.read_text())
    del content["stages"][1]["freeze"]
    content["stages"][1].update(lora={"parts": ["memory", "decoder"], "rank": 2}, learning_rates={})
    recipe.write_text(yaml.safe_dump(content))
    folder = train(load_recipe(recipe), tmp_path / "out")
    before, after = (weights(tmp_path / "out" / name) for name in ("images", "clips"))
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed and {name.split(".")[0] for name in changed} <= {"memory_attention", "mask_decoder"}
    assert all(name.endswith("weight") for name in changed)
    Sam2VideoModel.from_pretrained(folder)


def test_a_stage_may_teach_the_image_encoder_alone_by_pixel_affinity(recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    content["stages"] = [{**content["stages"][0], "name": name} for name in ("images", "pixel_affinity")]
    content["stages"][1].update(pixel_affinity={"seeds": 8}, clips_per_video=2)
    content["stages"][1]["arguments"] = {**content["stages"][1]["arguments"], "bf16": True, "max_steps": 2}
    del content["stages"][1]["arguments"]["use_cpu"]  # what there is
    recipe.write_text(yaml.safe_dump(content))
    folder = train(load_recipe(recipe), tmp_path / "out")
    before, after = (weights(tmp_path / "out" / name) for name in ("images", "pixel_affinity"))
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert {"vision_encoder", "mask_decoder"} <= changed
    assert not changed & {"memory_attention", "memory_encoder", "prompt_encoder"}
    log = json.loads((tmp_path / "out" / "pixel_affinity" / "trainer_state.json").read_text())["log_history"]
    assert {"loss_focal", "loss_dice"} <= set(log[0])
    Sam2VideoModel.from_pretrained(folder)


def test_the_size_of_a_stage_is_kept_where_a_training_resumes_behind_it(recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    content["stages"][0]["image_size"] = content["stages"][1]["image_size"] = SIZE // 2
    recipe.write_text(yaml.safe_dump(content))
    train(load_recipe(recipe), tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "clips")
    folder = train(load_recipe(recipe), tmp_path / "out", resume=True)
    assert Sam2VideoModel.from_pretrained(folder).config.image_size == SIZE


def test_the_trunk_may_become_deeper_on_the_way_and_stays_so(recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    before = json.loads((recipe.parent / "model.json").read_text())["vision_config"]["backbone_config"]
    blocks = [count + 1 for count in before["blocks_per_stage"]]
    content["stages"].append({**content["stages"][0], "name": "last"})
    content["stages"][1]["blocks_per_stage"] = blocks
    recipe.write_text(yaml.safe_dump(content))
    train(load_recipe(recipe), tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "last")
    train(load_recipe(recipe), tmp_path / "out", resume=True)
    models = [Sam2VideoModel.from_pretrained(tmp_path / "out" / name) for name in ("images", "clips", "last", "model")]
    depths = [list(model.config.vision_config.backbone_config.blocks_per_stage) for model in models]
    assert depths == [before["blocks_per_stage"], blocks, blocks, blocks]


def test_images_may_be_mixed_into_clips(recipe, tmp_path, monkeypatch):
    content = yaml.safe_load(recipe.read_text())
    content["stages"] = content["stages"][1:]
    content["stages"][0]["images"] = {"data": content["stages"][0]["data"], "max_objects": 1, "augmentation": {}}
    content["stages"][0]["arguments"].update(train_sampling_strategy="sequential", max_steps=2)
    recipe.write_text(yaml.safe_dump(content))
    seen, forward = [], Sam2VideoForTraining.forward

    def spy(self, pixel_values, labels):
        seen.append(tuple(labels.shape[:3]))
        return forward(self, pixel_values, labels)

    monkeypatch.setattr(Sam2VideoForTraining, "forward", spy)
    train(load_recipe(recipe), tmp_path / "out")
    assert seen == [(2, 3, 2), (6, 1, 1)]
    with pytest.raises(ValueError, match=r"needs train_sampling_strategy: sequential .* got 'random'"):
        train(load_recipe(recipe, ["stages.0.arguments.train_sampling_strategy=random"]), tmp_path / "other")


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path, steps=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a training that ran through, with its recipe; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(load_recipe(write_recipe(folder)), folder / "out") == folder / "out" / "model"
    return folder


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def assert_same_behaviour(one, other):
    """The weights themselves may differ: where a gradient is nothing but rounding, as that of a key's bias, Adam makes
    a whole step of it."""
    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 3, 3, SIZE, SIZE, generator=generator)
    labels = torch.zeros(1, 3, 1, SIZE, SIZE, dtype=torch.int8)
    labels[..., 10:40, 20:50] = 1
    with torch.no_grad():
        first, second = (Sam2VideoForTraining.from_pretrained(folder)(clip, labels) for folder in (one, other))
    torch.testing.assert_close(first.loss, second.loss, rtol=1e-4, atol=0)


def test_a_recipe_ends_in_a_model_that_loads(finished):
    folder = finished / "out" / "model"
    model = Sam2VideoModel.from_pretrained(folder)
    processor = Sam2VideoProcessor.from_pretrained(folder)
    assert Sam2Model.from_pretrained(folder).dtype == torch.float32
    assert processor.target_size == SIZE
    session = processor.init_video_session([torch.zeros(3, 40, 50, dtype=torch.uint8)] * 2)
    processor.add_inputs_to_inference_session(session, 0, ["a"], input_points=[[[[5, 6]]]], input_labels=[[[1]]])
    assert len(list(model.propagate_in_video_iterator(session))) == 2


def test_stages_learn_what_they_should_and_write_it_down(finished):
    images, clips = weights(finished / "out" / "images"), weights(finished / "out" / "clips")
    changed = {name.split(".")[0] for name in clips if not torch.equal(clips[name], images[name])}
    assert {"memory_attention", "memory_encoder", "mask_decoder"} <= changed
    assert "vision_encoder" not in changed  # it was frozen
    log = json.loads((finished / "out" / "clips" / "trainer_state.json").read_text())["log_history"]
    assert any("eval_mean_iou" in entry for entry in log)
    assert any("loss_focal" in entry for entry in log)


def test_a_finished_model_takes_half_the_space_and_is_float32_again(finished):
    stored = weights(finished / "out" / "model")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    loaded = Sam2VideoModel.from_pretrained(finished / "out" / "model")
    assert loaded.dtype == torch.float32
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, stored[name].float(), rtol=0, atol=0)


def copy_stages(finished, folder):
    """All that was trained, without the finished model; returns `folder`."""
    shutil.copytree(finished / "out", folder)
    shutil.rmtree(folder / "model")
    return folder


def test_a_training_in_pieces_ends_where_one_in_one_go_does(finished, tmp_path):
    """Broken off in the second stage, after its first step."""
    folder = copy_stages(finished, tmp_path / "pieces")
    shutil.rmtree(folder / "clips" / "checkpoint-2")
    (folder / "clips" / "model.safetensors").unlink()
    before = (folder / "images" / "trainer_state.json").stat().st_mtime_ns
    pieces = train(load_recipe(finished / "recipe.yaml"), folder, resume=True)
    assert (folder / "images" / "trainer_state.json").stat().st_mtime_ns == before
    assert_same_behaviour(finished / "out" / "model", pieces)


def assert_mean_of_both_stages(finished, mean):
    images, clips = weights(finished / "out" / "images"), weights(finished / "out" / "clips")
    assert any(not torch.equal(images[name], clips[name]) for name in clips)
    torch.testing.assert_close(mean, {name: (images[name] + clips[name]) / 2 for name in clips})


def finish_again(finished, folder, *changes):
    """The weights of the finished model where the stages have been run already, and the recipe is changed."""
    copy_stages(finished, folder)
    return weights(
        train(load_recipe(finished / "recipe.yaml", ["half_precision=false", *changes]), folder, resume=True)
    )


def test_the_finished_model_may_be_the_mean_of_stages(finished, tmp_path):
    averaged = finish_again(finished, tmp_path / "averaged", "average=[images, clips]")
    assert_mean_of_both_stages(finished, averaged)


def test_a_stage_may_start_from_the_mean_of_earlier_ones(finished, tmp_path):
    """A third stage that learns nothing ends where it started."""
    folder = copy_stages(finished, tmp_path / "out")
    recipe = load_recipe(finished / "recipe.yaml", ["half_precision=false"])
    arguments = {**recipe.stages[0].arguments, "max_steps": 1, "learning_rate": 0.0}
    third = replace(recipe.stages[0], name="third", starts_from=("images", "clips"), arguments=arguments)
    trained = train(replace(recipe, stages=(*recipe.stages, third)), folder, resume=True)
    assert_mean_of_both_stages(finished, weights(trained))


def test_the_finished_model_may_be_readier_to_see_objects(finished, tmp_path):
    shifted = finish_again(finished, tmp_path / "shifted", "object_score_shift=1.5")
    expected = weights(finished / "out" / "clips")
    expected["mask_decoder.pred_obj_score_head.proj_out.bias"] += 1.5
    torch.testing.assert_close(shifted, expected, rtol=0, atol=0)


def test_a_folder_that_is_in_use_is_not_written_over(recipe, tmp_path):
    (tmp_path / "out" / "clips").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="clips exists: resume, or choose another folder"):
        train(load_recipe(recipe), tmp_path / "out")


def test_training_starts_from_a_checkpoint_too(finished, tmp_path):
    changes = ["model={checkpoint: out/model}", "half_precision=false", "stages.1.learning_rates={}"]
    changes += [f"stages.{stage}.arguments.learning_rate=0.0" for stage in (0, 1)]
    changes += [f"stages.{stage}.arguments.max_steps=1" for stage in (0, 1)]
    folder = train(load_recipe(finished / "recipe.yaml", changes), tmp_path / "out")
    expected, got = weights(finished / "out" / "model"), weights(folder)
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor.float(), rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    recipe = str(write_recipe(tmp_path))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "scripts/train.py", recipe]
    changes = [word for stage in (0, 1) for word in ("--set", f"stages.{stage}.arguments.ddp_backend=gloo")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, str(tmp_path / "out"), *changes], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = json.loads((tmp_path / "out" / "clips" / "trainer_state.json").read_text())
    assert log["train_batch_size"] == 2
    assert log["epoch"] == pytest.approx(2 / 13, rel=0.01)  # 50 clips, two processes with two clips each
    assert Sam2VideoModel.from_pretrained(tmp_path / "out" / "model").dtype == torch.float32


def test_full_precision_is_kept_unless_asked_otherwise(tmp_path):
    from tiny import tiny_video_model

    from sam2_hf import Sam2ImageProcessor

    export(tiny_video_model(image_size=SIZE), Sam2VideoProcessor(Sam2ImageProcessor(size=SIZE)), tmp_path)
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float32}


class TestScripts:
    @pytest.fixture(autouse=True)
    def scripts(self, monkeypatch):
        monkeypatch.syspath_prepend(str(ROOT / "scripts"))
        for name in ("train", "evaluate"):
            sys.modules.pop(name, None)

    def test_train(self, recipe, tmp_path, capsys):
        import train as script

        assert script.main([str(recipe), str(tmp_path / "out"), "--set", "stages.1.arguments.learning_rate=0.001"]) == 0
        assert f"the finished model: {tmp_path / 'out' / 'model'}" in capsys.readouterr().out

    def test_evaluate(self, finished, tmp_path, capsys):
        import evaluate

        model, scores = str(finished / "out" / "model"), tmp_path / "scores.json"
        world = ["synthetic", "count=2", f"size=[{SIZE}, {SIZE}]", "split=test"]
        assert evaluate.main([model, "clicks", *world, "moving=false", "--device", "cpu"]) == 0
        assert {"click", "clicks", "box"} <= set(capsys.readouterr().out.split())
        command = [model, "tracking", *world, "length=4", "--prompt", "click", "--json", str(scores)]
        assert evaluate.main([*command, "--device", "cpu"]) == 0
        content = json.loads(scores.read_text())
        assert set(content["averages"]) == {"J", "F", "J&F", "visibility"}
        assert f"{content['averages']['J&F']:.4f}" in capsys.readouterr().out
        assert content["objects"][0]["video"] == "test 0"

    def test_mistakes_are_told_in_a_line(self, recipe, tmp_path, capsys):
        import evaluate
        import train as script

        assert script.main([str(recipe), str(tmp_path / "out"), "--set", "sed=1"]) == 1
        assert "error: recipe.yaml has no 'sed'" in capsys.readouterr().err
        assert script.main([str(tmp_path / "none.yaml"), str(tmp_path / "out")]) == 1
        assert "none.yaml" in capsys.readouterr().err
        assert evaluate.main([str(tmp_path), "clicks", "synthetic", "count"]) == 1
        assert "error: options must be NAME=VALUE, got 'count'" in capsys.readouterr().err
