"""Windows of values: which are black and which are white, where the type does not say it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from sam2_hf import Sam2ImageProcessor, Sam2Processor
from sam2_hf.inputs.images import read_images
from sam2_hf.inputs.value_range import ValueRange, read_window

NAN = float("nan")
RAMP = torch.arange(12, dtype=torch.float32).view(1, 3, 4)


def test_a_window_maps_its_limits_to_black_and_white():
    mapped = ValueRange((2, 6)).apply(RAMP, "image")
    assert mapped.dtype == torch.float32
    assert mapped.flatten().tolist() == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.uint16, torch.float16, torch.float64])
def test_values_of_every_type(dtype):
    assert torch.equal(ValueRange((2, 6)).apply(RAMP.to(dtype), "image"), ValueRange((2, 6)).apply(RAMP, "image"))


def test_percentiles_are_those_of_all_pixels():
    values = torch.randn(3, 20, 30, generator=torch.Generator().manual_seed(0)) * 100 - 40
    low, high = np.percentile(values.numpy(), [2, 98])
    expected = ((values - low) / (high - low)).clamp(0, 1)
    torch.testing.assert_close(ValueRange(percentiles=(2, 98)).apply(values, "image"), expected)


@pytest.mark.parametrize("nodata", [-9999.0, NAN])
def test_what_was_not_measured_is_black_and_does_not_count(nodata):
    values = RAMP.clone() + 5
    expected = ValueRange(percentiles=(0, 100)).apply(values[:, 1:], "image")
    values[:, 0] = nodata
    mapped = ValueRange(percentiles=(0, 100), nodata=nodata).apply(values, "image")
    assert (mapped[:, 0] == 0).all() and torch.equal(mapped[:, 1:], expected)


def test_an_image_of_one_value_or_of_none_is_black():
    assert not ValueRange(percentiles=(2, 98)).apply(torch.full((1, 4, 4), 7.0), "image").any()
    assert not ValueRange(percentiles=(2, 98), nodata=7).apply(torch.full((1, 4, 4), 7.0), "image").any()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="images must hold finite numbers, got NaN or infinity; nodata="):
        ValueRange((0, 1)).apply(torch.tensor([[[NAN, 1.0]]]), "images")
    with pytest.raises(ValueError, match="images must hold finite numbers or nan"):
        ValueRange((0, 1), nodata=NAN).apply(torch.tensor([[[NAN, float("inf")]]]), "images")


@pytest.mark.parametrize(
    "window", [5, (1,), (1, 2, 3), (2, 1), (1, 1), (0, NAN), ("0", "1"), (True, 2), {"low": 0}, "12"]
)
def test_what_is_no_window_is_refused(window):
    with pytest.raises(ValueError, match="input_range must be two finite numbers, the smaller one first, got "):
        read_window(window, "input_range")


def scan() -> np.ndarray:
    """12 bits in 16."""
    return np.random.default_rng(0).integers(0, 4096, (40, 50, 3)).astype(np.uint16)


def test_a_12_bit_scan_in_16_bits_is_as_bright_as_in_8():
    """Over the range of its type it would be black: a sixteenth of white at most."""
    pixels = Sam2ImageProcessor(size=32, input_range=(0, 4095))(scan(), return_tensors="pt").pixel_values
    eight = np.round(scan() / 4095 * 255).astype(np.uint8)
    expected = Sam2ImageProcessor(size=32)(eight, return_tensors="pt").pixel_values
    assert (pixels - expected).abs().max() < 0.02
    by_percentiles = Sam2ImageProcessor(size=32)(scan(), input_percentiles=(0, 100), return_tensors="pt").pixel_values
    assert (by_percentiles - expected).abs().max() < 0.02


@pytest.mark.parametrize("image", [np.array([[-1000, 400]], np.int16), np.array([[-1000.0, 400.0]])], ids=str)
def test_values_on_another_scale_are_refused_with_the_settings_that_read_them(image):
    with pytest.raises(ValueError, match=r"got -1000 to 400.*input_range=\(black, white\), or input_percentiles"):
        read_images(image)


def test_signed_heights():
    heights = np.linspace(-50, 900, 40 * 50).reshape(40, 50).astype(np.int16)
    heights[0] = -9999
    inputs = Sam2ImageProcessor(size=32, input_range=(-50, 900), nodata=-9999)(heights, return_tensors="pt")
    assert inputs.pixel_values.isfinite().all() and inputs.pixel_values.std() > 0.5


@pytest.mark.parametrize(
    "image", [scan(), torch.from_numpy(scan()), scan() / 65535, np.full((4, 4), 200, np.int32) * 4], ids=str
)
def test_an_image_that_would_come_out_black_is_told(image):
    with pytest.warns(UserWarning, match=r"images\[1\] holds values up to .*, so it is almost black.*input_range"):
        read_images([np.zeros((4, 4, 3), np.uint8), image])


@pytest.mark.parametrize(
    "image",
    [
        scan() * 16,
        np.zeros((4, 4, 3), np.uint16),
        np.full((4, 4, 3), 3, np.uint8),
        np.full((4, 4, 3), 0.5),
        np.full((4, 4, 3), 15, np.int64),
    ],
    ids=str,
)
def test_other_images_are_read_without_a_word(image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_images(image)
        Sam2ImageProcessor(size=16, input_range=(0, 5))(image)


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="give either input_range or input_percentiles, not both"):
        Sam2ImageProcessor(input_range=(0, 1), input_percentiles=(2, 98))
    with pytest.raises(ValueError, match="nodata needs input_range or input_percentiles beside it"):
        Sam2ImageProcessor(nodata=0)
    with pytest.raises(ValueError, match="nodata must be a number, got 'none'"):
        Sam2ImageProcessor(input_range=(0, 1), nodata="none")
    with pytest.raises(ValueError, match="input_percentiles must be two finite numbers from 0 to 100"):
        Sam2ImageProcessor(input_percentiles=(2, 101))
    with pytest.raises(
        ValueError, match=r"images has 4 channels, of which the last would be alpha: give 3, or do_conv"
    ):
        Sam2ImageProcessor(input_range=(0, 9))(np.zeros((4, 5, 4), np.uint16))
    bands = Sam2ImageProcessor(do_convert_rgb=False, input_range=(0, 9), image_mean=0.5, image_std=0.5, size=16)
    assert bands(np.zeros((4, 5, 4), np.uint16), return_tensors="pt").pixel_values.shape == (1, 4, 16, 16)


def test_one_window_for_several_images():
    images = [torch.randn(1, 20, 30, generator=torch.Generator().manual_seed(seed)) * 50 for seed in range(4)]
    window = ValueRange(percentiles=(2, 98)).settled(images)
    assert window.percentiles is None
    assert window.limits == pytest.approx(tuple(np.percentile(torch.cat(images).double().numpy(), [2, 98])))
    assert window.settled(images) is window


def test_what_was_not_measured_does_not_count_in_any_image():
    measured = torch.arange(100.0).view(1, 10, 10)
    broken = torch.cat([measured, torch.full((1, 5, 10), NAN)], dim=1)
    window = ValueRange(percentiles=(0, 100), nodata=NAN).settled([broken, measured + 50])
    assert window.limits == (0, 149)
    assert ValueRange(percentiles=(0, 100), nodata=0).settled([broken, measured]).limits == (1, 99)


def test_a_window_over_equal_values_can_be_given_again():
    low, high = ValueRange(percentiles=(2, 98)).settled([torch.full((1, 4, 4), 7)]).limits
    assert read_window((low, high), "input_range") == (low, high) and low == 7


def test_windows_are_saved_and_files_without_them_stay_as_they_were(tmp_path):
    assert not {"input_range", "input_percentiles", "nodata"} & {*Sam2ImageProcessor().to_dict()}
    Sam2Processor(Sam2ImageProcessor(size=64, input_range=(0, 4095), nodata=0)).save_pretrained(tmp_path)
    loaded = Sam2Processor.from_pretrained(tmp_path).image_processor.options()
    assert loaded.input_range == (0, 4095) and loaded.nodata == 0 and loaded.input_percentiles is None
