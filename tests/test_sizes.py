"""Sizes of images: every spelling, one reader."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fresh_python import run_fresh
from transformers.image_utils import SizeDict

from sam2_hf.sizes import LONGEST_SIDE, read_size, read_sizes

PAIRS = {
    "list": [3, 4],
    "tuple": (3, 4),
    "array": np.array([3, 4]),
    "floating tensor": torch.tensor([3.0, 4.0]),
    "numbers of libraries": (np.int32(3), torch.tensor(4)),
    "dict": {"height": 3, "width": 4},
    "SizeDict": SizeDict(height=3, width=4),
}
NO_SIZES = {
    "zero": 0,
    "negative": (-3, 4),
    "bool": True,
    "bool in a pair": (True, 4),
    "bool of numpy": np.bool_(True),
    "bools": np.array([True, True]),
    "float": 64.0,
    "fraction": np.array([3.5, 4.0]),
    "nan": np.array([float("nan"), 4.0]),
    "infinity": torch.tensor([float("inf"), 4.0]),
    "complex": 3 + 0j,
    "text": "64",
    "none": None,
    "one": (3,),
    "three": (3, 4, 3),
    "nested": [[3, 4]],
    "longest edge": {"longest_edge": 3},
    "longest edge alone": SizeDict(longest_edge=3),
    "longer than coordinates can tell apart": 10**30,
    "just too long": (3, LONGEST_SIDE + 1),
}


@pytest.mark.parametrize("size", PAIRS.values(), ids=PAIRS)
def test_a_pair_is_read_from_anything(size):
    read = read_size(size, "size")
    assert read == (3, 4) and all(type(side) is int for side in read)


@pytest.mark.parametrize("size", [64, np.int64(64), np.uint8(64), torch.tensor(64), np.array(64.0)])
def test_one_number_is_a_square(size):
    read = read_size(size, "size")
    assert read == (64, 64) and all(type(side) is int for side in read)


def test_the_longest_side_is_still_taken():
    assert read_size(LONGEST_SIDE, "size") == (LONGEST_SIDE, LONGEST_SIDE)


@pytest.mark.parametrize("size", NO_SIZES.values(), ids=NO_SIZES)
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ValueError, match=r"^image_size must be a positive int or a pair \(height, width\) of them"):
        read_size(size, "image_size")


@pytest.mark.parametrize(
    "sizes", [[(3, 4), (5, 6)], ((3, 4), [5, 6]), np.array([[3, 4], [5, 6]]), torch.tensor([[3.0, 4], [5, 6]])]
)
def test_sizes_are_read_from_anything(sizes):
    assert read_sizes(sizes) == [(3, 4), (5, 6)]


POSITIVE = "must be two positive whole numbers (height, width), each up to 16777216, got"


@pytest.mark.parametrize(
    "sizes, message",
    [
        (
            (3, 4),
            "original_sizes must hold (height, width) of each image, for example [(1200, 1800)]; "
            "got a size alone, (3, 4)",
        ),
        ([], "original_sizes must hold (height, width) of each image, for example [(1200, 1800)]; got []"),
        (None, "original_sizes must hold (height, width) of each image, for example [(1200, 1800)]; got None"),
        ([3, (3, 4)], "original_sizes must hold (height, width) of each image, for example [(1200, 1800)]; got [3, ("),
        ([(3, 4), (0, 4)], f"original_sizes[1] {POSITIVE} [0, 4]"),
        ([(3.5, 4)], f"original_sizes[0] {POSITIVE} [3.5, 4]"),
        ([(3, 4, 3)], f"original_sizes[0] {POSITIVE} [3, 4, 3]"),
        ([(3, float("nan"))], f"original_sizes[0] {POSITIVE} [3, nan]"),
        ([(True, 4)], f"original_sizes[0] {POSITIVE} [True, 4]"),
        ([(3, 10**30)], f"original_sizes[0] {POSITIVE} [3, {10**30}]"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError) as refused:
        read_sizes(sizes)
    assert str(refused.value).startswith(message)


def test_it_needs_neither_torch_nor_numpy():
    """The configuration reads sizes, and must be quick to import."""
    code = """
        import importlib.util, json, os, sys
        spec = importlib.util.spec_from_file_location("sizes", os.environ["SIZES"])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        print(json.dumps([module.read_size(64, "size"), "torch" in sys.modules, "numpy" in sys.modules]))
    """
    assert run_fresh(code, SIZES=read_size.__code__.co_filename) == [[64, 64], False, False]
