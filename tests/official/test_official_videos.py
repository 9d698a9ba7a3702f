"""What programs do with a video predictor besides prompting and tracking, and what is better here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_api_ours import load_cases, video_predictor
from official_api_runs import HEIGHT, NUM_FRAMES, WIDTH, write_frames
from official_goldens import disc, draw_clip

from sam2_hf import official
from sam2_hf.official import sam2_video_predictor
from sam2_hf.official.inference_state import InferenceState
from sam2_hf.official.utils import misc
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video

CASE = load_cases("video")["notebook"]
CLICK: dict[str, Any] = {"points": [[36, 40]], "labels": [1]}
META_KEYS = {
    *("images", "num_frames", "video_height", "video_width", "device", "storage_device", "obj_id_to_idx"),
    *("obj_idx_to_id", "obj_ids", "point_inputs_per_obj", "mask_inputs_per_obj", "output_dict_per_obj"),
    *("temp_output_dict_per_obj", "frames_tracked_per_obj", "cached_features", "constants"),
}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> official.SAM2VideoPredictor:
    return video_predictor(CASE, tmp_path_factory.mktemp("official"))


@pytest.fixture
def state(predictor: official.SAM2VideoPredictor) -> InferenceState:
    return predictor.init_state(frames())


def frames() -> list[np.ndarray]:
    return [frame[:HEIGHT] for frame in draw_clip(NUM_FRAMES)]


def tracked(predictor: official.SAM2VideoPredictor, state: InferenceState, **settings: Any) -> dict[int, torch.Tensor]:
    return {frame: masks for frame, _, masks in predictor.propagate_in_video(state, **settings)}


def test_a_programs_default_device_and_dtype_change_nothing(predictor: official.SAM2VideoPredictor) -> None:
    def run() -> list[torch.Tensor]:
        state = predictor.init_state(frames()[:3])
        predictor.add_new_points_or_box(state, 0, 1, **CLICK, box=[10, 10, 70, 70])
        return list(tracked(predictor, state).values())

    expected = run()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):  # as set_default_device: a tensor made without a device would hold no values
            found = run()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(mask, same) for mask, same in zip(found, expected, strict=True))


class TestTheState:
    def test_has_metas_keys(self, predictor: official.SAM2VideoPredictor, state: InferenceState) -> None:
        assert set(state) >= META_KEYS and len(state) == len(list(state))
        assert (state["num_frames"], state["video_height"], state["video_width"]) == (NUM_FRAMES, HEIGHT, WIDTH)
        assert len(state["images"]) == NUM_FRAMES and state["images"][3].shape == (3, 128, 128)
        assert state["device"] == predictor.device and state["obj_ids"] == []
        with pytest.raises(KeyError):
            state["tracking_has_started"]

    def test_says_what_happened(self, predictor: official.SAM2VideoPredictor, state: InferenceState) -> None:
        predictor.add_new_points_or_box(state, 0, "cup", **CLICK)
        predictor.add_new_mask(state, 1, 7, disc(96, 84, 12)[:HEIGHT])
        assert dict(state["obj_id_to_idx"]) == {"cup": 0, 7: 1} and dict(state["obj_idx_to_id"]) == {0: "cup", 1: 7}
        inputs = state["point_inputs_per_obj"][0][0]
        assert inputs["point_coords"].shape == (1, 1, 2) and inputs["point_labels"].tolist() == [[1]]
        torch.testing.assert_close(inputs["point_coords"][0, 0], torch.tensor([36.0, 40 * 128 / 96]))
        assert state["mask_inputs_per_obj"][1][1].shape == (1, 1, 128, 128)
        assert list(state["temp_output_dict_per_obj"][0]["cond_frame_outputs"]) == [0]
        assert list(state["output_dict_per_obj"][0]["cond_frame_outputs"]) == []
        tracked(predictor, state, start_frame_idx=0, max_frame_num_to_track=3)
        assert list(state["temp_output_dict_per_obj"][0]["cond_frame_outputs"]) == []
        outputs = state["output_dict_per_obj"][0]
        assert list(outputs["cond_frame_outputs"]) == [0] and set(outputs["non_cond_frame_outputs"]) == {1, 2, 3}
        result = outputs["non_cond_frame_outputs"][2]
        assert {name: tuple(result[name].shape) for name in ("maskmem_features", "pred_masks", "obj_ptr")} == {
            "maskmem_features": (1, 16, 8, 8),
            "pred_masks": (1, 1, 32, 32),
            "obj_ptr": (1, 64),
        }
        assert result["maskmem_features"].dtype == torch.bfloat16
        assert result["maskmem_pos_enc"][0].shape == (1, 16, 8, 8)
        assert state["frames_tracked_per_obj"][1] == {frame: {"reverse": False} for frame in range(4)}
        assert predictor._get_obj_num(state) == 2 and predictor._obj_idx_to_id(state, 1) == 7
        assert predictor._obj_id_to_idx(state, 7) == 1

    def test_takes_keys_of_a_program_and_no_others(self, state: InferenceState) -> None:
        state["my_notes"] = [1]
        assert state["my_notes"] == [1] and "my_notes" in state
        del state["my_notes"]
        for change in (lambda: state.update(obj_ids=[3]), lambda: state.pop("images")):
            with pytest.raises(TypeError, match="read from the session"):
                change()


class TestPrompts:
    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            ({"points": [[1, 2]]}, "points and labels must be provided together"),
            ({}, "at least one of points or box"),
            ({"box": [1, 2, 3, 4], "clear_old_points": False}, "clear_old_points=True"),
            ({"points": [[1, 2], [3, 4]], "labels": [1]}, "each of the 2 points, got 1"),
        ],
    )
    def test_that_do_not_fit_are_refused_and_change_nothing(
        self, predictor: official.SAM2VideoPredictor, state: InferenceState, prompt: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            predictor.add_new_points_or_box(state, 0, 1, **prompt)
        with pytest.raises(IndexError):
            predictor.add_new_points_or_box(state, NUM_FRAMES, 1, **CLICK)
        with pytest.raises(ValueError, match="mask must be"):
            predictor.add_new_mask(state, 0, 1, np.zeros((1, HEIGHT, WIDTH), bool))
        assert state["obj_ids"] == []

    def test_nothing_to_track_is_an_error(self, predictor: official.SAM2VideoPredictor, state: InferenceState) -> None:
        with pytest.raises(RuntimeError, match="any object"):
            tracked(predictor, state)
        predictor.add_new_points_or_box(state, 0, 5, **CLICK)
        predictor.clear_all_prompts_in_frame(state, 0, 5, need_output=False)
        with pytest.raises(RuntimeError, match="obj_id 5"):
            predictor.propagate_in_video_preflight(state)
        with pytest.raises(KeyError, match="obj_id 6"):
            predictor.clear_all_prompts_in_frame(state, 0, 6)
        with pytest.raises(RuntimeError, match="obj_id 6"):
            predictor.remove_object(state, 6, strict=True)

    def test_a_box_as_two_points(self, predictor: official.SAM2VideoPredictor, state: InferenceState) -> None:
        by_points = predictor.add_new_points(state, 0, 1, [[16, 20], [58, 60]], [2, 3])[2]
        by_box = predictor.add_new_points_or_box(state, 0, 2, box=np.array([16, 20, 58, 60]))[2]
        torch.testing.assert_close(by_box[:1], by_box[1:])
        torch.testing.assert_close(by_points, by_box[:1])


class TestSources:
    @pytest.mark.parametrize("kind", ["folder", "mp4", "list", "array", "source"])
    def test_of_every_kind(self, predictor: official.SAM2VideoPredictor, kind: str, tmp_path: Path) -> None:
        source: Any = {
            "folder": lambda: str(write_frames(tmp_path / "frames")),
            "mp4": lambda: str(write_clip(tmp_path / "clip.mp4")),
            "list": frames,
            "array": lambda: np.stack(frames()),
            "source": lambda: open_video(frames()),
        }[kind]()
        state = predictor.init_state(video_path=source)
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        masks = tracked(predictor, state)
        assert list(masks) == list(range(NUM_FRAMES))
        assert all(mask.shape == (1, 1, HEIGHT, WIDTH) and mask.dtype == torch.float32 for mask in masks.values())

    def test_are_read_when_they_are_tracked(self, predictor: official.SAM2VideoPredictor) -> None:
        read: list[int] = []

        class Counting(list):
            def __getitem__(self, index: Any) -> Any:
                if isinstance(index, int):
                    read.append(index)
                return super().__getitem__(index)

        video = Counting(frames())
        state = predictor.init_state(video)
        assert set(read) <= {0}
        predictor.add_new_points_or_box(state, 2, 1, **CLICK)
        assert set(read) <= {0, 2}

    def test_offloading_decides_where_things_are_kept(self, predictor: official.SAM2VideoPredictor) -> None:
        state = predictor.init_state(frames(), offload_video_to_cpu=True, offload_state_to_cpu=True)
        assert state["storage_device"] == torch.device("cpu") and state["offload_video_to_cpu"]

    def test_what_cannot_be_read_any_more_is_forgotten_where_that_is_wanted(
        self, predictor: official.SAM2VideoPredictor
    ) -> None:
        sizes = {}
        for retention in (None, "readable"):
            state = predictor.init_state(frames() * 4, retention=retention)  # type: ignore[arg-type]
            predictor.add_new_points_or_box(state, 0, 1, **CLICK)
            masks = tracked(predictor, state)
            sizes[retention] = state.session.state_nbytes, masks[31]
        assert sizes["readable"][0] < 0.5 * sizes[None][0]
        assert torch.equal(sizes["readable"][1], sizes[None][1])

    @pytest.mark.parametrize("module", [misc, sam2_video_predictor])
    def test_a_program_may_read_frames_itself(
        self, predictor: official.SAM2VideoPredictor, module: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = {}

        def load(**arguments: Any) -> tuple[Any, int, int]:
            asked.update(arguments)
            images, height, width = read(arguments["video_path"], 128, True)
            return [image.half() for image in images], height, width

        read = misc.load_video_frames
        expected = tracked_from(predictor, predictor.init_state(frames()))
        monkeypatch.setattr(module, "load_video_frames", load)
        state = predictor.init_state(frames(), offload_video_to_cpu=True)
        assert (asked["image_size"], asked["offload_video_to_cpu"]) == (128, True)
        assert state["images"][0].dtype == torch.float16 and state["video_height"] == HEIGHT
        masks = tracked_from(predictor, state)
        assert masks.keys() == expected.keys()
        assert all((masks[frame] - expected[frame]).abs().max() < 0.3 for frame in masks)


def tracked_from(predictor: official.SAM2VideoPredictor, state: InferenceState) -> dict[int, torch.Tensor]:
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    return tracked(predictor, state)


def write_clip(path: Path) -> Path:
    write_video(path, frames(), fps=10)
    return path


def test_objects_come_and_go_at_any_time(predictor: official.SAM2VideoPredictor, state: InferenceState) -> None:
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    rows = []
    for frame, obj_ids, masks in predictor.propagate_in_video(state):
        rows.append((list(obj_ids), masks.shape[0]))
        if frame == 2:
            predictor.add_new_points_or_box(state, 3, 2, points=[[96, 84]], labels=[1])
        if frame == 5:
            predictor.remove_object(state, 1)
    assert rows == [([1], 1)] * 3 + [([1, 2], 2)] * 3 + [([2], 1)] * 2


def test_tracking_is_one_batch_over_objects(
    predictor: official.SAM2VideoPredictor, state: InferenceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for obj_id, x in enumerate((30, 60, 90)):
        predictor.add_new_points_or_box(state, 0, obj_id, points=[[x, 50]], labels=[1])
    network, batches = predictor.network, []
    segment = network.segment

    def recording(features: Any, embedding: torch.Tensor, *arguments: Any) -> Any:
        batches.append(len(embedding))
        return segment(features, embedding, *arguments)

    monkeypatch.setattr(network, "segment", recording)
    tracked(predictor, state, max_frame_num_to_track=3)
    assert batches == [3, 3, 3]


def test_under_autocast_tracking_gives_float32_masks(predictor: official.SAM2VideoPredictor) -> None:
    expected = tracked_from(predictor, predictor.init_state(frames()))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        state = predictor.init_state(frames())
        masks = tracked_from(predictor, state)
        predictor.add_new_points_or_box(state, 4, 2, points=[[80, 84]], labels=[1])  # late
        assert len(tracked(predictor, state)) == NUM_FRAMES
    for frame, mask in masks.items():
        assert mask.dtype == torch.float32
        union = ((mask > 0) | (expected[frame] > 0)).sum()
        assert ((mask > 0) ^ (expected[frame] > 0)).sum() < 0.25 * union


def test_memories_around_a_prompt_can_be_cleared(tmp_path: Path) -> None:
    predictor = video_predictor({**CASE, "settings": {"clear_non_cond_mem_around_input": True}}, tmp_path)
    state = predictor.init_state(frames() * 3)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    tracked(predictor, state)
    predictor.add_new_points_or_box(state, 12, 1, points=[[70, 56]], labels=[0])
    predictor.propagate_in_video_preflight(state)
    left = set(state["output_dict_per_obj"][0]["non_cond_frame_outputs"])
    assert left == {*range(1, 5), *range(20, 24)}


def test_the_features_of_a_frame(predictor: official.SAM2VideoPredictor, state: InferenceState) -> None:
    image, backbone, features, encodings, sizes = predictor._get_image_feature(state, 1, batch_size=2)
    assert image.shape == (2, 3, 128, 128) and set(backbone) == {"backbone_fpn", "vision_pos_enc"}
    assert sizes == [(32, 32), (16, 16), (8, 8)]
    assert [level.shape for level in features] == [(1024, 2, 8), (256, 2, 16), (64, 2, 64)]
    assert features[-1].shape == encodings[-1].shape
