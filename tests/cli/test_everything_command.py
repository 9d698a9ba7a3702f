import csv
import json
import re

import pytest
from clips import write_clip
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf.cli.main import main
from sam2_hf.everything import everything_tracker
from sam2_hf.video_io.open_video import open_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    save_tiny_checkpoint(folder / "tiny", video=True)
    write_clip(folder / "clip.mp4", 5, size=(96, 224))
    return folder


@pytest.fixture
def sam2(folder, monkeypatch, tmp_path, capsys):
    """Runs `sam2 everything` with the tiny checkpoint, whose masks all pass; (exit status, output, errors)."""
    monkeypatch.chdir(folder)
    defaults = {"pred_iou_thresh": 0, "stability_score_thresh": 0, "least_area": 0}
    original = everything_tracker.read_settings
    monkeypatch.setattr(everything_tracker, "read_settings", lambda given: original({**defaults, **given}))

    def run(*arguments):
        given = ("--checkpoint", "tiny", "--points-per-side", "3", "--out", tmp_path, "--quiet")
        status = main(["everything", *map(str, (*arguments, *given))])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize("how", [(), ("--stream",), ("--backward",)])
def test_a_clip_is_written_in_all_formats(sam2, tmp_path, how):
    formats = "mp4,coco,csv,parquet,davis"
    status, output, errors = sam2("clip.mp4", "--every", 2, "--json", "--format", formats, *how)
    assert (status, errors) == (0, "")
    (entry,) = json.loads(output)
    assert entry["frames"] == 5 and entry["objects"] and not entry["interrupted"]
    with open_video(tmp_path / "clip.mp4") as written:
        assert len(written) == 5 and written.size == (96, 224)
    with open(tmp_path / "clip.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == {str(item["name"]) for item in entry["objects"]}
    annotations = json.loads((tmp_path / "clip.json").read_text())["annotations"]
    assert len(annotations) == len(rows) == sum(item["visible_frames"] for item in entry["objects"])
    assert len(list((tmp_path / "clip_davis").iterdir())) == 5


def test_what_is_found_is_said(sam2, tmp_path):
    status, output, _ = sam2("clip.mp4", "--frames", 2, "--every", 1)
    assert status == 0 and output.startswith("clip.mp4: 2 frames, ") and str(tmp_path / "clip.mp4") in output
    assert re.search(r"\d+ objects? -> ", output)


def test_a_list_names_clips(sam2, tmp_path):
    (tmp_path / "list.txt").write_text("clip.mp4\n")
    status, output, _ = sam2("--paths-from", tmp_path / "list.txt", "--frames", 1)
    assert status == 0 and output.startswith("clip.mp4: 1 frame, ")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nothing.mp4",), 1, "error: there is no such video file or folder: 'nothing.mp4'"),
        (("clip.mp4", "--format", "gif"), 2, "expected some of mp4, coco, csv, parquet, davis"),
        (("clip.mp4", "--stream", "--backward"), 2, "leave out --stream"),
        (("clip.mp4", "--every", "0"), 2, "--every"),
    ],
)
def test_errors_are_one_line_and_have_a_status(sam2, arguments, status, message):
    found, _, errors = sam2(*arguments)
    assert found == status and message in " ".join(errors.split())


def test_a_memory_policy_is_named(sam2, monkeypatch):
    named = []
    original = everything_tracker.Tracker
    monkeypatch.setattr(everything_tracker, "Tracker", lambda *given: named.append(given[-1]) or original(*given))
    assert sam2("clip.mp4", "--frames", 2, "--memory-policy", "sam2long")[0] == 0
    assert named == ["sam2long"]
    status, _, errors = sam2("clip.mp4", "--frames", 2, "--memory-policy", "best")
    assert status != 0 and 'memory_policy must be one of "sam2", "visible"' in errors
