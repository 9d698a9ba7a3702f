import logging

import numpy as np
import pytest
import torch

import sam2_hf
from sam2_hf import Sam2Model, Sam2Processor, Segmentation, Segmenter, bundled_checkpoint
from sam2_hf.demo.world import draw_image
from sam2_hf.predictors import loaded_models

FOLDER = bundled_checkpoint()


@pytest.fixture(scope="module")
def world():
    return draw_image()


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(FOLDER)


@pytest.fixture(scope="module")
def encoded(segmenter, world):
    return segmenter.encode(world.first)


def by_hand(image, multimask_output, **prompts):
    """Masks (objects, height, width) and scores, by the model and the processor themselves."""
    model, processor = Sam2Model.from_pretrained(FOLDER).eval(), Sam2Processor.from_pretrained(FOLDER)
    inputs = processor(image, return_tensors="pt", **prompts)
    with torch.inference_mode():
        outputs = model(**inputs, multimask_output=multimask_output)
    best = outputs.iou_scores[0].argmax(-1)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0]
    rows = torch.arange(len(best))
    return masks[rows, best].numpy(), outputs.iou_scores[0][rows, best].tolist()


def test_a_click_gives_what_the_model_and_the_processor_give(world, encoded):
    x, y = world.points[0]
    found = encoded.segment(points=(x, y))
    masks, scores = by_hand(world.first, True, input_points=[[[[x, y]]]], input_labels=[[[1]]])
    assert np.array_equal(found.masks, masks) and found.masks.any()
    assert found.scores.tolist() == pytest.approx(scores, abs=1e-5)


def test_several_points_and_boxes_give_the_single_mask(world, encoded):
    points = [list(point) for point in world.points[:2]]
    found = encoded.segment(points=points, labels=[1, 0])
    masks, scores = by_hand(world.first, False, input_points=[[points]], input_labels=[[[1, 0]]])
    assert np.array_equal(found.masks, masks)
    assert found.scores.tolist() == pytest.approx(scores, abs=1e-5)
    found = encoded.segment(boxes=[(40, 40, 200, 220), (100, 90, 300, 310)])
    masks, _ = by_hand(world.first, False, input_boxes=[[[40, 40, 200, 220], [100, 90, 300, 310]]])
    assert np.array_equal(found.masks, masks)


def test_each_object_gets_the_mask_that_it_would_get_alone(world, encoded):
    a, b, c = world.points[:3]
    mask = encoded.segment(points=c).masks[0]
    box = encoded.segment(points=b).boxes[0].tolist()
    found = encoded.segment(points={"click": [a], "both": [b]}, boxes={"both": box, "box": box}, masks={"rough": mask})
    assert found.names == ["click", "both", "box", "rough"]
    alone = [
        encoded.segment(points=a),
        encoded.segment(points=b, boxes=box),
        encoded.segment(boxes=box),
        encoded.segment(masks=mask),
    ]
    for together, one in zip(found, alone, strict=True):
        assert (together.mask != one.objects[0].mask).mean() < 1e-4  # batches may round differently


def iou(mask, other):
    return (mask & other).sum() / (mask | other).sum()


def test_a_rough_mask_is_a_prompt(world, encoded):
    expected = encoded.segment(points=world.points[0])
    for kind in (lambda mask: mask, lambda mask: mask * np.uint8(255), lambda mask: mask.astype(np.float32)):
        found = encoded.segment(masks=kind(expected.masks[0]))
        assert iou(found.masks[0], expected.masks[0]) > 0.9


def test_a_click_on_the_background_takes_away(world, encoded):
    first, second = world.points[:2]
    start = encoded.segment(boxes=(0, 0, *world.first.size))
    refined = start.refine(points=[first, second], labels=[0, 1])
    assert isinstance(refined, Segmentation) and start.prompts[0].points == ()
    assert refined.prompts[0].points == (first, second) and refined.prompts[0].labels == (0, 1)
    assert not refined.masks[0][first[1], first[0]] and refined.masks[0][second[1], second[0]]


def test_refining_starts_from_the_mask_that_was_found(world, encoded):
    x, y = world.points[0]
    start = encoded.segment(points=(x, y))
    refined = start.refine(points=(x + 3, y), labels=1)
    model, processor = Sam2Model.from_pretrained(FOLDER).eval(), Sam2Processor.from_pretrained(FOLDER)
    inputs = processor(world.first, input_points=[[[[x, y], [x + 3, y]]]], input_labels=[[[1, 1]]], return_tensors="pt")
    previous = start.predictions[0].logits[start.predictions[0].chosen]
    with torch.inference_mode():
        outputs = model(**inputs, input_masks=previous[None, None], multimask_output=False)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0][:, 0]
    assert np.array_equal(refined.masks, masks.numpy())


def test_refining_one_object_leaves_the_others(world, encoded):
    start = encoded.segment(points={"a": world.points[0], "b": world.points[1]})
    refined = start.refine("b", points=world.points[0], labels=0)
    assert np.array_equal(refined["a"].mask, start["a"].mask)
    assert refined.names == ["a", "b"]
    with pytest.raises(KeyError, match=r"name must be one of \['a', 'b'\], got None"):
        start.refine(points=(1, 2))
    with pytest.raises(KeyError, match="got 'c'"):
        start.refine("c", points=(1, 2))


def test_one_of_three_candidates_may_be_chosen(world, encoded):
    found = encoded.segment(points=world.points[0])
    candidates = found.candidates()
    assert len(candidates) == 3
    for number, (mask, score) in enumerate(candidates):
        chosen = found.choose(number)
        assert np.array_equal(chosen.masks[0], mask) and chosen.scores[0] == pytest.approx(score)
    with pytest.raises(IndexError, match="candidate must be 0 to 2, got 3"):
        found.choose(3)
    assert len(encoded.segment(boxes=(10, 10, 90, 90)).candidates()) == 1


KINDS = {
    "PIL": lambda image, folder: image,
    "array": lambda image, folder: np.asarray(image),
    "tensor": lambda image, folder: torch.from_numpy(np.array(image)).permute(2, 0, 1),
    "floats": lambda image, folder: np.asarray(image).astype(np.float32) / 255,
    "path": lambda image, folder: save(image, folder / "image.png"),
    "text": lambda image, folder: str(save(image, folder / "image.png")),
    "16 bit grey": lambda image, folder: np.asarray(image.convert("L")).astype(np.uint16) * 257,
}


def save(image, path):
    image.save(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_all_kinds(world, segmenter, tmp_path, kind):
    found = segmenter.segment(KINDS[kind](world.first, tmp_path), points=world.points[0])
    shown = world.first.convert("L").convert("RGB") if "grey" in kind else world.first
    assert np.abs(np.asarray(found.image).astype(int) - np.asarray(shown)).max() <= 1
    assert found.size == (512, 512) and found.masks.any()
    assert found.file_name == (str(tmp_path / "image.png") if kind in ("path", "text") else "")
    if kind != "16 bit grey":
        assert iou(found.masks[0], segmenter.segment(world.first, points=world.points[0]).masks[0]) > 0.999


def test_many_images_have_their_prompts_in_a_list(world, segmenter, encoded):
    small = world.first.resize((256, 256))
    results = segmenter.segment([world.first, small], points=[world.points[0], [[(9, 9)], [(40, 50), (60, 70)]]])
    assert [len(result) for result in results] == [1, 2]
    assert np.array_equal(results[0].masks, encoded.segment(points=world.points[0]).masks)
    assert results[1].size == (256, 256)
    with pytest.raises(ValueError, match="points must be a list with those of each of the 2 images"):
        segmenter.segment([world.first, small], points=[(1, 2)])
    with pytest.raises(ValueError, match="image must be one image, or a list of images, got a batch of 2"):
        segmenter.segment(np.zeros((2, 8, 8, 3), np.uint8), points=(1, 2))


def test_a_mask_may_be_of_another_size(world, encoded):
    expected = encoded.segment(points=world.points[0])
    found = encoded.segment(masks=expected.masks[0][::2, ::2])
    assert iou(found.masks[0], expected.masks[0]) > 0.9


def test_everything_is_what_the_pipeline_gives(world, segmenter):
    from sam2_hf import Sam2MaskGenerationPipeline

    found = segmenter.segment_everything(world.first, points_per_crop=6)
    pipeline = Sam2MaskGenerationPipeline(model=segmenter.model, image_processor=segmenter.processor.image_processor)
    expected = pipeline(world.first, points_per_crop=6, pred_iou_thresh=0.5, stability_score_thresh=0.7)
    assert len(found) == len(expected["masks"]) > 0
    assert np.array_equal(found.masks, np.stack([mask.numpy() for mask in expected["masks"]]))
    assert found.scores.tolist() == pytest.approx(expected["scores"].tolist())
    assert found.names == list(range(1, len(found) + 1))
    assert all(0.7 <= item.extra["stability_score"] <= 1 for item in found)
    both = segmenter.segment_everything([world.first, world.first], points_per_crop=2, pred_iou_thresh=0.9)
    assert len(both) == 2


# One call


def test_one_call_does_it_and_the_model_stays_loaded(world, monkeypatch, tmp_path):
    loaded = []
    load = Sam2Model.from_pretrained
    monkeypatch.setattr(
        Sam2Model, "from_pretrained", lambda *args, **kwargs: loaded.append(args) or load(*args, **kwargs)
    )
    sam2_hf.release_models()
    for _ in range(3):
        result = sam2_hf.segment(world.first, points=[world.points[0]], checkpoint=FOLDER)
    assert len(loaded) == 1
    assert result.save(tmp_path / "out.png").exists()
    assert result.masks.shape == (1, 512, 512) and result.boxes.shape == (1, 4) and len(result.polygons()[0]) >= 1
    sam2_hf.segment(world.first, points=[world.points[0]], checkpoint=FOLDER, dtype="bfloat16")
    assert len(loaded) == 2
    assert Segmenter(FOLDER, dtype=torch.bfloat16).model.dtype == torch.bfloat16
    assert len(loaded) == 2
    sam2_hf.release_models()
    Segmenter(FOLDER)
    assert len(loaded) == 3


def test_the_bundled_checkpoint_is_the_default_and_one_line_says_so_once(world, monkeypatch, caplog):
    monkeypatch.setattr(loaded_models, "_noticed", False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            sam2_hf.segment_everything(world.first, points_per_crop=1)
    (notice,) = [record for record in caplog.records if record.name.startswith("sam2_hf")]
    assert "bundled" in notice.message and "\n" not in notice.message and "checkpoint=" in notice.message


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loaded_models.best_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert loaded_models.best_device() == "cpu"


def test_settings_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(ValueError, match="dtype must be a torch dtype or its name, such as 'bfloat16', got 'half-ish'"):
        Segmenter(FOLDER, dtype="half-ish")
    with pytest.raises(OSError):
        Segmenter(tmp_path / "nothing")
    with pytest.raises(ValueError):
        sam2_hf.segment(tmp_path / "missing.png", points=(1, 2), checkpoint=FOLDER)


def test_masks_are_computed_when_they_are_asked_for(world, encoded, monkeypatch):
    sizes = []
    compute = type(encoded).masks_of
    monkeypatch.setattr(
        type(encoded), "masks_of", lambda self, *given: sizes.append(given[1:]) or compute(self, *given)
    )
    result = encoded.segment(points=world.points[0]).refine(points=world.points[0])
    assert sizes == [] and result.names == [1]
    small = encoded.masks_of(result.logits, (64, 48))
    assert small.shape == (1, 64, 48) and small.any()
    assert np.array_equal(encoded.masks_of(result.logits).numpy(), result.masks)
    assert len(sizes) == 3 and result.areas.all() and len(sizes) == 3
