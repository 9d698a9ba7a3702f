"""Sessions on disk: going on as without a break, with other videos, and earlier formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_images
from fresh_python import run_fresh
from stored_sessions import GOLDENS, load, remembered, streamed, tracked_clip
from tiny import tiny_video_model
from video_scenes import (
    PROCESSOR,
    assert_same,
    clip,
    give,
    open_session,
    pixels,
    prompted,
    stream,
    tiny_model,
    track,
)

from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import VideoDecodingError


class TestEarlierVersions:
    def test_a_session_of_format_1_loads_and_goes_on(self) -> None:
        """`goldens/make_session.py` says what is in it: a correction, and a prompt that is still pending."""
        session = Sam2VideoInferenceSession.load(GOLDENS / "session_format_1", video=clip(6))
        assert session.obj_ids == ["a", ("b", 7)]
        assert session.tracks["a"].results.keys() == {0, 1, 2, 3} and session.tracks["a"].results.conditioning == [0, 2]
        assert session.tracks[("b", 7)].pending == {1}
        again = prompted((0, "a", "click"), num_frames=6)
        track(tiny_model(), again, max_frame_num_to_track=3)
        give(again, 2, "a", "background")
        tiny_model()(again, frame_idx=2)
        give(again, 1, ("b", 7), "mask")
        expected, masks = track(tiny_model(), again), track(tiny_model(), session)
        assert masks.keys() == expected.keys()
        for frame, by_object in expected.items():
            for obj_id, mask in by_object.items():
                # The stored half was computed on another processor: room for another order of sums, through memories.
                torch.testing.assert_close(masks[frame][obj_id], mask, atol=1e-3, rtol=1e-3)


class TestGoingOn:
    @pytest.mark.parametrize("retention", ["everything", "readable"])
    def test_a_clip_comes_back_as_it_was(self, retention: str, tmp_path: Path) -> None:
        session = tracked_clip(retention=retention)
        session.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(8))) == remembered(session)

    def test_a_stream_comes_back_as_it_was(self, tmp_path: Path) -> None:
        session = streamed()
        session.save(tmp_path)
        assert remembered(load(tmp_path)) == remembered(session)

    def test_an_empty_session_comes_back(self, tmp_path: Path) -> None:
        for session, video in ((PROCESSOR.init_video_session(), None), (open_session(3), clip(3))):
            session.save(tmp_path)
            assert remembered(load(tmp_path, video=video)) == remembered(session)

    def test_settings_come_back(self, tmp_path: Path) -> None:
        session = open_session(3, dtype="bfloat16", max_vision_features_cache_size=3, retention="readable")
        session.save(tmp_path)
        loaded = load(tmp_path, video=clip(3))
        assert (loaded.dtype, loaded.feature_cache.size, loaded.retention) == (torch.bfloat16, 3, "readable")
        assert loaded.image_processor.to_dict() == session.image_processor.to_dict()

    def test_a_clip_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        session = tracked_clip()
        session.save(tmp_path)
        loaded = load(tmp_path, video=clip(8))
        for settings in ({}, {"reverse": True, "start_frame_idx": 7}):
            assert_same(track(tiny_model(), loaded, **settings), track(tiny_model(), session, **settings))
        assert remembered(loaded) == remembered(session)

    def test_a_stream_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        session = streamed()
        session.save(tmp_path)
        loaded = load(tmp_path)
        assert_same(stream(tiny_model(), loaded, range(6, 20)), stream(tiny_model(), session, range(6, 20)))

    def test_a_generator_goes_on_where_it_was(self, tmp_path: Path) -> None:
        session = give(PROCESSOR.init_video_session(iter(clip(20))), 0, "a")
        expected = track(tiny_model(), give(PROCESSOR.init_video_session(iter(clip(20))), 0, "a"))
        first = track(tiny_model(), session, max_frame_num_to_track=9)
        session.save(tmp_path)
        rest = track(tiny_model(), load(tmp_path, video=iter(clip(20))))
        assert_same({**first, **rest}, expected)

    def test_another_process_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        cut, handed_over = tracked_clip(), streamed()
        cut.save(tmp_path / "clip")
        handed_over.save(tmp_path / "stream")
        code = f"""
            import json, pathlib, torch
            torch.set_num_threads({torch.get_num_threads()})
            from video_scenes import *
            folder = pathlib.Path({str(tmp_path)!r})
            cut = Sam2VideoInferenceSession.load(folder / "clip", video=clip(8))
            handed_over = Sam2VideoInferenceSession.load(folder / "stream")
            track(tiny_model(), cut), stream(tiny_model(), handed_over, range(6, 12))
            cut.save(folder / "clip after"), handed_over.save(folder / "stream after")
            print(json.dumps(handed_over.num_frames))
        """
        assert run_fresh(code) == 12
        track(tiny_model(), cut), stream(tiny_model(), handed_over, range(6, 12))
        assert remembered(load(tmp_path / "clip after", video=clip(8))) == remembered(cut)
        assert remembered(load(tmp_path / "stream after")) == remembered(handed_over)

    def test_nothing_is_computed_again(self, tmp_path: Path, monkeypatch) -> None:
        session = give(open_session(8), 0, "a")
        expected = track(tiny_model(), session)
        session.save(tmp_path)
        monkeypatch.setattr(tiny_model(), "encode_frame", None)
        assert_same(track(tiny_model(), load(tmp_path, video=clip(8))), expected)

    def test_the_clip_may_come_in_another_form(self, tmp_path: Path) -> None:
        session = tracked_clip()
        session.save(tmp_path / "saved")
        frames = (torch.from_numpy(frame).permute(2, 0, 1) for frame in clip(8))
        folder = write_images(tmp_path / "images", frames)
        loaded = load(tmp_path / "saved", video=folder)
        assert_same(track(tiny_model(), loaded), track(tiny_model(), session))

    def test_state_goes_to_the_device_asked_for(self, tmp_path: Path) -> None:
        streamed().save(tmp_path)
        loaded = load(tmp_path, inference_state_device="meta", video_storage_device="meta", processing_device="cpu")
        stored = [tensor for track in loaded.tracks.values() for tensor in track.tensors()]
        assert {tensor.device.type for tensor in (*stored, loaded.stream_state()[1])} == {"meta"}
        assert loaded.inference_device.type == "cpu" and loaded.processing_device == "cpu"


class TestIds:
    @pytest.mark.parametrize(
        "obj_id", [0, -3, 10**30, "cup", "", "ü", 2.5, True, None, ("left", 2), (("deep", 1.5), None), ()]
    )
    def test_ids_come_back_as_they_were(self, obj_id, tmp_path: Path) -> None:
        give(open_session(2), 0, obj_id).save(tmp_path)
        (loaded,) = load(tmp_path, video=clip(2)).obj_ids
        assert loaded == obj_id and type(loaded) is type(obj_id)

    def test_ids_of_arrays_come_back_as_plain_numbers(self, tmp_path: Path) -> None:
        session = open_session(2)
        prompts = {"input_points": [[[[9, 9]], [[20, 20]]]], "input_labels": [[[1], [1]]]}
        PROCESSOR.add_inputs_to_inference_session(session, np.int64(0), np.array([4, 2]), **prompts)
        tiny_model()(session, frame_idx=np.int64(0))
        session.save(tmp_path)
        assert load(tmp_path, video=clip(2)).obj_ids == [4, 2]

    @pytest.mark.parametrize("obj_id", [b"cup", frozenset({1}), ("a", b"b"), object()])
    def test_an_id_that_cannot_be_written_leaves_the_earlier_save(self, obj_id, tmp_path: Path) -> None:
        session = tracked_clip()
        session.save(tmp_path)
        before = remembered(session)
        give(session, 0, obj_id)
        with pytest.raises(TypeError, match="ids that JSON can hold"):
            session.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(8))) == before
        with pytest.raises(TypeError, match="ids that JSON can hold"):
            session.save(tmp_path / "new")
        assert not (tmp_path / "new").exists()


class TestOtherVideos:
    @pytest.mark.parametrize(
        "video, message",
        [
            (clip(7), "video must be the clip of the session, .*'num_frames': 8.* got .*'num_frames': 7"),
            ([frame[:64] for frame in clip(8)], "video must be the clip of the session, .*'size': \\[128, 128\\]"),
            (
                [255 - frame for frame in clip(8)],
                "video must be the clip of the session, but its first frame is another",
            ),
            (iter(clip(8)), "video must be the clip of the session"),
            (None, "the session was of a video: give it as video"),
        ],
        ids=["shorter", "smaller", "inverted", "generator", "none"],
    )
    def test_another_video_is_refused(self, saved: Path, video, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load(saved, video=video)

    def test_the_same_clip_encoded_anew_is_taken(self, saved: Path) -> None:
        noisy = [
            np.clip(frame.astype(int) + np.arange(128)[:, None] % 7 - 3, 0, 255).astype(np.uint8) for frame in clip(8)
        ]
        assert load(saved, video=noisy).obj_ids == ["a", ("b", 1), 7]

    def test_a_stream_takes_no_video(self, tmp_path: Path) -> None:
        streamed().save(tmp_path)
        with pytest.raises(ValueError, match="the session was of a stream: load it without video"):
            load(tmp_path, video=clip(8))

    def test_a_clip_that_begins_with_damage_can_be_saved(self, tmp_path: Path, monkeypatch) -> None:
        def torn(index: int):
            raise VideoDecodingError(index, "torn")

        session = give(open_session(4), 2, "a")
        session.video._cache.clear()
        monkeypatch.setattr(session.video, "_load", torn)
        session.save(tmp_path)
        assert load(tmp_path, video=clip(4)).obj_ids == ["a"]


def test_a_session_of_a_model_of_another_size_is_refused_and_stays_as_it_was() -> None:
    session = tracked_clip()
    before = remembered(session)
    for other in (tiny_video_model(seed=0, image_size=192), tiny_video_model(seed=0, memory_encoder_output_channels=4)):
        with pytest.raises(ValueError, match="inference_session must be of a model of this size, with"):
            track(other, session)
    assert remembered(session) == before


def test_pixels_of_the_newest_frame_are_saved_for_prompts_on_it(tmp_path: Path) -> None:
    session = PROCESSOR.init_video_session(video_storage_device="cpu")
    stream(tiny_model(), session, range(3))
    session.save(tmp_path)
    loaded = load(tmp_path)
    for each in (session, loaded):
        give(each, 2, "late")
    late = tiny_model()(loaded, frame_idx=2).pred_masks
    assert late.equal(tiny_model()(session, frame_idx=2).pred_masks)
    assert loaded.stream_state()[1][0].equal(pixels(2))
