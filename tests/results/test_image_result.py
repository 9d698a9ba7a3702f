import csv
import json

import numpy as np
import pytest
from drawn_results import NAMES, SIZE, clip_result, drawn_masks, image_result, objects_of, pixels_of
from PIL import Image, TiffImagePlugin

from sam2_hf import ImageResult
from sam2_hf.results.georeference import read_georeference
from sam2_hf.results.label_maps import davis_palette


def test_values():
    result, masks = image_result(), drawn_masks()
    assert result.names == list(NAMES)
    assert np.array_equal(result.masks, masks) and result.masks.dtype == bool
    assert result.scores.tolist() == pytest.approx([0.9, 0.7])
    assert result.areas.tolist() == masks.sum((1, 2)).tolist()
    for (x0, y0, x1, y1), mask in zip(result.boxes.tolist(), masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (x0, y0, x1, y1) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert result.visible.tolist() == [True, True]
    assert np.array_equal(result["ring"].mask, masks[1])
    assert [item.name for item in result] == list(NAMES) and len(result) == 2
    assert np.array_equal(np.asarray(result.image), pixels_of())
    assert [len(parts) for parts in result.polygons()] == [1, 1] and len(result.polygons()[1][0].holes) == 1
    assert repr(result) == "<ImageResult 128x96, 2 objects: cup (0.90), ring (0.70)>"
    with pytest.raises(KeyError, match="no object 'plate', only"):
        result["plate"]


def test_nothing_found_is_a_result_too(tmp_path):
    result = ImageResult([], pixels_of(), SIZE)
    assert (result.masks.shape, result.boxes.shape, result.scores.shape) == ((0, *SIZE), (0, 4), (0,))
    assert result.overlay().tobytes() == result.image.tobytes()
    for suffix in ("png", "json", "csv", "txt", "geojson"):
        assert result.save(tmp_path / f"none.{suffix}").exists()


def test_an_empty_mask_is_not_visible():
    item = objects_of(np.zeros((2, *SIZE), bool))[0]
    assert (item.visible, item.area, item.box, item.polygons()) == (False, 0, (0, 0, 0, 0), [])


def test_pixels_are_read_when_they_are_asked_for():
    read = []
    result = ImageResult(objects_of(drawn_masks()), lambda: read.append(1) or pixels_of(), SIZE)
    assert result.masks.any() and not read
    assert np.array_equal(np.asarray(result.image), pixels_of()) and read


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_the_overlay_is_saved_by_its_suffix(tmp_path, suffix):
    path = image_result().save(tmp_path / f"out{suffix}", style="contour")
    with Image.open(path) as image:
        expected = np.asarray(image_result().overlay("contour")).astype(int)
        assert (
            np.abs(np.asarray(image.convert("RGB")) - expected).mean() < 7
        )  # grey levels that JPEG loses of thin coloured lines


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in one of \.png, .*\.geojson, got '.*out\.mp4'"):
        image_result().save(tmp_path / "out.mp4")
    with pytest.raises(ValueError, match=r"path must end in one of \.mp4, .*, or be a folder, got '.*out\.png'"):
        clip_result().save(tmp_path / "out.png")


def test_a_cutout_is_transparent_around_the_object():
    result = image_result()
    cut = result.cutout("ring")
    x0, y0, x1, y1 = result["ring"].box
    assert (cut.mode, cut.size) == ("RGBA", (x1 - x0, y1 - y0))
    values = np.asarray(cut)
    assert np.array_equal(values[..., 3] == 255, result["ring"].mask[y0:y1, x0:x1])
    assert np.array_equal(values[..., :3], pixels_of()[y0:y1, x0:x1])
    whole = np.asarray(result.cutout(crop=False))
    assert np.array_equal(whole[..., 3] > 0, result.masks.any(0))
    with pytest.raises(ValueError, match="no masks"):
        ImageResult([], pixels_of(), SIZE).cutout()


def test_a_table_has_a_row_for_each_object(tmp_path):
    image_result().save(tmp_path / "out.csv")
    clip_result().save(tmp_path / "clip.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["id"], row["score"], row["visible"]) for row in rows] == [
        ("", "cup", "0.9", "1"),
        ("", "ring", "0.7", "1"),
    ]
    assert [int(rows[0][side]) for side in ("x0", "y0", "x1", "y1")] == image_result().boxes[0].tolist()
    assert int(rows[0]["area"]) == image_result().areas[0]
    with (tmp_path / "clip.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["visible"] for row in rows if row["id"] == "ring"] == ["1"] * 3 + ["0"] + ["1"] * 5
    assert [int(row["frame"]) for row in rows if row["id"] == "cup"] == list(range(9))


def test_yolo_segments_have_coordinates_from_0_to_1(tmp_path):
    result = image_result()
    result.save(tmp_path / "out.txt")
    lines = [line.split() for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "1"]
    points = np.array(lines[0][1:], float).reshape(-1, 2) * (SIZE[1], SIZE[0])
    (cup,) = result["cup"].polygons()
    assert np.allclose(points, cup.exterior, atol=1e-3)
    assert result.to_yolo(classes=["ring", "cup"]).startswith("1 ")


def test_geojson_has_closed_rings_with_holes_and_a_transform(tmp_path):
    result = image_result()
    result.save(tmp_path / "out.geojson")
    content = json.loads((tmp_path / "out.geojson").read_text())
    cup, ring = content["features"]
    assert cup["properties"] == {"name": "cup", "score": 0.9, "area": int(result.areas[0])}
    ((exterior, hole),) = ring["geometry"]["coordinates"]
    assert exterior[0] == exterior[-1] and hole[0] == hole[-1]
    moved = result.to_geojson(transform=(2, 0, 1000, 0, -2, 500))["features"][0]["geometry"]["coordinates"][0][0]
    plain = cup["geometry"]["coordinates"][0][0]
    assert np.allclose(np.array(moved), np.array(plain) * (2, -2) + (1000, 500))


def test_coco_is_read_back_by_pycocotools(tmp_path):
    coco_of = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO
    clip = clip_result()
    clip.save(tmp_path / "clip.json")
    coco = coco_of(str(tmp_path / "clip.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(NAMES)
    assert len(coco.getImgIds()) == 9
    for annotation in coco.loadAnns(coco.getAnnIds()):
        frame = coco.loadImgs(annotation["image_id"])[0]["frame_index"]
        row = annotation["track_id"] - 1
        assert np.array_equal(coco.annToMask(annotation).astype(bool), drawn_masks(frame)[row])
        assert annotation["area"] == drawn_masks(frame)[row].sum()
        x0, y0, x1, y1 = clip[frame].objects[row].box
        assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert len(coco.getAnnIds()) == 17  # the ring is out of sight once
    image_result().to_coco(tmp_path / "polygons.json", as_polygons=True)
    coco = coco_of(str(tmp_path / "polygons.json"))
    cup = coco.annToMask(coco.loadAnns(1)[0]).astype(bool)
    assert (cup & drawn_masks()[0]).sum() / (cup | drawn_masks()[0]).sum() > 0.95  # pycocotools draws coarsely


def test_an_image_in_a_coco_file_has_no_folder():
    result = ImageResult([], pixels_of(), SIZE, "/home/me/photos/photo.jpg")
    assert result.to_coco()["images"][0]["file_name"] == "photo.jpg"


def test_objects_without_names_are_of_one_category():
    result = ImageResult(objects_of(drawn_masks(), (1, 2)), pixels_of(), SIZE)
    content = result.to_coco()
    assert content["categories"] == [{"id": 1, "name": "object"}]
    assert content["images"] == [{"id": 1, "file_name": "", "width": 128, "height": 96}]
    assert "track_id" not in content["annotations"][0] and content["annotations"][0]["score"] == 0.9


def test_label_maps_are_palette_images_that_our_reader_of_davis_reads(tmp_path):
    from sam2_hf.training.data.palette_folder import PaletteFolder

    clip = clip_result()
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind).mkdir()
    clip.save(tmp_path / "Annotations" / "drawn")
    (tmp_path / "JPEGImages" / "drawn").mkdir()
    for frame in range(9):
        Image.fromarray(pixels_of(frame)).save(tmp_path / "JPEGImages" / "drawn" / f"{frame:05d}.jpg")
    (video,) = PaletteFolder(tmp_path)
    for frame in video.annotated:
        masks = video.masks(frame)
        expected = drawn_masks(frame)
        assert np.array_equal(masks[1], expected[0])
        if frame == 3:
            assert 2 not in masks or not masks[2].any()
        else:
            assert np.array_equal(masks[2], expected[1] & ~expected[0])
    with Image.open(tmp_path / "Annotations" / "drawn" / "00000.png") as image:
        assert image.mode == "P" and image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert davis_palette()[9:12] == [128, 128, 0] and len(davis_palette()) == 768


def test_smaller_objects_lie_on_top_of_a_label_map():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:20, 10:20] = masks[1, 5:60, 5:60] = True
    labels = ImageResult(objects_of(masks), pixels_of(), SIZE).label_map()
    assert (labels[15, 15], labels[6, 6], labels[0, 0]) == (1, 2, 0)
    many = objects_of(np.zeros((2, *SIZE), bool)) * 128
    with pytest.raises(ValueError, match="at most 254 objects, got 256"):
        ImageResult(many, pixels_of(), SIZE).label_map()


def test_sa_v_is_read_back_by_our_reader(tmp_path):
    from sam2_hf.training.data.sa_v import SaVTraining

    clip = clip_result(hidden=(4,))
    clip.save(tmp_path / "drawn.mp4")
    clip.to_sa_v(tmp_path / "drawn_manual.json")
    (video,) = SaVTraining(tmp_path)
    assert list(video.annotated) == [0, 4, 8]
    for frame in video.annotated:
        masks = video.masks(frame)
        assert np.array_equal(masks["manual 0"], drawn_masks(frame)[0])
        assert ("manual 1" in masks) == (frame != 4)


def test_supervision_takes_a_frame():
    pytest.importorskip("supervision", reason="supervision is not installed")
    clip = clip_result()
    detections = clip.to_supervision(0)
    assert detections.tracker_id.tolist() == [1, 2]
    assert detections.class_id.tolist() == [0, 1]  # what annotators choose colours by
    assert detections.confidence.tolist() == pytest.approx([0.9, 0.7])
    assert np.array_equal(detections.mask, drawn_masks(0))
    assert detections.xyxy.tolist() == clip[0].boxes.tolist()
    assert list(detections.data["class_name"]) == list(NAMES)
    assert clip.to_supervision(3).tracker_id.tolist() == [1]  # the ring is out of sight
    assert image_result().to_supervision().class_id.tolist() == [0, 1]
    assert image_result().to_supervision().tracker_id is None
    assert len(ImageResult([], pixels_of(), SIZE).to_supervision()) == 0


def test_yolo_segments_are_read_back_by_supervision(tmp_path):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    result = image_result()
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    result.image.save(tmp_path / "images/photo.png")
    result.save(tmp_path / "labels/photo.txt")
    (tmp_path / "data.yaml").write_text("names: [cup, ring]")
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), force_masks=True
    )
    ((_, _, found),) = list(data)
    assert data.classes == ["cup", "ring"] and found.class_id.tolist() == [0, 1]
    for mask, item, hole in zip(found.mask, result, (0, np.pi * 12**2), strict=True):
        assert abs(mask.sum() - item.area - hole) < 0.06 * item.area  # it draws coarsely, and YOLO has no holes


def test_coco_is_read_back_by_supervision(tmp_path):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    result = image_result()
    result.image.save(tmp_path / "photo.jpg")
    result.save(tmp_path / "coco.json")
    data = supervision.DetectionDataset.from_coco(str(tmp_path), str(tmp_path / "coco.json"), force_masks=True)
    ((_, _, found),) = list(data)
    assert sorted(data.classes) == sorted(NAMES)
    assert np.array_equal(found.mask, result.masks) and found.xyxy.tolist() == result.boxes.tolist()


def test_geojson_is_read_back_by_shapely():
    shapely = pytest.importorskip("shapely", reason="shapely is not installed")
    result = image_result()
    for feature, item in zip(result.to_geojson()["features"], result, strict=True):
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid and shape.area == pytest.approx(item.area, rel=0.01)
        assert [len(part.interiors) for part in shape.geoms] == [1 if item.name == "ring" else 0]


def geo_tags(point: bool = False):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype.update({33550: 12, 33922: 12, 34735: 3})
    tags[33550] = (10.0, 10.0, 0.0)
    tags[33922] = (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0)
    tags[34735] = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 2 if point else 1, 3072, 0, 1, 32633)
    return tags


@pytest.mark.parametrize(("point", "shift"), [(False, 0), (True, 5)])
def test_geojson_of_a_geotiff_is_in_its_coordinates(tmp_path, point, shift):
    path = tmp_path / "tile.tif"
    Image.fromarray(pixels_of()).save(path, tiffinfo=geo_tags(point))
    result = ImageResult(objects_of(drawn_masks()), pixels_of(), SIZE, str(path))
    content = result.to_geojson()
    assert content["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    expected = result.to_geojson(transform=(10, 0, 500_000 - shift, 0, -10, 4_600_000 + shift))
    assert content["features"] == expected["features"] and "crs" not in expected
    Image.fromarray(pixels_of()).save(path)
    assert result.to_geojson() == image_result().to_geojson()


def test_a_geotiff_of_any_size_is_found(tmp_path, monkeypatch):
    """Pillow refuses to open images of so many pixels; of the tags, there are as many as ever."""
    path = tmp_path / "large.tif"
    Image.fromarray(pixels_of()).save(path, tiffinfo=geo_tags(False))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert read_georeference(path).epsg == 32633
    path.write_bytes(b"no raster")
    assert read_georeference(path) is None


def test_rasterio_finds_a_geotiff_where_we_find_it(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    transform = rasterio.transform.from_origin(500_000, 4_600_000, 10, 20)
    for number, placed in enumerate((transform, transform @ rasterio.Affine.rotation(30))):
        path = tmp_path / f"{number}.tif"
        given = {"width": 128, "height": 96, "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "transform": placed}
        with rasterio.open(path, "w", driver="GTiff", **given) as file:
            file.write(pixels_of().transpose(2, 0, 1))
        found = read_georeference(path)
        with rasterio.open(path) as file:
            assert found.transform == pytest.approx(tuple(file.transform)[:6])
            assert found.epsg == file.crs.to_epsg() == 32633


def test_label_maps_are_scored_as_davis_scores_them(tmp_path):
    """DAVIS's own package cannot be installed from PyPI: the files are read as it reads them, and scored by ours."""
    from sam2_hf.training.evaluation.metrics import contour_accuracy, region_similarity

    clip = clip_result(count=2)
    clip.save(tmp_path / "maps")
    for frame in range(2):
        labels = np.array(Image.open(tmp_path / f"maps/{frame:05d}.png"))
        cup, ring = drawn_masks(frame)
        assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 1, 2}
        for number, mask in ((1, cup), (2, ring & ~cup)):
            assert region_similarity(labels == number, mask) == contour_accuracy(labels == number, mask) == 1
