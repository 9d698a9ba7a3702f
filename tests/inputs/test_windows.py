"""Windows of an image are what the image read whole has there, whatever reads them."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam2_hf.inputs.images import read_images
from sam2_hf.inputs.window_files import PillowWindows, open_windows
from sam2_hf.inputs.windows import ArrayWindows

SIZE = (90, 130)
rng = np.random.default_rng(0)
COLOURS = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def whole(image):
    (loaded,) = read_images(image, as_tensors=False)
    return np.asarray(loaded.as_bytes())


KINDS = {
    "bytes": COLOURS,
    "channels first": np.ascontiguousarray(COLOURS.transpose(2, 0, 1)),
    "grey": COLOURS[..., 0],
    "bool": COLOURS[..., 0] > 100,
    "16 bits": rng.integers(0, 65536, SIZE, dtype=np.uint16),
    "big-endian": rng.integers(0, 65536, SIZE).astype(">u2"),
    "int32 of 8 bits": COLOURS[..., 0].astype(np.int32),
    "int32 of 16 bits": rng.integers(0, 65536, SIZE, dtype=np.int32),
    "fractions": rng.random((*SIZE, 3)).astype(np.float32),
    "floating bytes": COLOURS.astype(np.float64),
    "alpha": rng.integers(0, 256, (*SIZE, 4), dtype=np.uint8),
    "tensor": torch.from_numpy(COLOURS).permute(2, 0, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_arrays_are_parts_of_the_whole(kind):
    windows = open_windows(KINDS[kind])
    assert windows.size == SIZE
    for box in ((0, 0, 130, 90), (17, 5, 60, 6), (100, 50, 130, 90)):
        left, top, right, bottom = box
        assert np.array_equal(windows.read(box), whole(KINDS[kind])[:, top:bottom, left:right])


def test_one_bright_pixel_tells_the_values_of_all_windows():
    """Floating values up to 1 are fractions, unless another part of the image says that they are grey levels."""
    image = np.full(SIZE, 0.5, np.float32)
    assert open_windows(image).read((0, 0, 4, 4)).max() == 128
    image[80, 120] = 200.0
    assert open_windows(image).read((0, 0, 4, 4)).max() == 0


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_windows_of_pil_images_are_parts_of_the_whole(mode):
    if mode in ("I;16", "F"):
        image = Image.fromarray(KINDS["16 bits"] if mode == "I;16" else KINDS["fractions"][..., 0])
    else:
        image = Image.fromarray(COLOURS).convert(mode)
    windows = open_windows(image)
    assert isinstance(windows, PillowWindows)
    assert np.array_equal(windows.read((20, 10, 70, 45)), whole(image)[:, 10:45, 20:70])


def test_transparent_palettes_are_blended_in_windows():
    image = Image.fromarray(COLOURS).convert("P")
    image.info["transparency"] = 7
    assert np.array_equal(open_windows(image).read((20, 10, 70, 45)), whole(image)[:, 10:45, 20:70])


def test_a_memory_mapped_array_is_not_copied(tmp_path):
    np.save(tmp_path / "image.npy", COLOURS)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    windows = open_windows(mapped)
    assert np.shares_memory(windows._array, mapped)
    assert np.array_equal(windows.read((3, 4, 50, 60)), COLOURS[4:60, 3:50].transpose(2, 0, 1))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_scaled_window_is_the_average_of_its_pixels(data):
    image = np.full((64, 96), 0, np.uint8)
    image[:, 48:], image[32:, :48] = 200, 80
    left, top = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 60))
    right, bottom = data.draw(st.integers(left + 2, 96)), data.draw(st.integers(top + 2, 64))
    rows, columns = data.draw(st.integers(1, bottom - top)), data.draw(st.integers(1, right - left))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2_hf.inputs.windows._PIXELS_AT_ONCE", data.draw(st.sampled_from([1, 300, 2**23])))
        scaled = open_windows(image).read((left, top, right, bottom), (rows, columns))
    part = Image.fromarray(image[top:bottom, left:right])
    expected = np.asarray(part.resize((columns, rows), Image.Resampling.BOX))
    assert scaled.shape == (3, rows, columns)
    # What is averaged may begin or end in the middle of a pixel. Then rounding decides whether it counts.
    edges = np.arange(rows + 1) * (bottom - top) / rows
    undecided = abs(edges % 1 - 0.5) < 1e-6
    decided = ~(undecided[:-1] | undecided[1:])
    assert abs(scaled.astype(int) - expected.astype(int))[:, decided].max(initial=0) <= 1  # of two roundings to 8 bits


def test_a_preview_keeps_the_proportions():
    assert open_windows(COLOURS).preview(65).shape == (3, 45, 65)
    assert open_windows(COLOURS).preview(4096).shape == (3, *SIZE)


def test_files_are_upright_and_grey_where_the_file_is(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS).save(tmp_path / "turned.jpg", exif=exif)
    windows = open_windows(tmp_path / "turned.jpg")
    assert windows.size == (130, 90) and windows.file_name.endswith("turned.jpg")
    assert np.array_equal(windows.read((0, 0, 90, 130)), whole(str(tmp_path / "turned.jpg")))


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 131, 5), (5, 5, 5, 9), (0, 9, 5, 5)])
def test_refuses_windows_outside_of_the_image(box):
    with pytest.raises(ValueError, match="box must lie within image of 130x90 pixels"):
        open_windows(COLOURS).read(box)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((6, 6, 7), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 4), np.uint8), "is empty"),
        (np.full((4, 4), np.nan, np.float32), "finite numbers"),
        (np.full((4, 4), -30.0, np.float32), "already normalised"),
        ("no such file.png", "image"),
        ([COLOURS, COLOURS], "a single image, got a batch of 2"),
    ],
)
def test_names_what_is_wrong(image, error):
    with pytest.raises(ValueError, match=error):
        open_windows(image).read((0, 0, 1, 1))


def test_an_image_too_large_for_pillow_is_refused_with_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(COLOURS).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="install tifffile or rasterio"):
        open_windows(tmp_path / "large.png")


# tifffile


def write_tiff(path, data, **options):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, data, **options)
    return open_windows(path)


TIFFS = {
    "tiles": (COLOURS, {"tile": (32, 48), "photometric": "rgb"}),
    "compressed": (COLOURS, {"tile": (32, 48), "photometric": "rgb", "compression": "zlib", "predictor": True}),
    "strips": (COLOURS, {"rowsperstrip": 7, "photometric": "rgb"}),
    "grey of 16 bits": (KINDS["16 bits"], {"tile": (32, 32), "compression": "zlib"}),
    "floating": (KINDS["fractions"][..., 0], {"tile": (16, 16)}),
    "alpha": (KINDS["alpha"], {"tile": (32, 32), "photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "large file format": (COLOURS, {"tile": (32, 32), "photometric": "rgb", "bigtiff": True}),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_tiles_of_a_tiff_are_parts_of_the_whole(kind, tmp_path):
    data, options = TIFFS[kind]
    windows = write_tiff(tmp_path / "image.tif", data, **options)
    assert type(windows).__name__ == "TiffWindows" and windows.size == SIZE
    for box in ((0, 0, 130, 90), (40, 20, 50, 70), (129, 89, 130, 90)):
        left, top, right, bottom = box
        assert np.array_equal(windows.read(box), whole(data)[:, top:bottom, left:right])


def test_only_the_tiles_that_a_window_touches_are_decoded(tmp_path):
    windows = write_tiff(tmp_path / "image.tif", COLOURS, tile=(32, 32), photometric="rgb")
    windows.read((33, 33, 60, 60))
    assert len(windows._segments) == 1
    windows.read((30, 33, 60, 60))
    assert len(windows._segments) == 2


def test_the_copies_of_a_pyramid_serve_scaled_windows(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    half = np.full((45, 65, 3), 200, np.uint8)  # unlike the image, to show that it is read
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(COLOURS, tile=(32, 32), photometric="rgb", subifds=1)
        writer.write(half, tile=(32, 32), photometric="rgb", subfiletype=1)
    windows = open_windows(tmp_path / "pyramid.tif")
    assert (windows.read((0, 0, 130, 90), (30, 40)) == 200).all()
    assert np.array_equal(windows.read((0, 0, 130, 90)), whole(COLOURS))


def test_a_tiff_that_is_not_upright_is_read_whole(tmp_path):
    windows = write_tiff(tmp_path / "image.tif", COLOURS, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert isinstance(windows, PillowWindows) and windows.size == (130, 90)


def test_an_open_file_goes_to_another_process_by_its_name(tmp_path):
    windows = write_tiff(tmp_path / "image.tif", COLOURS, tile=(32, 32), photometric="rgb")
    copied = pickle.loads(pickle.dumps(windows))
    assert np.array_equal(copied.read((5, 6, 70, 80)), windows.read((5, 6, 70, 80)))
    assert copied.identity == windows.identity


def test_damaged_tiles_are_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "image.tif"
    write_tiff(path, COLOURS, tile=(32, 32), photometric="rgb", compression="zlib")
    content = bytearray(path.read_bytes())
    windows = open_windows(path)
    begin = windows._handles[0].dataoffsets[3]
    content[begin : begin + 40] = bytes(40)
    path.write_bytes(content)
    windows = open_windows(path)
    with pytest.raises(ValueError, match=r"image\.tif' seems broken"):
        windows.read((0, 0, 130, 90))


# rasterio


def test_rasters_are_read_by_windows_with_their_overviews(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "raster.img"
    with rasterio.open(path, "w", driver="HFA", width=130, height=90, count=3, dtype="uint8") as raster:
        raster.write(COLOURS.transpose(2, 0, 1))
    windows = open_windows(path)
    assert type(windows).__name__ == "RasterWindows" and windows.size == SIZE
    assert np.array_equal(windows.read((20, 10, 70, 45)), COLOURS[10:45, 20:70].transpose(2, 0, 1))
    assert windows.read((0, 0, 130, 90), (30, 40)).shape == (3, 30, 40)


def test_arrays_may_say_where_their_channels_are():
    cube = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    assert ArrayWindows(cube).size == (3, 5)
    assert ArrayWindows(cube, data_format="channels_first").size == (5, 3)
