"""The scripts of the bundled checkpoint: the log of its training, and the figures in its card."""

from __future__ import annotations

import csv
import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_video_model

from sam2_hf import Sam2ImageProcessor, Sam2VideoProcessor
from sam2_hf.training.data.image_folder import ImageFolder

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_log_holds_the_steps_of_all_stages_in_the_order_in_which_they_ran(tmp_path):
    for name, losses in (("first", [3.0, 2.0]), ("another", [1.5])):
        (tmp_path / "out" / name).mkdir(parents=True)
        entries = [{"step": 25 * (i + 1), "loss": loss, "loss_dice": loss / 4} for i, loss in enumerate(losses)]
        state = {"log_history": [*entries, {"step": 99, "train_runtime": 1.0}]}
        path = tmp_path / "out" / name / "trainer_state.json"
        path.write_text(json.dumps(state))
    assert load("training_log").main([str(tmp_path / "out"), str(tmp_path / "log.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [(row["stage"], row["step"], row["loss"]) for row in rows] == [
        ("first", "25", "3.0"),
        ("first", "50", "2.0"),
        ("another", "25", "1.5"),
    ]


def test_a_folder_without_a_training_is_named(tmp_path, capsys):
    assert load("training_log").main([str(tmp_path), str(tmp_path / "log.csv")]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, expected",
    [([], "sam2"), (["--memory-policy", "visible"], "visible"), (["--memory-selection", "visible"], "visible")],
)
def test_tracking_is_measured_with_the_memories_that_were_asked_for(tmp_path, monkeypatch, given, expected):
    tiny_video_model().save_pretrained(tmp_path)
    Sam2VideoProcessor(Sam2ImageProcessor()).save_pretrained(tmp_path)
    used = []
    record = lambda model, *_: used.append(model.config.memory_policy) or []  # noqa: E731
    monkeypatch.setattr("sam2_hf.training.evaluation.tracking_evaluation.evaluate_tracking", record)
    monkeypatch.setattr("sam2_hf.training.evaluation.metrics.summarise", lambda _: {})
    assert load("evaluate").main([str(tmp_path), "tracking", "synthetic", "count=1", *given]) == 0
    assert used == [expected]


def test_scores_stand_in_the_card_under_their_command(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("# Title\n\n<!-- scores -->\nold\n<!-- end of scores -->\n\nEnd.\n")
    scores = tmp_path / "clicks.json"
    arguments = ["somewhere", "clicks", "synthetic", "count=3", "--json", str(scores)]
    scores.write_text(json.dumps({"arguments": arguments, "averages": {"1 click": 0.81234}, "objects": []}))
    for _ in range(2):  # again and again
        assert load("fill_card").main([str(tmp_path), str(scores)]) == 0
    text = card.read_text()
    assert "| 1 click | 0.812 |" in text and "old" not in text and text.endswith("\n\nEnd.\n")
    assert "`python scripts/evaluate.py CHECKPOINT clicks synthetic count=3`" in text
    (kept,) = json.loads((tmp_path / "evaluation.json").read_text())
    assert kept["scores"] == {"1 click": 0.81234}


def test_a_card_without_a_place_for_scores_is_left_alone(tmp_path, capsys):
    (tmp_path / "README.md").write_text("# Title\n")
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"arguments": ["x", "clicks"], "averages": {}, "objects": []}))
    assert load("fill_card").main([str(tmp_path), str(scores)]) == 1
    assert "scores" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "# Title\n"


def test_the_log_of_the_bundled_checkpoint_falls():
    rows = list(csv.DictReader((SCRIPTS.parent / "configs" / "sam2.1-hiera-micro.csv").open()))
    first, last = (float(rows[index]["loss_dice"]) for index in (0, -1))
    assert last < 0.5 * first


def write_outlines(path, source, width=20):
    square = {"name": "square", "polygons": [[[2, 3], [10, 3], [10, 8], [2, 8]]]}
    entry = {"source": source, "width": width, "height": 12, "objects": [square]}
    path.write_text(json.dumps({"images": {"beach": entry}}))


def test_outlines_become_a_folder_that_can_be_evaluated(tmp_path):
    write_outlines(tmp_path / "outlines.json", "photo_package:data/beach.png")
    with zipfile.ZipFile(tmp_path / "photo_package-1.0-py3-none-any.whl", "w") as wheel:
        Image.new("RGB", (20, 12), (9, 8, 7)).save(tmp_path / "beach.png")
        wheel.write(tmp_path / "beach.png", "photo_package/data/beach.png")
    given = [str(tmp_path / "outlines.json"), str(tmp_path / "folder"), "--wheels", str(tmp_path)]
    assert load("draw_outlines").main(given) == 0
    clip = ImageFolder(tmp_path / "folder")[0].read([0])
    assert (clip.frames == (9, 8, 7)).all() and clip.object_ids == ("square",)
    rows, columns = np.nonzero(clip.masks[0, 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 7, 2, 9) and len(rows) == 5 * 8


@pytest.mark.parametrize(
    ("source", "width", "complaint"),
    [("no_such_package:a.png", 20, "no_such_package is not installed"), ("photo_package:data/a.png", 30, "30 x 12")],
)
def test_a_photograph_that_is_missing_or_another_is_named(tmp_path, monkeypatch, capsys, source, width, complaint):
    (tmp_path / "photo_package/data").mkdir(parents=True)
    (tmp_path / "photo_package/__init__.py").touch()
    Image.new("RGB", (20, 12)).save(tmp_path / "photo_package/data/a.png")
    monkeypatch.syspath_prepend(tmp_path)
    write_outlines(tmp_path / "outlines.json", source, width)
    assert load("draw_outlines").main([str(tmp_path / "outlines.json"), str(tmp_path / "folder")]) == 1
    assert complaint in capsys.readouterr().err


def test_the_outlines_of_the_repository_lie_inside_their_photographs():
    images = json.loads((SCRIPTS.parent / "configs/outlined_photographs.json").read_text())["images"].values()
    assert sum(len(image["objects"]) for image in images) == 17
    for image in images:
        for thing in image["objects"]:
            points = np.array([point for polygon in thing["polygons"] for point in polygon])
            assert (points >= 0).all() and (points <= (image["width"], image["height"])).all()
