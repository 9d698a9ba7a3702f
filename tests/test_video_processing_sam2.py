"""The processor of whole clips, by the name that transformers gives it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sam2_hf import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

CLIP = np.random.default_rng(0).integers(0, 255, (4, 20, 30, 3), dtype=np.uint8)


def test_frames_are_those_of_the_image_processor():
    inputs = Sam2VideoVideoProcessor(size=(64, 32))(videos=CLIP, return_tensors="pt")
    assert inputs["pixel_values_videos"].shape == (1, 4, 3, 64, 32)
    frames = Sam2ImageProcessor(size=(64, 32))(list(CLIP), return_tensors="pt").pixel_values
    assert torch.equal(inputs["pixel_values_videos"][0], frames)
    assert inputs["original_sizes"].tolist() == [[20, 30]] and inputs["reshaped_input_sizes"].tolist() == [[64, 32]]


@pytest.mark.parametrize("videos", [[CLIP, CLIP[::-1]], np.stack([CLIP, CLIP[::-1]]), [list(CLIP), list(CLIP[::-1])]])
def test_several_videos(videos):
    pixels = Sam2VideoVideoProcessor(size=32)(videos, return_tensors="pt")["pixel_values_videos"]
    assert pixels.shape == (2, 4, 3, 32, 32) and torch.equal(pixels[0], pixels[1].flip(0))


def test_videos_of_different_lengths_come_in_a_list():
    clips = Sam2VideoVideoProcessor(size=32)([CLIP, CLIP[:2]], return_tensors="pt")["pixel_values_videos"]
    assert [len(clip) for clip in clips] == [4, 2]


def test_a_list_of_images_is_one_video():
    assert len(Sam2VideoVideoProcessor(size=32)(list(CLIP))["pixel_values_videos"][0]) == 4


def test_settings_for_one_call():
    plain = Sam2VideoVideoProcessor(size=32)(CLIP, do_normalize=False)["pixel_values_videos"]
    assert plain.min() >= 0 and plain.max() <= 1


def test_the_video_processor_of_a_processor_follows_its_image_processor():
    processor = Sam2VideoProcessor(Sam2ImageProcessor(size=48, do_normalize=False))
    assert isinstance(processor.video_processor, Sam2VideoVideoProcessor)
    assert processor.video_processor.options() == processor.image_processor.options()
    processor.image_processor.do_normalize = True
    assert processor.video_processor.do_normalize


def test_sessions_use_the_video_processor_that_was_given():
    video = Sam2VideoVideoProcessor(size=64, do_normalize=False)
    processor = Sam2VideoProcessor(image_processor=Sam2ImageProcessor(size=64), video_processor=video)
    assert processor.video_processor is video
    (frame,) = processor.init_video_session(CLIP[:1]).pixel_values(0)
    assert torch.equal(frame, video(CLIP[:1])["pixel_values_videos"][0, 0])
    (usual,) = Sam2VideoProcessor(Sam2ImageProcessor(size=64)).init_video_session(CLIP[:1]).pixel_values(0)
    assert not torch.equal(frame, usual)


def test_what_is_no_video_processor_is_refused():
    with pytest.raises(TypeError, match="video_processor must be a Sam2VideoVideoProcessor, got int"):
        Sam2VideoProcessor(Sam2ImageProcessor(), 64)


@pytest.mark.parametrize("own", [False, True])
def test_it_is_saved_and_loaded_with_the_processor(own, tmp_path):
    video = Sam2VideoVideoProcessor(size=64, do_normalize=False) if own else None
    Sam2VideoProcessor(Sam2ImageProcessor(size=64), video).save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "processor_config.json").read_text())
    assert fields["video_processor"]["video_processor_type"] == "Sam2VideoVideoProcessor"
    assert fields["video_processor"]["do_normalize"] is not own and "mask_size" not in fields["video_processor"]
    loaded = Sam2VideoProcessor.from_pretrained(tmp_path)
    assert loaded.video_processor.do_normalize is not own and loaded.image_processor.do_normalize
    resized = Sam2VideoProcessor.from_pretrained(tmp_path, size=32)
    assert resized.video_processor.options().size == ((64, 64) if own else (32, 32))


def test_it_is_saved_and_loaded_alone(tmp_path):
    Sam2VideoVideoProcessor(size=48, resample=3).save_pretrained(tmp_path)
    assert (
        Sam2VideoVideoProcessor.from_pretrained(tmp_path).options()
        == Sam2VideoVideoProcessor(size=48, resample=3).options()
    )


def test_masks_are_restored_by_the_arguments_of_transformers():
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    (masks,) = Sam2VideoVideoProcessor().post_process_masks([logits], [(20, 30)], [(64, 64)], 0.25, True, None)
    (expected,) = Sam2ImageProcessor().post_process_masks([logits], [(20, 30)], mask_threshold=0.25)
    assert torch.equal(masks, expected)


def test_its_settings_are_found_in_every_layout(tmp_path):
    clips, images = Sam2VideoVideoProcessor(size=96), Sam2ImageProcessor(size=64)
    for name, save in {
        "together": lambda folder: Sam2VideoProcessor(images, clips).save_pretrained(folder),
        "side by side": lambda folder: images.save_pretrained(folder),
        "images alone": lambda folder: images.save_pretrained(folder),
    }.items():
        save(tmp_path / name)
    clips.save_pretrained(tmp_path / "alone")
    (tmp_path / "alone/preprocessor_config.json").replace(tmp_path / "side by side/video_preprocessor_config.json")
    sizes = {
        name: Sam2VideoVideoProcessor.from_pretrained(tmp_path / name, local_files_only=True).size["height"]
        for name in ("together", "side by side", "images alone")
    }
    assert sizes == {"together": 96, "side by side": 96, "images alone": 64}
