"""Tables of results, as Markdown: `python -m benchmarks.table results.json`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .goals import goal_rows
from .results import Measurement, Report, Result, Spread

NONE = "-"
_MEBI, _GIGA = 2**20, 1e9


def tables(report: Report) -> str:
    """The tables of a report: conditions, goals, speed, memory of streams, floors, and what was not measured."""
    timed = [result for result in report.results if not result.measures_growth]
    grown = [result for result in report.results if result.measures_growth]
    parts = [
        conditions(report),
        _table(["case", "work", "goal", "reached", "by processor time", "met"], goal_rows(timed)),
        speed_table(timed),
        growth_table(grown),
        floor_table(timed),
        gaps(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def conditions(report: Report) -> str:
    """The machine and the versions, a line each."""
    machine = report.machine
    hardware = f"{machine['gpu']}; " if machine.get("gpu") else ""
    hardware += f"{machine['processor']} ({machine['instructions']}), {machine['threads']} threads"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{hardware}, {machine['memory_gib']:.0f} GiB. {report.started[:10]}.\n{versions}."


def speed_table(results: Sequence[Result]) -> str:
    """Time and memory of ours, and the ratios of the others to it: median (minimum to maximum)."""
    peers, rows = _peers(results), []
    for result in results:
        ours = result.variants.get("ours")
        if ours is None or not ours.seconds:
            continue
        rows.append(
            [
                result.name,
                result.title,
                _time(ours.median),
                *(_spread(result.ratio(peer)) for peer in peers),
                _memory(ours.peak),
                *(_memory_ratio(ours, result.variants.get(peer)) for peer in peers),
                *(_agreement(result, peer) for peer in peers),
            ]
        )
    agreements = [f"agreement: {peer}" for peer in peers]
    return _table(["case", "work", "ours", *peers, "peak", *peers, *agreements], rows)


def growth_table(results: Sequence[Result]) -> str:
    """Memory that every frame of a stream adds to a session, over the last third of the frames."""
    peers = _peers(results)
    rows = [
        [result.name, result.title, *(_growth(result.variants.get(name)) for name in ("ours", *peers))]
        for result in results
    ]
    return _table(["case", "work", "ours", *peers], rows)


def floor_table(results: Iterable[Result]) -> str:
    """Operations of ours and of transformers, and the time of ours beside the least that the machine's rates allow."""
    rows = []
    for result in results:
        ours = result.variants.get("ours")
        if result.rates is None or ours is None or not ours.flops or not ours.traffic or not ours.seconds:
            continue
        theirs = result.variants.get("transformers", Measurement())
        arithmetic, traffic = ours.flops / result.rates["flops"], ours.traffic / result.rates["bytes"]
        rows.append(
            [
                result.name,
                f"{ours.flops / _GIGA:.1f}",
                f"{theirs.flops / _GIGA:.1f}" if theirs.flops else NONE,
                f"{result.rates['flops'] / _GIGA:.0f}, {result.rates['bytes'] / _GIGA:.1f}",
                _time(arithmetic),
                f"{ours.traffic / _GIGA:.1f}",
                _time(traffic),
                _time(ours.median),
                f"{ours.median / arithmetic:.1f}x",
            ]
        )
    heads = [
        "case",
        "GFLOP",
        "transformers",
        "GFLOP/s, GB/s",
        "at the matrix rate",
        "traffic GB",
        "at the copy rate",
        "taken",
    ]
    return _table([*heads, "of the floor"], rows)


def gaps(report: Report) -> str:
    """Variants that were not measured, and why: a line each."""
    lines = [
        f"- {result.name}: {name} left out, {measured.skipped}"
        for result in report.results
        for name, measured in result.variants.items()
        if measured.skipped
    ]
    return "\n".join(lines)


def _peers(results: Sequence[Result]) -> list[str]:
    """All variants but ours, in the order of their first appearance."""
    names = dict.fromkeys(name for result in results for name in result.variants)
    return [name for name in names if name != "ours"]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    pad: Callable[[list[str]], str] = lambda row: " | ".join(  # noqa: E731
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join(["| " + pad(heads) + " |", f"|{rule}|", *(f"| {pad(row)} |" for row in rows)])


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _memory(count: int | None) -> str:
    return NONE if count is None else f"{count / _MEBI:.0f} MiB"


def _memory_ratio(ours: Measurement, theirs: Measurement | None) -> str:
    if theirs is None or theirs.skipped or not theirs.peak or not ours.peak:
        return NONE
    return f"{theirs.peak / ours.peak:.1f}x"


def _spread(ratio: Spread | None) -> str:
    return NONE if ratio is None else f"{ratio.median:.2f}x ({ratio.least:.2f} to {ratio.greatest:.2f})"


def _growth(measured: Measurement | None) -> str:
    if measured is None or len(measured.held) < 2:
        return NONE
    return f"{measured.growth / _MEBI:.2f} MiB"


def _agreement(result: Result, peer: str) -> str:
    found = result.agreement.get(peer, {})
    if "mean_iou" in found:
        ours, theirs = found["masks"]
        return f"IoU {found['mean_iou']:.4f}, {ours} and {theirs} masks"
    if "masks" in found:
        return f"{found['masks'][0]} and {found['masks'][1]} masks"
    return f"{found['error']:.0e}" if "error" in found else NONE


def marks(name: str) -> tuple[str, str]:
    """The comments that stand before and after the tables of one file of results in a document."""
    return f"<!-- results: {name} -->", f"<!-- end of results: {name} -->"


def put_into(document: str, name: str, text: str) -> str:
    """Replaces the tables of one file of results in a document.

    Args:
        document: Markdown.
        name: of the file of results, without its suffix.
        text: the new tables.

    Raises:
        ValueError: if the marks are missing.
    """
    begin, end = marks(name)
    before, mark, rest = document.partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise ValueError(f"the document has no {begin} and {end} to put tables between")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables of a file of results, or puts them between the marks in a document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=main.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--into", type=Path, metavar="DOCUMENT")
    given = parser.parse_args(arguments)
    text = tables(Report.load(given.results))
    if given.into is None:
        sys.stdout.write(text)
    else:
        given.into.write_text(put_into(given.into.read_text(), given.results.stem, text))


if __name__ == "__main__":
    main()
