"""Forking with an open video, in a Python of its own.

Whatever other tests leave behind in a process (threads of OpenMP, of compilers) may not survive a fork, and a child
then hangs in their code. So `forking_cases.py` runs where nothing has happened before; each of its tests is reported
here by its name.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

CASES = Path(__file__).parent / "forking_cases.py"
NAMES = [
    line[4:].partition("(")[0] for line in CASES.read_text(encoding="utf-8").splitlines() if line[:9] == "def test_"
]

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)


@pytest.fixture(scope="module")
def failures(tmp_path_factory) -> dict[str, str | None]:
    """What went wrong in each case; None if nothing did."""
    folder = tmp_path_factory.mktemp("forking")
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'files'}", f"--junitxml={report}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    root = CASES.parents[2]
    subprocess.run([sys.executable, "-m", "pytest", str(CASES), *options], cwd=root, env=environment, timeout=900)
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problem = case.find("failure") if case.find("error") is None else case.find("error")
        found[case.attrib["name"]] = None if problem is None else problem.attrib.get("message", "failed")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_in_a_process_of_its_own(name: str, failures) -> None:
    assert failures[name] is None


def test_every_case_is_reported(failures) -> None:
    assert set(failures) == set(NAMES) and len(NAMES) == 9
