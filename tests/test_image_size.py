"""Other input sizes than a checkpoint's: models, processors, one-call functions and what follows from the size."""

import json

import numpy as np
import pytest
import torch
from clips import write_clip
from PIL import Image
from tiny import tiny_config, tiny_video_model
from tiny_checkpoint import save_tiny_checkpoint
from transformers import AutoImageProcessor, AutoModel, AutoProcessor

import sam2_hf
from sam2_hf import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)
from sam2_hf.cli.main import main

SIZES = [32, 96, (64, 96)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", video=True)


def sides(size):
    return (size, size) if isinstance(size, int) else size


class TestModels:
    @pytest.mark.parametrize("load", [Sam2Model, Sam2VideoModel, AutoModel])
    @pytest.mark.parametrize("size", SIZES)
    def test_are_those_of_a_configuration_of_that_size(self, load, size, folder):
        model = load.from_pretrained(folder, image_size=size)
        config_class = Sam2Config if load is Sam2Model else Sam2VideoConfig
        config = config_class.from_pretrained(folder).with_image_size(size)
        expected = type(model)(config).eval()
        expected.load_state_dict(model.state_dict())
        pixels = torch.randn(1, 3, *sides(size), generator=torch.Generator().manual_seed(0))
        for level, other in zip(model.get_image_embeddings(pixels), expected.get_image_embeddings(pixels), strict=True):
            # The last digits depend on where weights lie in memory, which differs between a file's and copies.
            torch.testing.assert_close(level, other, rtol=1e-5, atol=1e-5)
        assert model.config.vision_config.input_size == sides(size)

    def test_have_the_weights_of_the_checkpoint(self, folder):
        before, after = Sam2VideoModel.from_pretrained(folder), Sam2VideoModel.from_pretrained(folder, image_size=96)
        assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())

    def test_take_a_configuration_beside_the_size(self, folder):
        config = Sam2VideoConfig.from_pretrained(folder, num_maskmem=7, fill_hole_area=3)
        model = Sam2VideoModel.from_pretrained(folder, config=config, image_size=96)
        assert (model.config.image_size, model.config.fill_hole_area, config.image_size) == (96, 3, 64)

    @pytest.mark.parametrize("load", [Sam2Model, Sam2VideoModel, AutoModel, Sam2Config, Sam2VideoConfig])
    def test_refuse_what_is_no_size_of_theirs(self, load, folder):
        with pytest.raises(ValueError, match=r"image_size \[100, 100\] must be a multiple of 32"):
            load.from_pretrained(folder, image_size=100)
        with pytest.raises(ValueError, match="image_size must be a positive int or a pair"):
            load.from_pretrained(folder, image_size="small")

    def test_hand_over_unused_arguments(self, folder):
        config, unused = Sam2VideoConfig.from_pretrained(folder, image_size=96, return_unused_kwargs=True, other=1)
        assert (config.image_size, unused) == (96, {"other": 1})


class TestWindows:
    def test_that_cover_their_map_go_on_covering_it(self):
        """The maps of 64 pixels have sides of 16, 8, 4 and 2: the last two are one window."""
        config = tiny_config(image_size=64)
        trunk = config.vision_config.backbone_config
        assert (trunk.window_size_per_stage, trunk.global_attention_blocks) == ([8, 4, 4, 2], [3])
        larger = config.with_image_size(128).vision_config.backbone_config
        assert larger.global_attention_blocks == [3, 4]

    def test_that_are_smaller_than_their_map_stay(self):
        config = tiny_config(image_size=128)
        assert config.with_image_size(64).vision_config.backbone_config.global_attention_blocks == [3]
        assert config.with_image_size(128).to_dict() == config.to_dict()

    @torch.no_grad()
    def test_the_covering_window_of_another_size_gives_the_same(self):
        """A window as large as the map, by its size or by a global block, is the same attention."""
        trunk = {"blocks_per_stage": [1, 1, 3, 1], "global_attention_blocks": []}
        config = tiny_config(image_size=64)
        for name, value in trunk.items():
            setattr(config.vision_config.backbone_config, name, value)
        resized = config.with_image_size(96)
        by_hand = tiny_config(image_size=96)
        backbone = by_hand.vision_config.backbone_config
        for name, value in {**trunk, "window_size_per_stage": [8, 4, 6, 3]}.items():
            setattr(backbone, name, value)
        assert resized.vision_config.backbone_config.global_attention_blocks == [3, 4, 5]
        torch.manual_seed(0)
        model, expected = Sam2Model(resized).eval(), Sam2Model(by_hand).eval()
        expected.load_state_dict(model.state_dict())
        pixels = torch.randn(1, 3, 96, 96)
        for level, other in zip(model.get_image_embeddings(pixels), expected.get_image_embeddings(pixels), strict=True):
            torch.testing.assert_close(level, other, rtol=1e-5, atol=1e-6)


class TestProcessors:
    @pytest.mark.parametrize("load", [Sam2Processor, Sam2VideoProcessor, AutoProcessor])
    @pytest.mark.parametrize("size", SIZES)
    def test_make_pixels_and_coordinates_of_that_size(self, load, size, folder):
        processor = load.from_pretrained(folder, image_size=size)
        height, width = sides(size)
        image = Image.new("RGB", (200, 100))
        inputs = processor(image, input_points=[[[[200, 100]]]], return_tensors="pt")
        assert inputs["pixel_values"].shape[-2:] == (height, width)
        assert inputs["input_points"].flatten().tolist() == [width, height]
        maps = processor(image, np.zeros((100, 200), np.uint8), return_tensors="pt")
        assert maps["labels"].shape[-2:] == (height // 4, width // 4)

    @pytest.mark.parametrize("load", [Sam2ImageProcessor, AutoImageProcessor, Sam2VideoVideoProcessor])
    def test_of_images_and_clips_alone(self, load, folder):
        processor = load.from_pretrained(folder, image_size=96)
        assert (processor.size["height"], processor.mask_size["width"]) == (96, 24)

    def test_of_clips_with_settings_of_their_own(self, folder, tmp_path):
        fields = Sam2VideoProcessor.from_pretrained(folder).to_dict()
        fields["video_processor"]["do_normalize"] = False
        (tmp_path / "processor_config.json").write_text(json.dumps(fields))
        processor = Sam2VideoProcessor.from_pretrained(tmp_path, image_size=96)
        assert processor.video_processor.size["height"] == 96 and not processor.video_processor.do_normalize

    def test_refuse_two_sizes(self, folder):
        with pytest.raises(ValueError, match="either image_size or size"):
            Sam2ImageProcessor.from_pretrained(folder, image_size=96, size=64)

    def test_load_what_they_saved(self, folder, tmp_path):
        Sam2VideoProcessor.from_pretrained(folder, image_size=96).save_pretrained(tmp_path)
        assert Sam2VideoProcessor.from_pretrained(tmp_path).target_size == 96


class TestOneCall:
    def test_masks_are_those_of_model_and_processor_at_that_size(self, folder):
        image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
        result = sam2_hf.segment(image, points=(60, 40), checkpoint=folder, image_size=96)
        model, processor = (load.from_pretrained(folder, image_size=96) for load in (Sam2Model, Sam2Processor))
        inputs = processor(image, input_points=[[[[60, 40]]]], return_tensors="pt")
        with torch.no_grad():
            outputs = model.eval()(**inputs)
        (masks,) = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
        best = int(outputs.iou_scores[0, 0].argmax())
        assert np.array_equal(result.masks[0], masks[0, best].numpy())
        assert not np.array_equal(result.masks, sam2_hf.segment(image, points=(60, 40), checkpoint=folder).masks)

    def test_clips_and_everything(self, folder, tmp_path):
        write_clip(tmp_path / "clip.mp4", 3, size=(64, 96))
        tracks = sam2_hf.track(tmp_path / "clip.mp4", {"a": (50, 30)}, checkpoint=folder, image_size=(64, 96))
        assert tracks.tracker.model.config.image_size == [64, 96] and len(tracks) == 3
        found = sam2_hf.segment_everything(
            np.zeros((40, 40, 3), np.uint8), checkpoint=folder, image_size=32, points_per_crop=2, pred_iou_thresh=0
        )
        assert found.size == (40, 40)

    def test_the_command(self, folder, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        Image.new("RGB", (60, 40)).save("photo.png")
        options = ("--point", "30,20", "--checkpoint", str(folder), "--image-size")
        assert main(["segment", "photo.png", *options, "64,96"]) == 0
        assert main(["segment", "photo.png", *options, "100"]) == 1
        assert "image_size [100, 100] must be a multiple of 32" in capsys.readouterr().err
        assert main(["segment", "photo.png", *options, "large"]) == 2
        assert "--image-size" in capsys.readouterr().err


def test_a_stream_at_another_size(folder):
    model = Sam2VideoModel.from_pretrained(folder, image_size=(64, 96)).eval()
    processor = Sam2VideoProcessor.from_pretrained(folder, image_size=(64, 96))
    session, frame = processor.init_video_session(), np.zeros((50, 70, 3), np.uint8)
    processor.add_inputs_to_inference_session(session, 0, "a", input_points=[[[[30, 20]]]], original_size=(50, 70))
    for _ in range(3):
        output = model(session, frame=processor(frame, return_tensors="pt")["pixel_values"][0])
    assert output.pred_masks.shape == (1, 1, 16, 24)
    assert next(iter(session.tracks["a"].results.values())).memory.features.shape[-2:] == (4, 6)
    assert tiny_video_model(image_size=64).config.image_size == 64
