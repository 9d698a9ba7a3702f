"""What programs do with an image predictor besides predicting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from official_api_ours import checkpoint, image_predictor, load_cases
from official_api_runs import sample_image
from PIL import Image

from sam2_hf import official
from sam2_hf.official.utils.amg import MaskData, mask_to_rle_pytorch, rle_to_mask

CASE = load_cases("image")["notebook"]
CLICK = {"point_coords": np.array([[36, 40]]), "point_labels": np.array([1])}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> official.SAM2ImagePredictor:
    return image_predictor(CASE, tmp_path_factory.mktemp("official"))


def test_prompts_before_an_image_are_an_error(predictor: official.SAM2ImagePredictor) -> None:
    predictor.reset_predictor()
    for call in (lambda: predictor.predict(**CLICK), predictor.predict_batch, predictor.get_image_embedding):
        with pytest.raises(RuntimeError, match="an image must be set"):
            call()


def test_wrong_calls_name_what_is_wrong_and_keep_the_image(predictor: official.SAM2ImagePredictor) -> None:
    predictor.set_image(sample_image())
    with pytest.raises(NotImplementedError, match="got Tensor"):
        predictor.set_image(torch.zeros(3, 8, 8))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="image_list must be a list"):
        predictor.set_image_batch(sample_image())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="point_coords and point_labels"):
        predictor.predict(point_coords=[[1, 2]])
    with pytest.raises(RuntimeError, match="use predict for one image"):
        predictor.predict_batch([CLICK["point_coords"]], [CLICK["point_labels"]])
    predictor.set_image_batch([sample_image(), sample_image(1)])
    with pytest.raises(ValueError, match="each of the 2 images, got 1"):
        predictor.predict_batch([CLICK["point_coords"]], [CLICK["point_labels"]])
    assert len(predictor.predict_batch(box_batch=[[1, 1, 50, 50]] * 2)[0]) == 2


def test_the_state_that_programs_read_and_put_back(predictor: official.SAM2ImagePredictor) -> None:
    predictor.set_image(Image.fromarray(sample_image()))
    masks = predictor.predict(**CLICK)[0]
    features, sizes = predictor._features, predictor._orig_hw
    assert features is not None
    assert features["image_embed"].shape == (1, 64, 8, 8)
    assert [level.shape for level in features["high_res_feats"]] == [(1, 8, 32, 32), (1, 16, 16, 16)]
    assert sizes == [(96, 128)] and predictor._is_image_set and not predictor._is_batch
    predictor.set_image(sample_image(1))
    predictor._features, predictor._orig_hw = features, sizes
    np.testing.assert_array_equal(predictor.predict(**CLICK)[0], masks)


def test_tensors_in_and_out(predictor: official.SAM2ImagePredictor) -> None:
    predictor.set_image(sample_image())
    mask_input, coords, labels, box = predictor._prep_prompts(
        CLICK["point_coords"], CLICK["point_labels"], [16, 20, 58, 60], None, True
    )
    assert coords is not None and box is not None
    torch.testing.assert_close(coords, torch.tensor([[[36.0, 40 * 128 / 96]]]))
    masks, scores, logits = predictor._predict(coords, labels, box, mask_input, return_logits=True)
    assert (masks.shape, scores.shape, logits.shape) == ((1, 3, 96, 128), (1, 3), (1, 3, 32, 32))
    torch.testing.assert_close(predictor._transforms.postprocess_masks(logits, (96, 128)), masks)
    assert predictor._predict(coords, labels, box)[0].dtype == torch.bool


def test_under_autocast_answers_are_float32_and_nearly_the_same(predictor: official.SAM2ImagePredictor) -> None:
    predictor.set_image(sample_image())
    expected = predictor.predict(**CLICK, return_logits=True)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        predictor.set_image(sample_image())
        answers = predictor.predict(**CLICK, return_logits=True)
    for answer, value in zip(answers, expected, strict=True):
        assert answer.dtype == np.float32
        # Eight bits of mantissa, and products whose order of sums is the processor's: 0.11 of the scores was seen.
        assert np.abs(answer - value).max() < 0.3 * np.abs(value).max()
    assert np.abs(answers[2] - expected[2]).max() > 0


def test_the_heads_can_be_trained(tmp_path: Path) -> None:
    """The loop of the well-known script for fine-tuning: both heads learn, called as Meta's."""
    predictor = official.SAM2ImagePredictor.from_pretrained(str(checkpoint(CASE, tmp_path)), device="cpu")
    model = predictor.model
    model.sam_mask_decoder.train(True)
    model.sam_prompt_encoder.train(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    predictor.set_image_batch([sample_image()])
    _, coords, labels, _ = predictor._prep_prompts([[[36, 40]]], [[1]], None, None, True, img_idx=-1)
    target = torch.from_numpy(sample_image()[..., 0] > 200).float()[None, None]
    losses = []
    for _ in range(4):
        sparse, dense = model.sam_prompt_encoder(points=(coords, labels), boxes=None, masks=None)
        assert predictor._features is not None
        logits, _, _, _ = model.sam_mask_decoder(
            image_embeddings=predictor._features["image_embed"][-1].unsqueeze(0),
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=[level[-1].unsqueeze(0) for level in predictor._features["high_res_feats"]],
        )
        masks = predictor._transforms.postprocess_masks(logits, predictor._orig_hw[-1])[:, :1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(masks, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert model.network.prompt_encoder.point_embed.weight.grad is not None
    assert losses[-1] < losses[0]


def test_a_generator_takes_whatever_holds_a_model(predictor: official.SAM2ImagePredictor) -> None:
    settings = {"points_per_side": 3, "pred_iou_thresh": 0.2, "stability_score_thresh": 0.0}
    records = official.SAM2AutomaticMaskGenerator(predictor.model, **settings, output_mode="coco_rle").generate(
        sample_image()
    )
    assert set(records[0]) == {
        *("segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box")
    }
    assert isinstance(records[0]["segmentation"]["counts"], str)
    assert all(isinstance(side, float) for side in (*records[0]["bbox"], *records[0]["crop_box"]))
    by_network = official.SAM2AutomaticMaskGenerator(predictor.model.network, **settings).generate(sample_image())
    assert [record["area"] for record in by_network] == [record["area"] for record in records]
    with pytest.raises(ValueError, match="exactly one of points_per_side and point_grids"):
        official.SAM2AutomaticMaskGenerator(predictor.model, points_per_side=None)


def test_a_mask_as_stable_as_the_threshold_stays(predictor: official.SAM2ImagePredictor) -> None:
    settings = {"points_per_side": 3, "pred_iou_thresh": 0.0, "box_nms_thresh": 1.0}
    everything = official.SAM2AutomaticMaskGenerator(predictor.model, **settings, stability_score_thresh=0.0)
    stabilities = sorted(record["stability_score"] for record in everything.generate(sample_image()))
    threshold = stabilities[len(stabilities) // 2]
    generator = official.SAM2AutomaticMaskGenerator(predictor.model, **settings, stability_score_thresh=threshold)
    kept = sorted(record["stability_score"] for record in generator.generate(sample_image()))
    assert kept == [stability for stability in stabilities if stability >= threshold]


def test_a_generators_parts(predictor: official.SAM2ImagePredictor) -> None:
    generator = official.SAM2AutomaticMaskGenerator(predictor.model)
    generator.predictor.set_image(sample_image())
    points = torch.tensor([[36.0, 52.0], [96.0, 100.0]])
    _, _, logits = generator.predictor._predict(points[:, None], torch.ones(2, 1), multimask_output=False)
    masks, scores = generator.refine_with_m2m(points, torch.ones(2), logits[:, 0], points_per_batch=1)
    assert (masks.shape, scores.shape) == ((2, 1, 96, 128), (2, 1))
    mask = torch.zeros(2, 20, 20, dtype=torch.bool)
    mask[:, 2:12, 2:12] = True
    mask[0, 4, 4], mask[1, 18, 18] = False, True
    data = MaskData(rles=mask_to_rle_pytorch(mask), boxes=torch.zeros(2, 4))
    cleaned = official.SAM2AutomaticMaskGenerator.postprocess_small_regions(data, min_area=5, nms_thresh=0.9)
    assert [rle_to_mask(rle).sum() for rle in cleaned["rles"]] == [100]
    assert cleaned["boxes"].tolist() == [[2, 2, 11, 11]]
