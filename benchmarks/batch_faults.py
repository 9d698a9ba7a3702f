"""What is left of a run when processes are killed and disks are full: nothing lost, nothing computed twice.

    python -m benchmarks.batch_faults --images 2000 --clips 50 --kills 20

Each line is a run over the same drawn rows, 1 % of them damaged. It is compared, byte for byte, with a
run in one process that nothing disturbed. Shards that were finished at the time of a fault may not be written again.
Kills come after a random CPU time of a worker, so that they fall alike into its start and its work, whatever the load.
Workers need no model (`benchmarks/batch_driver.py`), so that kills fall into what is to be shown; with `--model`, they
are those of `sam2 batch` with the bundled checkpoint, and everything takes ten times as long.
The full disk is a small tmpfs, which needs root; without it, a limit on the size of files.
"""

from __future__ import annotations

import argparse
import collections
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pyarrow import parquet

from .batch_report import say
from .batch_rows import batch_command, draw_rows, written_by

_ROOT = Path(__file__).parents[1]
_POLL = 0.02
_LATEST_KILL = {True: 9.0, False: 0.9}  # CPU seconds, about half of which are the start


class Campaign:
    """The rows, what an undisturbed run makes of them, and faults.

    Args:
        folder: where everything goes.
        images: how many.
        clips: how many.
        kills: of workers, and of the driver.
        seed: of the rows and of the times of kills.
        with_model: whether workers have one.
    """

    def __init__(self, folder: Path, images: int, clips: int, kills: int, seed: int, with_model: bool):
        self.folder = folder
        self.with_model = with_model
        self.kills = kills
        self.rng = np.random.default_rng(seed)
        self.damaged = draw_rows(folder, images, clips, 0.01, seed)
        self.expected = self._undisturbed()
        self.errors = self._check_rows(images, clips)

    def kill_workers(self) -> str:
        """Kill a worker at random times, while one driver goes on."""
        seen: dict[str, tuple[int, int]] = {}
        driver, killed = self._start("workers"), 0
        while driver.poll() is None:
            if killed < self.kills and (workers := _workers_of(driver.pid)):
                chosen = int(self.rng.choice(workers))
                self._wait_for_work(driver, chosen)
                seen |= self._finished("workers")
                killed += _kill(chosen) if driver.poll() is None else 0
            time.sleep(_POLL)
        return f"{killed} workers killed; {self._verdict('workers', seen)}"

    def kill_driver(self) -> str:
        """Kill the driver at random times, and start it again."""
        seen: dict[str, tuple[int, int]] = {}
        killed = orphans = 0
        while killed < self.kills:
            driver = self._start("driver")
            while driver.poll() is None and not _workers_of(driver.pid):
                time.sleep(_POLL)
            workers = _workers_of(driver.pid)
            if workers:
                self._wait_for_work(driver, workers[0])
            if driver.poll() is not None:
                break
            killed += _kill(driver.pid)
            driver.wait()
            orphans += _left_after(workers, 20.0)
            seen |= self._finished("driver")
        self._start("driver").wait()
        return f"{killed} drivers killed, {orphans} workers outlived them; {self._verdict('driver', seen)}"

    def fill_disk(self) -> str:
        """Run on a disk that is too small, then make it larger."""
        out = self.folder / "disk"
        out.mkdir()
        size = sum(map(len, self.expected.values()))
        mounted = ["mount", "-t", "tmpfs", "-o", f"size={max(size // 2, 65536)}", "tmpfs", str(out)]
        is_mounted = subprocess.run(mounted, capture_output=True, check=False).returncode == 0
        try:
            limit = None if is_mounted else lambda: _limit_files(max(map(len, self.expected.values())) // 2)
            first = self._start("disk", limit)
            _, errors = first.communicate()
            seen = self._finished("disk")
            if is_mounted:
                subprocess.run(["mount", "-o", f"remount,size={4 * size + 2**22}", str(out)], check=True)
            self._start("disk").wait()
            verdict = self._verdict("disk", seen)
        finally:
            if is_mounted:
                subprocess.run(["umount", str(out)], check=False)
        kind = "a full tmpfs" if is_mounted else "a limit on the size of files"
        return f'{kind}: status {first.returncode}, "{_last_line(errors)}"; {verdict}'

    def _wait_for_work(self, driver: subprocess.Popen[str], worker: int) -> None:
        """Wait until a worker has used a random CPU time."""
        wanted = self.rng.uniform(0, _LATEST_KILL[self.with_model])
        while driver.poll() is None and 0 <= _cpu_seconds(worker) < wanted:
            time.sleep(_POLL)

    def _undisturbed(self) -> dict[str, bytes]:
        self._start("whole", workers=0).wait()
        return written_by(self.folder / "whole")

    def _check_rows(self, images: int, clips: int) -> int:
        """Each row of the source is in the results once, with all of its frames or an error."""
        table = parquet.read_table(self.folder / "whole/shards", columns=["id", "kind", "frame", "error"]).to_pylist()
        frames = collections.Counter((row["id"], row["frame"]) for row in table)
        names = {row["id"] for row in table}
        assert max(frames.values()) == 1, "a row is there twice"
        assert names == {path.relative_to(self.folder).as_posix() for path in (self.folder / "rows").iterdir()}
        assert len(names) == images + clips
        return sum(row["error"] is not None for row in table)

    def _start(self, out: str, before: Callable[[], None] | None = None, workers: int = 2) -> subprocess.Popen[str]:
        command = batch_command(self.folder / out, workers)
        if not self.with_model:
            command = [
                sys.executable,
                "-m",
                "benchmarks.batch_driver",
                "rows",
                str(self.folder / out),
                str(workers or 1),
            ]
        path = os.pathsep.join([str(_ROOT), str(_ROOT / "src")])
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if before or out == "disk" else subprocess.DEVNULL,
            text=True,
            preexec_fn=before,
        )

    def _finished(self, out: str) -> dict[str, tuple[int, int]]:
        """When finished shards were written, and their inodes."""
        found = {}
        for manifest in (self.folder / out / "manifests").glob("shard-*.json"):
            file = self.folder / out / "shards" / f"{manifest.stem}.parquet"
            found[manifest.stem] = file.stat().st_mtime_ns, file.stat().st_ino
        return found

    def _verdict(self, out: str, seen: dict[str, tuple[int, int]]) -> str:
        found, last = written_by(self.folder / out), self._finished(out)
        again = sum(last.get(name) != when for name, when in seen.items())
        is_same = found == self.expected
        if not is_same or again:
            different = [name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name)]
            raise SystemExit(f"{out}: {again} shards were computed twice; other than expected: {sorted(different)[:5]}")
        return f"{len(found)} files byte for byte the same, {len(seen)} finished shards seen before, 0 computed twice"


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20, help="of workers, and of the driver")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=("workers", "driver", "disk"), default=[])
    parser.add_argument("--model", action="store_true", help="workers with the bundled checkpoint")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), options.images, options.clips, options.kills, options.seed, options.model)
        say("fault", "what is left")
        say("---", "---")
        rows = options.images + options.clips
        say(
            "damaged inputs",
            f"{campaign.damaged} of {rows} rows damaged, {campaign.errors} rows with an error, none lost",
        )
        ways = {"workers": campaign.kill_workers, "driver": campaign.kill_driver, "disk": campaign.fill_disk}
        for name, way in ways.items():
            if not options.only or name in options.only:
                say(name, way())
    return 0


def _workers_of(driver: int) -> list[int]:
    """The processes that a driver has started to compute."""
    children = Path(f"/proc/{driver}/task/{driver}/children")
    try:
        numbers = [int(text) for text in children.read_text().split()]
        return [one for one in numbers if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    except OSError:
        return []


def _cpu_seconds(process: int) -> float:
    """The CPU time that a process has used; -1 where it is no more."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields[0] != "Z" else -1.0


def _kill(process: int) -> int:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def _left_after(processes: list[int], seconds: float) -> int:
    """How many processes are still there after some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(_is_alive, processes)):
        time.sleep(_POLL)
    return sum(map(_is_alive, processes))


def _is_alive(process: int) -> bool:
    return _cpu_seconds(process) >= 0


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
