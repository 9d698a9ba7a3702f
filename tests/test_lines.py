"""The programs whose lines are counted: the page has the counts, and every program runs."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from pages import ROOT, furnish

from benchmarks import lines


def test_the_page_has_the_counts():
    text = lines.PAGE.read_text(encoding="utf-8")
    assert lines.table() in text
    assert {path.relative_to(lines.PROGRAMS).as_posix() for path in lines.PROGRAMS.rglob("*.py")} == {
        f"{library}/{task}.py" for library in lines.LIBRARIES for task in lines.TASKS
    }
    assert max(lines.count("ours", task) for task in lines.TASKS) <= 3


def test_our_programs_run(tmp_path, monkeypatch):
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines.run_programs("ours")
    assert json.loads((tmp_path / "coco.json").read_text())["images"]


@pytest.mark.peers
@pytest.mark.parametrize("library", [name for name in lines.LIBRARIES if name != "ours"])
def test_programs_of_other_libraries_run(library, tmp_path):
    for name in {"official": ("sam2",), "ultralytics": ("ultralytics", "sam2")}.get(library, (library,)):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    command = [sys.executable, "-m", "benchmarks.lines", "run", library, str(tmp_path / "run")]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
