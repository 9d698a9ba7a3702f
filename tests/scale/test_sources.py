import io
import json
import pickle
import tarfile

import pyarrow
import pytest
from drawn_rows import draw_clips, draw_images
from pyarrow import parquet

from sam2_hf.scale.open_source import open_source
from sam2_hf.scale.rows import CLIP, IMAGE


def everything_in(source):
    rows = list(source.read(0, len(source)))
    assert len(rows) == len(source)
    # Any division gives the same rows, in another process too.
    again = pickle.loads(pickle.dumps(source))
    parts = [row for start in range(0, len(source), 3) for row in again.read(start, min(start + 3, len(source)))]
    assert parts == rows and again.fingerprint() == source.fingerprint()
    return rows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    draw_images(tmp_path / "photos", 4)
    draw_images(tmp_path / "photos/more", 1)
    draw_clips(tmp_path / "photos", 1)
    (tmp_path / "photos/notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_stands_for_all_images_and_clips_in_it(folder):
    rows = everything_in(open_source("photos"))
    assert [(row.id, row.kind) for row in rows] == [
        ("photos/000.png", IMAGE),
        ("photos/001.png", IMAGE),
        ("photos/002.png", IMAGE),
        ("photos/003.png", IMAGE),
        ("photos/c000.mp4", CLIP),
        ("photos/more/000.png", IMAGE),
    ]
    assert [row.id for row in everything_in(open_source("photos", kind="image"))] == [
        row.id for row in rows if row.kind == IMAGE
    ]


def test_patterns_lists_and_folders_of_frames(folder):
    assert len(open_source("photos/*.png")) == 4
    assert len(open_source(["photos/001.png", "photos/c000.mp4"])) == 2
    (row,) = everything_in(open_source("photos", kind="clip"))
    assert (row.id, row.kind, row.content) == ("photos", CLIP, str(folder / "photos"))


@pytest.mark.parametrize(
    ("source", "error"),
    [("absent", FileNotFoundError), ("photos/*.gif", FileNotFoundError), ([], TypeError), (3, TypeError)],
)
def test_what_is_no_source_is_refused(folder, source, error):
    with pytest.raises(error):
        open_source(source)


def test_other_names_are_another_source(folder):
    prints = {
        open_source(texts).fingerprint() for texts in ("photos", ["photos/000.png", "photos/001.png"], "photos/*.png")
    }
    assert len(prints) == 3


def test_parquet_of_paths_and_of_bytes(folder):
    paths = [f"photos/{number:03d}.png" for number in range(4)]
    table = {"photo": paths, "points": [[[number, 2]] for number in range(4)], "label": list("abcd")}
    parquet.write_table(pyarrow.table(table), folder / "a.parquet", row_group_size=3)
    parquet.write_table(pyarrow.table({"id": ["x"], "bytes": [b"abc"]}), folder / "b.parquet")
    rows = everything_in(open_source(["a.parquet", "b.parquet"], columns={"image": "photo"}))
    assert [row.content for row in rows] == [str(folder / path) for path in paths] + [b"abc"]
    assert rows[2].prompts == {"points": [[2, 2]]} and rows[4].id == "x"
    with pytest.raises(ValueError, match=r"columns must be some of .* got picture"):
        open_source("a.parquet", columns={"picture": "photo"})


def test_a_damaged_table_is_a_row_with_an_error(folder):
    (folder / "a.parquet").write_bytes(b"PAR1 nothing")
    parquet.write_table(pyarrow.table({"bytes": [b"abc"]}), folder / "b.parquet")
    rows = everything_in(open_source(["a.parquet", "b.parquet"]))
    assert [row.id for row in rows] == ["a.parquet", "row-1"] and "no Parquet file" in rows[0].error


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_samples_of_webdataset_shards(folder):
    first = {"a.jpg": b"1" * 600, "a.json": json.dumps({"points": [[1, 2]], "label": 3}).encode(), "a.txt": b"x"}
    write_tar(folder / "d-00.tar", {**first, "b/c.mp4": b"2", "b/c.mask.png": b"3", "d.txt": b"alone"})
    write_tar(folder / "d-01.tar", {"e.png": b"4", "e.json": b"{"})
    rows = everything_in(open_source("d-{00..01}.tar"))
    assert [(row.id, row.kind) for row in rows] == [
        ("d-00.tar/a", IMAGE),
        ("d-00.tar/b/c", CLIP),
        ("d-01.tar/e", IMAGE),
    ]
    assert rows[0].content == b"1" * 600 and rows[0].prompts == {"points": [[1, 2]]}
    assert "is not JSON" in rows[2].error


def test_an_archive_that_is_cut_off_says_so(folder):
    write_tar(folder / "d.tar", {"a.jpg": b"1" * 600, "b.jpg": b"2" * 4000, "c.jpg": b"3" * 600})
    (folder / "d.tar").write_bytes((folder / "d.tar").read_bytes()[:4000])
    rows = everything_in(open_source("d.tar"))
    assert rows[0].content == b"1" * 600 and not rows[0].error
    assert any("cut off" in row.error or "cannot be read" in row.error for row in rows[1:])


def test_dictionaries(folder):
    rows = everything_in(open_source([{"path": "photos/000.png", "boxes": [0, 0, 5, 5]}, {"id": "nothing"}]))
    assert rows[0].content == str(folder / "photos/000.png") and rows[1].error


def test_data_sets_of_hugging_face(folder):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"photo": datasets.Image(), "points": datasets.List(datasets.List(datasets.Value("int64")))}
    )
    content = {
        "photo": [str(folder / f"photos/{number:03d}.png") for number in range(4)],
        "points": [[[1, number]] for number in range(4)],
    }
    made = datasets.Dataset.from_dict(content, features=features)
    made.save_to_disk(folder / "saved")
    for source, names in ((made, content["photo"]), ("dataset:saved", [f"{number:03d}.png" for number in range(4)])):
        rows = everything_in(open_source(source, columns={"image": "photo"}))
        assert [row.id for row in rows] == names and rows[3].prompts == {"points": [[1, 3]]}
    assert rows[2].content == (folder / "photos/002.png").read_bytes()  # a saved set holds the files
