"""Reading images of every kind; resizing and normalising them."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processor_cases import draw, palette_image
from torch.nn import functional as F

from sam2_hf.inputs.images import (
    LoadedImage,
    read_images,
    read_label_maps,
    write_normalised,
)
from sam2_hf.inputs.resizing import resize, resize_nearest

ARRAY = draw(9, 14)
PLANES = torch.from_numpy(ARRAY).permute(2, 0, 1)
GREY = ARRAY[..., 0]


def refused(message: str, error: type[Exception] = ValueError) -> Any:
    return pytest.raises(error, match="^" + re.escape(message))


def grey_levels(image: LoadedImage) -> torch.Tensor:
    return image.pixels.double() * 255 / image.white


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(ARRAY),
        ARRAY,
        PLANES,
        ARRAY.transpose(2, 0, 1),
        PLANES.permute(1, 2, 0),
        np.asfortranarray(ARRAY),
        ARRAY[::-1][::-1],
        ARRAY.astype(np.int64),
        ARRAY.astype(np.float32),
        torch.from_numpy(ARRAY).to(torch.int16),
        ARRAY.astype(np.uint16) * 257,
        torch.from_numpy(ARRAY.astype(np.uint16) * 257),
        (ARRAY.astype(np.uint16) * 257).astype(">u2"),
        ARRAY.astype(np.float64) / 255,
        PLANES.float() / 255,
    ],
)
def test_one_image_in_many_forms_is_the_same(image):
    (read,) = read_images(image)
    assert read.size == (9, 14)
    torch.testing.assert_close(grey_levels(read), PLANES.double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        GREY,
        GREY[..., None],
        torch.from_numpy(GREY),
        torch.from_numpy(GREY)[None],
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(GREY.astype(np.int32)),
        Image.fromarray(GREY.astype(np.int32) * 257),
        Image.fromarray(GREY.astype(np.float32)),
        Image.fromarray(GREY.astype(np.float32) / 255),
    ],
)
def test_grey_images_keep_one_channel(image):
    (read,) = read_images(image)
    assert len(read.pixels) == 1
    torch.testing.assert_close(grey_levels(read)[0], torch.from_numpy(GREY).double(), rtol=0, atol=1e-4)


def test_a_dark_image_of_16_bits_stays_dark():
    (read,) = read_images(np.full((4, 4), 255, dtype=np.uint16))
    assert grey_levels(read).max() < 1


@pytest.mark.parametrize("image", [Image.fromarray(GREY > 100), GREY > 100, torch.from_numpy(GREY > 100)])
def test_bits_are_black_and_white(image):
    (read,) = read_images(image)
    assert read.pixels.dtype == torch.uint8
    assert torch.equal(read.pixels[0], torch.from_numpy((GREY > 100) * np.uint8(255)))


def test_transparency_shows_white():
    rgba = draw(9, 14, 4)
    alpha = rgba[..., 3:] / 255
    expected = torch.from_numpy(rgba[..., :3] * alpha + 255 * (1 - alpha)).permute(2, 0, 1)
    for image in (Image.fromarray(rgba), rgba, torch.from_numpy(rgba).permute(2, 0, 1), rgba / 255):
        (read,) = read_images(image)
        assert (grey_levels(read) - expected).abs().max() <= 0.5001  # rounding to a grey level
    (read,) = read_images(Image.fromarray(rgba).convert("LA"))
    grey = np.array(Image.fromarray(rgba).convert("L")) * alpha[..., 0] + 255 * (1 - alpha[..., 0])
    assert (grey_levels(read) - torch.from_numpy(grey)).abs().max() <= 0.5001


def test_palettes_are_looked_up_and_their_transparent_colour_is_white():
    (plain,) = read_images(palette_image())
    (transparent,) = read_images(palette_image(transparent=3))
    at_three = torch.from_numpy(np.array(palette_image()) == 3)
    assert at_three.any() and not at_three.all()
    assert (transparent.pixels[:, at_three] == 255).all()
    assert torch.equal(transparent.pixels[:, ~at_three], plain.pixels[:, ~at_three])
    assert torch.equal(plain.pixels, torch.from_numpy(np.array(palette_image().convert("RGB"))).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces_become_rgb(mode):
    image = Image.fromarray(ARRAY).convert(mode)
    (read,) = read_images(image)
    assert torch.equal(read.pixels, torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


def test_batches_and_nestings_are_read_in_order():
    shades = [np.full((6, 5, 3), shade, dtype=np.uint8) for shade in range(4)]
    for images in (
        shades,
        np.stack(shades),
        torch.from_numpy(np.stack(shades)),
        [shades[:1], (shades[1:3],), shades[3]],
    ):
        assert [int(image.pixels[0, 0, 0]) for image in read_images(images)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "shape, kind, channels_size",
    [
        ((1, 7, 3), np.asarray, (3, 1, 7)),  # one pixel high: three channels beat one
        ((3, 7, 1), np.asarray, (3, 7, 1)),
        ((7, 1, 3), torch.as_tensor, (3, 7, 1)),
        ((3, 7, 4), np.asarray, (4, 3, 7)),  # both could be channels: the last of an array, the first of a tensor
        ((3, 7, 4), torch.as_tensor, (3, 7, 4)),
        ((1, 1), np.asarray, (1, 1, 1)),
    ],
)
def test_the_channel_axis_is_seen_from_the_shape(shape, kind, channels_size):
    (read,) = read_images(kind(np.zeros(shape, dtype=np.uint8)), convert_rgb=False)
    assert tuple(read.pixels.shape) == channels_size


def test_the_channel_axis_can_be_given():
    ambiguous = np.zeros((3, 5, 3), dtype=np.uint8)
    assert read_images(ambiguous, data_format="channels_first")[0].size == (5, 3)
    assert read_images(ambiguous, data_format="channels_last")[0].size == (3, 5)
    assert read_images(Image.fromarray(ambiguous), data_format="channels_first")[0].size == (3, 5)
    with refused("images must be (height, width)"):
        read_images(ARRAY, data_format="channels_first")


def test_files_urls_of_data_and_base64(tmp_path):
    Image.fromarray(ARRAY).save(tmp_path / "a.png")
    encoded = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), encoded, f"data:image/png;base64,{encoded}"):
        assert torch.equal(read_images([source])[0].pixels, PLANES)


def test_files_keep_16_bits_and_transparency_and_stand_upright(tmp_path):
    deep = GREY.astype(np.uint16) * 100
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (read,) = read_images(tmp_path / "deep.png")
    assert torch.equal(read.pixels[0], torch.from_numpy(deep.astype(np.float32))) and read.white == 65535
    rgba = Image.fromarray(draw(9, 14, 4))
    rgba.save(tmp_path / "alpha.png")
    assert torch.equal(read_images(tmp_path / "alpha.png")[0].pixels, read_images(rgba)[0].pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise to see it upright
    Image.fromarray(ARRAY).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(read_images(tmp_path / "turned.png")[0].pixels, PLANES.rot90(-1, (1, 2)))
    # An image object is taken as it stands: masks must lie on what its owner sees.
    assert torch.equal(read_images(Image.open(tmp_path / "turned.png"))[0].pixels, PLANES)


def truncated_image() -> Image.Image:
    stream = io.BytesIO()
    Image.fromarray(draw(64, 64)).save(stream, "JPEG")
    return Image.open(io.BytesIO(stream.getvalue()[:800]))


def test_broken_and_empty_images_are_named(tmp_path):
    with refused("images[1] cannot be read, the file seems to be broken: "):
        read_images([ARRAY, truncated_image()])
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    for source in (str(tmp_path / "cut.png"), str(tmp_path / "missing.png")):
        with refused(f"images must be a readable image file, a URL or base64, got {source!r}"[:70]):
            read_images(source)
    with refused("images[0][1] is empty: expected an image with pixels, got shape (3, 0, 5)"):
        read_images([[ARRAY, np.zeros((0, 5, 3), dtype=np.uint8)]])
    with refused("images is empty: expected at least one image"):
        read_images([])
    with refused("images[1] is empty: expected at least one image"):
        read_images([ARRAY, []])
    with refused("images is empty: expected at least one image"):
        read_images(np.zeros((0, 3, 5, 5)))


@pytest.mark.parametrize("shape", [(5,), (5, 6, 7), (2, 5, 6), (1, 1, 3, 5, 6)])
def test_other_shapes_are_refused(shape):
    expected = "(height, width), (height, width, channels) or (channels, height, width)"
    with refused(f"images must be {expected} with 1, 3 or 4 channels, got shape {shape}"):
        read_images(np.zeros(shape, dtype=np.uint8))


def test_other_things_are_refused():
    with refused("images[0] must be a PIL image, an array, a tensor, a file name or a URL, got NoneType", TypeError):
        read_images([None])
    with refused("images[0][0] must be a PIL image", TypeError):
        read_images([[1, 2], [3, 4]])
    with refused("images must hold real numbers, got an array of complex128", TypeError):
        read_images(np.zeros((4, 4), dtype=complex))
    with refused("images must hold integers from 0 to 255 or 0 to 65535, got -1 to 5"):
        read_images(np.array([[-1, 5]]))
    with refused("images must hold finite numbers, got NaN or infinity"):
        read_images(np.array([[np.nan, 0.5]]))
    with refused(
        "images must hold numbers from 0 to 1 or 0 to 255, got -2 to 2.5. An image that is already normalised"
    ):
        read_images(np.array([[-2, 2.5]]))
    (raw,) = read_images(np.array([[-2, 2.5]]), check_range=False)
    assert raw.white == 1 and raw.pixels.tolist() == [[[-2, 2.5]]]


def test_images_are_not_changed():
    for image in (draw(9, 14, 4), draw(9, 14).astype(np.float32), draw(9, 14)):
        before = image.copy()
        for read in read_images([image, torch.from_numpy(image)]):
            resized = resize(read.pixels, (4, 5))
            write_normalised(torch.empty(3, 4, 5), LoadedImage(resized, read.white), 1 / 255, [0.5] * 3, [0.2] * 3)
        assert np.array_equal(image, before)


@pytest.mark.parametrize("size", [(4, 5), (20, 9), (9, 30), (1, 6), (1, 1), (6, 1)])
@pytest.mark.parametrize(
    "pixels", [PLANES, PLANES.contiguous(), PLANES[:1], PLANES[:, ::2, 1:], PLANES[:, :1], PLANES[..., :1]]
)
def test_resizing_bytes_rounds_what_floats_give(pixels, size):
    smooth = F.interpolate(pixels[None].float(), size, mode="bilinear", antialias=True)[0]
    resized = resize(pixels, size)
    assert resized.dtype == torch.uint8
    assert (resized - smooth).abs().max() < 1.02  # rounded after each direction, with weights of some 15 bits
    assert (resized - smooth).abs().mean() < 0.4
    assert torch.equal(resize(pixels.float(), size), smooth)


def test_bytes_elsewhere_than_on_the_cpu_are_rounded_floats():
    meta = resize(PLANES.to("meta"), (4, 5))
    assert meta.dtype == torch.uint8 and meta.shape == (3, 4, 5)


@pytest.mark.gpu
@pytest.mark.parametrize("resample", [0, 2, 3])
def test_on_a_gpu_pixels_agree_to_a_grey_level(resample):
    there = resize(PLANES.cuda(), (4, 5), resample)
    assert there.is_cuda and (there.cpu().int() - resize(PLANES, (4, 5), resample).int()).abs().max() <= 1


def test_unknown_filters_are_refused():
    with refused("resample must be 0 (nearest), 2 (bilinear) or 3 (bicubic), got 1"):
        resize(PLANES, (4, 5), resample=1)


@pytest.mark.parametrize("size", [(4, 5), (20, 9), (9, 14), (1, 31)])
def test_nearest_is_torchs_nearest_exact(size):
    expected = F.interpolate(PLANES[None], size, mode="nearest-exact")[0]
    assert torch.equal(resize_nearest(PLANES, size), expected)
    assert torch.equal(resize_nearest(PLANES.long() << 40, size), expected.long() << 40)


def test_normalising_is_what_its_formula_says():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    for image in (
        LoadedImage(PLANES, 255),
        LoadedImage(PLANES.float() / 255, 1),
        LoadedImage(PLANES[:1].float() * 257, 65535),
    ):
        out = torch.empty(3, *image.size)
        write_normalised(out, image, 1 / 255, mean, std)
        levels = grey_levels(image).expand(3, -1, -1).permute(1, 2, 0) / 255
        expected = (levels - torch.tensor(mean).double()) / torch.tensor(std).double()
        torch.testing.assert_close(out.permute(1, 2, 0).double(), expected, rtol=0, atol=1e-6)


def test_without_a_factor_values_are_taken_as_they_are():
    for image in (LoadedImage(PLANES, 255), LoadedImage(PLANES.float() / 255, 1)):
        out = torch.empty(3, *image.size)
        write_normalised(out, image, None, [0.0] * 3, [1.0] * 3)
        assert torch.equal(out, image.pixels.float())
    out = torch.empty(3, 9, 14)
    write_normalised(out, LoadedImage(PLANES.float() * 257, 65535), None, [0.0] * 3, [1.0] * 3)
    torch.testing.assert_close(out, PLANES.float(), rtol=1e-6, atol=0)


def test_label_maps_keep_their_numbers():
    maps = [GREY.astype(np.int64) << 30, torch.from_numpy(GREY)[None], palette_image(), Image.fromarray(GREY > 9)]
    read = read_label_maps(maps, "segmentation_maps")
    assert all(labels.dtype == torch.int64 and labels.ndim == 2 for labels in read)
    assert torch.equal(read[0], torch.from_numpy(GREY.astype(np.int64) << 30))
    assert torch.equal(read[1], torch.from_numpy(GREY).long())
    assert torch.equal(read[2], torch.from_numpy(np.array(palette_image())).long())
    assert torch.equal(read[3], torch.from_numpy(GREY > 9).long())
    with refused("maps[0] must be a map of whole numbers (height, width), got torch.float64 of shape (4, 5)"):
        read_label_maps([np.zeros((4, 5))], "maps")


def test_images_with_gradients_are_read():
    image = torch.rand(3, 64, 64, requires_grad=True)
    (read,) = read_images(image)
    assert torch.equal(read.pixels, image.detach()) and not read.pixels.requires_grad


def itself() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


@pytest.mark.parametrize(
    "image, error, message",
    [
        (
            torch.zeros(3, 4, 4, device="meta"),
            TypeError,
            "images must be a dense tensor of real numbers, got a meta tens",
        ),
        (torch.zeros(3, 4, 4).to_sparse(), TypeError, "images must be a dense tensor of real numbers, got a sparse"),
        (
            torch.zeros(3, 4, 4, dtype=torch.complex64),
            TypeError,
            "images must be a dense tensor of real numbers, got a c",
        ),
        (np.ma.masked_array(GREY, True), TypeError, "images must be a plain array, got a masked array"),
        (itself(), ValueError, "images[0][0]"),
    ],
    ids=["meta", "sparse", "complex", "masked", "itself"],
)
def test_what_has_no_plain_pixels_is_refused(image, error, message):
    with refused(message, error):
        read_images(image)


class Untouched(list):
    def __len__(self):
        raise AssertionError("looked at")

    __iter__ = __getitem__ = __len__


def test_nested_numbers_are_refused_at_the_first_one():
    """A photo as lists has millions of them."""
    with refused(
        "images[0][0][0] must be a PIL image, an array, a tensor, a file name or a URL, got int; "
        "give nested numbers as an array, numpy.asarray(...)",
        TypeError,
    ):
        read_images([[[0, 0, 0]], Untouched()])


def test_what_is_wrong_with_a_file_is_told(tmp_path, monkeypatch):
    stream = io.BytesIO()
    Image.fromarray(draw(64, 64)).save(stream, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(stream.getvalue()[:800])
    with pytest.raises(ValueError, match=r"must be a readable image file, .*: .*truncated"):
        read_images(tmp_path / "cut.jpg")
    (tmp_path / "large.jpg").write_bytes(stream.getvalue())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(
        ValueError, match=r"must be a readable image file, .*: Image size \(4096 pixels\) exceeds limit"
    ):
        read_images(tmp_path / "large.jpg")
