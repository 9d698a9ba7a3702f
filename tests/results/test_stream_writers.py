"""Files that grow while frames pass: equal to those of a whole clip, readable at any time, in constant memory."""

import csv
import gc
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from drawn_results import NAMES, SIZE, clip_result, drawn_masks, objects_of, pixels_of

from sam2_hf.results import json_file, tables
from sam2_hf.results.coco import CocoWriter, to_coco
from sam2_hf.results.image_result import ImageResult
from sam2_hf.results.record_writer import write_records
from sam2_hf.results.records import ImageRecord, frame_file_name
from sam2_hf.results.sa_v import SaVWriter, to_sa_v
from sam2_hf.results.stream_writers import ResultStream
from sam2_hf.results.tables import CsvWriter, ParquetWriter
from sam2_hf.video_io.open_video import open_video


def stream(clip=None, cut_at=None):
    clip = clip or clip_result()

    def results():
        for result in clip:
            if result.frame == cut_at:
                raise KeyboardInterrupt
            yield result

    return ResultStream(results(), clip.names, clip.fps, clip.name)


def test_streamed_files_are_those_of_the_whole_clip(tmp_path):
    clip = clip_result()
    sa_v = SaVWriter(tmp_path / "drawn_manual.json", clip.names, clip.name, clip.fps)
    files = [tmp_path / f"out{suffix}" for suffix in (".mp4", ".json", ".csv", ".parquet", "")]
    assert stream().save(*files, sa_v, style="contour") == 9
    whole = tmp_path / "whole"
    whole.mkdir()
    clip.to_coco(whole / "out.json", as_polygons=False)
    clip.save(whole / "out.csv")
    clip.save(whole / "maps")
    clip.to_sa_v(whole / "drawn_manual.json")
    for name in ("out.json", "drawn_manual.json"):
        written, expected = (
            json.loads(((tmp_path if streamed else whole) / name).read_text()) for streamed in (True, False)
        )
        assert written == expected
    assert (tmp_path / "out.csv").read_text() == (whole / "out.csv").read_text()
    for file in (whole / "maps").iterdir():
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes()
    with open_video(tmp_path / "out.mp4") as video:
        assert (len(video), video.size) == (9, SIZE)


@pytest.mark.parametrize("writer", [CocoWriter, SaVWriter, CsvWriter])
def test_a_file_can_be_read_after_every_frame(tmp_path, writer):
    """What a killed process leaves: the file as it is, without anything being closed."""
    path = tmp_path / "out"
    clip = clip_result(count=30)
    open_writer = writer(path, clip.names, clip.name, clip.fps) if writer is SaVWriter else writer(path)
    for number, record in enumerate(clip.records(), start=1):
        open_writer.write(record)
        if writer is CsvWriter:
            assert len(list(csv.DictReader(path.read_text().splitlines()))) == 2 * number
            continue
        content = json.loads(path.read_text())
        if writer is SaVWriter:
            # The number of frames is that of the last frame with a mask: every fourth has one.
            assert len(content["masklet"]) == (number + 3) // 4
        else:
            assert {annotation["image_id"] for annotation in content["annotations"]} <= set(range(1, number + 1))
            assert len(content["annotations"]) >= number - 1  # of two a frame: half may be waiting
            assert content["annotations"] == to_coco(clip.records())["annotations"][: len(content["annotations"])]
    open_writer.close()
    open_writer.close()  # again does nothing
    content = path.read_text()
    if writer is CocoWriter:
        assert json.loads(content) == to_coco(clip.records())
    elif writer is SaVWriter:
        assert json.loads(content) == json.loads(json.dumps(to_sa_v(clip.records(), clip.names, clip.name, clip.fps)))


def test_a_run_that_is_cut_leaves_every_file_readable(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    files = [tmp_path / f"out{suffix}" for suffix in (".mp4", ".json", ".csv", ".parquet", "")]
    with pytest.raises(KeyboardInterrupt):
        stream(cut_at=5).save(*files)
    with open_video(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 5
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 5
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 11
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["frame"] for row in rows] == [frame for frame in range(5) for _ in NAMES]
    assert rows[0]["file_name"] == "drawn/00000.jpg"
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_a_run_that_nobody_finishes_leaves_readable_files(tmp_path):
    frames = stream().writing(tmp_path / "out.json", tmp_path / "out.csv")
    for result in frames:
        if result.frame == 2:
            break
    frames.close()
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 3


def test_what_cannot_be_written_is_refused_before_a_frame_is_taken(tmp_path):
    taken = []

    def results():
        taken.append(1)
        yield from clip_result()

    frames = ResultStream(results(), NAMES)
    with pytest.raises(ValueError, match=r"path must end in one of \.mp4, .*, or be a folder, got '.*out\.png'"):
        frames.save(tmp_path / "out.png")
    with pytest.raises(ValueError, match="targets may have one clip with overlays, got 2"):
        frames.save(tmp_path / "a.mp4", tmp_path / "b.mkv")
    with pytest.raises(ValueError, match="style must be one of"):
        frames.save(tmp_path / "a.mp4", style="neon")
    assert not taken and not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    (item,) = objects_of(drawn_masks()[:1], NAMES[:1])
    writers = [CocoWriter(tmp_path / "out.json"), CsvWriter(tmp_path / "out.csv")]

    def write(first, last):
        for frame in range(first, last):
            for writer in writers:
                writer.write(ImageRecord([item], SIZE, frame_file_name("clip", frame), frame))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = write(0, 100)
        late = write(100, 400)
    finally:
        tracemalloc.stop()
        for writer in writers:
            writer.close()
    assert late - early < 15_000 < (tmp_path / "out.json").stat().st_size / 8  # bytes
    content = json.loads((tmp_path / "out.json").read_text())
    assert len(content["images"]) == len(content["annotations"]) == 400


def test_rows_of_parquet_are_written_in_groups(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr(tables, "_ROWS_A_GROUP", 8)
    write_records(clip_result().records(), ParquetWriter(tmp_path / "out.parquet"))
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [8, 8, 2]


def test_each_byte_of_a_growing_file_is_written_twice_on_average(tmp_path, monkeypatch):
    written = []
    copy = json_file.shutil.copyfileobj

    def counting(source, target):
        start = target.tell()
        copy(source, target)
        written.append(target.tell() - start)

    monkeypatch.setattr(json_file.shutil, "copyfileobj", counting)
    (item,) = objects_of(drawn_masks()[:1], NAMES[:1])
    writer = CocoWriter(tmp_path / "out.json")
    for frame in range(400):
        writer.write(ImageRecord([item], SIZE, frame_file_name("clip", frame), frame))
    writer.close()
    assert sum(written) < 4 * (tmp_path / "out.json").stat().st_size


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted where /proc is")
def test_nothing_stays_open(tmp_path):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for number in range(5):
        stream(clip_result(count=1)).save(tmp_path / f"{number}.json", tmp_path / f"{number}.csv")
    assert count() == before


def test_frames_of_a_stream_name_their_images():
    assert ImageResult([], pixels_of(), SIZE, frame_file_name("drawn", 3), 3).record == ImageRecord(
        [], SIZE, "drawn/00003.jpg", 3
    )
    assert np.array_equal(np.asarray(next(stream()).image), pixels_of(0))
