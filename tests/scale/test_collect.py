import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from sam2_hf.results.records import ImageRecord, ObjectMask, encode_masks
from sam2_hf.scale.collect import collect_coco, collect_sa_v
from sam2_hf.scale.result_table import clip_rows, error_row, image_row
from sam2_hf.scale.rows import CLIP, IMAGE, Row
from sam2_hf.scale.shard_store import Shard, ShardStore

SIZE = (12, 16)


def mask(left):
    found = np.zeros(SIZE, bool)
    found[2:8, left : left + 4] = True
    return found


def masked(*objects):
    names, masks = zip(*objects, strict=True)
    return [ObjectMask(name, rle, 0.5, 1.0) for name, rle in zip(names, encode_masks(np.stack(masks)), strict=True)]


@pytest.fixture
def written(tmp_path):
    """A run with an image, a row that failed, and two clips that both have a cup."""
    store = ShardStore(tmp_path / "run")
    store.open({"rows": 4})
    photo, clips = Row("a.png", IMAGE), [Row("b/x.mp4", CLIP), Row("c/x.mp4", CLIP)]
    store.write(
        Shard(0, 0, 2), [[image_row(photo, masked((1, mask(0)), (2, mask(5))), SIZE)], [error_row(photo, "no")]]
    )
    frames = [
        [ImageRecord(masked(("cup", mask(start + frame)), (7, mask(9))), SIZE, frame=frame) for frame in range(6)]
        for start in (0, 3)
    ]
    store.write(Shard(1, 2, 4), (list(clip_rows(clip, found, 25.0)) for clip, found in zip(clips, frames, strict=True)))
    return store.folder


def test_coco_of_images_and_clips(written, tmp_path):
    coco = COCO(collect_coco(written, tmp_path / "coco.json"))
    names = {image["file_name"]: number for number, image in coco.imgs.items()}
    assert len(names) == 1 + 2 * 6 and {"a.png", "b/x.mp4/00005.jpg", "c/x.mp4/00000.jpg"} <= names.keys()
    assert [category["name"] for category in coco.cats.values()] == ["object", "cup"]
    tracks = {
        (clip, coco.cats[found["category_id"]]["name"]): found["track_id"]
        for name, number in names.items()
        for found in coco.imgToAnns[number]
        if (clip := name.rpartition("/")[0])
    }
    assert len(set(tracks.values())) == 4
    (annotation, _) = coco.imgToAnns[names["c/x.mp4/00002.jpg"]]
    np.testing.assert_array_equal(coco.annToMask(annotation), mask(5))
    assert annotation["bbox"] == [5, 2, 4, 6] and annotation["area"] == 24


def test_sa_v_of_clips(written, tmp_path):
    first, second = collect_sa_v(written, tmp_path / "files")
    assert (first.name, second.name) == ("b_x_manual.json", "c_x_manual.json")
    content = json.loads(second.read_text())
    assert (content["video_frame_count"], content["masklet_name"], len(content["masklet"])) == (6, ["cup", "7"], 2)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        collect_coco(tmp_path, tmp_path / "coco.json")
