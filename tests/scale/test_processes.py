"""Runs in processes and on Ray, where some die. Slow: each process loads torch."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_rows import content_of, draw_clips, draw_images
from dying_worker import DyingWorker
from fresh_python import SOURCE, TESTS

from sam2_hf.scale import run

PROMPTS = {"points": [[20, 20]]}
SETTINGS = {"rows_a_shard": 2, "prompts": PROMPTS}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    draw_images(folder / "rows", 5, damaged=(2,))
    draw_clips(folder / "rows", 1)
    return folder


def run_there(folder: Path, code: str, *arguments: str) -> dict:
    """Runs code in a process of its own, which may start others; what it prints last, as JSON."""
    program = f"import json, sys\nfrom sam2_hf.scale import run\nfrom dying_worker import DyingWorker\n{code}"
    (folder / "program.py").write_text(f"if __name__ == '__main__':\n{_indented(program)}\n")
    path = os.pathsep.join([str(SOURCE), str(TESTS), str(TESTS / "scale")])
    done = subprocess.run(
        [sys.executable, "program.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


@pytest.fixture(scope="module")
def whole(tiny, folder):
    """What a run writes in one process that nobody kills."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "none").mkdir()
        worker = DyingWorker(tiny, prompts=PROMPTS, fatal="rows/003.png", deaths=str(folder / "deaths"))
        (folder / "deaths").mkdir()
        assert run("rows", "whole", worker, rows_a_shard=2, workers=0).is_complete
    return content_of(folder / "whole")


CODE = """
worker = DyingWorker(sys.argv[1], prompts={"points": [[20, 20]]}, fatal="rows/003.png", deaths=sys.argv[2])
options = json.loads(sys.argv[4])
summary = run("rows", sys.argv[3], worker, rows_a_shard=2, **options)
print(json.dumps(summary.as_dict()))
"""


def put_deaths(folder, count):
    for number in range(count):
        (folder / "deaths" / str(number)).touch()


def start(folder, tiny, out, deaths, **options):
    put_deaths(folder, deaths)
    return run_there(folder, CODE, tiny, str(folder / "deaths"), out, json.dumps(options))


ENGINES = [
    pytest.param({"workers": 2}, id="processes"),
    pytest.param(
        {"workers": 2, "address": "local"},
        id="ray",
        marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    ),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_process_that_dies_is_replaced_and_the_result_is_the_same(tiny, folder, whole, engine, tmp_path):
    summary = start(folder, tiny, str(tmp_path / "out"), 1, **engine)
    assert summary["is_complete"] and summary["failed"] == {}
    assert content_of(tmp_path / "out") == whole


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shard_that_kills_every_process_is_given_up_and_tried_in_the_next_run(tiny, folder, whole, engine, tmp_path):
    summary = start(folder, tiny, str(tmp_path / "out"), 2, max_attempts=2, **engine)
    assert list(summary["failed"]) == ["1"] and summary["computed"] == 2 and not summary["is_complete"]
    summary = start(folder, tiny, str(tmp_path / "out"), 0, workers=0)
    assert summary["is_complete"] and summary["finished_before"] == 2
    assert content_of(tmp_path / "out") == whole


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_wrong_with_the_checkpoint_ends_the_run(folder, engine, tmp_path):
    code = """
try:
    run("rows", sys.argv[1], checkpoint="absent", prompts={"points": [[1, 1]]}, **json.loads(sys.argv[2]))
except (OSError, RuntimeError) as error:
    print(json.dumps(str(error)))
"""
    assert "absent" in run_there(folder, code, str(tmp_path / "out"), json.dumps(engine))
