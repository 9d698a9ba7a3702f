"""`Sam2VideoProcessor`: what users write becomes prompts of a session, or an error that leaves the session alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from official_goldens import IMAGE_SIZE, disc
from video_scenes import PROCESSOR, PROMPTS, clip, give, open_session, snapshot, stream, tiny_model, track

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import VideoSource, open_video

add = PROCESSOR.add_inputs_to_inference_session
CLICK = {"input_points": [[[[36, 44]]]], "input_labels": [[[1]]]}
TWO_CLICKS = {"input_points": [[[[36, 44]], [[60, 60]]]], "input_labels": [[[1], [1]]]}
MASK = disc(64, 100, 18)
SIZE = (IMAGE_SIZE, IMAGE_SIZE)


def prompt_on(session: Sam2VideoInferenceSession, obj_id=1, frame_idx: int = 0):
    return session.tracks[obj_id].prompts[frame_idx]


class TestOpening:
    def test_every_argument_of_the_card_is_taken(self) -> None:
        session = PROCESSOR.init_video_session(
            video=clip(3),
            inference_device="cpu",
            inference_state_device="cpu",
            video_storage_device="cpu",
            processing_device="cpu",
            max_vision_features_cache_size=2,
            torch_dtype=torch.bfloat16,
        )
        assert session.num_frames == 3 and (session.video_height, session.video_width) == SIZE
        assert session.dtype == torch.bfloat16 and session.feature_cache.size == 2
        assert session.pixel_values(0).dtype == torch.bfloat16

    @pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
    @pytest.mark.parametrize("dtype", [torch.float16, "float16", "torch.float16"])
    def test_the_dtype_has_two_names(self, name: str, dtype) -> None:
        assert PROCESSOR.init_video_session(**{name: dtype}).dtype == torch.float16

    @pytest.mark.parametrize("dtype", ["float33", "load", 16, "int8"])
    def test_what_is_no_dtype_is_refused(self, dtype) -> None:
        with pytest.raises(ValueError, match="dtype must be"):
            PROCESSOR.init_video_session(dtype=dtype)

    def test_a_video_that_is_open_is_taken_as_it_is(self) -> None:
        source = open_video(clip(3))
        assert PROCESSOR.init_video_session(source).video is source
        assert isinstance(open_session().video, VideoSource)

    @pytest.mark.parametrize(
        "video, error",
        [("missing.mp4", FileNotFoundError), ([], ValueError), (5.5, TypeError), (np.zeros(3), ValueError)],
    )
    def test_what_is_no_video_is_refused(self, video, error) -> None:
        with pytest.raises(error):
            PROCESSOR.init_video_session(video)

    def test_without_a_video_it_is_a_stream(self) -> None:
        session = PROCESSOR.init_video_session()
        assert session.video is None and session.video_height is None and session.num_frames == 0


class TestIds:
    @pytest.mark.parametrize(
        "obj_ids, expected", [(7, [7]), ([7], [7]), ("cup", ["cup"]), (("left", 2), [("left", 2)])]
    )
    def test_one_id_alone_or_in_a_list(self, obj_ids, expected) -> None:
        assert add(open_session(), 0, obj_ids, **CLICK).obj_ids == expected

    @pytest.mark.parametrize(
        "obj_ids",
        [
            [4, 2],
            range(4, 0, -2),
            np.array([4, 2]),
            torch.tensor([4, 2]),
            [np.int64(4), np.int32(2)],
            [torch.tensor(4), torch.tensor(2)],
        ],
        ids=["list", "range", "array", "tensor", "numpy", "tensors"],
    )
    def test_several_ids(self, obj_ids) -> None:
        session = add(open_session(), 0, obj_ids, **TWO_CLICKS)
        assert session.obj_ids == [4, 2] and {type(obj_id) for obj_id in session.obj_ids} == {int}
        assert prompt_on(session, 4).points.tolist() == [[36, 44]]

    @pytest.mark.parametrize(
        "obj_ids, error, message",
        [
            ([], ValueError, r"at least one object, and each once, got \[\]"),
            ([1, 1], ValueError, r"each once, got \[1, 1\]"),
            ([1, True], ValueError, "each once"),
            ([1, float("nan")], ValueError, "obj_ids must be equal to themselves, got nan"),
            ([[1, 2]], TypeError, r"obj_ids must be hashable, got \[1, 2\]"),
            ({1, 2}, TypeError, "obj_ids must be hashable"),
            (([1],), TypeError, "obj_ids must be hashable"),
        ],
    )
    def test_what_cannot_be_ids_is_refused(self, obj_ids, error, message) -> None:
        session = open_session()
        with pytest.raises(error, match=message):
            add(session, 0, obj_ids, **TWO_CLICKS)
        assert session.obj_ids == []


class TestPoints:
    def test_the_session_is_returned(self) -> None:
        session = open_session()
        assert add(inference_session=session, frame_idx=0, obj_ids=1, **CLICK) is session

    def test_coordinates_are_scaled_to_the_models_input(self) -> None:
        session = PROCESSOR.init_video_session([np.zeros((64, 512, 3), np.uint8)])
        add(session, 0, 1, [[[[256, 16]]]], [[[1]]])
        assert prompt_on(session).points.tolist() == [[64, 32]]

    def test_a_box_is_two_labelled_points_before_the_others(self) -> None:
        session = add(open_session(), 0, 1, **PROMPTS["box_and_click"])
        assert prompt_on(session).points.tolist() == [[80, 74], [112, 106], [96, 90]]
        assert prompt_on(session).labels.tolist() == [2, 3, 1]

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
    def test_a_box_by_the_labels_of_its_corners_is_that_box(self, order) -> None:
        entries = [([80, 74], 2), ([112, 106], 3), ([96, 90], 1)]
        points, labels = zip(*(entries[index] for index in order), strict=True)
        session = add(open_session(), 0, 1, [[list(points)]], [[list(labels)]])
        same = add(open_session(), 0, 1, **PROMPTS["box_and_click"])
        for mine, theirs in zip(prompt_on(session).tensors(), prompt_on(same).tensors(), strict=True):
            assert mine.equal(theirs)

    def test_ragged_prompts_are_not_padded(self) -> None:
        points, labels = [[[[1, 2], [3, 4], [5, 6]], [[7, 8]]]], [[[1, 1, 0], [1]]]
        session = add(open_session(), 0, [2, 3], input_points=points, input_labels=labels)
        assert prompt_on(session, 2).labels.tolist() == [1, 1, 0] and prompt_on(session, 3).points.tolist() == [[7, 8]]

    def test_some_objects_may_have_a_box_and_others_points(self) -> None:
        session = add(open_session(), 0, [1, 2], [[None, [[7, 8]]]], [[None, [1]]], [[[1, 2, 3, 4], None]])
        assert prompt_on(session, 1).labels.tolist() == [2, 3] and prompt_on(session, 2).labels.tolist() == [1]

    def test_arrays_and_tensors_are_taken(self) -> None:
        for kind in (np.array, torch.tensor):
            session = add(open_session(), 0, 1, kind(CLICK["input_points"]), kind(CLICK["input_labels"]))
            assert prompt_on(session).points.tolist() == [[36, 44]]

    def test_points_are_added_or_replaced(self) -> None:
        session = add(open_session(), 0, 1, **CLICK)
        add(session, 0, 1, [[[[5, 6]]]], [[[0]]], clear_old_inputs=False)
        assert prompt_on(session).points.tolist() == [[36, 44], [5, 6]]
        add(session, 0, 1, [[[[7, 8]]]], [[[1]]])
        assert prompt_on(session).points.tolist() == [[7, 8]]

    def test_points_are_added_to_a_box(self) -> None:
        session = add(open_session(), 0, 1, **PROMPTS["box"])
        add(session, 0, 1, **CLICK, clear_old_inputs=False)
        assert prompt_on(session).labels.tolist() == [2, 3, 1]

    def test_a_box_is_not_added_to_points(self) -> None:
        session = add(open_session(), 0, 1, **CLICK)
        before = snapshot(session)
        with pytest.raises(
            ValueError, match=r"a box must come before the points .* obj_id 1 with clear_old_inputs=True"
        ):
            add(session, 0, 1, **PROMPTS["box"], clear_old_inputs=False)
        assert snapshot(session) == before
        add(session, 1, 1, **PROMPTS["box"], clear_old_inputs=False)  # there it is the first
        give(session, 2, 1, "mask")
        add(session, 2, 1, **PROMPTS["box"], clear_old_inputs=False)  # instead of the mask

    def test_the_callers_lists_stay_theirs(self) -> None:
        given = {"obj_ids": [3, 1], **copy.deepcopy(TWO_CLICKS), "input_boxes": [[[1, 2, 3, 4], [5, 6, 7, 8]]]}
        kept = copy.deepcopy(given)
        session = add(open_session(3), 0, **given)
        track(tiny_model(), session)
        session.remove_object(3)
        assert given == kept


class TestStreams:
    def test_prompts_need_the_size_of_the_frames_once(self) -> None:
        session = PROCESSOR.init_video_session()
        before = snapshot(session)
        with pytest.raises(ValueError, match=r"original_size \(height, width\) must be given with the first prompts"):
            add(session, 0, 1, **CLICK)
        assert snapshot(session) == before
        add(session, 0, 1, **CLICK, original_size=(64, 256))
        add(session, 0, 2, **CLICK)
        assert prompt_on(session, 2).points.tolist() == [[18, 88]]

    @pytest.mark.parametrize(
        "size", [(64, 256), [64, 256], torch.tensor([64, 256]), np.array([64, 256]), (torch.tensor(64), np.int64(256))]
    )
    def test_the_size_may_be_any_pair(self, size) -> None:
        session = add(PROCESSOR.init_video_session(), 0, 1, **CLICK, original_size=size)
        assert (session.video_height, session.video_width) == (64, 256) and type(session.video_height) is int

    @pytest.mark.parametrize("size", [64, (64,), (64, 256, 3), (0, 5), "64x256", (6.5, 8)])
    def test_what_is_no_size_is_refused(self, size) -> None:
        session = PROCESSOR.init_video_session()
        before = snapshot(session)
        with pytest.raises((TypeError, ValueError), match="original_size"):
            add(session, 0, 1, **CLICK, original_size=size)
        assert snapshot(session) == before

    def test_the_size_stays_the_same(self) -> None:
        session = add(PROCESSOR.init_video_session(), 0, 1, **CLICK, original_size=(64, 256))
        with pytest.raises(
            ValueError, match=r"must stay the same through a session: expected \(64, 256\), got \(65, 2"
        ):
            add(session, 0, 1, **CLICK, original_size=(65, 256))
        session.reset_inference_session()
        add(session, 0, 1, **CLICK, original_size=(65, 256))

    def test_a_clips_size_is_known(self) -> None:
        add(open_session(), 0, 1, **CLICK, original_size=SIZE)
        with pytest.raises(ValueError, match="original_size must stay the same"):
            add(open_session(), 0, 1, **CLICK, original_size=(64, 256))

    def test_prompts_on_a_frame_that_is_gone_are_refused(self) -> None:
        session = give(PROCESSOR.init_video_session(), 0, 1)
        stream(tiny_model(), session, range(3))
        before = snapshot(session)
        for inputs in (CLICK, {"input_masks": MASK}):
            with pytest.raises(
                IndexError, match="frame 1 of the stream is gone; the newest frame, 2, and those to come"
            ):
                add(session, 1, 1, **inputs)
        assert snapshot(session) == before


class TestRefusals:
    """Every mistake is named, and the session is as it was."""

    @pytest.mark.parametrize(
        "arguments, error, message",
        [
            ({}, ValueError, "expected either points and boxes, or input_masks; got neither"),
            ({**CLICK, "input_masks": MASK}, ValueError, "expected either points and boxes, or input_masks; got both"),
            ({"input_labels": [[[1]]]}, ValueError, "input_labels belong to points"),
            ({**CLICK, "frame_idx": 8}, IndexError, r"frame_idx must be in 0\.\.7, got 8"),
            ({**CLICK, "frame_idx": -1}, IndexError, r"frame_idx must be in 0\.\.7, got -1"),
            ({**CLICK, "frame_idx": 1.0}, TypeError, "frame_idx must be an int, got 1.0"),
            (
                {**CLICK, "obj_ids": [1, 2]},
                ValueError,
                r"input_points must hold prompts for the 2 obj_ids \[1, 2\], got 1",
            ),
            ({**TWO_CLICKS}, ValueError, r"input_points must hold prompts for the 1 obj_ids \[1\], got 2"),
            (
                {"input_boxes": [[[1, 2, 3, 4]]], "obj_ids": [1, 2]},
                ValueError,
                "input_boxes must hold prompts for the 2",
            ),
            ({"input_points": [[[36, 44]]]}, ValueError, r"input_points.*\[\[\[\[500, 375\]\]\]\]"),
            ({"input_points": [[[[36, 44, 1]]]]}, ValueError, "input_points"),
            ({"input_points": [[[["x", 1]]]]}, TypeError, "input_points"),
            ({"input_points": [[[[36, 44]]]], "input_labels": [[[1, 0]]]}, ValueError, "input_labels"),
            ({"input_points": [[[[36, 44]]]], "input_labels": [[[7]]]}, ValueError, "input_labels"),
            ({"input_points": [[[[float("nan"), 44]]]]}, ValueError, "input_points"),
            ({"input_points": [[[[5000, 44]]]]}, ValueError, "input_points"),
            ({"input_boxes": [[[30, 2, 3, 4]]]}, ValueError, "input_boxes"),
            (
                {"input_points": [[[[1, 2]]], [[[1, 2]]]]},
                ValueError,
                "input_points must hold prompts for as many images",
            ),
            ({"input_points": [[[[1, 2]], None]], "obj_ids": [1, 2]}, ValueError, "there is none for obj_id 2"),
            ({"input_points": [[[]]]}, ValueError, "input_points"),
            ({"input_masks": MASK * 300.0}, ValueError, "input_masks must hold numbers from 0 to 1 or from 0 to 255"),
            ({"input_masks": MASK[0]}, ValueError, r"input_masks must be \(height, width\), .*got shape \(128,\)"),
            ({"input_masks": MASK[None, None, None]}, ValueError, r"input_masks must be \(height, width\), "),
            ({"input_masks": MASK[:0]}, ValueError, r"input_masks must be \(height, width\), "),
            ({"input_points": [[[[1, 2]]]], "input_labels": [[[2]]]}, ValueError, "corners of a box as one pair"),
            ({"input_masks": np.stack([MASK, MASK])}, ValueError, "a mask for each of the 1 obj_ids, got 2"),
            ({"input_masks": MASK, "obj_ids": [1, 2]}, ValueError, "a mask for each of the 2 obj_ids, got 1"),
            ({"input_masks": np.full(SIZE, np.nan)}, ValueError, "input_masks must be finite"),
            ({"input_masks": "mask.png"}, TypeError, "input_masks must be an array, a tensor or an image, got str"),
            (
                {"input_masks": [None]},
                TypeError,
                r"input_masks\[0\] must be an array, a tensor or an image, got NoneType",
            ),
        ],
    )
    def test_a_mistake_is_named_and_changes_nothing(self, arguments, error, message) -> None:
        session = give(give(open_session(), 0, 1), 2, "b", "mask")
        tiny_model()(session, frame_idx=0)
        before = snapshot(session)
        with pytest.raises(error, match=message):
            add(session, **{"frame_idx": 0, "obj_ids": [1], **arguments})
        assert snapshot(session) == before

    def test_one_bad_object_among_many_changes_none(self) -> None:
        session = give(open_session(), 0, "a")
        before = snapshot(session)
        with pytest.raises(ValueError, match=r"input_masks\[1\] must be \(height, width\)"):
            add(session, 1, ["a", "b"], input_masks=[MASK, MASK[:0]])
        assert snapshot(session) == before


def test_it_is_saved_and_loaded(tmp_path) -> None:
    Sam2VideoProcessor(Sam2ImageProcessor(size={"height": 96, "width": 96})).save_pretrained(tmp_path)
    loaded = Sam2VideoProcessor.from_pretrained(tmp_path)
    session = add_with(loaded, loaded.init_video_session(clip(2)))
    assert session.pixel_values(0).shape == (1, 3, 96, 96)
    assert prompt_on(session).points.tolist() == [[27, 33]]


def add_with(processor: Sam2VideoProcessor, session: Sam2VideoInferenceSession) -> Sam2VideoInferenceSession:
    return processor.add_inputs_to_inference_session(session, 0, 1, **CLICK)


@pytest.mark.parametrize(
    "prompts",
    [{"input_points": [[[[1, 1]], [[2, 2]]]]}, {"input_masks": [np.ones((8, 8), bool), np.ones((8, 8), bool)]}],
)
def test_a_tuple_of_ids_is_one_id_and_the_error_says_so(prompts):
    with pytest.raises(ValueError, match=r"a tuple is one id, .* give a list: obj_ids=\[1, 2\]"):
        PROCESSOR.add_inputs_to_inference_session(open_session(1), 0, (1, 2), **prompts)


@pytest.mark.parametrize(
    "obj_id", [float("nan"), ("a", float("nan")), (1, (float("nan"),)), frozenset([float("nan")]), np.datetime64("NaT")]
)
def test_ids_that_are_not_equal_to_themselves_are_refused(obj_id):
    with pytest.raises(ValueError, match="obj_ids must be equal to themselves"):
        PROCESSOR.add_inputs_to_inference_session(open_session(1), 0, obj_id, **PROMPTS["click"])
