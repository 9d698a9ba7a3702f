"""README and docs: every block of Python runs as it stands, and every command exists."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
import torch
from pages import PAGES, ROOT, blocks, furnish, run
from PIL import Image

from sam2_hf.cli.command_table import load_command
from sam2_hf.video_io.open_video import open_video

OWN_TESTS = {"docs/training.md", "docs/scale.md"}
"""Pages whose blocks are run elsewhere: `tests/training/test_training_docs.py`, `tests/scale/test_scale_docs.py`."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Runs a page in a folder that holds what pages speak of, once; returns the names that its blocks define."""
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    namespaces = {}

    def read(page: str) -> dict:
        if page not in namespaces:
            namespaces[page] = run(PAGES[page])
        return namespaces[page]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield read


@pytest.mark.parametrize("page", sorted(PAGES.keys() - OWN_TESTS))
def test_python_on_the_page_runs(page, reader):
    """A block that fails raises here, with the line of the page."""
    assert reader(page)["__name__"]


def test_the_readme_gives_what_its_comments_say(reader):
    names = reader("README.md")
    assert names["best"].shape == (700, 900) and names["best"].dtype == torch.bool
    assert names["result"].masks.shape == (1, 700, 900) and names["tracks"].names == ["cup"]
    with Image.open("segmented.png") as segmented, open_video("tracked.mp4") as tracked:
        assert segmented.size == (900, 700) and len(tracked) == 3
    everything = {"points_per_crop": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0}
    (record, *_) = names["generator"]("photo.jpg", output_mode="coco_rle", **everything)
    assert {"area", "bbox", "predicted_iou"} <= record.keys() and isinstance(names["records"], list)
    assert names["low_resolution_logits"].shape[0] == len(names["masks"]) == len(names["scores"]) == 3


def test_the_guide_to_video_gives_what_its_comments_say(reader):
    names = reader("docs/video.md")
    with open_video("tracked.mp4") as tracked, open_video("clip.mp4") as clip:
        assert len(tracked) == len(clip) and tracked.size == clip.size and tracked.fps == clip.fps
    with Image.open("clicked.png") as clicked:
        red, green, blue = clicked.getpixel((210, 350))
        assert green > red and green > blue
    assert names["mask"].shape == (360, 480) and (names["mask"] == names["masks"][0, 0]).all()
    assert names["session"].obj_ids == ["cup"] and names["trial"].obj_ids == []


def test_a_diff_on_a_page_changes_an_import_line():
    (block,) = blocks(PAGES["README.md"], "diff")
    old, new = (line[2:] for line in block.text.splitlines())
    exec(new, names := {})
    assert ast.parse(old) and {"Sam2Model", "Sam2Processor"} <= names.keys()


def commands() -> list:
    found = []
    for page in (*PAGES.values(), ROOT / "CONTRIBUTING.md"):
        for block in (*blocks(page, "bash"), *blocks(page, "sh")):
            for line in block.text.replace("\\\n", " ").splitlines():
                if words := shlex.split(line.rpartition(" | ")[2], comments=True):
                    found.append(pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}"))
    return found


@pytest.mark.parametrize("words", commands())
def test_commands_on_pages_exist(words):
    """Make has the target and the variables; a script or module exists and knows the options."""
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for word in arguments:
            variable, is_variable, _ = word.partition("=")
            pattern = rf"^{variable} \?=" if is_variable else rf"^{word}:"
            assert re.search(pattern, makefile, re.MULTILINE), word
    elif program == "pip":
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        extras = [extra for word in arguments for group in re.findall(r"\[(.*?)\]", word) for extra in group.split(",")]
        assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
    elif program == "sam2" or arguments[1:3] == ["-m", "sam2_hf"]:  # what it does is shown in tests/cli
        name, *rest = arguments if program == "sam2" else arguments[3:]
        options = {option for parameter in load_command(name).params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-") and word != "-"} <= options
    elif program in ("python", "python3", "accelerate"):
        arguments = arguments[1:] if program == "accelerate" else arguments
        script = next(word for word in arguments if word.endswith(".py") or word in arguments[1:2])
        if arguments[0] == "-m":
            script = module_file(arguments[1])
        if script is not None:
            source = (ROOT / script).read_text(encoding="utf-8")
            for option in re.findall(r"(?<=\s)--[\w-]+", " ".join(arguments[1:])):
                assert f'"{option}"' in source, f"{script} has no {option}"
    else:
        assert program in ("git", "pre-commit", "pytest", "ruff", "mypy"), program


def module_file(module: str) -> str | None:
    """The file of a module of this repository; None for one of another package."""
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__main__.py", f"src/{path}.py", f"src/{path}/__main__.py"):
        if (ROOT / name).exists():
            return name
    assert module in ("pytest", "pip", "venv", "build"), module
    return None
