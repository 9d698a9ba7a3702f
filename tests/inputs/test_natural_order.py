"""File names in the order that people expect."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2_hf.inputs.natural_order import natural_order
from sam2_hf.training.data.annotated_video import images_in

IN_ORDER = ["7", "10", "a", "a009", "a9", "a9b2", "A9B10", "a10", "b1"]


def test_numbers_count_as_numbers_and_case_does_not_count():
    assert natural_order(["b1", "a10", "a9b2", "a9", "A9B10", "a009", "7", "10", "a"]) == IN_ORDER


def test_items_are_sorted_by_their_names():
    paths = [Path(f"b{index}") / f"frame{10 - index}.png" for index in range(10)]
    assert natural_order(paths, lambda path: path.name) == paths[::-1]


@pytest.mark.parametrize("stem", ["frame{}", "{}", "img_{}_v2"])
def test_images_of_a_training_folder_are_in_the_order_of_their_numbers(tmp_path, stem):
    """By text, frame10 would come between frame1 and frame2."""
    for index in range(1, 12):
        (tmp_path / f"{stem.format(index)}.png").touch()
    assert [Path(path).name for path in images_in(tmp_path)] == [f"{stem.format(i)}.png" for i in range(1, 12)]
