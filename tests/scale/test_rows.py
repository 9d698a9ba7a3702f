import io

import numpy as np
import pytest
from PIL import Image

from sam2_hf.masks.rle import compress_rle, mask_to_rle
from sam2_hf.scale.row_prompts import for_tracker, read_row_prompts
from sam2_hf.scale.rows import CLIP, IMAGE, read_row, read_rows

MASK = np.pad(np.ones((4, 6), bool), 3)


def test_a_path_names_the_row_and_tells_its_kind():
    row = read_row({"path": "a/b.mp4", "points": None}, 7)
    assert (row.id, row.kind, row.content, row.prompts, row.error) == ("a/b.mp4", CLIP, "a/b.mp4", None, "")


def test_columns_of_numpy_arrays_are_read_like_lists():
    points = np.empty(2, object)
    points[:] = [np.array([[1, 2]]), np.array([[3, 4], [5, 6]])]
    columns = {"path": np.array(["x.png", "y.png"]), "points": points, "label": np.array([1, 2])}
    first, second = read_rows(columns, start=5)
    assert first.prompts == {"points": [[1, 2]]} and second.prompts == {"points": [[3, 4], [5, 6]]}


def test_images_of_data_sets_are_bytes_and_a_path():
    row = read_row({"image": {"bytes": b"abc", "path": "photo.jpg"}}, 0)
    assert (row.id, row.kind, row.content) == ("photo.jpg", IMAGE, b"abc")
    assert read_row({"image": {"bytes": None, "path": "photo.jpg"}}, 0, folder="/data").content == "/data/photo.jpg"


def test_a_row_without_a_name_has_its_number():
    assert read_row({"bytes": b"abc"}, 12).id == "row-12"


@pytest.mark.parametrize("values", [{"id": "x"}, {"id": "x", "path": None}, {"id": "x", "path": "y", "kind": "sound"}])
def test_a_row_that_cannot_be_used_says_why(values):
    row = read_row(values, 0)
    assert row.id == "x" and ("none of the columns" in row.error or "kind must be" in row.error)


def as_png(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("form", [MASK, MASK.tolist(), as_png(MASK), compress_rle(mask_to_rle(MASK[None])[0])])
def test_masks_in_all_forms(form):
    (prompt,) = read_row_prompts({"masks": form}, is_clip=False)[0]
    np.testing.assert_array_equal(prompt.mask, MASK)
    (prompt,) = read_row_prompts({"cup": {"mask": form}}, is_clip=True)[0]
    np.testing.assert_array_equal(prompt.mask, MASK)


def test_prompts_by_name_are_on_frames_in_clips_alone():
    prompts = '{"cup": {"frame": 3, "points": [[1, 2]]}, "hand": {"box": [0, 0, 5, 5]}}'
    by_frame = read_row_prompts(prompts, is_clip=True)
    assert {frame: [prompt.name for prompt in found] for frame, found in by_frame.items()} == {3: ["cup"], 0: ["hand"]}
    assert for_tracker(by_frame)["cup"][0]["points"] == ((1.0, 2.0),)
    with pytest.raises(ValueError, match="an image has no frames"):
        read_row_prompts(prompts, is_clip=False)


def test_by_kind_objects_have_names_or_numbers():
    assert [prompt.name for prompt in read_row_prompts({"boxes": [[0, 0, 1, 1], [2, 2, 3, 3]]}, False)[0]] == [1, 2]
    assert [prompt.name for prompt in read_row_prompts({"points": {"cup": [1, 2]}}, False)[0]] == ["cup"]


@pytest.mark.parametrize("prompts", ["{", [], {}, 3])
def test_what_is_no_prompt_is_refused(prompts):
    with pytest.raises((ValueError, TypeError), match="prompts must be"):
        read_row_prompts(prompts, is_clip=False)
