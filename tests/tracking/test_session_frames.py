"""Frames of a session: those of a clip, those that are handed over, and those that are read from a source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from small_sessions import PROCESSOR, SIZE, click, clip, frames, reading, result, streamed

from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import open_video


class TestFrameNumbers:
    @pytest.mark.parametrize("frame_idx", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
    def test_integers_of_every_kind_become_ints(self, frame_idx) -> None:
        checked = clip().check_frame_idx(frame_idx)
        assert checked == 3 and type(checked) is int

    @pytest.mark.parametrize(
        "frame_idx", [True, 1.0, "1", None, torch.tensor(1.0), np.array([1, 2]), torch.tensor(True)]
    )
    def test_anything_else_is_refused(self, frame_idx) -> None:
        with pytest.raises(TypeError, match="frame_idx must be an int, got "):
            clip().check_frame_idx(frame_idx)

    @pytest.mark.parametrize("frame_idx", [-1, 6, 100])
    def test_a_clip_ends(self, frame_idx: int) -> None:
        with pytest.raises(IndexError, match=rf"frame_idx must be in 0\.\.5, got {frame_idx}"):
            clip().check_frame_idx(frame_idx)

    def test_a_stream_has_no_end_but_a_beginning(self) -> None:
        assert streamed().check_frame_idx(10**6) == 10**6
        with pytest.raises(IndexError, match="frame_idx must be 0 or above, got -1"):
            streamed().check_frame_idx(-1)


class TestFramesOfAClip:
    def test_pixels_are_what_the_processor_makes_of_the_frame(self) -> None:
        expected = PROCESSOR(frames()[4], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(clip().pixel_values(4), expected)

    def test_pixels_have_the_sessions_dtype(self) -> None:
        assert clip(dtype=torch.bfloat16).pixel_values(1).dtype == torch.bfloat16

    def test_no_frame_is_ever_gone(self) -> None:
        session = clip()
        session.pixel_values(5)
        session.check_not_gone(0)
        assert not session.is_gone(0)

    def test_a_frame_is_not_handed_over(self) -> None:
        with pytest.raises(ValueError, match="reads its frames from a video; call the model with frame_idx"):
            clip().check_next_frame(torch.zeros(3, *SIZE), None, SIZE)


class TestFramesHandedOver:
    def test_they_are_numbered_as_they_come(self) -> None:
        session = Sam2VideoInferenceSession()
        assert [self.hand_over(session) for _ in range(3)] == [0, 1, 2]
        assert self.hand_over(session, 7) == 7 and self.hand_over(session) == 8

    def hand_over(self, session: Sam2VideoInferenceSession, frame_idx: int | None = None) -> int:
        frame = torch.zeros(1, 3, *SIZE)
        frame_idx = session.check_next_frame(frame, frame_idx, SIZE)
        session.add_frame(frame, frame_idx)
        return frame_idx

    def test_the_newest_is_held_and_no_other(self) -> None:
        session = streamed(3)
        assert (session.pixel_values(2) == 2).all() and session.pixel_values(2).shape == (1, 3, *SIZE)
        for frame in (0, 1, 3):
            with pytest.raises(IndexError, match=rf"frame {frame} of the stream is gone; the newest frame, 2"):
                session.pixel_values(frame)

    def test_the_callers_buffer_may_be_filled_again(self) -> None:
        session, buffer = Sam2VideoInferenceSession(), torch.zeros(3, *SIZE)
        session.add_frame(buffer, 0)
        buffer.fill_(9)
        assert (session.pixel_values(0) == 0).all()

    @pytest.mark.parametrize(
        "frame",
        [
            torch.zeros(3, 48, 32),
            torch.zeros(2, 3, *SIZE),
            torch.zeros(1, *SIZE),
            torch.zeros(SIZE),
            np.zeros((3, *SIZE)),
            None,
        ],
    )
    def test_a_frame_of_another_shape_is_refused(self, frame) -> None:
        with pytest.raises(ValueError, match=r"frame must be one frame's pixel_values of the processor, \(3, 32, 48\)"):
            streamed().check_next_frame(frame, None, SIZE)

    @pytest.mark.parametrize("frame", [torch.zeros(3, *SIZE, dtype=torch.uint8), torch.full((3, *SIZE), float("nan"))])
    def test_pixels_that_no_processor_made_are_refused(self, frame) -> None:
        with pytest.raises(
            ValueError, match=r"frame must be normalised, finite pixel_values .*, got (NaN|torch.uint8)"
        ):
            streamed().check_next_frame(frame, None, SIZE)

    def test_a_stream_only_goes_on(self) -> None:
        with pytest.raises(IndexError, match="a stream only goes on: the next frame_idx is 3 or above, got 2"):
            streamed(3).check_next_frame(torch.zeros(3, *SIZE), 2, SIZE)

    def test_numbers_are_not_skipped_where_prompts_wait(self) -> None:
        session = streamed(3)
        session.add_prompts(4, {"cup": click()})
        with pytest.raises(IndexError, match="frame_idx 6 would pass over frame 4, on which prompts wait"):
            session.check_next_frame(torch.zeros(3, *SIZE), 6, SIZE)
        assert session.check_next_frame(torch.zeros(3, *SIZE), 4, SIZE) == 4

    def test_frames_that_have_passed_and_frames_to_come_cannot_be_visited(self) -> None:
        session = streamed(3)
        session.check_not_gone(2)
        with pytest.raises(IndexError, match="frame 1 of the stream is gone"):
            session.check_not_gone(1)
        with pytest.raises(IndexError, match="frame 3 of the stream has not come yet: hand it over as frame"):
            session.check_not_gone(3)

    def test_a_session_that_keeps_everything_still_shows_masks_of_the_past(self) -> None:
        session = streamed(3, retention="everything")
        session.add_prompts(2, {"cup": click()})
        session.store(2, {"cup": result(is_conditioning=True)})
        session.add_frame(torch.zeros(3, *SIZE), 3)
        session.check_not_gone(2)
        with pytest.raises(IndexError, match="frame 1 of the stream is gone"):
            session.check_not_gone(1)


class TestFramesThatAreRead:
    def test_reading_goes_on_to_the_frame_and_counts(self) -> None:
        session = reading(6)
        assert (session.pixel_values(3) == clip().pixel_values(3)).all()
        assert session.newest_streamed == 3

    def test_the_last_ones_can_be_had_again(self) -> None:
        session = reading(6)
        session.frames.wait_for(4)
        assert [frame for frame in range(8) if not session.is_gone(frame)] == [3, 4, 5, 6, 7]
        with pytest.raises(IndexError, match="frame 1 of the stream is gone; the newest frame, 4"):
            session.check_not_gone(1)

    def test_the_end_is_noticed(self) -> None:
        session = reading(3)
        assert session.frames.advance_to(2) and not session.frames.advance_to(3)
        with pytest.raises(IndexError, match="the stream ended before frame 3"):
            session.frames.wait_for(3)

    def test_asking_whether_a_frame_is_gone_takes_none(self) -> None:
        taken = []

        def images() -> Iterator[np.ndarray]:
            for index, image in enumerate(frames()):
                taken.append(index)
                yield image

        source = open_video(images(), cache_size=2)
        session = Sam2VideoInferenceSession(source, image_processor=PROCESSOR)
        session.is_gone(0), session.is_gone(4), session.add_prompts(4, {"cup": click()})
        assert taken == [0], "the first frame tells the size"
