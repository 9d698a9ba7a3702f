import numpy as np
import pytest
import torch
from transformers import pipeline

import sam2_hf
from sam2_hf import Sam2Model, Sam2Processor, Sam2PromptableSegmentationPipeline, bundled_checkpoint
from sam2_hf.demo.world import draw_image

FOLDER = bundled_checkpoint()


@pytest.fixture(scope="module")
def world():
    return draw_image()


@pytest.fixture(scope="module")
def segmenter():
    return pipeline("promptable-visual-segmentation", model=FOLDER)


def by_hand(image, multimask_output=True, **prompts):
    model, processor = Sam2Model.from_pretrained(FOLDER).eval(), Sam2Processor.from_pretrained(FOLDER)
    inputs = processor(image, return_tensors="pt", **prompts)
    with torch.inference_mode():
        outputs = model(**inputs, multimask_output=multimask_output)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0].flatten(0, 1)
    scores = outputs.iou_scores.flatten()
    order = scores.argsort(descending=True, stable=True)
    return masks[order], scores[order].tolist()


def check(found, masks, scores):
    assert [entry["score"] for entry in found] == pytest.approx(scores, abs=1e-5)
    assert all(torch.equal(entry["mask"], mask) for entry, mask in zip(found, masks, strict=True))


def test_masks_and_scores_are_those_of_the_model_best_first(world, segmenter):
    assert isinstance(segmenter, Sam2PromptableSegmentationPipeline)
    points, labels = [[list(point)] for point in world.points[:2]], [[1], [1]]
    expected = by_hand(world.first, input_points=[points], input_labels=[labels])
    check(segmenter(world.first, input_points=points, input_labels=labels), *expected)
    check(segmenter(images=world.first, input_points=[points], input_labels=[labels]), *expected)
    check(segmenter({"image": world.first, "input_points": points, "input_labels": labels}), *expected)


def test_boxes_one_mask_and_the_best_of_them(world, segmenter):
    boxes = [[40, 40, 200, 220], [100, 90, 300, 310]]
    expected = by_hand(world.first, multimask_output=False, input_boxes=[boxes])
    found = segmenter(world.first, input_boxes=boxes, multimask_output=False)
    check(found, *expected)
    check(segmenter(world.first, input_boxes=boxes, multimask_output=False, top_k=1), expected[0][:1], expected[1][:1])
    smaller = segmenter(world.first, input_boxes=boxes, multimask_output=False, mask_threshold=5.0)
    assert all(a["mask"].sum() < b["mask"].sum() for a, b in zip(smaller, found, strict=True))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_lists_generators_and_data_sets_in_batches(world, segmenter, batch_size):
    small = world.first.resize((300, 200))
    items = [
        {"image": world.first, "input_points": [[list(world.points[0])]]},
        {"image": small, "input_points": [[[90, 60]], [[150, 80]]]},
        {"image": small, "input_boxes": [[10, 10, 90, 90]]},
    ]
    alone = [segmenter(item) for item in items]
    assert [len(found) for found in alone] == [3, 6, 3]
    assert alone[1][0]["mask"].shape == (200, 300)

    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return len(items)

        def __getitem__(self, index):
            return items[index]

    for several in (items, (item for item in items), Items()):
        for found, expected in zip(segmenter(several, batch_size=batch_size), alone, strict=True):
            assert [entry["score"] for entry in found] == pytest.approx(
                [entry["score"] for entry in expected], abs=1e-4
            )
            changed = [(a["mask"] != b["mask"]).float().mean() for a, b in zip(found, expected, strict=True)]
            assert max(changed) < 1e-3  # batches round differently


def test_images_and_their_prompts_may_be_lists(world, segmenter):
    images, points = [world.first, np.asarray(world.first)], [[[[9, 9]]], [[list(world.points[0])]]]
    found = segmenter(images, input_points=points)
    check(found[1], *by_hand(world.first, input_points=[points[1]]))
    with pytest.raises(ValueError, match="input_points must hold those of each of the 2 images, got 1"):
        segmenter(images, input_points=points[:1])


def test_what_cannot_be_meant_is_refused(world, segmenter):
    with pytest.raises(ValueError, match="got no prompts"):
        segmenter(world.first)
    with pytest.raises(ValueError, match=r"may have image, input_points, .*, got points"):
        segmenter({"image": world.first, "points": [[1, 2]], "input_boxes": [[1, 2, 3, 4]]})
    with pytest.raises(ValueError, match=r"got \['input_points'\] beside it"):
        segmenter({"image": world.first, "input_boxes": [[1, 2, 3, 4]]}, input_points=[[[1, 2]]])
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        segmenter(world.first, input_points=[[[1, 2]]], top_k=0)
    with pytest.raises(TypeError, match="points_per_crop"):
        segmenter(world.first, input_points=[[[1, 2]]], points_per_crop=3)


def test_the_task_is_there_while_the_package_is_registered():
    from transformers.pipelines import PIPELINE_REGISTRY

    assert "promptable-visual-segmentation" in PIPELINE_REGISTRY.supported_tasks
    sam2_hf.unregister()
    try:
        assert "promptable-visual-segmentation" not in PIPELINE_REGISTRY.supported_tasks
    finally:
        sam2_hf.register()
    assert "promptable-visual-segmentation" in PIPELINE_REGISTRY.supported_tasks


def test_a_task_of_transformers_own_stays(monkeypatch):
    from transformers.pipelines import PIPELINE_REGISTRY

    sam2_hf.unregister()
    try:
        monkeypatch.setitem(PIPELINE_REGISTRY.supported_tasks, "promptable-visual-segmentation", {"impl": object})
        sam2_hf.register()
        assert PIPELINE_REGISTRY.supported_tasks["promptable-visual-segmentation"] == {"impl": object}
        sam2_hf.unregister()
        assert PIPELINE_REGISTRY.supported_tasks["promptable-visual-segmentation"] == {"impl": object}
    finally:
        monkeypatch.undo()
        sam2_hf.register()
