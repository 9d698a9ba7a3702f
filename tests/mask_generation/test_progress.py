"""How far a search is: what the bar counts, and where there is none."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

import sam2_hf
from sam2_hf.cli.main import main
from sam2_hf.mask_generation import pipeline, progress

IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def errors(monkeypatch, capsys):
    """Takes what was written to the error stream; a bar comes at once."""
    monkeypatch.setattr(progress, "DELAY", 0)
    return lambda: capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        ({}, 9),
        ({"crops_n_layers": 1}, 9 + 4 * 9),
        ({"tile_size": 64, "tile_overlap": 0, "tile_levels": 1}, 2 * 2 * 9),
    ],
)
def test_a_bar_counts_the_points_of_all_crops_and_tiles(tiny, errors, settings, points):
    found = sam2_hf.segment_everything(IMAGE, checkpoint=tiny, progress=True, points_per_crop=3, **settings)
    written = errors()
    assert f" {points}/{points} [" in written and "point/s" in written
    silent = sam2_hf.segment_everything(IMAGE, checkpoint=tiny, points_per_crop=3, **settings)
    assert errors() == "" and silent.names == found.names


def test_the_bar_is_told_after_every_batch_of_points(tiny, monkeypatch):
    told = []

    @contextmanager
    def counting(total, is_shown):
        yield told.append

    monkeypatch.setattr(pipeline, "counting_points", counting)
    sam2_hf.segment_everything(IMAGE, checkpoint=tiny, points_per_crop=3, points_per_batch=4)
    assert told == [4, 4, 1]


def test_what_is_soon_done_shows_no_bar(capsys):
    with progress.counting_points(4, True) as asked:
        asked(4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "is_terminal", "is_shown"), [([], True, True), (["--quiet"], True, False), ([], False, False)]
)
def test_the_command_shows_it_on_a_terminal_alone(tiny, errors, monkeypatch, tmp_path, options, is_terminal, is_shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    arguments = ["--everything", "--points-per-side", "3", "--out", tmp_path / "out", "--checkpoint", tiny]
    assert main(["segment", *map(str, (tmp_path / "image.png", *arguments)), *options]) == 0
    written = errors()
    assert " 9/9 [" in written if is_shown else written == ""
