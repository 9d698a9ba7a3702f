"""Tiles cover an image, and masks that are cut at their seams are joined again."""

import numpy as np
import pytest
import torch
from disc_model import SIZE, DiscModel
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam2_hf import Sam2ImageProcessor, Sam2MaskGenerationPipeline, Segmenter, bundled_checkpoint
from sam2_hf.demo.world import draw_image
from sam2_hf.mask_generation.mask_table import MaskTable
from sam2_hf.mask_generation.settings import MaskGenerationSettings
from sam2_hf.mask_generation.tiles import join_levels, join_tiles, tile_layout, tile_levels
from sam2_hf.masks.rle import mask_run_lengths, rle_to_mask

IMAGE = (150, 210)
TILED = MaskGenerationSettings(tile_size=100, tile_overlap=30, crops_nms_thresh=0.7)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(20, 120), st.data())
def test_tiles_cover_an_image_and_share_the_overlap(height, width, tile_size, data):
    overlap = data.draw(st.integers(0, tile_size - 8))
    tiles = tile_layout((height, width), tile_size, overlap)
    covered = np.zeros((height, width), bool)
    for tile in tiles:
        assert tile.size == (min(tile_size, height), min(tile_size, width))
        covered[tile.top : tile.bottom, tile.left : tile.right] = True
    assert covered.all() and len(set(tiles)) == len(tiles)
    for edges, length in (({tile.left for tile in tiles}, width), ({tile.top for tile in tiles}, height)):
        starts = sorted(edges)
        steps = np.diff(starts)
        assert (steps <= tile_size - overlap).all()
        if len(starts) > 1:  # one less would not do
            assert (len(starts) - 1) * (tile_size - overlap) + overlap < length


def blob(x, y, radius, size=IMAGE):
    rows, columns = np.mgrid[: size[0], : size[1]]
    wave = 1 + 0.2 * np.sin(5 * np.arctan2(rows - y, columns - x))
    return np.hypot(columns - x, rows - y) < radius * wave


def seen_in_tiles(masks, tiles, scores=None):
    """The table of each tile: what of each mask lies within it, where anything does."""
    tables = []
    for tile in tiles:
        window = np.zeros(IMAGE, bool)
        window[tile.top : tile.bottom, tile.left : tile.right] = True
        parts = [(index, mask & window) for index, mask in enumerate(masks) if (mask & window).any()]
        if not parts:
            tables.append(MaskTable.none(IMAGE))
            continue
        tables.append(
            MaskTable(
                IMAGE,
                mask_run_lengths(torch.from_numpy(np.stack([part for _, part in parts]))),
                scores=np.array([0.9 if scores is None else scores[index] for index, _ in parts], np.float32),
                stability=np.full(len(parts), 0.95, np.float32),
                points=np.zeros((len(parts), 2), np.float32),
                crops=np.array([tile[:4]] * len(parts)),
            )
        )
    return tables


def decoded(table):
    return [rle_to_mask(rle).numpy() for rle in table.rles()]


def test_a_mask_across_four_tiles_is_one_again_and_others_stay_apart():
    tiles = tile_layout(IMAGE, 100, 30)
    assert len(tiles) == 6
    masks = [blob(95, 75, 45), blob(180, 120, 15), blob(20, 20, 12)]
    joined = join_tiles(seen_in_tiles(masks, tiles, [0.9, 0.8, 0.7]), tiles, TILED)
    assert len(joined) == 3
    for found, mask in zip(decoded(joined), masks, strict=True):
        assert np.array_equal(found, mask)
    assert joined.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_objects_that_do_not_touch_are_what_they_were(seed):
    generator = np.random.default_rng(seed)
    tiles, masks, taken = tile_layout(IMAGE, 100, 30), [], np.zeros(IMAGE, bool)
    for _ in range(8):
        mask = blob(generator.uniform(0, IMAGE[1]), generator.uniform(0, IMAGE[0]), generator.uniform(8, 40))
        grown = blob(*np.argwhere(mask).mean(0)[::-1], 60) if mask.any() else mask
        if mask.any() and not (taken & grown).any():
            masks.append(mask)
            taken |= mask
    found = decoded(join_tiles(seen_in_tiles(masks, tiles), tiles, TILED))
    assert len(found) == len(masks)
    for mask in masks:
        assert any(np.array_equal(mask, other) for other in found)


def test_what_is_cut_off_and_has_no_counterpart_goes():
    tiles = tile_layout(IMAGE, 100, 30)
    tables = seen_in_tiles([blob(90, 40, 20)], tiles)
    alone = [tables[0], *(MaskTable.none(IMAGE) for _ in tiles[1:])]
    assert len(join_tiles(alone, tiles, TILED)) == 0
    assert len(join_tiles(tables, tiles, TILED)) == 1
    assert len(join_tiles([MaskTable.none(IMAGE) for _ in tiles], tiles, TILED)) == 0


def test_a_part_and_its_whole_are_joined_with_their_own_counterparts():
    tiles = tile_layout(IMAGE, 100, 30)
    whole, part = blob(95, 40, 34), blob(95, 40, 20)
    joined = join_tiles(seen_in_tiles([whole, part], tiles, [0.9, 0.8]), tiles, TILED)
    assert [mask.sum() for mask in decoded(joined)] == [whole.sum(), part.sum()]


def test_levels_end_with_a_tile_that_holds_the_image():
    tiles = tile_levels(IMAGE, TILED)
    assert [tile.layer for tile in tiles] == [0] * 6 + [1] * 2 + [2]
    assert tiles[:6] == tile_layout(IMAGE, 100, 30) and tiles[-1][:4] == (0, 0, 210, 150)
    assert tile_levels(IMAGE, MaskGenerationSettings(tile_size=100, tile_overlap=30, tile_levels=2)) == tiles[:8]


def test_a_mask_seen_whole_stands_before_joined_parts_and_a_fine_one_before_a_coarse_one():
    tiles = tile_levels(IMAGE, TILED)
    large, small = blob(95, 75, 45), blob(180, 120, 15)
    coarse = [np.roll(mask, 1, axis=1) for mask in (large, small)]  # told apart by a shift of one pixel
    fine_scores, coarse_scores = [0.9, 0.8], [0.7, 0.95]
    found = [
        *seen_in_tiles([large, small], tiles[:6], fine_scores),
        *(MaskTable.none(IMAGE) for _ in tiles[6:8]),
        *seen_in_tiles(coarse, tiles[8:], coarse_scores),
    ]
    joined = join_levels(found, tiles, TILED)
    assert len(joined) == 2 and joined.scores.tolist() == pytest.approx([0.8, 0.7])
    assert np.array_equal(decoded(joined)[0], small) and np.array_equal(decoded(joined)[1], coarse[0])


def test_the_pipeline_reads_tiles_from_a_file_as_from_memory(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.asarray(Image.effect_noise((210, 150), 60).convert("RGB"))
    tifffile.imwrite(tmp_path / "image.tif", pixels, tile=(32, 32), photometric="rgb")
    options = {
        "stability_score_thresh": 0.3,
        "points_per_crop": 4,
        "device": "cpu",
        "tile_size": 100,
        "tile_overlap": 30,
    }
    generator = Sam2MaskGenerationPipeline(
        model=DiscModel(), image_processor=Sam2ImageProcessor(size=SIZE), output_mode="coco_rle", **options
    )
    from_file, from_memory = generator(str(tmp_path / "image.tif")), generator(pixels)
    assert from_file == from_memory and len(from_file) > 0


def test_the_pipeline_searches_tiles():
    image = Image.effect_noise((210, 150), 60).convert("RGB")
    model = DiscModel()
    options = {"stability_score_thresh": 0.3, "points_per_crop": 4, "device": "cpu"}
    generator = Sam2MaskGenerationPipeline(model=model, image_processor=Sam2ImageProcessor(size=SIZE), **options)
    records = generator(image, tile_size=100, tile_overlap=30, output_mode="coco_rle", batch_size=4)
    assert [shape[0] for shape in model.encoded] == [4, 4, 1]  # 6 tiles, 2 of twice the side, and the image
    assert {tuple(record["crop_box"][2:]) for record in records} > {(100, 100)}
    finest = generator(image, tile_size=100, tile_overlap=30, tile_levels=1, output_mode="coco_rle", batch_size=6)
    assert model.encoded[-1][0] == 6 and {tuple(record["crop_box"][2:]) for record in finest} == {(100, 100)}
    one = generator(image, output_mode="coco_rle")
    assert generator(image, tile_size=500, output_mode="coco_rle") == one  # a tile that is the image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile_size": 100, "tile_overlap": 100}, "tile_overlap must be less than tile_size=100, got 100"),
        ({"tile_size": 512, "crops_n_layers": 1}, "crops_n_layers must be 0 where tile_size is given, got 1"),
        ({"tile_size": 0}, "tile_size must be None or a whole number of at least 1, got 0"),
        ({"tile_levels": 0}, "tile_levels must be None or a whole number of at least 1, got 0"),
        ({"tile_overlap": 0.5}, "tile_overlap must be a whole number of at least 0, got 0.5"),
    ],
)
def test_refuses_tiles_that_cannot_be_meant(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaskGenerationSettings(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("centre", [(678, 546), (491, 313)])
def test_a_trained_model_finds_an_object_across_four_tiles_as_in_one_crop(centre):
    """An object of a drawn image that each of four tiles cuts, against one crop that holds it.

    A further level sees it whole, and its mask stands before the joined parts, which alone reach 0.97 and 0.94.
    """
    x, y = centre
    image = draw_image().first.resize((1152, 1152), Image.Resampling.BICUBIC).crop((x - 300, y - 300, x + 300, y + 300))
    segmenter = Segmenter(bundled_checkpoint())
    settings = {"points_per_crop": 16, "nms": "mask"}
    whole = segmenter.segment_everything(image, **settings)
    tiled = segmenter.segment_everything(image, **settings, tile_size=364, tile_overlap=128)
    cut = [item for item in whole if max(item.box[:2]) < 236 and min(item.box[2:]) > 364 and item.mask[300, 300]]
    (best,) = [item.mask for item in cut if item.score == max(item.score for item in cut)]
    assert max((best & item.mask).sum() / (best | item.mask).sum() for item in tiled) > 0.95
