"""The command `sam2` when it is interrupted: what is finished is written."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from clips import write_clip
from fresh_python import SOURCE

from sam2_hf.predictors import tracker as tracker_module
from sam2_hf.predictors.segmenter import Segmenter
from sam2_hf.video_io.open_video import open_video


@pytest.mark.parametrize("late", [0, 1])
def test_what_was_tracked_before_an_interruption_is_written(sam2, tmp_path, monkeypatch, late):
    compute, frames, handler = tracker_module.encode_masks, [], signal.getsignal(signal.SIGINT)

    def interrupted(masks):
        frames.append(1)
        if len(frames) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return compute(masks)

    monkeypatch.setattr(tracker_module, "encode_masks", interrupted)
    status, output, _ = sam2(
        "track", "clip.mp4", "--point", "60,40", "--frame", late, "--out", tmp_path, "--quiet", "--format", "mp4,csv"
    )
    assert status == 130 and "3 frames (interrupted)" in output
    with open_video(tmp_path / "clip.mp4") as video:
        assert len(video) == 3
    assert len((tmp_path / "clip.csv").read_text().splitlines()) == 4
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interruption_ends_clips_that_are_tracked_together(sam2, tmp_path, monkeypatch):
    compute, threads, asked = tracker_module.encode_masks, set(), []

    def interrupted(masks):
        threads.add(threading.get_ident())
        if len(threads) == 2 and not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return compute(masks)

    monkeypatch.setattr(tracker_module, "encode_masks", interrupted)
    clips = [write_clip(tmp_path / f"{name}.mp4", 60, size=(96, 224)) for name in "abc"]
    arguments = ("--point", "60,40", "--together", 2, "--format", "csv", "--out", tmp_path / "out", "--json", "--quiet")
    status, output, _ = sam2("track", *clips, *arguments)
    report = json.loads(output)
    assert status == 130 and [(entry["clip"], entry["interrupted"]) for entry in report] == [
        (str(clip), True) for clip in clips[:2]
    ]
    for entry, name in zip(report, "ab", strict=True):
        rows = (tmp_path / "out" / f"{name}.csv").read_text().splitlines()
        assert 1 < len(rows) == entry["frames"] + 1 < 61


def test_images_that_were_segmented_before_an_interruption_are_written(sam2, tmp_path, monkeypatch):
    segment = Segmenter.segment

    def interrupted(self, *arguments, **settings):
        os.kill(os.getpid(), signal.SIGINT)
        return segment(self, *arguments, **settings)

    monkeypatch.setattr(Segmenter, "segment", interrupted)
    status, output, errors = sam2("segment", "photos", "--point", "9,9", "--out", tmp_path, "--json", "--quiet")
    assert status == 130 and "interrupted after 1 of 2 images" in errors
    assert [entry["image"] for entry in json.loads(output)] == ["photos/photo2.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["photo2.png"]


def test_an_interrupt_ends_the_command(sam2, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("sam2_hf.cli.sources.find_images", interrupted)
    status, output, errors = sam2("segment", "photos", "--point", "1,2", "--out", tmp_path)
    assert (status, output) == (130, "") and "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_interrupted_leaves_what_is_finished(folder, tmp_path, signal_number):
    """A real process on a clip that takes it some seconds, and a real signal."""
    write_clip(folder / "long.mp4", 300, size=(32, 112))
    command = [sys.executable, "-m", "sam2_hf", "track", "long.mp4", "--point", "60,20", "--checkpoint", "tiny"]
    options = ["--format", "mp4,csv,coco,davis", "--out", str(tmp_path), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *options], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    table, deadline = tmp_path / "long.csv", time.monotonic() + 120
    while not (table.exists() and len(table.read_text().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal_number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    (report,) = json.loads(output)
    frames = report["frames"]
    assert report["interrupted"] and 3 <= frames < 300
    assert len(table.read_text().splitlines()) == frames + 1
    with open_video(tmp_path / "long.mp4") as video:
        assert len(list(video)) == frames
    assert len(json.loads((tmp_path / "long.json").read_text())["images"]) == frames
    assert len(list((tmp_path / "long_davis").iterdir())) == frames
