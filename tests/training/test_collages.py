"""Collages: their masks are what they show, and none depends on anything but its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sam2_hf.training.collage.collages import Collages
from sam2_hf.training.collage.compositing import Canvas, placement, warp
from sam2_hf.training.collage.materials import SPLITS, Materials, split_of
from sam2_hf.training.collage.photography import Photography
from sam2_hf.training.data.data_sets import open_data
from sam2_hf.training.synthetic.draws import Draws

SIZE = (72, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Materials for all splits: photographs of noise, and discs with something transparent around them."""
    root = tmp_path_factory.mktemp("materials")
    values = np.random.default_rng(0)
    for kind in ("backgrounds", "cutouts/discs"):
        (root / kind).mkdir(parents=True)
    for number in range(30):
        coarse = Image.fromarray(values.integers(0, 255, (5, 6, 3), np.uint8))
        coarse.resize((180, 150), Image.Resampling.BICUBIC).save(root / f"backgrounds/photo{number}.jpg")
        disc = Image.new("RGBA", (60, 40))
        colour = (*values.integers(0, 255, 3).tolist(), 255)
        ImageDraw.Draw(disc).ellipse((5 + number % 9, 3, 50, 36), fill=colour)
        disc.save(root / f"cutouts/discs/disc{number}.png")
    return root


def collages(folder: Path, count: int = 12, **settings: object) -> Collages:
    return Collages(count, folder, size=SIZE, **settings)  # type: ignore[arg-type]


def test_a_number_is_always_the_same_image(folder: Path) -> None:
    first, again = collages(folder)[3].read([0]), collages(folder, count=5)[3].read([0])
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.masks, again.masks)
    others = [collages(folder)[4], collages(folder, seed=1)[3], collages(folder, split="test")[3]]
    assert all(not np.array_equal(first.frames, other.read([0]).frames) for other in others)


def test_frames_of_a_clip_do_not_depend_on_which_others_are_drawn(folder: Path) -> None:
    together = collages(folder, moving=True, length=6)[0].read(range(6))
    alone = collages(folder, moving=True, length=6)[0].read([4])
    assert np.array_equal(alone.frames[0], together.frames[4])
    assert np.array_equal(alone.masks[0], together.masks[4])
    assert not np.array_equal(together.frames[0], together.frames[5])


def test_objects_are_nested_or_apart(folder: Path) -> None:
    nested = 0
    for number in range(12):
        scene, masks = collages(folder)[number].scene, collages(folder)[number].read([0]).masks[0]
        for one, layers in enumerate(scene.objects):
            for other, others in enumerate(scene.objects):
                if one != other and not set(layers) & set(others):
                    assert not (masks[one] & masks[other]).any()
                elif one != other and set(layers) < set(others):
                    nested += 1
                    # A pixel may show a half of either of two layers, and then is of their union alone.
                    assert (masks[one] <= masks[other]).all()
    assert nested > 5


def test_shares_of_a_pixel_are_what_it_shows() -> None:
    canvas = Canvas(np.zeros((*SIZE, 3), np.float32))
    for left, red in ((10, 1.0), (30, 0.5)):
        patch = np.ones((20, 40, 4), np.float32)
        patch[..., :3] = (red, 0, 0)
        canvas.lay(patch, slice(10, 30), slice(left, left + 40))
    first, second = canvas.shares
    assert np.array_equal(first == 1, canvas.image[..., 0] == 1.0)
    assert np.array_equal(second == 1, canvas.image[..., 0] == 0.5)
    assert first.sum() == 20 * 20


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0])
def test_a_sprite_is_warped_to_where_it_is_said_to_be(angle: float) -> None:
    sprite = np.zeros((64, 64, 4), np.float32)
    sprite[24:40, 24:56] = 1  # to the right of the middle
    patch = warp(sprite, placement((30.0, 20.0), 16.0, angle, 1.0, (0, 0), 64), (60, 80), 2.0)
    rows, columns = np.nonzero(patch[..., 3] > 0.5)
    turned = np.array([np.cos(angle), np.sin(angle)]) * 4
    assert np.allclose([columns.mean() + 0.5, rows.mean() + 0.5], [30 + turned[0], 20 + turned[1]], atol=0.5)
    assert abs(patch[..., 3].sum() - 16 * 32 / 4) < 8


def test_objects_of_all_sizes_are_drawn(folder: Path) -> None:
    shares = []
    for number in range(40):
        masks = collages(folder, count=40)[number].read([0]).masks[0]
        shares += [mask.mean() for mask in masks if mask.any()]
    assert min(shares) < 0.005 and max(shares) > 0.3


def test_splits_share_no_image(folder: Path) -> None:
    parts = [Materials(folder, split) for split in SPLITS]
    names = [{path.name for path in (*part.backgrounds, *part.cutouts[0])} for part in parts]
    assert sum(map(len, names)) == len(set().union(*names)) == 60
    assert {split_of(f"photo{number}") for number in range(30)} == set(SPLITS)


def test_a_camera_that_adds_nothing_changes_nothing() -> None:
    image = np.random.default_rng(0).random((8, 9, 3), np.float32)
    plain = Photography(0.0, np.ones(3), 1.0, (0.0, 0.0), 0.0, 0, None, False)
    assert np.abs(plain.expose(image, Draws(0)) / 255 - image).max() <= 0.5 / 255 + 1e-6
    grey = Photography(0.0, np.ones(3), 1.0, (0.0, 0.0), 0.0, 0, 90, True).expose(image, Draws(0))
    assert np.ptp(grey.astype(int), axis=-1).max() <= 2
    noisy = Photography(0.0, np.ones(3), 1.0, (0.0, 0.0), 0.05, 0, None, False)
    still = np.full((64, 64, 3), 0.5, np.float32)
    assert 0.045 < (noisy.expose(still, Draws(1)) / 255.0).std() < 0.055


def test_recipes_name_it(folder: Path) -> None:
    found = open_data("collage", {"count": 3, "folder": str(folder), "size": SIZE})
    assert len(found) == 3 and found[2].image(0).shape == (*SIZE, 3)
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"split": "all"}, "split must be one of"),
        ({"objects": (0, 3)}, "objects must be"),
        ({"size": (16, 16)}, "at least 32 pixels"),
    ],
)
def test_wrong_settings_are_named(folder: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collages(**{"count": 1, "folder": folder, **settings})


def test_a_folder_without_materials_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="backgrounds"):
        Collages(1, tmp_path)
