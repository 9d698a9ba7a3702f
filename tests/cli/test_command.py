import io
import json
import sys

import numpy as np
import pytest
from clips import write_clip
from fresh_python import run_fresh
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf import __version__, bundled_checkpoint
from sam2_hf.cli.main import app, main
from sam2_hf.demo.world import draw_image
from sam2_hf.predictors import tracker as tracker_module
from sam2_hf.video_io.open_video import open_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, two photos and a clip."""
    folder = tmp_path_factory.mktemp("desk")
    save_tiny_checkpoint(folder / "tiny", video=True)
    (folder / "photos").mkdir()
    world = draw_image()
    for number in (2, 10):
        world.first.save(folder / "photos" / f"photo{number}.png")
    write_clip(folder / "clip.mp4", 5, size=(96, 224))
    return folder


@pytest.fixture
def sam2(folder, monkeypatch, tmp_path, capsys):
    """Runs the command in the folder, with the tiny checkpoint; (exit status, output, errors)."""
    monkeypatch.chdir(folder)

    def run(*arguments, checkpoint="tiny"):
        options = ["--checkpoint", checkpoint] if checkpoint else []
        status = main([*map(str, arguments), *options])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_point_on_an_image(sam2, tmp_path):
    status, output, errors = sam2("segment", "photos/photo2.png", "--point", "200,150", "--out", tmp_path)
    assert (status, errors) == (0, "")
    assert output.startswith(f"photos/photo2.png: 1 objects -> {tmp_path / 'photo2.png'}")
    with Image.open(tmp_path / "photo2.png") as image:
        assert image.size == (512, 512)


def test_all_formats(sam2, tmp_path):
    formats = "png,coco,csv,yolo,geojson,labels,cutout"
    arguments = ("--point", "223,136", "--negative", "30,30", "--box", "180,90,270,180")
    status, _, _ = sam2(
        *("segment", "photos/photo2.png", *arguments, "--format", formats, "--out", tmp_path),
        checkpoint=bundled_checkpoint(),
    )
    assert status == 0
    endings = (".png", ".json", ".csv", ".txt", ".geojson", "_labels.png", "_cutout.png")
    assert {path.name for path in tmp_path.iterdir()} == {f"photo2{ending}" for ending in endings}
    with Image.open(tmp_path / "photo2_labels.png") as labels:
        assert labels.mode == "P" and set(np.unique(labels)) == {0, 1}


@pytest.mark.parametrize("images", [["photos"], ["photos/*.png"], ["photos/photo2.png", "photos/photo10.png"]])
def test_folders_patterns_and_several_files(sam2, tmp_path, images):
    status, output, _ = sam2("segment", *images, "--box", "10,10,90,90", "--out", tmp_path, "--json", "--quiet")
    assert status == 0
    assert [entry["image"] for entry in json.loads(output)] == ["photos/photo2.png", "photos/photo10.png"]


def test_two_images_of_one_name_are_both_written(sam2, tmp_path):
    sam2("segment", "photos/photo2.png", "photos/photo2.png", "--point", "9,9", "--out", tmp_path, "--quiet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo2-2.png", "photo2.png"]


def test_the_standard_input_is_an_image(sam2, tmp_path, monkeypatch, folder):
    content = (folder / "photos/photo2.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert sam2("segment", "-", "--point", "9,9", "--out", tmp_path)[0] == 0
    assert (tmp_path / "stdin.png").exists()


def test_everything(sam2, tmp_path):
    arguments = ("--everything", "--points-per-side", 4, "--out", tmp_path, "--json")
    status, output, _ = sam2("segment", "photos/photo2.png", *arguments, checkpoint=bundled_checkpoint())
    (entry,) = json.loads(output)
    assert status == 0 and len(entry["objects"]) > 0
    assert [item["name"] for item in entry["objects"]] == list(range(1, len(entry["objects"]) + 1))


def test_json_for_scripts(sam2, tmp_path):
    """The golden of --json: names and kinds of all fields."""
    prompts = {"cup": {"points": [[200, 150], [9, 9]], "labels": [1, 0]}, "box": {"box": [9, 9, 90, 90]}}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    arguments = ("--from", tmp_path / "prompts.json", "--out", tmp_path, "--json", "--format", "csv")
    status, output, _ = sam2("segment", "photos/photo2.png", *arguments)
    (entry,) = json.loads(output)
    assert status == 0
    assert {key: type(value) for key, value in entry.items()} == {
        "image": str,
        "width": int,
        "height": int,
        "objects": list,
        "files": list,
    }
    assert [item["name"] for item in entry["objects"]] == ["cup", "box"]
    assert {key: type(value) for key, value in entry["objects"][0].items()} == {
        "name": str,
        "score": float,
        "area": int,
        "box": list,
    }
    assert entry["files"] == [str(tmp_path / "photo2.csv")]


def test_a_clip_is_tracked_and_written(sam2, tmp_path):
    prompt = ("--id", "bar", "--frame", 1, "--point", "60,40")
    status, output, errors = sam2(
        *("track", "clip.mp4", *prompt, "--format", "mp4,coco,csv,davis,sa-v", "--out", tmp_path, "--json")
    )
    report = json.loads(output)
    assert status == 0 and "5/5" in errors  # a bar with the rate and the time left
    assert {key: report[key] for key in ("clip", "width", "height", "frames", "interrupted")} == {
        "clip": "clip.mp4",
        "width": 224,
        "height": 96,
        "frames": 5,
        "interrupted": False,
    }
    assert [item["name"] for item in report["objects"]] == ["bar"]
    names = ["clip.mp4", "clip.json", "clip.csv", "clip_davis", "clip_manual.json"]
    assert report["files"] == [str(tmp_path / name) for name in names]
    with open_video(tmp_path / "clip.mp4") as video:
        assert (len(video), video.size) == (5, (96, 224))


def test_several_objects_come_from_a_file_and_quiet_is_quiet(sam2, tmp_path):
    prompts = {"a": {"frame": 0, "points": [[60, 40]]}, "b": [{"frame": 2, "box": [9, 9, 90, 80]}]}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    status, output, errors = sam2(
        "track", "clip.mp4", "--from", tmp_path / "prompts.json", "--out", tmp_path, "--format", "csv", "--quiet"
    )
    assert (status, errors) == (0, "")
    assert "a: visible in" in output and "b: visible in" in output


def test_what_was_tracked_before_an_interruption_is_written(sam2, tmp_path, monkeypatch):
    put = tracker_module.Tracks.put

    def interrupted(self, frame, objects):
        put(self, frame, objects)
        if frame == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(tracker_module.Tracks, "put", interrupted)
    status, output, _ = sam2("track", "clip.mp4", "--point", "60,40", "--out", tmp_path, "--quiet")
    assert status == 130 and "3 frames (interrupted)" in output
    with open_video(tmp_path / "clip.mp4") as video:
        assert len(video) == 3


def test_a_stream_is_written_frame_by_frame(sam2, tmp_path, monkeypatch, folder):
    monkeypatch.setattr(
        "sam2_hf.cli.track_command.open_video", lambda clip: open_video(folder / "clip.mp4", stream=True)
    )
    arguments = ("track", "7", "--point", "60,40", "--frames", 3, "--out", tmp_path)
    status, output, errors = sam2(*arguments, "--format", "mp4,csv,davis")
    assert (status, output) == (0, f"-> {tmp_path / 'camera7.mp4'}\n") and "3/3" in errors
    with open_video(tmp_path / "camera7.mp4") as video:
        assert len(video) == 3
    assert len((tmp_path / "camera7.csv").read_text().splitlines()) == 4
    assert len(list((tmp_path / "camera7_davis").iterdir())) == 3
    status, _, errors = sam2(*arguments, "--format", "coco")
    assert status == 2 and "a stream is written as mp4, csv or davis, got coco" in " ".join(errors.split())


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["segment", "missing.png", "--point", "1,2"], 1, "error: there is no image 'missing.png'"),
        (["segment", "clip.mp4", "--point", "1,2"], 1, "error: images must be"),
        (["track", "clip.mp4", "--point", "1,2", "--memory-policy", "best"], 1, "memory_policy must be one of"),
        (["track", "missing.mp4", "--point", "1,2"], 1, "there is no such video file or folder"),
        (["segment", "photos", "--point", "1"], 2, "expected x,y, got '1'"),
        (["segment", "photos", "--box", "1,2,3"], 2, "expected x0,y0,x1,y1, got '1,2,3'"),
        (["segment", "photos"], 2, "give --point, --box, --from or --everything"),
        (["segment", "photos", "--point", "1,2", "--box", "1,2,3,4", "--box", "1,2,3,4"], 2, "give one box, or --from"),
        (["segment", "photos", "--point", "1,2", "--format", "gif"], 2, "expected some of png, coco"),
        (["track", "clip.mp4"], 2, "give --point, --box or --from"),
        (["segment"], 2, "Missing argument"),
        (["dance"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_and_have_a_status(sam2, tmp_path, arguments, status, message):
    found, output, errors = sam2(
        *arguments, checkpoint="tiny" if arguments[0] != "dance" and len(arguments) > 1 else None
    )
    assert (found, output) == (status, "")
    assert message in " ".join(errors.split())
    assert "Traceback" not in errors
    if status == 1:
        assert errors.count("\n") == 1


def test_a_checkpoint_that_is_not_there_is_one_line(sam2, tmp_path):
    status, _, errors = sam2("segment", "photos", "--point", "1,2", checkpoint=str(tmp_path / "nothing"))
    assert status == 1 and errors.startswith("error: ") and errors.count("\n") == 1


def test_checkpoints_and_info(sam2):
    status, output, _ = sam2("checkpoints", "--json", checkpoint=None)
    found = json.loads(output)
    assert status == 0 and found[0] == {"name": bundled_checkpoint(), "state": "bundled"}
    assert {"facebook/sam2.1-hiera-tiny", "facebook/sam2-hiera-large"} <= {entry["name"] for entry in found}
    status, output, _ = sam2("info", "--json")
    facts = json.loads(output)
    assert status == 0 and facts["sam2_hf"] == __version__ and facts["click_ms"] > 0 and facts["checkpoint"] == "tiny"


def test_every_command_has_help(sam2):
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert commands == {"segment", "track", "convert", "checkpoints", "info"}
    for command in commands:
        status, output, _ = sam2(command, "--help", checkpoint=None)
        assert status == 0 and f"Usage: sam2 {command}" in output


def test_convert(sam2, tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    status, _, errors = sam2("convert", tmp_path / "text.pt", tmp_path / "out", checkpoint=None)
    assert status == 1 and errors.startswith("error: ") and not (tmp_path / "out").exists()


def test_an_interrupt_ends_the_command(sam2, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("sam2_hf.cli.arguments.find_images", interrupted)
    status, output, errors = sam2("segment", "photos", "--point", "1,2", "--out", tmp_path)
    assert (status, output) == (130, "") and "Traceback" not in errors


def test_python_m_is_the_same():
    code = """
        import json, sys
        from contextlib import redirect_stdout
        from io import StringIO
        from runpy import run_module
        sys.argv, shown = ["sam2", "--help"], StringIO()
        try:
            with redirect_stdout(shown):
                run_module("sam2_hf", run_name="__main__")
        except SystemExit as ended:
            print(json.dumps([ended.code, shown.getvalue()]))
    """
    status, shown = run_fresh(code)
    assert status == 0 and "Usage: sam2" in shown and "track" in shown
