"""Prompts on images of any size: where windows lie, how they grow, what they share and what is kept of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sam2_hf import Segmenter, bundled_checkpoint
from sam2_hf.demo.world import draw_image
from sam2_hf.masks.rle import mask_run_lengths
from sam2_hf.predictors.tiled_image import TiledImage

LOW = 64


class BrightEngine:
    """For which an object is whatever is bright in its window. What it is asked for is written down."""

    as_tensors, fingerprint = False, "bright"

    def __init__(self):
        self.encoded, self.decoded = [], []

    def encode(self, image, loaded):
        self.encoded.append(loaded.pixels.shape[1:])
        grey = Image.fromarray(loaded.pixels[0]).resize((LOW, LOW), Image.Resampling.BOX)
        return [np.asarray(grey, np.float32)]

    def decode(self, embeddings, size, prompts, logits, multimask):
        self.decoded.append((size, prompts, logits))
        count = len(next(iter(prompts.values()))[0])
        masks = np.stack([embeddings[0] - level for level in ((128, 60, 200) if multimask else (128,))])
        return np.stack([masks] * count), np.tile(np.float32([0.9, 0.5, 0.4][: len(masks)]), (count, 1))

    def restore(self, logits, size):
        rows, columns = ((np.arange(length) + 0.5) * LOW // length for length in size)
        return logits[:, rows.astype(int)[:, None], columns.astype(int)] > 0

    def run_lengths(self, logits, size, image_size, offset):
        return mask_run_lengths(self.restore(logits, size), image_size, offset)

    def as_array(self, pixels):
        return pixels

    def place(self, embeddings):
        return embeddings


def scene(size=(2000, 3000), boxes=((1000, 900, 1200, 1150),)):
    image = np.full(size, 20, np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = 220
    return image


def tiled(image, tile_size=512, cache=None):
    return TiledImage(SimpleNamespace(engine=BrightEngine()), image, tile_size, cache)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_a_click_reads_the_window_around_it_alone():
    image = tiled(scene())
    found = image.segment(points=(1100, 1000))
    assert image.segmenter.engine.encoded == [(512, 512)]
    assert found.masks.shape == (1, 2000, 3000) and iou(found.masks[0], scene() > 100) > 0.9
    left, top, right, bottom = found.predictions[0].window
    ((_, prompts, _),) = image.segmenter.engine.decoded
    assert prompts["input_points"] == [[[[1100.0 - left, 1000.0 - top]]]]
    assert (right - left, bottom - top) == (512, 512) and left % 128 == 0 and top % 128 == 0


@pytest.mark.parametrize(
    ("box", "side"),
    [((1000, 900, 1200, 1150), 512), ((900, 700, 1600, 1300), 1024), ((100, 300, 2900, 1700), 3000)],
)
def test_a_window_grows_until_the_mask_fits(box, side):
    image = tiled(scene(boxes=(box,)))
    found = image.segment(points=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
    left, top, right, bottom = found.predictions[0].window
    assert max(right - left, bottom - top) == side
    assert max(map(max, image.segmenter.engine.encoded)) == min(side, 2048)  # larger ones at less resolution
    assert iou(found.masks[0], image.windows.read((0, 0, 3000, 2000))[0] > 100) > 0.9


def test_an_object_at_the_edge_of_the_image_is_whole():
    image = tiled(scene(boxes=((0, 0, 200, 300),)))
    found = image.segment(points=(20, 20))
    assert len(image.segmenter.engine.encoded) == 1 and found.boxes[0].tolist() == [
        0,
        0,
        200,
        296,
    ]  # low-resolution cells of 8


def test_a_box_that_is_larger_than_a_tile_gets_a_larger_window_at_once():
    image = tiled(scene(boxes=((500, 500, 1300, 1200),)))
    image.segment(boxes=(500, 500, 1300, 1200))
    ((size, prompts, _),) = image.segmenter.engine.decoded
    assert size == (2000, 2048) or size == (2048, 2048)
    (((x0, y0, x1, y1),),) = prompts["input_boxes"]
    assert (x1 - x0, y1 - y0) == (800, 700)


def test_prompts_nearby_share_a_window_and_those_far_away_do_not():
    image = tiled(scene(boxes=((1000, 900, 1100, 1000), (2500, 200, 2600, 300))))
    found = image.segment(points={"a": (1050, 950), "b": (1060, 940), "far": (2550, 250)})
    assert len(image.segmenter.engine.encoded) == 2
    assert found["a"].area == found["b"].area > 0 and found["far"].box[0] > 2400
    image.segment(points=(1055, 945))
    assert len(image.segmenter.engine.encoded) == 2


def test_a_mask_prompt_is_cut_to_the_window():
    image = tiled(scene())
    rough = np.zeros((200, 300), bool)  # at a tenth of the size
    rough[90:115, 100:120] = True
    image.segment(masks=rough)
    ((_, prompts, _),) = image.segmenter.engine.decoded
    left, top, *_ = next(iter(image._encoded))
    assert prompts["input_boxes"] == [[[1000.0 - left, 900.0 - top, 1200.0 - left, 1150.0 - top]]]
    ((mask,),) = prompts["input_masks"]
    assert mask.mean() == pytest.approx(200 * 250 / 512**2, rel=0.02)


def test_refining_starts_from_the_mask_where_the_window_stays():
    image = tiled(scene())
    found = image.segment(points=(1100, 1000))
    refined = found.refine(points=(1010, 910), labels=0)
    _, prompts, (start,) = image.segmenter.engine.decoded[-1]
    assert np.array_equal(start, found.predictions[0].logits[0]) and prompts["input_labels"] == [[[1, 0]]]
    assert refined.encoded is image and len(found.prompts[0].points) == 1
    moved = found.refine(points=(2500, 200))  # far outside of the window
    assert image.segmenter.engine.decoded[-1][2] == [] and moved.predictions[0].window != found.predictions[0].window


def test_candidates_and_another_choice():
    found = tiled(scene()).segment(points=(1100, 1000))
    masks = [mask for mask, _ in found.candidates()]
    assert len(masks) == 3 and np.array_equal(masks[0], found.masks[0])
    assert np.array_equal(found.choose(2).masks[0], masks[2])


def test_a_later_program_finds_the_embeddings(tmp_path):
    for _ in range(2):
        image = tiled(scene(), cache=tmp_path)
        found = image.segment(points=(1100, 1000))
    assert image.segmenter.engine.encoded == [] and iou(found.masks[0], scene() > 100) > 0.9
    changed = scene()
    changed[1000:1010, 1100:1110] = 128
    other = tiled(changed, cache=tmp_path)
    other.segment(points=(1100, 1000))
    assert len(other.segmenter.engine.encoded) == 1
    other_model = tiled(scene(), cache=tmp_path)
    other_model.segmenter.engine.fingerprint = "other weights"
    other_model.segment(points=(1100, 1000))
    assert len(other_model.segmenter.engine.encoded) == 1


def test_an_image_is_shown_at_a_size_that_can_be_shown(monkeypatch):
    monkeypatch.setattr("sam2_hf.predictors.tiled_image.PREVIEW", 300)
    found = tiled(scene()).segment(points={"a": (1100, 1000)})
    drawn = np.asarray(found.overlay(fill=1.0, contour=0, labels=False, prompts=False))
    assert drawn.shape == (200, 300, 3)
    coloured = np.ptp(drawn.astype(int), axis=-1) > 0
    assert iou(coloured, scene()[5::10, 5::10] > 100) > 0.9
    assert found.cutout(crop=False).size == (300, 200) and found.overlay().size == (300, 200)
    assert found.polygons()[0][0].exterior.max() > 1000  # what is measured has the image's own pixels


@pytest.mark.parametrize("tile_size", [0, 1.5, True, "512"])
def test_refuses_tiles_of_no_size(tile_size):
    with pytest.raises(ValueError, match="tile_size must be a whole number of at least 1"):
        tiled(scene(), tile_size)


def test_a_cache_needs_tiles(tmp_path):
    with pytest.raises(ValueError, match="give tile_size"):
        Segmenter(bundled_checkpoint()).segment(scene((50, 50)), points=(5, 5), cache=tmp_path)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(bundled_checkpoint())


def test_an_image_of_one_tile_gives_what_it_gives_without_tiles(segmenter):
    world = draw_image()
    plain = segmenter.segment(world.first, points=world.points[0])
    in_tiles = segmenter.segment(world.first, points=world.points[0], tile_size=4096)
    assert iou(plain.masks[0], in_tiles.masks[0]) > 0.999 and plain.scores[0] == pytest.approx(in_tiles.scores[0])


def test_a_model_finds_an_object_of_a_large_image_as_it_does_alone(segmenter, tmp_path):
    """A drawn image in the middle of a plain one. The window around a click holds it, at another place."""
    world = draw_image()
    width, height = world.first.size
    large = Image.new("RGB", (3000, 2000), (90, 90, 90))
    large.paste(world.first, (1200, 700))
    x, y = world.points[0]
    found = segmenter.segment(large, points=(1200 + x, 700 + y), tile_size=max(width, height), cache=tmp_path)
    plain = segmenter.segment(world.first, points=(x, y))
    assert iou(found.masks[0][700 : 700 + height, 1200 : 1200 + width], plain.masks[0]) > 0.8
    again = segmenter.segment(large, points=(1200 + x, 700 + y), tile_size=max(width, height), cache=tmp_path)
    assert np.array_equal(again.masks, found.masks) and len(list(tmp_path.iterdir())) >= 1
