"""Starting up, each time in a new Python: importing the image model, and loading a checkpoint."""

from __future__ import annotations

import subprocess
from functools import partial

from ..case import Bench, Case, Job, groups, register
from ..processes import environment, python

_REPORT_PEAK = "\nfrom benchmarks.memory import peak_bytes; print(peak_bytes())"


def run_python(code: str) -> int:
    """Runs code in a Python of its own, offline; returns the most memory that it had, in bytes."""
    done = subprocess.run(
        python("-c", code + _REPORT_PEAK),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def import_torch(bench: Bench) -> Job:
    """The floor of the two below: what every side imports first."""
    return Job(partial(run_python, "import torch, transformers"), read=lambda peak: {}, peak=int)


def import_model(bench: Bench) -> Job:
    """Importing the class of the image model."""
    return Job(partial(run_python, bench.side.import_code), read=lambda peak: {}, peak=int)


def load_model(bench: Bench) -> Job:
    """Importing it and loading a checkpoint."""
    return Job(partial(run_python, bench.side.load_code(bench.weights)), read=lambda peak: {}, peak=int)


_case = partial(Case, groups=groups("quick", "full"), runs=7, seconds=40.0)
register(_case("import-torch", "import torch and transformers", import_torch, sides=("ours",)))
register(_case("import", "import the image model", import_model))
register(_case("load", "import it, load a checkpoint", load_model, sides=("ours", "transformers")))
