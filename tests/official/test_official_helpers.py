"""What programs import from `sam2.utils`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from official_api_runs import HEIGHT, NUM_FRAMES, WIDTH, write_frames
from official_goldens import disc, draw_clip
from PIL import Image

from sam2_hf.official.utils import amg, misc
from sam2_hf.official.utils.transforms import MEAN, STD, SAM2Transforms

DISC = torch.from_numpy(disc(40, 52, 20))


class TestAmg:
    def test_run_lengths_both_ways(self) -> None:
        (rle,) = amg.mask_to_rle_pytorch(DISC[None])
        assert rle["size"] == [128, 128] and amg.area_from_rle(rle) == DISC.sum()
        np.testing.assert_array_equal(amg.rle_to_mask(rle), DISC.numpy())
        assert isinstance(amg.coco_encode_rle(rle)["counts"], str)

    def test_boxes(self) -> None:
        boxes = amg.batched_mask_to_box(torch.stack([DISC, torch.zeros_like(DISC)]))
        assert boxes.tolist() == [[20, 32, 60, 72], [0, 0, 0, 0]]
        assert amg.box_xyxy_to_xywh(boxes[0]).tolist() == [20, 32, 40, 40]
        assert boxes[0].tolist() == [20, 32, 60, 72]  # unchanged

    def test_stability(self) -> None:
        logits = torch.tensor([[[2.0, 0.5, -0.5, -2.0]]])
        assert amg.calculate_stability_score(logits, 0.0, 1.0).tolist() == [pytest.approx(1 / 3)]

    def test_crops(self) -> None:
        crops, layers = amg.generate_crop_boxes((96, 128), 1, 0.25)
        assert crops[0] == [0, 0, 128, 96] and layers == [0, 1, 1, 1, 1]
        left, top, right, bottom = crops[-1]
        assert (right, bottom) == (128, 96) and left > 0 and top > 0
        crop_mask = torch.ones(1, bottom - top, right - left, dtype=torch.bool)
        placed = amg.uncrop_masks(crop_mask, crops[-1], 96, 128)
        assert placed.shape == (1, 96, 128) and placed.sum() == crop_mask.sum() and placed[0, top, left]
        assert amg.uncrop_boxes_xyxy(torch.tensor([[0, 0, 1, 1]]), crops[-1]).tolist() == [
            [left, top, left + 1, top + 1]
        ]
        assert amg.uncrop_points(torch.tensor([[2.0, 3.0]]), crops[-1]).tolist() == [[left + 2, top + 3]]
        inner = torch.tensor([[1, 1, 20, 20], [40, 40, right - left, bottom - top]])
        assert amg.is_box_near_crop_edge(inner, crops[-1], crops[0]).tolist() == [True, False]

    def test_grids(self) -> None:
        assert amg.build_point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
        assert [len(grid) for grid in amg.build_all_layer_point_grids(8, 2, 2)] == [64, 16, 4]

    def test_small_regions(self) -> None:
        mask = disc(40, 52, 20)
        mask[52, 40] = False
        mask[5, 5:8] = True
        filled, changed = amg.remove_small_regions(mask, 2, "holes")
        assert changed and filled[52, 40] and filled[5, 5]
        cleaned, changed = amg.remove_small_regions(filled, 4, "islands")
        assert changed and not cleaned[5, 5]
        assert amg.remove_small_regions(cleaned, 4, "islands")[1] is False
        with pytest.raises(ValueError, match="mode"):
            amg.remove_small_regions(mask, 2, "dots")

    def test_mask_data(self) -> None:
        data = amg.MaskData(scores=torch.tensor([1.0, 2.0, 3.0]), names=["a", "b", "c"], places=np.arange(3))
        data.filter(torch.tensor([True, False, True]))
        data.cat(amg.MaskData(scores=torch.tensor([4.0]), names=["d"], places=np.array([9])))
        data.filter(torch.tensor([2, 0]))
        data.to_numpy()
        assert {name: list(values) for name, values in data.items()} == {
            "scores": [4.0, 1.0],
            "names": ["d", "a"],
            "places": [9, 0],
        }
        assert isinstance(data["scores"], np.ndarray)
        del data["names"]
        assert len(data.items()) == 2
        with pytest.raises(TypeError, match="names must be a list"):
            data["names"] = 3

    def test_batches(self) -> None:
        assert list(amg.batch_iterator(2, [1, 2, 3], "abc")) == [[[1, 2], "ab"], [[3], "c"]]
        with pytest.raises(ValueError, match="of one length"):
            list(amg.batch_iterator(2, [1], [1, 2]))


class TestMisc:
    def test_frames_of_a_folder(self, tmp_path: Path) -> None:
        folder = str(write_frames(tmp_path))
        images, height, width = misc.load_video_frames(folder, 64, offload_video_to_cpu=True)
        assert (images.shape, height, width) == ((NUM_FRAMES, 3, 64, 64), HEIGHT, WIDTH)
        by_pillow = Image.fromarray(draw_clip(NUM_FRAMES)[2][:HEIGHT]).resize((64, 64))
        expected = (torch.from_numpy(np.array(by_pillow)).permute(2, 0, 1) / 255 - 0.45) / 0.225
        settings = {"img_mean": (0.45,) * 3, "img_std": (0.225,) * 3, "compute_device": torch.device("cpu")}
        for load in (misc.load_video_frames, misc.load_video_frames_from_jpg_images):
            read = load(folder, 64, False, **settings)[0]
            assert (read[2] - expected).abs().max() <= 1.001 / 255 / 0.225
        single, *size = misc._load_img_as_tensor(f"{folder}/00002.jpg", 64)
        assert size == [HEIGHT, WIDTH]
        torch.testing.assert_close(
            (single - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None], images[2]
        )
        lazy, _, _ = misc.load_video_frames(folder, 64, True, async_loading_frames=True)
        assert len(lazy) == NUM_FRAMES and torch.equal(lazy[-1], images[-1])

    def test_holes(self) -> None:
        logits = torch.where(DISC, 4.0, -4.0)[None, None]
        logits[0, 0, 52, 40:42] = -3
        filled = misc.fill_holes_in_mask_scores(logits, 2)
        assert filled[0, 0, 52, 40:42].tolist() == pytest.approx([0.1, 0.1])
        assert torch.equal(misc.fill_holes_in_mask_scores(logits, 1), logits)
        labels, areas = misc.get_connected_components(logits <= 0)
        assert labels.shape == areas.shape == (1, 1, 128, 128) and areas[0, 0, 52, 40] == 2
        assert len(labels.unique()) == 3

    def test_boxes(self) -> None:
        masks = torch.stack([DISC, torch.zeros_like(DISC)])[:, None]
        assert misc.mask_to_box(masks).tolist() == [[[20, 32, 60, 72]], [[128, 128, -1, -1]]]

    def test_points(self) -> None:
        first = misc.concat_points(None, torch.zeros(1, 2, 2), torch.ones(1, 2))
        both = misc.concat_points(first, torch.ones(1, 1, 2), torch.zeros(1, 1))
        assert both["point_coords"].shape == (1, 3, 2) and both["point_labels"].tolist() == [[1, 1, 0]]

    def test_attention_settings(self) -> None:
        assert len(misc.get_sdpa_settings()) == 3


class TestTransforms:
    def test_coordinates(self) -> None:
        transforms = SAM2Transforms(resolution=256, mask_threshold=0.0)
        points = torch.tensor([[64.0, 24.0]])
        assert transforms.transform_coords(points, normalize=True, orig_hw=(96, 128)).tolist() == [[128.0, 64.0]]
        assert transforms.transform_coords(torch.tensor([[0.5, 0.25]])).tolist() == [[128.0, 64.0]]
        boxes = transforms.transform_boxes(torch.tensor([[0.0, 0.0, 128.0, 96.0]]), normalize=True, orig_hw=(96, 128))
        assert boxes.tolist() == [[[0.0, 0.0], [256.0, 256.0]]]
        with pytest.raises(ValueError, match="orig_hw"):
            transforms.transform_coords(points, normalize=True)

    def test_a_speck_in_a_hole_goes_though_the_hole_is_filled(self) -> None:
        transforms = SAM2Transforms(64, 0.0, max_hole_area=9, max_sprinkle_area=1)
        logits = torch.full((1, 1, 8, 8), 3.0)
        logits[..., 2:5, 2:5] = -3.0
        logits[..., 3, 3] = 2.0
        cleaned = transforms.clean_masks(logits)
        assert cleaned[0, 0, 2, 2] == 10 and cleaned[0, 0, 3, 3] == -10
        assert logits[0, 0, 3, 3] == 2

    def test_images_of_every_kind(self) -> None:
        transforms = SAM2Transforms(64, 0.0, disable_torch_jit=True)
        image = draw_clip(1)[0][:HEIGHT]
        pixels = transforms(image)
        assert pixels.shape == (3, 64, 64)
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(image).permute(2, 0, 1)[None] / 255, (64, 64), mode="bilinear", antialias=True
        )[0]
        mean, std = (torch.tensor(values)[:, None, None] for values in (transforms.mean, transforms.std))
        torch.testing.assert_close(pixels, (resized - mean) / std, atol=1e-5, rtol=0)
        torch.testing.assert_close(transforms(Image.fromarray(image)), pixels)
        torch.testing.assert_close(transforms(image / np.float32(255)), pixels)
        assert transforms.forward_batch([image, image[:50]]).shape == (2, 3, 64, 64)
