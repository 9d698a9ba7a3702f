"""Start-up, each time in a new process: importing the image model, and loading a checkpoint."""

from __future__ import annotations

import subprocess
from functools import partial

from ..case import Bench, Case, Job, groups, register
from ..processes import environment, python

_REPORT_PEAK = "\nfrom benchmarks.memory import peak_bytes; print(peak_bytes())"


def run_python(code: str) -> int:
    """Runs code in a new process, offline. Returns its peak memory in bytes."""
    done = subprocess.run(
        python("-c", code + _REPORT_PEAK),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def import_torch(bench: Bench) -> Job:
    """Imports what every implementation imports: the least time of the two cases below."""
    return Job(partial(run_python, "import torch, transformers"), read=lambda peak: {}, peak=int)


def import_model(bench: Bench) -> Job:
    """Imports the class of the image model."""
    return Job(partial(run_python, bench.implementation.import_code), read=lambda peak: {}, peak=int)


def load_model(bench: Bench) -> Job:
    """Imports the image model and loads a checkpoint."""
    return Job(partial(run_python, bench.implementation.load_code(bench.weights)), read=lambda peak: {}, peak=int)


_case = partial(Case, groups=groups("quick", "full"), runs=7, seconds=40.0)
register(_case("import-torch", "import torch and transformers", import_torch, implementations=("ours",)))
register(_case("import", "import the image model", import_model))
register(_case("load", "import it, load a checkpoint", load_model, implementations=("ours", "transformers")))
