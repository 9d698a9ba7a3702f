"""The predictor of the real-time forks: frames one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_api_ours import checkpoint, load_cases, video_predictor
from official_api_runs import HEIGHT, NUM_FRAMES
from official_goldens import disc, draw_clip
from PIL import Image

from sam2_hf import official

CASE = load_cases("video")["notebook"]
# As long as the reach of the object pointers: from there on, the length of a clip does not count.
LENGTH = 16
CLICK: dict[str, Any] = {"points": [[36, 40]], "labels": [1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(CASE, tmp_path_factory.mktemp("official"))


@pytest.fixture
def camera(folder: Path) -> official.SAM2CameraPredictor:
    return official.build_sam2_camera_predictor_hf(str(folder), device="cpu")


def frames(count: int = NUM_FRAMES) -> list[np.ndarray]:
    clip = [np.ascontiguousarray(frame[:HEIGHT]) for frame in draw_clip(NUM_FRAMES)]
    return [clip[index % NUM_FRAMES] for index in range(count)]


def test_a_stream_gives_the_masks_of_a_clip(camera: official.SAM2CameraPredictor, tmp_path: Path) -> None:
    predictor = video_predictor(CASE, tmp_path)
    state = predictor.init_state(frames(LENGTH))
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_mask(state, 0, 2, disc(96, 84, 12)[:HEIGHT])
    expected = {frame: masks for frame, _, masks in predictor.propagate_in_video(state)}
    camera.load_first_frame(frames()[0])
    frame, obj_ids, masks = camera.add_new_prompt(0, 1, **CLICK)
    assert (frame, obj_ids) == (0, [1]) and torch.equal(masks, expected[0][:1])
    camera.add_new_mask(0, 2, disc(96, 84, 12)[:HEIGHT])
    for index, image in enumerate(frames(LENGTH)[1:], start=1):
        obj_ids, masks = camera.track(Image.fromarray(image) if index % 2 else image)
        assert obj_ids == [1, 2] and camera.frame_idx == index
        torch.testing.assert_close(masks, expected[index], atol=1e-4, rtol=1e-4)


def test_memory_does_not_grow(camera: official.SAM2CameraPredictor) -> None:
    camera.load_first_frame(frames()[0])
    camera.add_new_points(0, 1, [[36, 40]], [1])
    sizes = []
    for image in frames(40)[1:]:
        camera.track(image)
        sizes.append(camera.condition_state.session.state_nbytes)
    assert sizes[-1] == sizes[20]


def test_prompts_between_frames(camera: official.SAM2CameraPredictor) -> None:
    camera.load_first_frame(frames()[0])
    camera.add_new_prompt(0, 1, bbox=[[16, 20], [58, 60]])
    camera.track(frames()[1])
    assert camera.add_new_prompt_during_track(point=[[96, 84]])[:2] == (1, [1, 2])
    assert camera.add_new_prompt_during_track(bbox=[60, 10, 100, 50], if_new_target=False)[:2] == (1, [1, 2])
    assert camera.add_new_promot_during_track(mask=disc(30, 60, 10)[:HEIGHT])[:2] == (1, [1, 2, 3])
    obj_ids, masks = camera.track(frames()[2])
    assert obj_ids == [1, 2, 3] and masks.shape == (3, 1, HEIGHT, 128)


def test_frames_to_condition_on(camera: official.SAM2CameraPredictor) -> None:
    camera.load_first_frame(frames()[0])
    camera.add_new_prompt(0, 1, **CLICK)
    camera.add_conditioning_frame(frames()[3])
    frame, obj_ids, _ = camera.add_new_prompt(1, 1, points=[[48, 46]], labels=[1])
    assert (frame, obj_ids) == (1, [1])
    assert camera.track(frames()[4])[0] == [1]
    camera.reset_state()
    assert camera.condition_state["obj_ids"] == []
    assert camera.add_new_prompt(2, "new", **CLICK)[1] == ["new"]


def test_what_is_wrong_is_said(camera: official.SAM2CameraPredictor) -> None:
    with pytest.raises(RuntimeError, match="load_first_frame"):
        camera.track(frames()[0])
    camera.load_first_frame(frames()[0])
    with pytest.raises(ValueError, match=r"keep their size.*\(96, 128\), got \(50, 128\)"):
        camera.track(frames()[0][:50])
    with pytest.raises(TypeError, match="must be an array"):
        camera.track("frame.png")
    with pytest.raises(ValueError, match="if_new_target=False"):
        camera.add_new_prompt_during_track(point=[[1, 2]], if_new_target=False)
