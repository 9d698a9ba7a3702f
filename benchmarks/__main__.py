"""The command line: `python -m benchmarks [--quick | --gpu] [--only NAME] [--image FILE] [--json FILE]`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from . import cases  # noqa: F401
from .case import CASES, Case, Group
from .comparison import Variant, compare_variants
from .gpu import GPU_MINUTES, gpu_summary, gpu_variants
from .machine import describe_machine, describe_versions
from .processes import environment, python
from .results import Report
from .settings import Runtime
from .table import tables
from .weights import checkpoint

RESULTS = Path("build/benchmarks/results.json")
_QUICK_RUNS, _QUICK_SECONDS = 3, 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure ours, transformers and, where it is installed, the official code in one run, and print the ratios."""
    given = _parser().parse_args(arguments)
    chosen = _choose(given)
    if given.list:
        sys.stdout.writelines(f"{case.name:<20} {case.title}\n" for case in chosen)
        return 0
    report = Report(
        describe_machine(),
        describe_versions(),
        {
            "group": _group(given),
            "image": given.image and given.image.name,
            "threads": given.threads,
            "dtype": given.dtype,
        },
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    _run_all(chosen, given, report)
    sys.stdout.write("\n" + tables(report))
    if given.gpu:
        sys.stdout.write("\n" + gpu_summary(report) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="small work and few runs: some minutes on a laptop")
    kind.add_argument("--gpu", action="store_true", help=f"on a CUDA device, at most {GPU_MINUTES} minutes")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases to run, also as video-*; see --list")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and run none")
    parser.add_argument(
        "--implementations", nargs="+", choices=["ours", "transformers", "official"], help="by default all"
    )
    parser.add_argument("--plain", action="store_true", help="also ours without its fast forms of the arithmetic")
    parser.add_argument("--image", type=Path, help="a photograph; by default, a drawn image")
    parser.add_argument(
        "--trained", type=Path, help="a folder with trained checkpoints, such as sam2.1-hiera-large; else untrained"
    )
    parser.add_argument(
        "--json", type=Path, default=RESULTS, help=f"file for the results, to which --only adds; by default {RESULTS}"
    )
    parser.add_argument("--runs", type=int, help="limit of the runs of a case")
    parser.add_argument("--seconds", type=float, help="limit of the time in which runs of a case start")
    parser.add_argument("--threads", type=int, help="of torch; by default one for each core")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="on the CPU")
    return parser


def _group(given: argparse.Namespace) -> Group:
    return "quick" if given.quick else "gpu" if given.gpu else "full"


def _choose(given: argparse.Namespace) -> list[Case]:
    """The cases of the group, or those that are named, of any group."""
    if not given.only:
        return [case for case in CASES.values() if _group(given) in case.groups]
    chosen = [case for case in CASES.values() if any(fnmatch.fnmatch(case.name, name) for name in given.only)]
    if not chosen:
        raise SystemExit(f"no case is named {' or '.join(given.only)}; --list names them all")
    return chosen


def _run_all(chosen: Sequence[Case], given: argparse.Namespace, report: Report) -> None:
    kept = Report.load(given.json) if given.only and given.json.exists() else None
    variants = gpu_variants() if given.gpu else _cpu_variants(given)
    most_runs = given.runs or (_QUICK_RUNS if given.quick else sys.maxsize)
    deadline = time.monotonic() + (60 * GPU_MINUTES if given.gpu else float("inf"))
    for case in chosen:
        if time.monotonic() > deadline:
            _tell(f"{case.name} left out: the time limit is reached")
            continue
        weights = checkpoint(case.preset, case.image_size, given.image, given.trained)
        seconds = given.seconds or (_QUICK_SECONDS if given.quick else case.seconds)
        taking_part = {
            name: variant for name, variant in variants.items() if variant.implementation in case.implementations
        }
        runs = most_runs if not case.measures_growth else case.runs
        rates = None if given.gpu else _measure_rates(given.threads)
        result = compare_variants(case, taking_part, weights, given.image, runs, seconds, _tell)
        result.rates, result.load = rates, round(os.getloadavg()[0], 2)
        report.results.append(result)
        if kept is None:
            report.save(given.json)
        else:
            kept.merge(report)
            kept.save(given.json)


def _cpu_variants(given: argparse.Namespace) -> dict[str, Variant]:
    runtime = Runtime(dtype=given.dtype, threads=given.threads)
    variants = {name: Variant(name, runtime) for name in given.implementations or ("ours", "transformers", "official")}
    return {**variants, "ours, plain": Variant("ours", replace(runtime, plain=True))} if given.plain else variants


def _measure_rates(threads: int | None) -> dict[str, float]:
    command = python("-m", "benchmarks.work", *([] if threads is None else [str(threads)]))
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
