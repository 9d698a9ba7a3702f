"""Clips of 16-bit, signed and floating data: windows of values in `open_video`, in sessions, and saved with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_video_model

from sam2_hf import (
    Sam2ImageProcessor,
    Sam2VideoInferenceSession,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video

CLIP = np.random.default_rng(0).integers(0, 256, (5, 24, 32), dtype=np.uint8)
DEEP = CLIP.astype(np.uint16) * 16
"""The same clip, with 12 bits in 16."""
WINDOW = (0, 255 * 16)
NAN = float("nan")


def stack(path, frames):
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def folder(path, frames):
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{number}.png")
    return path


FORMS = {
    "a TIFF stack": lambda tmp_path: stack(tmp_path / "scan.tif", DEEP),
    "a floating TIFF stack": lambda tmp_path: stack(tmp_path / "scan.tif", DEEP.astype(np.float32)),
    "a folder of 16-bit PNGs": lambda tmp_path: folder(tmp_path / "scan", DEEP),
    "a volume": lambda tmp_path: DEEP,
    "a volume of int32": lambda tmp_path: DEEP.astype(np.int32),
    "an array with channels": lambda tmp_path: np.repeat(DEEP[..., None], 3, axis=-1),
    "a list of arrays": lambda tmp_path: list(DEEP),
    "a list of floating tensors": lambda tmp_path: [torch.tensor(frame).float()[None] for frame in DEEP.astype(int)],
    "an open TIFF image": lambda tmp_path: Image.open(stack(tmp_path / "scan.tif", DEEP)),
    "a generator": lambda tmp_path: (frame for frame in DEEP),
}


def frames_of(source):
    return np.stack([frame.numpy() for frame in source])


@pytest.mark.parametrize("form", FORMS)
def test_a_window_gives_the_clip_of_8_bits(form, tmp_path):
    with open_video(FORMS[form](tmp_path), input_range=WINDOW) as source:
        assert np.array_equal(frames_of(source), np.repeat(CLIP[:, None], 3, axis=1))
        assert source.value_range.limits == WINDOW


def test_one_page_is_a_clip_of_one_frame(tmp_path):
    with open_video(stack(tmp_path / "scan.tif", DEEP[:1]), input_range=WINDOW) as source:
        assert len(source) == 1 and np.array_equal(source[0][0].numpy(), CLIP[0])


def test_values_below_zero_and_beyond_the_window():
    with open_video(np.array([[[-900, -500, 0, 500, 800]] * 4] * 2, np.int16), input_range=(-500, 500)) as source:
        assert source[1][0, 0].tolist() == [0, 0, 128, 255, 255]


def test_what_was_not_measured_is_black():
    heights = np.full((2, 4, 5), 150.0, np.float32)
    heights[:, 0] = NAN
    with open_video(heights, input_range=(100, 200), nodata=NAN) as source:
        assert (source[0][:, 0] == 0).all() and (source[0][:, 1:] == 128).all()


class TestPercentiles:
    brightening = np.stack([np.linspace(0, 1000 * (1 + t), 24 * 32).reshape(24, 32) for t in range(5)])

    @pytest.mark.parametrize("form", ["array", "list", "stack"])
    def test_one_window_serves_all_frames(self, form, tmp_path):
        clip = self.brightening.astype(np.float32)
        video = {"array": clip, "list": [*clip], "stack": stack(tmp_path / "scan.tif", clip)}[form]
        low, high = np.percentile(clip.astype(np.float64), [2, 98])
        with open_video(video, input_percentiles=(2, 98)) as source:
            assert source.value_range.limits == pytest.approx((low, high))
            expected = ((clip - low) / (high - low)).clip(0, 1) * 255
            assert np.abs(frames_of(source)[:, 0] - expected).max() < 0.51

    def test_of_many_frames_sixteen_tell_it(self):
        clip = np.arange(100, dtype=np.float32)[:, None, None] + np.zeros((100, 4, 5), np.float32)
        with open_video(clip, input_percentiles=(0, 100)) as source:
            assert source.value_range.limits == (0, 99)

    def test_a_streams_first_frame_tells_it(self):
        source = open_video((frame for frame in self.brightening), input_percentiles=(0, 100))
        frames = frames_of(source)
        assert source.value_range.limits == (0, 1000)
        assert frames[0].max() == 255 and (frames[4] == 255).mean() > 0.75


class TestRefusals:
    def test_frames_that_are_decoded_to_8_bits(self, tmp_path):
        write_video(tmp_path / "clip.mp4", np.repeat(CLIP[..., None], 3, axis=-1), fps=5.0)
        with pytest.raises(ValueError, match=r"cannot be applied to .*clip.mp4': its frames are decoded to 8 bits"):
            open_video(tmp_path / "clip.mp4", input_range=WINDOW)

    def test_a_source_that_is_open(self):
        with open_video(DEEP, input_range=WINDOW) as source:
            assert open_video(source) is source
            with pytest.raises(ValueError, match="is open already: open it with them"):
                open_video(source, input_range=(0, 9))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"input_range": (5, 5)}, "input_range must be two finite numbers"),
            ({"input_range": (0, 1), "input_percentiles": (2, 98)}, "not both"),
            ({"nodata": 0}, "nodata needs input_range or input_percentiles"),
        ],
    )
    def test_settings_that_mean_nothing(self, options, message):
        with pytest.raises(ValueError, match=message):
            open_video(DEEP, **options)

    def test_a_frame_with_values_that_are_not_finite_names_its_number(self):
        clip = DEEP.astype(np.float32)
        clip[3, 2, 2] = NAN
        with open_video(clip, input_range=WINDOW) as source:
            assert source[2].shape == (3, 24, 32)
            with pytest.raises(ValueError, match=r"frame 3 cannot be read: .*finite numbers, got NaN .*nodata="):
                source[3]


def test_without_a_window_a_warning_names_it():
    with pytest.warns(UserWarning, match="almost black.*input_range"):
        open_video(DEEP)


class TestSessions:
    processor = Sam2VideoProcessor(Sam2ImageProcessor(size=64))

    def pixels(self, video, processor=None, **options):
        session = (processor or self.processor).init_video_session(video, **options)
        return session, session.pixel_values(3)

    def test_a_window_in_the_call_in_the_processor_or_in_the_source(self):
        _, expected = self.pixels(CLIP)
        of_processor = Sam2VideoProcessor(Sam2ImageProcessor(size=64, input_range=WINDOW))
        for session, pixels in (
            self.pixels(DEEP, input_range=WINDOW),
            self.pixels(DEEP, of_processor),
            self.pixels(DEEP, of_processor, input_percentiles=(0, 100)),
            self.pixels(open_video(DEEP, input_range=WINDOW)),
            self.pixels(open_video(DEEP, input_range=WINDOW), of_processor),
        ):
            assert torch.equal(pixels, expected)
            assert not session.image_processor.options().value_range.is_set

    def test_the_call_comes_before_the_processor(self):
        of_processor = Sam2VideoProcessor(Sam2ImageProcessor(size=64, input_range=(0, 9)))
        assert torch.equal(self.pixels(DEEP, of_processor, input_range=WINDOW)[1], self.pixels(CLIP)[1])

    def test_frames_that_are_handed_over_are_the_processors(self):
        with pytest.raises(ValueError, match="input_range, input_percentiles and nodata need a video"):
            self.processor.init_video_session(input_range=WINDOW)

    @pytest.mark.parametrize("window", [{"input_range": WINDOW}, {"input_percentiles": (1, 99), "nodata": NAN}])
    def test_a_saved_session_reads_the_clip_as_before(self, window, tmp_path):
        model = tiny_video_model(image_size=64).eval()
        processor = Sam2VideoProcessor.from_config(model.config)
        video = stack(tmp_path / "scan.tif", DEEP)
        session = processor.init_video_session(str(video), **window)
        processor.add_inputs_to_inference_session(session, 0, 1, input_points=[[[[16, 12]]]], input_labels=[[[1]]])
        model(session, frame_idx=0)
        session.save(tmp_path / "saved")
        again = Sam2VideoInferenceSession.load(tmp_path / "saved", video=str(video))
        assert torch.equal(again.pixel_values(4), session.pixel_values(4))
        assert torch.equal(model(again, frame_idx=1).pred_masks, model(session, frame_idx=1).pred_masks)

    def test_whole_clips_by_the_video_processor(self):
        expected = Sam2VideoVideoProcessor(size=32)(CLIP, return_tensors="pt")["pixel_values_videos"]
        for found in (
            Sam2VideoVideoProcessor(size=32)(DEEP, return_tensors="pt", input_range=WINDOW),
            Sam2VideoVideoProcessor(size=32, input_range=WINDOW)(DEEP, return_tensors="pt"),
        ):
            assert torch.equal(found["pixel_values_videos"], expected)
