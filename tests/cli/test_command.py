"""The command `sam2` as people call it: files, formats, reports, errors, help."""

import io
import json
import sys

import numpy as np
import pytest
from clips import write_clip
from fresh_python import run_fresh
from goldens import make_command_goldens
from PIL import Image

from sam2_hf import __version__, bundled_checkpoint
from sam2_hf.cli.command_table import COMMANDS
from sam2_hf.cli.main import main
from sam2_hf.video_io.open_video import open_video


def test_a_point_on_an_image(sam2, tmp_path):
    status, output, errors = sam2("segment", "photos/photo2.png", "--point", "200,150", "--out", tmp_path)
    assert (status, errors) == (0, "")
    assert output.startswith(f"photos/photo2.png: 1 object -> {tmp_path / 'photo2.png'}")
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


@pytest.mark.parametrize("is_standard_input", [True, False])
def test_a_list_names_images(sam2, tmp_path, monkeypatch, is_standard_input):
    text = "photos/photo10.png\n\nphotos/photo2.png\n"
    (tmp_path / "list.txt").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    given = "-" if is_standard_input else tmp_path / "list.txt"
    arguments = ("--point", "9,9", "--out", tmp_path, "--format", "csv", "--json", "--quiet")
    status, output, _ = sam2("segment", "--paths-from", given, *arguments)
    assert status == 0
    assert [entry["image"] for entry in json.loads(output)] == ["photos/photo10.png", "photos/photo2.png"]


def test_an_image_that_cannot_be_read_is_reported_and_the_others_go_on(sam2, tmp_path, folder):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"no image")
    (tmp_path / "in/b.png").write_bytes((folder / "photos/photo2.png").read_bytes())
    arguments = ("--point", "9,9", "--out", tmp_path / "out", "--format", "csv", "--json", "--quiet")
    status, output, errors = sam2("segment", tmp_path / "in", *arguments)
    damaged, good = json.loads(output)
    assert status == 1 and damaged.keys() == {"image", "error"} and good["files"]
    assert errors.startswith(f"error: {tmp_path / 'in/a.png'}: ") and errors.count("\n") == 1


def test_what_is_read_is_never_written_over(sam2, tmp_path, folder):
    for name, arguments in (("photo.png", ("segment",)), ("clip.mp4", ("track",))):
        content = (folder / ("photos/photo2.png" if name == "photo.png" else name)).read_bytes()
        (tmp_path / name).write_bytes(content)
        status, _, errors = sam2(*arguments, tmp_path / name, "--point", "9,9", "--out", tmp_path)
        assert status == 1 and f"{tmp_path / name} would be overwritten: give another --out" in errors
        assert (tmp_path / name).read_bytes() == content


def test_clips_are_files_folders_of_images_folders_of_clips_patterns_and_the_standard_input(
    sam2, tmp_path, folder, monkeypatch
):
    many = tmp_path / "many"
    (many / "frames").mkdir(parents=True)
    for number in range(2):
        (many / f"frames/{number}.png").write_bytes((folder / "photos/photo2.png").read_bytes())
    (many / "b.mp4").write_bytes((folder / "clip.mp4").read_bytes())
    (many / "notes.txt").write_text("no clip")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "clip.mp4").read_bytes())))
    texts = (many, many / "frames", f"{many}/*.mp4", "-")
    options = ("--point", "60,40", "--frames", 1, "--format", "csv", "--out", tmp_path / "out", "--json", "--quiet")
    status, output, _ = sam2("track", *texts, *options)
    report = json.loads(output)
    assert status == 0 and [entry["clip"] for entry in report] == [
        *(str(many / name) for name in ("b.mp4", "frames", "frames", "b.mp4")),
        "-",
    ]
    names = [entry["files"][0].rpartition("/")[2] for entry in report]
    assert names == ["b.csv", "frames.csv", "frames-2.csv", "b-2.csv", "stdin.csv"]
    assert [entry["frames"] for entry in report] == [1] * 5
    status, _, errors = sam2("track", tmp_path / "out", *options)
    assert status == 1 and "holds no clips" in errors


def test_everything(sam2, tmp_path):
    arguments = ("--everything", "--points-per-side", 4, "--tile-size", 512, "--out", tmp_path, "--json")
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


def leaves(value, path=()):
    """All values in dictionaries and lists with where they are, in their order."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path, value


@pytest.mark.parametrize("name", make_command_goldens.COMMANDS)
def test_json_is_that_of_the_golden(name, tmp_path, monkeypatch):
    make_command_goldens.furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    expected = json.loads(make_command_goldens.GOLDEN.read_text())[name]
    for (path, value), (expected_path, golden) in zip(
        leaves(make_command_goldens.run(name)), leaves(expected), strict=True
    ):
        assert path == expected_path and type(value) is type(golden)
        if isinstance(golden, float):  # scores and areas are rounded differently by other processors
            golden = pytest.approx(golden, abs=0.01)
        elif path[-1] == "area" or "box" in path:
            golden = pytest.approx(golden, rel=0.01, abs=1)
        assert value == golden, path


def test_a_clip_is_tracked_and_written(sam2, tmp_path):
    prompt = ("--id", "bar", "--frame", 1, "--point", "60,40")
    status, output, errors = sam2(
        *("track", "clip.mp4", *prompt, "--format", "mp4,coco,csv,davis,sa-v", "--out", tmp_path, "--json")
    )
    (report,) = json.loads(output)
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


def test_clips_are_tracked_together(sam2, tmp_path, folder):
    clips, written = [], {}
    for count in (2, 4, 3):
        clips.append(write_clip(tmp_path / f"{count}.mp4", count, size=(96, 224)))
    clips.insert(1, tmp_path / "damaged.mp4")
    clips[1].write_bytes(b"no video")
    for together in (1, 3):
        out = tmp_path / str(together)
        arguments = ("--point", "60,40", "--format", "csv", "--together", together, "--out", out)
        status, output, errors = sam2("track", *clips, *arguments, "--json", "--quiet")
        report = json.loads(output)
        assert status == 1 and errors.count("error: ") == 1 and "damaged.mp4" in errors
        assert [entry["clip"] for entry in report] == [str(clip) for clip in clips] and "error" in report[1]
        assert [entry["frames"] for entry in report if "error" not in entry] == [2, 4, 3]
        written[together] = {path.name: path.read_text().splitlines() for path in out.iterdir()}
    assert {name: len(rows) for name, rows in written[1].items()} == {"2.csv": 3, "4.csv": 5, "3.csv": 4}
    assert {name: len(rows) for name, rows in written[3].items()} == {"2.csv": 3, "4.csv": 5, "3.csv": 4}


@pytest.mark.parametrize(
    ("frames", "last", "expected"),
    [
        ([], 2, range(5)),
        (["--frames", 4], 2, range(4)),
        (["--frames", 2], 4, range(2)),
        (["--frames", 2], None, range(2, 4)),
    ],
)
def test_each_object_is_followed_back_through_all_frames(sam2, tmp_path, frames, last, expected):
    prompts = {"a": {"frame": 2 if last is None else 0, "points": [[60, 40]]}}
    prompts |= {"b": {"frame": 2 if last is None else last, "box": [9, 9, 90, 80]}}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    arguments = ("track", "clip.mp4", "--from", tmp_path / "prompts.json", "--out", tmp_path, "--format", "csv")
    status, _, errors = sam2(*arguments, *frames)
    rows = [row.split(",") for row in (tmp_path / "clip.csv").read_text().splitlines()[1:]]
    assert status == 0 and "100%" in errors
    assert [row[:2] for row in rows] == [[str(frame), name] for frame in expected for name in "ab"]
    assert all(row[-1] == "1" for row in rows)  # computed, and visible


def test_a_stream_is_written_frame_by_frame(sam2, tmp_path, monkeypatch, folder):
    monkeypatch.setattr("sam2_hf.cli.clip_jobs.open_video", lambda clip: open_video(folder / "clip.mp4", stream=True))
    arguments = ("track", "7", "--point", "60,40", "--frames", 3, "--out", tmp_path)
    status, output, errors = sam2(*arguments, "--format", "mp4,coco,csv,davis,sa-v")
    names = ("camera7.mp4", "camera7.json", "camera7.csv", "camera7_davis", "camera7_manual.json")
    assert status == 0 and "3/3" in errors
    assert output.startswith(f"7: 3 frames -> {', '.join(str(tmp_path / name) for name in names)}\n")
    with open_video(tmp_path / "camera7.mp4") as video:
        assert len(video) == 3
    assert len((tmp_path / "camera7.csv").read_text().splitlines()) == 4
    assert len(list((tmp_path / "camera7_davis").iterdir())) == 3
    assert len(json.loads((tmp_path / "camera7.json").read_text())["images"]) == 3
    assert json.loads((tmp_path / "camera7_manual.json").read_text())["video_frame_count"] == 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["segment", "missing.png", "--point", "1,2"], 1, "error: there is no such image: 'missing.png'"),
        (["segment", "clip.mp4", "--point", "1,2"], 1, "error: 'clip.mp4' is a clip: for clips there is sam2 track"),
        (["track", "clip.mp4", "--point", "1,2", "--memory-policy", "best"], 1, "memory_policy must be one of"),
        (["segment", "photos", "--point", "1,2", "--device", "gpu"], 1, "device must be a torch device such as 'cpu'"),
        (["segment", "photos", "--point", "1,2", "--dtype", "half-ish"], 1, "dtype must be a torch dtype or its name"),
        (["segment", "photos", "--point", "1,2", "--style", "neon"], 1, "style must be one of fill"),
        (["segment", "photos", "--point", "nan,2"], 1, "points of 1 must be finite"),
        (["track", "missing.mp4", "--point", "1,2"], 1, "there is no such video file or folder"),
        (["segment", "photos", "--point", "1"], 2, "expected x,y, got '1'"),
        (["segment", "photos", "--box", "1,2,3"], 2, "expected x0,y0,x1,y1, got '1,2,3'"),
        (["segment", "photos"], 2, "give --point, --box, --from or --everything"),
        (["segment", "photos", "--point", "1,2", "--box", "1,2,3,4", "--box", "1,2,3,4"], 2, "give one box, or --from"),
        (["segment", "photos", "--point", "1,2", "--format", "gif"], 2, "expected some of png, coco"),
        (["segment", "photos", "--everything", "--point", "1,2"], 2, "needs no prompts"),
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
    assert {"segment", "track", "convert", "train", "evaluate", "checkpoints", "info"} <= COMMANDS.keys()
    for command in COMMANDS:
        status, output, _ = sam2(command, "--help", checkpoint=None)
        assert status == 0 and f"Usage: sam2 {command}" in output


def test_convert(sam2, tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    status, _, errors = sam2("convert", tmp_path / "text.pt", tmp_path / "out", checkpoint=None)
    assert status == 1 and errors.startswith("error: ") and not (tmp_path / "out").exists()


def test_help_and_completion_do_without_torch():
    code = """
        import json, os, sys
        from contextlib import redirect_stdout
        from io import StringIO
        from sam2_hf.cli.main import main
        shown = StringIO()
        with redirect_stdout(shown):
            status = [main([]), main(["track", "--help"])]
            os.environ.update(_SAM2_COMPLETE="complete_bash", COMP_WORDS="sam2 segment --every", COMP_CWORD="2")
            status.append(main([]))
        print(json.dumps([status, shown.getvalue().split(), sorted({"torch", "transformers"} & sys.modules.keys())]))
    """
    status, words, loaded = run_fresh(code)
    assert status[1:] == [0, 0] and words[-1] == "--everything" and loaded == []


def test_the_version(sam2):
    assert sam2("--version", checkpoint=None) == (0, f"sam2_hf {__version__}\n", "")


def test_who_reads_the_output_may_stop_reading(monkeypatch, capsys):
    def closed(*arguments, **settings):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("typer.echo", closed)
    monkeypatch.setattr("sys.stdout", sys.stdout)  # is replaced
    assert main(["checkpoints"]) == 1
    assert capsys.readouterr().err == ""


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
