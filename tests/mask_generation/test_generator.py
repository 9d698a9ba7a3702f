"""Finding masks: against the plain way of doing it, and on a model whose answers are known."""

import dataclasses

import numpy as np
import pytest
import torch
from disc_model import SIZE, DiscModel
from tiny import tiny_image_model
from torch.nn import functional as F

from sam2_hf.fast import chunking
from sam2_hf.mask_generation import generator
from sam2_hf.mask_generation.crops import Crop, crop_layers
from sam2_hf.mask_generation.generator import find_masks
from sam2_hf.mask_generation.search import join_crops
from sam2_hf.mask_generation.settings import MaskGenerationSettings
from sam2_hf.masks.boxes import mask_to_box
from sam2_hf.masks.connected_components import fill_holes, remove_sprinkles
from sam2_hf.masks.rle import rle_to_mask
from sam2_hf.masks.stability import stability_score
from sam2_hf.network.mask_decoder import DecodedPrompts

IMAGE_SIZE = (100, 150)
INPUT = (64, 64)
KEEP_ALL = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0}


def decoded(table):
    masks = [rle_to_mask(rle) for rle in table.rles()]
    return torch.stack(masks) if masks else torch.zeros(0, *table.size, dtype=torch.bool)


def embeddings_of(model, seed=0):
    pixels = torch.randn(1, 3, *INPUT, generator=torch.Generator().manual_seed(seed))
    return model.get_image_embeddings(pixels.to(model.dtype))


@torch.no_grad()
def plain(model, embeddings, crop, settings):
    """The same search with all masks made, all upsampled, and then filtered: masks, scores, points."""
    height, width = crop.size
    points = torch.from_numpy(settings.grid(crop.layer))
    inputs = points * torch.tensor([INPUT[1], INPUT[0]])
    labels = torch.ones(1, len(points), 1, dtype=torch.int64)
    first = model(
        image_embeddings=embeddings,
        input_points=inputs[None, :, None],
        input_labels=labels,
        multimask_output=settings.multimask_output,
    )
    logits, scores = first.pred_masks[0].flatten(0, 1), first.iou_scores[0].flatten()
    points = points.repeat_interleave(first.iou_scores.shape[2], dim=0)
    if settings.use_m2m:
        refined = model(
            image_embeddings=embeddings,
            input_points=(points * torch.tensor([INPUT[1], INPUT[0]]))[None, :, None],
            input_labels=torch.ones(1, len(points), 1, dtype=torch.int64),
            input_masks=logits[None].clamp(-32, 32),
            multimask_output=False,
        )
        logits, scores = refined.pred_masks[0, :, 0], refined.iou_scores[0, :, 0]
    if settings.low_res_region_area:
        area, threshold = settings.low_res_region_area, settings.mask_threshold
        filled, removed = (clean(logits, area, threshold, 10.0) for clean in (fill_holes, remove_sprinkles))
        logits = torch.where(removed != logits, removed, filled)
    full = F.interpolate(logits[:, None].float(), crop.size, mode="bilinear", align_corners=False)[:, 0]
    kept = (scores > settings.pred_iou_thresh) | (settings.pred_iou_thresh <= 0)
    stability = stability_score(full, settings.mask_threshold, settings.stability_score_offset)
    kept &= (stability > settings.stability_score_thresh) | (settings.stability_score_thresh <= 0)
    masks = full > settings.mask_threshold
    kept &= masks.any(-1).any(-1)
    boxes = mask_to_box(masks) + torch.tensor([crop.left, crop.top] * 2)
    image_edges = [0, 0, IMAGE_SIZE[1], IMAGE_SIZE[0]]
    for index, box in enumerate(boxes.tolist()):
        for edge, crop_edge, image_edge in zip(box, crop[:4], image_edges, strict=True):
            if abs(edge - crop_edge) <= 20 < abs(edge - image_edge):
                kept[index] = False
    placed = torch.zeros(len(masks), *IMAGE_SIZE, dtype=torch.bool)
    placed[:, crop.top : crop.bottom, crop.left : crop.right] = masks
    clicks = points * torch.tensor([width, height]) + torch.tensor([crop.left, crop.top])
    return placed[kept], scores[kept], stability[kept], clicks[kept]


WHOLE = Crop(0, 0, 150, 100, 0)
PART = Crop(15, 0, 150, 90, 1)


@pytest.mark.parametrize("crop", [WHOLE, PART], ids=["whole", "part"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pred_iou_thresh": 0.45, "stability_score_thresh": 0.75},
        {"mask_threshold": 0.5, "stability_score_thresh": 0.6, "stability_score_offset": 0.5},
        {"multimask_output": False},
        {"multimask_output": False, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.6},
        {"use_m2m": True},
        {"use_m2m": True, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.6},
        {"use_m2m": True, "multimask_output": False},
        {"low_res_region_area": 6, "stability_score_thresh": 0.6},
        {"low_res_region_area": 6, "use_m2m": True},
    ],
    ids=lambda options: "-".join(options) or "all",
)
def test_equals_the_plain_way(crop, options):
    model = tiny_image_model(image_size=64)
    settings = MaskGenerationSettings(**{**KEEP_ALL, "points_per_crop": 4, "crops_n_layers": 1, **options})
    embeddings = embeddings_of(model)
    table = find_masks(model, embeddings, INPUT, crop, IMAGE_SIZE, settings)
    masks, scores, stability, points = plain(model, embeddings, crop, settings)
    assert len(masks) > 0
    assert len(table) == len(masks)
    # The order within a batch of prompts is that of the plain way: prompt by prompt, mask by mask.
    torch.testing.assert_close(torch.from_numpy(table.scores), scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.from_numpy(table.points), points)
    torch.testing.assert_close(torch.from_numpy(table.stability), stability, atol=2e-3, rtol=0)
    assert (decoded(table) != masks).float().mean() < 2e-4  # pixels whose logit is the threshold up to rounding


@pytest.mark.parametrize("points_per_batch", [1, 7, 64, None])
@pytest.mark.parametrize("options", [{}, {"multimask_output": False}, {"use_m2m": True}], ids=str)
def test_batches_change_nothing(points_per_batch, options, monkeypatch):
    model = tiny_image_model(image_size=64)
    embeddings = embeddings_of(model)
    settings = MaskGenerationSettings(**{**KEEP_ALL, "points_per_crop": 4, **options})
    whole = find_masks(model, embeddings, INPUT, WHOLE, IMAGE_SIZE, settings)
    monkeypatch.setattr(chunking, "BYTES_AT_ONCE", {"cpu": 5 * embeddings[-1].nbytes})
    batched = dataclasses.replace(settings, points_per_batch=points_per_batch)
    parts = find_masks(model, embeddings, INPUT, WHOLE, IMAGE_SIZE, batched)
    torch.testing.assert_close(parts.scores, whole.scores, atol=1e-4, rtol=0)
    assert np.array_equal(parts.points, whole.points)
    assert (decoded(parts) != decoded(whole)).float().mean() < 2e-4


def test_never_more_points_at_once_than_asked_for():
    model = DiscModel()
    settings = MaskGenerationSettings(points_per_crop=5, points_per_batch=4)
    find_masks(model, model.get_image_embeddings(torch.zeros(1, 3, *INPUT)), INPUT, WHOLE, IMAGE_SIZE, settings)
    assert model.decoded == [4] * 6 + [1]


def test_masks_of_low_scores_are_never_made():
    settings = MaskGenerationSettings(points_per_crop=4, stability_score_thresh=0.3)
    model = DiscModel(scores=(0.99, 0.87, 0.89, 0.5))
    embeddings = model.get_image_embeddings(torch.zeros(1, 3, *INPUT))
    table = find_masks(model, embeddings, INPUT, WHOLE, IMAGE_SIZE, settings)
    assert sum(model.upscaled) == len(table) == 16
    model = DiscModel(scores=(0.1, 0.2, 0.3, 0.4))
    assert len(find_masks(model, embeddings, INPUT, WHOLE, IMAGE_SIZE, settings)) == 0
    assert model.upscaled == []


def test_what_is_held_at_once_does_not_grow_with_the_points(monkeypatch):
    monkeypatch.setattr(chunking, "BYTES_AT_ONCE", {"cpu": 2**13})
    largest = []
    for side in (4, 16):
        model = DiscModel()
        settings = MaskGenerationSettings(points_per_crop=side, points_per_batch=None)
        find_masks(model, model.get_image_embeddings(torch.zeros(1, 3, *INPUT)), INPUT, WHOLE, IMAGE_SIZE, settings)
        largest.append((max(model.decoded), max(model.upscaled)))
    assert largest[0] == largest[1] == (8, 3)


def disc_table(settings, size=IMAGE_SIZE):
    model = DiscModel()
    found = []
    for crop in crop_layers(size, settings.crops_n_layers, settings.crop_overlap_ratio):
        embeddings = model.get_image_embeddings(torch.zeros(1, 3, *INPUT))
        found.append(find_masks(model, embeddings, INPUT, crop, size, settings))
    return found


@pytest.mark.parametrize("size", [(100, 150), (150, 100), (300, 40)])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_points_spread_over_the_whole_image_and_masks_lie_around_them(size, layers):
    settings = MaskGenerationSettings(points_per_crop=6, crops_n_layers=layers, stability_score_thresh=0.3)
    found = disc_table(settings, size)
    assert len(found) == sum(4**layer for layer in range(layers + 1))
    whole = found[0].points
    assert whole.min(0).tolist() == pytest.approx([size[1] / 12, size[0] / 12])
    assert whole.max(0).tolist() == pytest.approx([size[1] * 11 / 12, size[0] * 11 / 12])
    for table in found:
        for mask, point, crop in zip(decoded(table), table.points, table.crops, strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            extent = crop[2:] - crop[:2]
            assert ((point >= crop[:2]) & (point <= crop[2:])).all()
            # A disc of the input is an ellipse of the crop; one that reaches over the edge is cut there.
            reach = 4 * 4.0 / SIZE * extent + 2
            assert (columns - point[0]).abs().max() <= reach[0]
            assert (rows - point[1]).abs().max() <= reach[1]
            assert mask[int(point[1]), int(point[0])]


def test_without_box_nms_thresh_one_suppression_by_score_takes_all_crops():
    settings = MaskGenerationSettings(points_per_crop=4, crops_n_layers=1, stability_score_thresh=0.3)
    found = disc_table(settings)
    together = join_crops(found, settings)
    everything = found[0].cat(found[1:])
    expected = everything.without_duplicates(0.7)
    assert 0 < len(together) < len(everything)
    assert together.scores.tolist() == expected.scores.tolist()
    assert together.scores.tolist() == sorted(together.scores.tolist(), reverse=True)


def test_with_box_nms_thresh_crops_are_thinned_alone_and_smaller_crops_win():
    settings = MaskGenerationSettings(
        points_per_crop=4, crops_n_layers=1, stability_score_thresh=0.3, box_nms_thresh=0.2, crops_nms_thresh=0.1
    )
    loose = dataclasses.replace(settings, box_nms_thresh=None)
    found, unthinned = disc_table(settings), disc_table(loose)
    for table, before in zip(found, unthinned, strict=True):
        assert len(table) < len(before)
        assert table.boxes().tolist() == before.without_duplicates(0.2).boxes().tolist()
    areas = join_crops(found, settings).crop_areas()
    assert areas.tolist() == sorted(areas.tolist())
    assert areas[0] < areas[-1]


def test_a_single_crop_is_not_suppressed_twice():
    settings = MaskGenerationSettings(
        points_per_crop=4, box_nms_thresh=1.0, crops_nms_thresh=0.0, stability_score_thresh=0.3
    )
    (found,) = disc_table(settings)
    assert len(join_crops([found], settings)) == len(found) == 48


def test_areas_to_fill_and_remove_are_in_pixels_of_the_image(monkeypatch):
    model = DiscModel(radii=(4.0, 4.0, 4.0))
    rings = model.upscale_masks

    def with_holes_and_specks(decoded, embeddings, selection):
        logits = rings(decoded, embeddings, selection)
        logits[:, 8, 8] = -99.0  # the disc's centre
        logits[:, 1, 1] = 99.0
        return logits

    monkeypatch.setattr(model, "upscale_masks", with_holes_and_specks)
    options = {"point_grids": [[[0.53, 0.53]]], "stability_score_thresh": 0.3}
    size = (160, 160)  # ten pixels of the image for one of the mask

    def area(**more):
        settings = MaskGenerationSettings(**options, **more)
        embeddings = model.get_image_embeddings(torch.zeros(1, 3, *INPUT))
        table = find_masks(model, embeddings, INPUT, Crop(0, 0, 160, 160, 0), size, settings)
        return decoded(table)[0]

    original = area()
    assert not original[85, 85]
    assert original[15, 15]
    speck = int(original[:30, :30].sum())
    assert torch.equal(area(max_sprinkle_area=speck - 1), original)
    assert not area(max_sprinkle_area=speck)[15, 15]
    assert not area(max_hole_area=50)[85, 85]
    assert area(max_hole_area=1000)[85, 85]


def test_every_decoded_tensor_is_cut_to_the_chosen_prompts():
    values = {"iou_scores": (1, 5, 4), "object_score_logits": (1, 5, 1), "mask_tokens": (1, 5, 4, 8)}
    tensors = {name: torch.rand(shape) for name, shape in values.items()}
    decoded = DecodedPrompts(
        **tensors, image_hidden=torch.rand(1, 5, 2, 2, 8), is_object=torch.ones(1, 5), attentions=()
    )
    prompts = torch.tensor([3, 1])
    few = generator._of_prompts(decoded, prompts)
    for name in DecodedPrompts._fields[:-1]:
        assert torch.equal(getattr(few, name), getattr(decoded, name)[:, prompts])
    assert few.attentions == ()
    without = generator._of_prompts(decoded._replace(is_object=None), prompts)
    assert without.is_object is None


def test_half_precision_finds_about_the_same():
    model = tiny_image_model(image_size=64)
    settings = MaskGenerationSettings(**KEEP_ALL, points_per_crop=3)
    full = find_masks(model, embeddings_of(model), INPUT, WHOLE, IMAGE_SIZE, settings)
    half = model.to(torch.bfloat16)
    table = find_masks(half, embeddings_of(half), INPUT, WHOLE, IMAGE_SIZE, settings)
    assert table.scores.dtype == np.float32
    assert len(table) == len(full)
    torch.testing.assert_close(table.scores, full.scores, atol=0.1, rtol=0)
    assert (decoded(table) != decoded(full)).float().mean() < 0.1


@pytest.mark.gpu
def test_a_gpu_finds_the_same():
    model = tiny_image_model(image_size=64)
    settings = MaskGenerationSettings(**KEEP_ALL, points_per_crop=4)
    expected = find_masks(model, embeddings_of(model), INPUT, WHOLE, IMAGE_SIZE, settings)
    embeddings = [level.cuda() for level in embeddings_of(model)]
    table = find_masks(model.cuda(), embeddings, INPUT, WHOLE, IMAGE_SIZE, settings)
    torch.testing.assert_close(table.scores, expected.scores, atol=1e-3, rtol=0)
    assert (decoded(table) != decoded(expected)).float().mean() < 1e-3
