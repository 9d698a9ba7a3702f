"""The command line: `python -m benchmarks [--quick | --gpu] [--only NAME] [--picture FILE] [--json FILE]`."""

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
from .case import CASES, Case, Group, Place
from .contest import Entry, hold
from .gpu import GPU_MINUTES, gpu_entries, gpu_summary
from .machine import describe_machine, describe_versions
from .processes import environment, python
from .results import Report
from .table import tables
from .weights import checkpoint

RESULTS = Path("build/benchmarks/results.json")
_QUICK_RUNS, _QUICK_SECONDS = 3, 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ours beside transformers and, where it is installed, the official code, and prints how many times as long
    they take. Give a picture of yours, or take the one that is drawn."""
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
            "picture": given.picture and given.picture.name,
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
    parser.add_argument("--only", action="append", metavar="NAME", help="these cases, also as video-*; see --list")
    parser.add_argument("--list", action="store_true", help="the names of the cases, and nothing else")
    parser.add_argument("--sides", nargs="+", choices=["ours", "transformers", "official"], help="by default all")
    parser.add_argument("--plain", action="store_true", help="ours once more, without its fast forms of the arithmetic")
    parser.add_argument("--picture", type=Path, help="a photograph; without it, a picture is drawn")
    parser.add_argument(
        "--trained", type=Path, help="a folder with trained checkpoints, such as sam2.1-hiera-large; else untrained"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help=f"where results go, with --only added: {RESULTS}")
    parser.add_argument("--runs", type=int, help="at most so many runs a case")
    parser.add_argument("--seconds", type=float, help="begin no further run of a case after so many seconds")
    parser.add_argument("--threads", type=int, help="of torch; by default one a core")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="on the CPU")
    return parser


def _group(given: argparse.Namespace) -> Group:
    return "quick" if given.quick else "gpu" if given.gpu else "full"


def _choose(given: argparse.Namespace) -> list[Case]:
    """The cases of a group; those that are named may be of any."""
    if not given.only:
        return [case for case in CASES.values() if _group(given) in case.groups]
    chosen = [case for case in CASES.values() if any(fnmatch.fnmatch(case.name, name) for name in given.only)]
    if not chosen:
        raise SystemExit(f"no case is named {' or '.join(given.only)}; --list names them all")
    return chosen


def _run_all(chosen: Sequence[Case], given: argparse.Namespace, report: Report) -> None:
    kept = Report.load(given.json) if given.only and given.json.exists() else None
    entries = gpu_entries() if given.gpu else _cpu_entries(given)
    most_runs = given.runs or (_QUICK_RUNS if given.quick else sys.maxsize)
    deadline = time.monotonic() + (60 * GPU_MINUTES if given.gpu else float("inf"))
    for case in chosen:
        if time.monotonic() > deadline:
            _tell(f"{case.name} left out: the time is over")
            continue
        weights = checkpoint(case.preset, case.image_size, given.picture, given.trained)
        seconds = given.seconds or (_QUICK_SECONDS if given.quick else case.seconds)
        taking_part = {name: entry for name, entry in entries.items() if entry.side in case.sides}
        runs = most_runs if not case.measures_growth else case.runs
        rates = None if given.gpu else _measure_rates(given.threads)
        result = hold(case, taking_part, weights, given.picture, runs, seconds, _tell)
        result.rates, result.load = rates, round(os.getloadavg()[0], 2)
        report.results.append(result)
        if kept is None:
            report.save(given.json)
        else:
            kept.merge(report)
            kept.save(given.json)


def _cpu_entries(given: argparse.Namespace) -> dict[str, Entry]:
    place = Place(dtype=given.dtype, threads=given.threads)
    entries = {name: Entry(name, place) for name in given.sides or ("ours", "transformers", "official")}
    return {**entries, "ours, plain": Entry("ours", replace(place, plain=True))} if given.plain else entries


def _measure_rates(threads: int | None) -> dict[str, float]:
    command = python("-m", "benchmarks.work", *([] if threads is None else [str(threads)]))
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
