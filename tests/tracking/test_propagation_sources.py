"""Propagation over generators, files and folders: frames taken when they are needed, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import cut, write_images
from threads import reading_threads
from video_scenes import (
    PROCESSOR,
    assert_same,
    clip,
    collect,
    counted,
    give,
    is_empty,
    prompted,
    tiny_model,
    track,
)

from sam2_hf.tracking.propagation import FrameReader, Pass, frames_at_once
from sam2_hf.video_io.open_video import VideoDecodingError, open_video

LENGTH = 8


class TestGenerators:
    def test_a_generator_is_tracked_as_a_list_of_sixteen_frames_or_more_is(self) -> None:
        session = PROCESSOR.init_video_session(iter(clip(18)))
        give(session, 0, "a")
        assert_same(track(tiny_model(), session), track(tiny_model(), prompted((0, "a"), num_frames=18)))

    def test_frames_are_taken_one_by_one(self) -> None:
        taken = []

        def images() -> Iterator[np.ndarray]:
            for index, image in enumerate(clip(6)):
                taken.append(index)
                yield image

        session = PROCESSOR.init_video_session(images())
        give(session, 0, "a")
        for output in tiny_model().propagate_in_video_iterator(session):
            assert taken == list(range(output.frame_idx + 1))
        assert taken == list(range(6))

    def test_an_endless_generator_can_be_left_and_taken_up_again(self) -> None:
        def images() -> Iterator[np.ndarray]:
            while True:
                yield from clip(6)

        session = PROCESSOR.init_video_session(images())
        give(session, 0, "a")
        first = []
        for output in tiny_model().propagate_in_video_iterator(session):
            first.append(output.frame_idx)
            if output.frame_idx == 20:
                break
        give(session, 20, "late")
        outputs = tiny_model().propagate_in_video_iterator(session, max_frame_num_to_track=3)
        masks = collect(outputs)
        assert first == list(range(21)) and list(masks) == [20, 21, 22, 23]
        assert not any(is_empty(mask) for by_object in masks.values() for mask in by_object.values())

    def test_a_prompt_on_the_newest_frame_is_segmented_before_the_stream_goes_on(self) -> None:
        # One frame alone is kept by the source, and nothing was computed there before the prompt.
        source = open_video(iter(clip(6)), cache_size=1)
        session = PROCESSOR.init_video_session(source)
        give(session, 0, "a")
        seen = {}
        for output in tiny_model().propagate_in_video_iterator(session):
            seen[output.frame_idx] = dict(zip(output.object_ids, output.pred_masks, strict=True))
            if output.frame_idx == 0:
                session.remove_object("a")
                give(session, 0, "b", "box")
            if output.frame_idx == 2:
                give(session, 2, "c")
        assert list(seen) == list(range(6)) and "c" in seen[3] and not is_empty(seen[3]["c"])

    def test_a_start_that_is_gone_is_refused(self) -> None:
        session = PROCESSOR.init_video_session(open_video(iter(clip(6)), cache_size=1))
        give(session, 0, "a")
        track(tiny_model(), session)
        with pytest.raises(IndexError, match="frame 1 of the stream is gone; it goes on from frame 5"):
            tiny_model().propagate_in_video_iterator(session, start_frame_idx=1)

    def test_single_frames_of_a_generator_can_be_asked_for(self) -> None:
        session = PROCESSOR.init_video_session(open_video(iter(clip(8)), cache_size=1))
        give(session, 1, "a")
        give(session, 3, "b")
        output = tiny_model()(session, frame_idx=5)  # by way of the prompted frames
        assert not is_empty(output.pred_masks[0]) and not is_empty(output.pred_masks[1])
        with pytest.raises(IndexError, match="frame 4 of the stream is gone"):
            tiny_model()(session, frame_idx=4)
        with pytest.raises(IndexError, match="the stream ended before frame 9"):
            tiny_model()(session, frame_idx=9)

    def test_a_broken_image_ends_the_stream_where_it_is(self) -> None:
        session = PROCESSOR.init_video_session(iter([*clip(3), np.zeros((5, 5, 3), np.uint8)]))
        give(session, 0, "a")
        seen = []
        with pytest.raises(VideoDecodingError, match="frame 3 cannot be read"):
            for output in tiny_model().propagate_in_video_iterator(session):
                seen.append(output.frame_idx)
        assert seen == [0, 1, 2] == sorted(session.tracks["a"].results)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory) -> Path:
    """The clip as a file that gives every pixel back, with B-frames and few key frames."""
    return write_lossless(tmp_path_factory.mktemp("clip") / "clip.mkv")


def write_lossless(path: Path, **container_options: str) -> Path:
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        stream.width = stream.height = 128
        stream.pix_fmt = "rgb24"
        for frame in clip(18):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class TestSources:
    def test_a_clip_as_file_folder_and_list_gives_the_same_masks(self, lossless: Path, tmp_path: Path) -> None:
        frames = (torch.from_numpy(frame).permute(2, 0, 1) for frame in clip(18))
        folder = write_images(tmp_path / "images", frames)
        expected = track(tiny_model(), prompted((0, "a"), (4, "b", "box"), num_frames=18))
        for video in (lossless, folder, np.stack(clip(18)), torch.from_numpy(np.stack(clip(18)))):
            session = PROCESSOR.init_video_session(video)
            give(session, 0, "a")
            give(session, 4, "b", "box")
            assert_same(track(tiny_model(), session), expected)

    def test_backward_through_a_file(self, lossless: Path) -> None:
        session = PROCESSOR.init_video_session(lossless)
        give(session, 17, "a")
        expected = track(tiny_model(), prompted((17, "a"), num_frames=18), reverse=True)
        assert_same(track(tiny_model(), session, reverse=True), expected)

    @pytest.mark.parametrize("leaving", ["end", "break", "error", "dropped"])
    def test_no_thread_is_left_behind(self, lossless: Path, leaving: str) -> None:
        session = PROCESSOR.init_video_session(lossless)
        give(session, 0, "a")
        outputs = tiny_model().propagate_in_video_iterator(session)
        for output in outputs:
            if output.frame_idx == 2 and leaving != "end":
                break
        if leaving == "error":
            with pytest.raises(ZeroDivisionError):
                outputs.throw(ZeroDivisionError())
        elif leaving == "break":
            assert reading_threads()
            outputs.close()
        del outputs
        assert not reading_threads()

    def test_what_was_tracked_before_the_damage_is_kept(self, tmp_path: Path) -> None:
        # Its table comes first, so it still says how long it was.
        unfinished = cut(write_lossless(tmp_path / "unfinished.mp4", movflags="faststart"), 0.7)
        session = PROCESSOR.init_video_session(unfinished)
        assert session.num_frames == 18
        give(session, 0, "a")
        expected = track(tiny_model(), prompted((0, "a"), num_frames=18))
        seen = {}
        with pytest.raises(VideoDecodingError) as caught:
            for output in tiny_model().propagate_in_video_iterator(session):
                seen[output.frame_idx] = {"a": output.pred_masks[0]}
        damage = caught.value.index
        assert 3 < damage < 18 and not reading_threads()
        assert_same(seen, {frame: expected[frame] for frame in range(damage)})
        assert_same(track(tiny_model(), session, max_frame_num_to_track=damage - 1), seen)


def close_to(masks, expected) -> bool:
    """Batches sum in another order, and memories are kept in bfloat16, where that may turn a rounding."""
    assert {frame: list(by_object) for frame, by_object in masks.items()} == {
        frame: list(by_object) for frame, by_object in expected.items()
    }
    pairs = [(masks[frame][key], expected[frame][key]) for frame, by_object in expected.items() for key in by_object]
    return all((mask - same).abs().max() <= 2e-3 * same.abs().max() for mask, same in pairs)


class TestBatches:
    """Several frames encoded at once."""

    def encoded(self, session, monkeypatch, **settings) -> tuple[list[int], dict]:
        """How many frames each batch had, and the masks."""
        with counted(tiny_model(), monkeypatch, "encode_frame") as calls:
            masks = track(tiny_model(), session, **settings)
        return [len(pixels) for (pixels,) in calls["encode_frame"]], masks

    @pytest.mark.parametrize("settings", [{}, {"direction": "both"}, {"direction": "both", "in_frame_order": True}])
    @pytest.mark.parametrize("size", [2, 3, 50])
    def test_masks_are_those_of_one_by_one(self, settings: dict, size: int, monkeypatch) -> None:
        prompts = ((3, "a"), (5, "b", "box"))
        alone, expected = self.encoded(prompted(*prompts), monkeypatch, frames_per_batch=1, **settings)
        sizes, masks = self.encoded(prompted(*prompts), monkeypatch, frames_per_batch=size, **settings)
        assert close_to(masks, expected)
        assert sum(sizes) == sum(alone) and 1 < max(sizes) <= size

    def test_a_file_is_read_and_prepared_ahead(self, lossless: Path, monkeypatch) -> None:
        session = PROCESSOR.init_video_session(lossless)
        give(session, 0, "a")
        threads, prepare = [], session.frames.prepare

        def noting(frame: torch.Tensor) -> torch.Tensor:
            threads.append(threading.current_thread().name)
            return prepare(frame)

        monkeypatch.setattr(session.frames, "prepare", noting)
        sizes, masks = self.encoded(session, monkeypatch, frames_per_batch=4)
        assert close_to(masks, track(tiny_model(), prompted((0, "a"), num_frames=18)))
        assert sizes == [1, 4, 4, 4, 4, 1]
        assert threads == ["MainThread", *["video-prefetch"] * 17]

    def test_what_still_stands_is_not_encoded(self, monkeypatch) -> None:
        session = prompted((0, "a"))
        track(tiny_model(), session, max_frame_num_to_track=3)
        assert self.encoded(session, monkeypatch, frames_per_batch=3)[0] == [3, 1]
        assert self.encoded(session, monkeypatch, frames_per_batch=3)[0] == []

    def test_no_more_frames_are_held_than_a_batch(self) -> None:
        encode, held = tiny_model().encode_frames, []
        with (
            torch.no_grad(),
            FrameReader(prompted((0, "a")), encode, lambda frame, one_pass: True, at_once=4) as reader,
        ):
            for frame in reader.frames(Pass(range(8))):
                # None keeps the batch that it comes from.
                coarsest = reader.features(frame).coarsest
                assert coarsest.untyped_storage().nbytes() == coarsest.nbytes
                held.append(len(reader._encoded))
        assert held == [3, 2, 1, 0, 3, 2, 1, 0]

    def test_objects_may_come_and_go_in_the_midst_of_a_batch(self) -> None:
        seen = {}
        for size in (1, 4):
            session = prompted((0, "a"), (0, "b", "box"))
            for output in tiny_model().propagate_in_video_iterator(session, frames_per_batch=size):
                seen.setdefault(size, {})[output.frame_idx] = dict(
                    zip(output.object_ids, output.pred_masks, strict=True)
                )
                if output.frame_idx == 2:
                    session.remove_object("a")
                if output.frame_idx == 3:
                    give(session, 4, "late")
        assert close_to(seen[4], seen[1]) and list(seen[4][5]) == ["b", "late"]

    def test_damage_is_met_where_it_is(self, tmp_path: Path) -> None:
        unfinished = cut(write_lossless(tmp_path / "unfinished.mp4", movflags="faststart"), 0.7)
        seen = {}
        for size in (1, 5):
            session = PROCESSOR.init_video_session(unfinished)
            give(session, 0, "a")
            frames = seen.setdefault(size, [])
            with pytest.raises(VideoDecodingError) as caught:
                frames.extend(
                    output.frame_idx
                    for output in tiny_model().propagate_in_video_iterator(session, frames_per_batch=size)
                )
            frames.append(caught.value.index)
            assert not reading_threads()
        assert seen[5] == seen[1]

    def test_a_stream_is_not_kept_waiting(self, monkeypatch) -> None:
        session = PROCESSOR.init_video_session(iter(clip(4)))
        give(session, 0, "a")
        assert self.encoded(session, monkeypatch, frames_per_batch=4)[0] == [1, 1, 1, 1]

    @pytest.mark.parametrize(("given", "error"), [(0, ValueError), (2.5, TypeError), (True, TypeError)])
    def test_a_batch_is_a_number_of_frames(self, given, error) -> None:
        with pytest.raises(error, match="frames_per_batch must be"):
            tiny_model().propagate_in_video_iterator(prompted((0, "a")), frames_per_batch=given)

    def test_the_default_is_one_on_a_cpu(self) -> None:
        assert frames_at_once(None, torch.device("cpu")) == 1 < frames_at_once(None, torch.device("cuda"))
