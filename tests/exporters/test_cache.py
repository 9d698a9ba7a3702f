"""Graphs are exported once for each checkpoint, size and dtype, and the command computes with them."""

from __future__ import annotations

import json

import pytest
from fresh_python import run_fresh

from sam2_hf.cli import engines
from sam2_hf.cli.main import main
from sam2_hf.exporters import cache
from sam2_hf.exporters.cache import cached_export


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2_HF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def exports(monkeypatch):
    """The arguments of every export; none is computed."""
    asked = []

    def write(checkpoint, folder, **settings):
        asked.append({"checkpoint": checkpoint, **settings})
        folder.mkdir()
        (folder / "parameters.json").write_text("{}")

    monkeypatch.setattr(cache, "_export", write)
    return asked


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    return tmp_path / "tiny"


def test_a_checkpoint_is_exported_once(exports, tiny, kept):
    first = cached_export(tiny)
    assert cached_export(str(tiny)) == first and first.parent == kept and first.name.startswith("tiny-")
    assert len(exports) == 1 and exports[0]["graphs"] == cache.IMAGE_GRAPHS and exports[0]["dtype"] == "fp32"
    others = [cached_export(tiny, "int8"), cached_export(tiny, image_size=64), cached_export(tiny, video=True)]
    assert len({first, *others}) == 4
    assert [export["graphs"] for export in exports[1:]] == [cache.IMAGE_GRAPHS] * 2 + [cache.VIDEO_GRAPHS]


def test_what_is_kept_is_found_without_torch(tiny, kept):
    told = run_fresh(
        """
import json, os, pathlib, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from sam2_hf.exporters import cache

def write(checkpoint, folder, **settings):
    folder.mkdir()
    (folder / "parameters.json").write_text("{}")

cache._export = write
began = []
paths = [cache.cached_export(os.environ["TINY"], before_export=lambda: began.append(1)) for _ in range(2)]
print(json.dumps([paths[0] == paths[1], len(began)]))
""",
        TINY=str(tiny),
        SAM2_HF_CACHE=str(kept.parent),
    )
    assert told == [True, 1]


def test_another_checkpoint_of_that_name_is_exported_anew(exports, tiny):
    before = cached_export(tiny)
    (tiny / "config.json").write_text('{"changed": 1}')
    assert cached_export(tiny) != before and len(exports) == 2


def test_an_export_that_fails_leaves_nothing(monkeypatch, tiny, kept, exports):
    def fail(*arguments, **settings):
        raise ValueError("no")

    monkeypatch.setattr(cache, "_export", fail)
    with pytest.raises(ValueError, match="no"):
        cached_export(tiny)
    assert not [path for path in kept.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "tensorrt"], "expected one of torch, onnx, got 'tensorrt'"),
        (["--engine", "onnx", "--device", "cuda"], "computes on the CPU, got 'cuda'"),
        (["--engine", "onnx", "--dtype", "bfloat16"], "one of fp32, fp16, int8, got 'bfloat16'"),
    ],
)
@pytest.mark.parametrize("command", ["segment", "track"])
def test_what_the_engine_does_not_have_is_wrong_use(command, arguments, message, capsys):
    assert main([command, "nowhere", "--point", "1,1", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_clips_are_tracked_together_by_torch_alone(capsys):
    assert main(["track", "nowhere", "--point", "1,1", "--engine", "onnx", "--together", "2"]) == 2
    assert "needs the engine torch" in capsys.readouterr().err


def test_a_folder_of_graphs_is_taken_as_it_is(tmp_path):
    (tmp_path / "parameters.json").write_text("{}")
    loading = {"checkpoint": str(tmp_path), "dtype": None, "image_size": None, "quiet": True}
    assert engines._graphs(loading, video=True) == tmp_path
    with pytest.raises(ValueError, match="leave out --image-size"):
        engines._graphs({**loading, "image_size": (64, 64)}, video=True)


@pytest.mark.slow
def test_the_command_finds_with_graphs_what_it_finds_with_torch(tmp_path, capsys, kept):
    for library in ("onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason="needs the extra export")
    from clips import write_clip

    from sam2_hf.demo.world import draw_image

    world = draw_image()
    world.first.save(tmp_path / "image.png")
    write_clip(tmp_path / "clip.mp4", 4, size=(96, 224))
    x, y = world.points[0]
    for words in (
        ["segment", tmp_path / "image.png", "--point", f"{x},{y}"],
        ["segment", tmp_path / "image.png", "--everything", "--points-per-side", "6"],
        ["track", tmp_path / "clip.mp4", "--point", "60,50"],
    ):
        told = {}
        for engine in ("torch", "onnx", "onnx"):
            options = ["--engine", engine, "--json", "--quiet", "--out", tmp_path / engine]
            assert main([str(word) for word in (*words, *options)]) == 0
            told[engine] = json.loads(capsys.readouterr().out)[0]["objects"]
        assert len(told["onnx"]) == len(told["torch"]) > 0
        for one, other in zip(told["onnx"], told["torch"], strict=True):
            for name in ("score", "area", "visible_frames", "mean_score"):
                if other.get(name) is not None:
                    assert one[name] == pytest.approx(other[name], rel=0.02, abs=0.005)
    assert len([path for path in kept.iterdir() if path.is_dir()]) == 2  # of images and of clips
