"""Models of images with another number of channels than their checkpoint's."""

from __future__ import annotations

import pytest
import torch
from official_goldens import small_config
from original_layout import small_checkpoint
from tiny import tiny_image_model, tiny_video_model

from sam2_hf import Sam2Config, Sam2Processor, Sam2VideoConfig, Sam2VideoModel, Sam2VideoProcessor
from sam2_hf.hub.input_channels import fit_input_channels


@pytest.fixture(scope="module", params=["image", "video"])
def checkpoint(request, tmp_path_factory):
    """A class, and a folder with a model of three channels."""
    folder = tmp_path_factory.mktemp(request.param)
    model = tiny_image_model(image_size=64) if request.param == "image" else tiny_video_model(image_size=64)
    model.save_pretrained(folder)
    return type(model), folder


def embed(model, channels):
    with torch.no_grad():
        return model.eval().get_image_embeddings(channels)


def weights(model):
    return model.get_input_embeddings().projection.weight.detach()


def test_a_fourth_channel_gets_the_mean_of_the_others(checkpoint):
    model_class, folder = checkpoint
    three = weights(model_class.from_pretrained(folder))
    model = model_class.from_pretrained(folder, num_channels=4, channel_init="mean")
    four = weights(model)
    torch.testing.assert_close(four[:, :3], three * 0.75)
    torch.testing.assert_close(four[:, 3], three.mean(dim=1) * 0.75)
    assert model.config.num_channels == model.config.vision_config.backbone_config.num_channels == 4
    assert model.get_input_embeddings().projection.in_channels == 4
    assert not model.training


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_grey_images_are_encoded_as_before(checkpoint, channels):
    model_class, folder = checkpoint
    grey = torch.randn(1, 1, 64, 64)
    expected = embed(model_class.from_pretrained(folder), grey.expand(-1, 3, -1, -1))
    model = model_class.from_pretrained(folder, num_channels=channels, channel_init="mean")
    for level, known in zip(embed(model, grey.expand(-1, channels, -1, -1)), expected, strict=True):
        torch.testing.assert_close(level, known, rtol=1e-4, atol=1e-4)  # sums over other numbers of channels


def test_new_channels_can_start_from_nothing(checkpoint):
    model_class, folder = checkpoint
    images = torch.randn(1, 4, 64, 64)
    expected = embed(model_class.from_pretrained(folder), images[:, :3])
    model = model_class.from_pretrained(folder, num_channels=4, channel_init="zero")
    for level, known in zip(embed(model, images), expected, strict=True):
        torch.testing.assert_close(level, known, rtol=1e-5, atol=1e-5)


def test_the_number_can_come_from_the_configuration(checkpoint):
    model_class, folder = checkpoint
    config = model_class.config_class.from_pretrained(folder, num_channels=4)
    assert config.num_channels == 4
    model = model_class.from_pretrained(folder, config=config, channel_init="mean")
    assert weights(model).shape[1] == 4
    assert config.num_channels == 4


def test_such_a_model_is_saved_and_loaded_as_it_is(checkpoint, tmp_path):
    model_class, folder = checkpoint
    model = model_class.from_pretrained(folder, num_channels=4, channel_init="mean", dtype="bfloat16")
    model.save_pretrained(tmp_path)
    again = model_class.from_pretrained(tmp_path)
    assert again.config.num_channels == 4
    assert torch.equal(weights(again), weights(model))
    assert weights(model).dtype is torch.bfloat16


def test_the_same_number_changes_nothing(checkpoint):
    model_class, folder = checkpoint
    model = model_class.from_pretrained(folder, num_channels=3, channel_init="mean")
    assert torch.equal(weights(model), weights(model_class.from_pretrained(folder)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_channels": 4}, 'of 3 channels and num_channels is 4: .*channel_init="mean"'),
        ({"num_channels": 4, "channel_init": "random"}, "channel_init must be one of 'mean', 'zero', got 'random'"),
        ({"num_channels": 2, "channel_init": "zero"}, "num_channels must be at least 3, got 2"),
        ({"num_channels": 0, "channel_init": "mean"}, "num_channels must be a whole number and at least 1, got 0"),
        ({"num_channels": "4", "channel_init": "mean"}, "num_channels must be a whole number and at least 1, got '4'"),
    ],
)
def test_errors_name_the_argument(checkpoint, options, message):
    model_class, folder = checkpoint
    with pytest.raises(ValueError, match=message):
        model_class.from_pretrained(folder, **options)


def test_presets_take_the_number():
    for config_class in (Sam2Config, Sam2VideoConfig):
        config = config_class.from_preset("sam2.1-hiera-tiny", num_channels=4)
        assert config.num_channels == 4
        assert config_class.from_dict(config.to_dict()).num_channels == 4
        assert "num_channels" not in config.to_dict()


def test_an_original_checkpoint_can_be_widened(tmp_path):
    config = small_config("sam2.1")
    path = tmp_path / "small.pt"
    torch.save({"model": small_checkpoint()}, path)
    config.num_channels = 4
    model = Sam2VideoModel.from_pretrained(path, config=config, channel_init="mean")
    assert weights(model).shape[1] == 4


def test_the_weights_stay_frozen_where_they_were():
    model = tiny_image_model(image_size=64).requires_grad_(False)
    fit_input_channels(model, 4, "mean")
    assert not weights(model).requires_grad


def test_images_of_four_bands_are_segmented_and_tracked():
    bands = torch.randint(0, 256, (4, 48, 80), dtype=torch.uint8)
    settings = {"do_convert_rgb": False, "image_mean": [0.5] * 4, "image_std": [0.25] * 4}
    image_model, video_model = tiny_image_model(image_size=64).eval(), tiny_video_model(image_size=64).eval()
    for model in (image_model, video_model):
        fit_input_channels(model, 4, "mean")
    processor = Sam2Processor.from_config(image_model.config)
    inputs = processor(bands, input_points=[[[[40, 20]]]], return_tensors="pt", **settings)
    assert inputs["pixel_values"].shape == (1, 4, 64, 64)
    with torch.no_grad():
        assert image_model(**inputs).pred_masks.isfinite().all()

    processor = Sam2VideoProcessor.from_config(video_model.config)
    session = processor.init_video_session()
    frame = processor(bands, return_tensors="pt", **settings)["pixel_values"][0]
    processor.add_inputs_to_inference_session(
        session, 0, 1, input_points=[[[[40, 20]]]], input_labels=[[[1]]], original_size=(48, 80)
    )
    for _ in range(2):
        assert video_model(session, frame=frame).pred_masks.isfinite().all()
    with pytest.raises(ValueError, match=r"pixel_values of the processor, \(4, 64, 64\), got \(3, 64, 64\)"):
        video_model(session, frame=frame[:3])
