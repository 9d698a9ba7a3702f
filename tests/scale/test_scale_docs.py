"""docs/scale.md: its blocks of Python and its commands run as they stand, where what they import is installed."""

from __future__ import annotations

import importlib.util
import re
import shlex

import pytest
from pages import PAGES, blocks, furnish

from sam2_hf.cli.main import main

PAGE = PAGES["docs/scale.md"]
OPTIONAL = ("datasets", "ray")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder that holds what the page speaks of, and the names that its blocks have defined."""
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield {"__name__": "scale"}


def missing(text: str) -> list[str]:
    return [name for name in OPTIONAL if re.search(rf"\b{name}\b", text) and importlib.util.find_spec(name) is None]


def test_python_on_the_page_runs(reader):
    run = [block for block in blocks(PAGE, "python") if not missing(block.text) and "ray" not in block.text]
    for block in run:
        exec(compile("\n" * (block.line - 1) + block.text, str(PAGE), "exec"), reader)
    assert reader["summary"].is_complete and not reader["summary"].errors
    first, second = reader["table"].to_pylist()
    assert first["areas"] and "missing.jpg" in second["error"]
    if "found" in reader:
        assert reader["found"].num_rows == 4


@pytest.mark.slow
def test_ray_on_the_page_runs(reader):
    ray = pytest.importorskip("ray")
    try:
        for block in blocks(PAGE, "python"):
            exec(compile("\n" * (block.line - 1) + block.text, str(PAGE), "exec"), reader)
    finally:
        ray.shutdown()
    assert [row["error"] for row in reader["rows"]] == [None] * 4 and len(reader["rows"]) == 4


def commands() -> list[str]:
    lines = [line for block in blocks(PAGE, "bash") for line in block.text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("sam2 ")]


def test_commands_on_the_page_run(reader, capsys):
    """In this process, where the page has processes."""
    for line in commands():
        words = shlex.split(line)[1:]
        if "--address" not in words:
            assert main([*words, *(["--workers", "0"] if words[0] == "batch" else [])]) == 0, line
    captured = capsys.readouterr()
    assert "1 image, 1 clip" in captured.out and "coco.json" in captured.out and "Traceback" not in captured.err


@pytest.mark.slow
def test_commands_on_ray_run(reader, capsys):
    pytest.importorskip("ray")
    (line,) = (line for line in commands() if "--address" in line)
    assert main(shlex.split(line)[1:]) == 0
    assert "1 of 1 shards: 1 image" in capsys.readouterr().out
