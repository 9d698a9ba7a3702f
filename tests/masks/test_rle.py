"""Run-length encoding against a plain loop, known strings and pycocotools."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam2_hf.masks.rle import (
    compress_rle,
    counts_dtype,
    decode_counts,
    decompress_rle,
    encode_counts,
    mask_run_lengths,
    mask_to_rle,
    rle_area,
    rle_part,
    rle_scaled,
    rle_to_box,
    rle_to_mask,
)

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def masks_in_images(draw):
    """Masks (n, h, w), the (height, width) of an image that holds them, and their (top, left) in it."""
    height, width = draw(SIZES)
    masks = draw(arrays(bool, (draw(st.integers(1, 3)), height, width)))
    offset = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    size = height + offset[0] + draw(st.integers(0, 3)), width + offset[1] + draw(st.integers(0, 3))
    return torch.from_numpy(masks), size, offset


def counts_pixel_by_pixel(mask):
    pixels = mask.T.flatten().tolist()
    runs = [(value, len(list(group))) for value, group in itertools.groupby(pixels)]
    return ([0] if runs[0][0] else []) + [length for _, length in runs]


def string_char_by_char(counts):
    """The COCO string of run lengths, written from the format's description one bit group at a time."""
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        while True:
            group, number = number & 31, number >> 5
            done = number == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return text


@settings(max_examples=200, deadline=None)
@given(masks_in_images())
def test_encoding_equals_the_loop_over_pixels_anywhere_in_an_image(case):
    masks, (height, width), (top, left) = case
    image = torch.zeros(len(masks), height, width, dtype=torch.bool)
    image[:, top : top + masks.shape[1], left : left + masks.shape[2]] = masks
    rles = mask_to_rle(masks, size=(height, width), offset=(top, left))
    assert rles == [{"size": [height, width], "counts": counts_pixel_by_pixel(mask)} for mask in image]
    assert rles == mask_to_rle(image)


@settings(max_examples=100, deadline=None)
@given(masks_in_images())
def test_decoding_gives_the_mask_back_with_its_area_and_box(case):
    for mask in case[0]:
        (rle,) = mask_to_rle(mask[None])
        assert torch.equal(rle_to_mask(rle), mask)
        assert torch.equal(rle_to_mask(compress_rle(rle)), mask)
        assert decompress_rle(compress_rle(rle)) == rle
        assert rle_area(rle) == mask.sum()
        rows, columns = mask.nonzero(as_tuple=True)
        box = (columns.min(), rows.min(), columns.max(), rows.max()) if len(rows) else (0, 0, 0, 0)
        assert rle_to_box(rle) == box


def test_decoded_masks_are_contiguous():
    assert rle_to_mask({"size": [2, 3], "counts": [1, 2, 3]}).is_contiguous()


def test_empty_and_full_masks():
    assert mask_to_rle(torch.zeros(1, 2, 3, dtype=torch.bool))[0]["counts"] == [6]
    assert mask_to_rle(torch.ones(1, 2, 3, dtype=torch.bool))[0]["counts"] == [0, 6]
    assert mask_to_rle(torch.zeros(0, 2, 3, dtype=torch.bool)) == []


def test_run_lengths_are_compact_arrays():
    (counts,) = mask_run_lengths(torch.eye(3, dtype=torch.bool)[None])
    assert counts.dtype == np.int32
    assert counts.tolist() == [0, 1, 3, 1, 3, 1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), max_size=12))
def test_count_strings_equal_the_loop_over_characters(counts):
    text = encode_counts(counts)
    assert text == string_char_by_char(counts)
    assert decode_counts(text).tolist() == counts
    assert decode_counts(text.encode()).tolist() == counts


@pytest.mark.parametrize(
    ("counts", "text"),
    # Written by pycocotools 2.0.11: mask.frPyObjects({"size": [1, n], "counts": counts}, 1, n)["counts"].
    [
        ([6], "6"),
        ([0, 6], "06"),
        ([0, 1, 3, 1, 3, 1], "013000"),
        ([11, 5, 2, 16, 100, 1, 1000], ";52;R3ATl0"),
        ([1000000, 3, 99, 31], "Pb`n03S3l0"),
        ([0, 16, 15, 512, 3, 511, 40000, 7], "0`0?`?DOmQW1X@"),
    ],
)
def test_count_strings_equal_known_ones(counts, text):
    assert string_char_by_char(counts) == text
    assert encode_counts(counts) == text


@pytest.mark.peers
def test_count_strings_equal_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    generator = torch.Generator().manual_seed(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        masks = torch.rand(4, 61, 47, generator=generator) < density
        for mask, rle in zip(masks, mask_to_rle(masks), strict=True):
            theirs = coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            assert compress_rle(rle)["counts"].encode() == theirs["counts"]
            assert np.array_equal(coco.decode(theirs), rle_to_mask(theirs).numpy())


def test_masks_outside_their_image_are_refused():
    masks = torch.ones(1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"offset \(2, 0\) do not fit in an image of \(5, 9\)"):
        mask_to_rle(masks, size=(5, 9), offset=(2, 0))
    with pytest.raises(ValueError, match=r"\(masks, height, width\), got shape \(4, 4\)"):
        mask_to_rle(masks[0])


@pytest.mark.parametrize("counts", [[5], [7], [2, -1, 5], []])
def test_counts_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="add up to 2x3"):
        rle_to_mask({"size": [2, 3], "counts": counts})


@pytest.mark.parametrize("text", ["é", "\n1", "1P", "~1"])
def test_broken_count_strings_are_refused(text):
    with pytest.raises(ValueError, match="not a COCO run-length string"):
        decode_counts(text)


@pytest.mark.gpu
def test_encoding_on_a_gpu_equals_the_cpu():
    masks = torch.rand(5, 60, 70, generator=torch.Generator().manual_seed(0)) < 0.3
    assert mask_to_rle(masks.cuda(), (80, 90), (3, 4)) == mask_to_rle(masks, (80, 90), (3, 4))


@given(masks_in_images(), st.data())
def test_a_part_is_what_the_whole_has_there(given_masks, data):
    masks, size, offset = given_masks
    top, left = data.draw(st.integers(0, size[0])), data.draw(st.integers(0, size[1]))
    bottom, right = data.draw(st.integers(top, size[0])), data.draw(st.integers(left, size[1]))
    for rle in mask_to_rle(masks, size, offset):
        expected = rle_to_mask(rle)[top:bottom, left:right].numpy()
        for form in (rle, compress_rle(rle)):
            assert np.array_equal(rle_part(form, (left, top, right, bottom)), expected)


@given(masks_in_images(), st.data())
def test_a_scaled_mask_has_the_pixels_in_the_middle_of_its_own(given_masks, data):
    masks, size, offset = given_masks
    smaller = data.draw(st.integers(1, size[0])), data.draw(st.integers(1, size[1]))
    rows, columns = ((np.arange(n) * 2 + 1) * length // (2 * n) for n, length in zip(smaller, size, strict=True))
    for rle in mask_to_rle(masks, size, offset):
        scaled = rle_scaled(rle, smaller)
        assert scaled["size"] == list(smaller)
        assert np.array_equal(rle_to_mask(scaled), rle_to_mask(rle)[rows][:, columns])


def test_runs_longer_than_32_bits_hold_are_counted():
    """An image of 50 000 x 50 000 pixels, of which four in the middle are set."""
    size = (50_000, 50_000)
    (counts,) = mask_run_lengths(np.ones((1, 2, 2), bool), size, (25_000, 25_000))
    assert counts.sum() == 50_000**2 and counts_dtype(50_000**2) is np.int64 and counts_dtype(20_000**2) is np.int32
    rle = {"size": list(size), "counts": counts}
    assert rle_to_box(rle) == (25_000, 25_000, 25_001, 25_001) and rle_area(rle) == 4
    assert rle_part(rle, (24_999, 24_999, 25_002, 25_001)).tolist() == [[False] * 3, [False, True, True]]
    assert np.array_equal(decode_counts(compress_rle(rle)["counts"]), counts)
