import json
import os

import pytest
import torch
from drawn_rows import content_of, draw_clips, draw_images
from pyarrow import parquet

from sam2_hf.cli.main import main
from sam2_hf.scale import run
from sam2_hf.scale.batch_run import choose_devices
from sam2_hf.scale.shard_job import Outcome, ShardJob
from sam2_hf.scale.shard_store import Shard, ShardStore, divide

PROMPTS = {"points": [[20, 20]]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    draw_images(folder / "rows", 6, damaged=(2,))
    draw_clips(folder / "rows", 2, damaged=(1,))
    return folder


@pytest.fixture
def start(tiny, folder, monkeypatch):
    monkeypatch.chdir(folder)

    def start(out, **settings):
        return run("rows", out, **{"checkpoint": tiny, "prompts": PROMPTS, "rows_a_shard": 3, "workers": 0, **settings})

    return start


@pytest.fixture(scope="module")
def whole(tiny, folder, tmp_path_factory):
    """What a run writes that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        summary = run("rows", out, checkpoint=tiny, prompts=PROMPTS, rows_a_shard=3, workers=0)
    assert summary.is_complete
    return content_of(out)


def test_rows_are_divided_without_gaps():
    assert divide(7, 3) == [Shard(0, 0, 3), Shard(1, 3, 6), Shard(2, 6, 7)]


def test_a_run_counts_what_it_found(start, tmp_path):
    summary = start(tmp_path)
    assert (summary.rows, summary.shards, summary.computed, summary.finished_before) == (8, 3, 3, 0)
    assert (summary.images, summary.clips, summary.frames, summary.errors) == (5, 1, 4, 2)
    assert {name for some in summary.examples.values() for name, _ in some} == {"rows/002.png", "rows/c001.mp4"}
    table = parquet.read_table(tmp_path / "shards")
    assert table.num_rows == 5 + 4 + 2 and sum(error is not None for error in table["error"].to_pylist()) == 2
    text = str(summary)
    assert "3 of 3 shards: 5 images, 1 clip, 4 frames" in text and "2 rows failed" in text and "rows/s" in text


def test_this_process_computes_with_as_many_threads_as_any_other(start, tmp_path, monkeypatch):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(
        ShardJob, "run", lambda job, shard: seen.append(torch.get_num_threads()) or Outcome(shard, None)
    )
    summary = start(tmp_path, threads=before + 1)
    assert seen == [before + 1] * 3 and torch.get_num_threads() == before and len(summary.failed) == 3


@pytest.mark.parametrize("lost", ["manifest", "file", "cut"])
def test_what_is_not_finished_is_computed_and_nothing_else(start, tmp_path, whole, lost):
    start(tmp_path)
    file, manifest = tmp_path / "shards/shard-000001.parquet", tmp_path / "manifests/shard-000001.json"
    (tmp_path / "shards/.shard-000001.parquet-host-1.tmp").write_bytes(b"half")
    if lost == "manifest":
        manifest.unlink()
    elif lost == "file":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    others = {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*0[02].*")}
    summary = start(tmp_path)
    assert (summary.computed, summary.finished_before, summary.images, summary.errors) == (1, 2, 5, 2)
    assert content_of(tmp_path) == whole
    assert {path: os.stat(path).st_mtime_ns for path in others} == others and len(others) == 4


def test_a_changed_file_of_the_same_size_is_found_by_its_hash(start, tmp_path, whole):
    start(tmp_path)
    file = tmp_path / "shards/shard-000001.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert start(tmp_path).computed == 0
    assert start(tmp_path, verify=True).computed == 1
    assert content_of(tmp_path) == whole


def test_a_run_that_is_interrupted_goes_on(start, tmp_path, whole):
    first = start(tmp_path, is_interrupted=lambda: True)
    assert first.computed == 1 and not first.is_complete
    assert start(tmp_path).computed == 2 and content_of(tmp_path) == whole


def test_rows_that_failed_can_be_tried_again(start, tmp_path):
    start(tmp_path)
    assert start(tmp_path, retry_errors=True).computed == 2  # the shards that have them


@pytest.mark.parametrize(
    "change", [{"rows_a_shard": 2}, {"threads": 2}, {"prompts": {"points": [[1, 1]]}}, {"frames": 1}]
)
def test_another_run_needs_another_folder(start, tmp_path, change):
    start(tmp_path, is_interrupted=lambda: True)
    before = content_of(tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        start(tmp_path, **change)
    assert content_of(tmp_path) == before


def test_a_folder_is_for_one_run_at_a_time(start, tmp_path, monkeypatch):
    def run_again(job, shard):
        start(tmp_path)

    monkeypatch.setattr(ShardJob, "run", run_again)
    with pytest.raises(ValueError, match="in use by another run"):
        start(tmp_path)


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(start, tmp_path, monkeypatch, whole):
    write = ShardStore.write

    def write_some(store, shard, parts):
        def until_full():
            for number, rows in enumerate(parts):
                if shard.number == 1 and number == 1:
                    raise OSError(28, "No space left on device")
                yield rows

        return write(store, shard, until_full())

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "write", write_some)
        with pytest.raises(OSError, match="No space left"):
            start(tmp_path, worker=None, batch_size=1)
    assert not list(tmp_path.rglob("*.tmp")) and (tmp_path / "manifests/shard-000000.json").exists()
    assert start(tmp_path, batch_size=1).computed == 2


@pytest.mark.parametrize("wrong", [{"rows_a_shard": 0}, {"threads": 0}, {"max_attempts": 0}, {"workers": -1}])
def test_wrong_numbers_are_refused(start, tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        start(tmp_path, **wrong)


def test_a_process_for_each_device():
    assert choose_devices("cpu", 3, 1) == ["cpu"] * 3
    assert choose_devices("mps", None, 1) == ["mps"]
    assert len(choose_devices("cpu", None, 1000)) == 1


def test_the_command_runs_resumes_and_collects(tiny, folder, tmp_path, monkeypatch, capsys, whole):
    monkeypatch.chdir(folder)
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    arguments = [
        "batch",
        "rows",
        "--out",
        str(tmp_path / "run"),
        "--from",
        str(tmp_path / "prompts.json"),
        "--workers",
        "0",
    ]
    arguments += ["--checkpoint", tiny, "--rows-a-shard", "3", "--quiet"]
    assert main(arguments) == 1  # rows failed
    assert "2 rows failed" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["computed"], report["finished_before"], report["is_complete"]) == (0, 3, True)
    shards = {name: content for name, content in content_of(tmp_path / "run").items() if name.startswith("shards")}
    assert shards == {name: content for name, content in whole.items() if name.startswith("shards")}
    assert main(["collect", str(tmp_path / "run"), "--format", "coco,sa-v", "--out", str(tmp_path / "files")]) == 0
    coco = json.loads((tmp_path / "files/coco.json").read_text())
    assert len(coco["images"]) == 5 + 4
    assert json.loads((tmp_path / "files/rows_c000_manual.json").read_text())["video_frame_count"] == 4


@pytest.mark.parametrize(
    "arguments",
    [["--kind", "sound"], ["--column", "image"], ["--from", "absent.json"]],
)
def test_wrong_uses_of_the_command(folder, tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(folder)
    assert main(["batch", "rows", "--out", str(tmp_path / "run"), *arguments]) in (1, 2)
    assert not (tmp_path / "run").exists() and "Traceback" not in capsys.readouterr().err
