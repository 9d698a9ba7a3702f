import pickle

import numpy as np
import pyarrow
import pytest
from drawn_rows import draw_clips, draw_images
from fresh_python import run_fresh
from PIL import Image

from sam2_hf.masks.rle import rle_to_array
from sam2_hf.predictors.segmenter import Segmenter
from sam2_hf.predictors.tracker import Tracker
from sam2_hf.scale import Worker
from sam2_hf.scale.failures import MachineError, describe
from sam2_hf.scale.result_table import schema

GRID = {"points_per_crop": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    draw_images(folder, 5, damaged=(2,))
    draw_clips(folder, 2, damaged=(1,))
    return folder


def paths(folder, *names):
    return [str(folder / name) for name in names]


def test_prompted_images_get_what_each_gets_alone(tiny, folder):
    names = paths(folder, "000.png", "001.png", "002.png", "003.png", "004.png")
    points = [[[20 + 4 * number, 30]] for number in range(5)]
    table = Worker(tiny)({"path": names, "points": points})
    assert table.schema == schema() and table["id"].to_pylist() == names
    errors = table["error"].to_pylist()
    assert [error is None for error in errors] == [True, True, False, True, True] and "000" not in errors[2]
    segmenter = Segmenter(tiny)
    for number in (0, 1, 3, 4):
        alone = segmenter.segment(names[number], points=points[number])
        row = table.slice(number, 1).to_pylist()[0]
        found = rle_to_array({"size": [row["height"], row["width"]], "counts": row["rles"][0]})
        assert (found != alone.masks[0]).mean() < 0.001  # another order of sums moves a pixel on the edge
        assert row["scores"] == pytest.approx(alone.scores.tolist(), abs=1e-4)
        assert row["areas"] == [found.sum()] and row["labels"] == [None] and row["track_ids"] == [1]


def test_everything_in_images_and_rows_in_their_order(tiny, folder):
    names = paths(folder, "004.png", "000.png", "001.png")
    table = Worker(tiny, search=GRID, batch_size=2)({"path": names, "points": [None, [[20, 20]], None]})
    assert table["id"].to_pylist() == names
    counts = [len(numbers) for numbers in table["track_ids"].to_pylist()]
    assert counts[1] == 1 and counts[0] == len(Segmenter(tiny).segment_everything(names[0], **GRID).objects) > 0


def test_a_clip_is_a_row_for_each_frame(tiny, folder):
    clip, broken = paths(folder, "c000.mp4", "c001.mp4")
    prompts = {"bar": {"points": [[20, 16]]}, "other": {"box": [30, 5, 60, 25]}}
    table = Worker(tiny, prompts=prompts)({"path": [clip, broken]})
    rows = table.to_pylist()
    assert [row["frame"] for row in rows] == [0, 1, 2, 3, None] and "not a video" in rows[4]["error"]
    tracks = Tracker(tiny).track(clip, prompts)
    for row, result in zip(rows[:4], tracks, strict=True):
        assert row["labels"] == ["bar", "other"] and row["track_ids"] == [1, 2] and row["fps"] == 25.0
        assert row["rles"] == [item.compressed_rle()["counts"] for item in result]
        assert row["boxes"] == [list(item.box) for item in result]


def test_clips_in_one_batch_get_what_each_gets_alone(tiny, folder):
    clip, broken, image = paths(folder, "c000.mp4", "c001.mp4", "000.png")
    batch = {
        "path": [clip, broken, clip, image, clip],
        "points": [[[20, 16]], [[20, 16]], [[60, 16]], [[20, 20]], None],
    }
    search = GRID | {"every": 2, "max_objects": 1}
    alone, together = (Worker(tiny, clip_search=search, clips_together=count)(batch) for count in (1, 2))
    columns = ["id", "frame", "error", "track_ids"]
    assert together.select(columns) == alone.select(columns) and len(set(together["id"].to_pylist())) == 3
    for one, other in zip(alone.to_pylist(), together.to_pylist(), strict=True):
        if one["error"] is None:
            assert other["scores"] == pytest.approx(one["scores"], abs=1e-4)
            for area, wanted in zip(other["areas"], one["areas"], strict=True):
                assert abs(area - wanted) <= 4  # another order of sums moves a pixel on the edge


def test_what_is_prompted_late_is_followed_back(tiny, folder):
    rows = Worker(tiny)({"path": paths(folder, "c000.mp4"), "prompts": ['{"bar": {"frame": 2, "points": [[20, 16]]}}']})
    assert rows["frame"].to_pylist() == [0, 1, 2, 3] and rows["labels"].to_pylist() == [["bar"]] * 4


def test_everything_in_a_clip_and_fewer_frames(tiny, folder):
    worker = Worker(tiny, clip_search=GRID | {"every": 2, "max_objects": 2}, frames=3)
    rows = worker({"path": paths(folder, "c000.mp4")})
    assert rows["frame"].to_pylist() == [0, 1, 2] and any(rows["track_ids"].to_pylist())


def test_bytes_and_pixels_are_as_good_as_paths(tiny, folder):
    (name,) = paths(folder, "000.png")
    (clip,) = paths(folder, "c000.mp4")
    worker = Worker(tiny, prompts={"points": [[20, 20]]})
    content = (folder / "000.png").read_bytes()
    columns = ("rles", "scores", "error")
    expected = worker({"path": [name]}).select(columns)
    assert worker({"bytes": [content]}).select(columns) == expected
    assert worker({"image": [np.asarray(Image.open(name))]}).select(columns) == expected
    assert worker(pyarrow.table({"image": [{"bytes": content, "path": "x.png"}]})).select(columns) == expected
    of_bytes = worker({"video": [(folder / "c000.mp4").read_bytes()], "id": ["a"]})
    assert of_bytes.select(columns) == worker({"path": [clip]}).select(columns)
    broken = worker({"video": [b"nothing"], "id": ["a"]})["error"].to_pylist()[0]
    assert "sam2-" not in broken and "the clip" in broken


def test_a_worker_can_be_pickled_after_its_work(tiny, folder):
    worker = Worker(tiny, prompts={"points": [[20, 20]]})
    batch = {"path": paths(folder, "000.png")}
    first = worker(batch)
    assert len(pickle.dumps(worker)) < 2000 and pickle.loads(pickle.dumps(worker))(batch) == first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"frames": 0}, "frames"),
        ({"kind": "sound"}, "kind"),
        ({"search": {"points_per_side": 0}}, "points_per_crop"),
        ({"clip_search": {"every": 0}}, "every"),
        ({"prompts": {}}, "prompts"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Worker(**settings)


def test_a_checkpoint_that_is_missing_is_no_error_of_a_row(folder):
    with pytest.raises(OSError, match="absent"):
        Worker(str(folder / "absent"), prompts={"points": [[1, 1]]})({"path": paths(folder, "000.png")})


def test_a_disk_that_fails_is_no_error_of_a_row(tiny, folder, monkeypatch):
    def read(content):
        raise ValueError("cannot be read") from OSError(5, "Input/output error")

    monkeypatch.setattr("sam2_hf.scale.images.read_content", read)
    with pytest.raises(MachineError, match="cannot be read"):
        Worker(tiny, prompts={"points": [[1, 1]]})({"path": paths(folder, "000.png")})


def test_where_a_batch_fails_each_image_is_tried_alone(tiny, folder, monkeypatch):
    encode = Segmenter.encode_batch

    def encode_few(segmenter, images):
        if len(images) > 1 or images[0].width == 80:
            raise RuntimeError("out of memory")
        return encode(segmenter, images)

    monkeypatch.setattr(Segmenter, "encode_batch", encode_few)
    worker = Worker(tiny, prompts={"points": [[20, 20]]})
    found = worker({"path": paths(folder, "000.png", "001.png", "004.png")})["error"].to_pylist()
    assert found == [None, "RuntimeError: out of memory", None]


def test_errors_are_the_same_in_every_run():
    assert (
        describe(ValueError(f"cannot identify {object()!r}\n twice"))
        == "ValueError: cannot identify <object object> twice"
    )


def test_the_core_imports_nothing_of_the_extra():
    code = """
        import json, sys
        import sam2_hf, sam2_hf.cli.batch_command, sam2_hf.scale
        from sam2_hf.scale import Worker, run
        sam2_hf.segment, sam2_hf.track, sam2_hf.segment_and_track_everything
        print(json.dumps([name for name in ("ray", "pyarrow", "datasets", "pandas") if name in sys.modules]))
    """
    assert run_fresh(code) == []
