"""The video code of the checkpoints' model card, as it is written there but for the import line.

It runs in order and in one namespace, on a small random checkpoint. The clip is drawn here; with the environment
variable SAM2_HF_CLIP it is the file that this names.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import transformers.video_utils
from test_model_card import ALL_BLOCKS, CHECKPOINT, VIDEO_CHAPTERS, Reader
from tiny_checkpoint import save_tiny_checkpoint

import sam2_hf
from sam2_hf.video_source import open_video

NUM_FRAMES, HEIGHT, WIDTH = 56, 480, 854
BLOCKS = [block for block in ALL_BLOCKS if block.chapter in VIDEO_CHAPTERS]
FROM_THE_CLIP = ("Tracked", "Segmentation shape", "Generated masks for 2 objects")


def draw_clip() -> np.ndarray:
    """uint8 (frames, height, width, 3): two squares that wander over a checked ground."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ground = (90 + 40 * ((rows // 60 + columns // 60) % 2)).astype(np.uint8)
    clip = np.repeat(np.repeat(ground[None, ..., None], 3, axis=-1), NUM_FRAMES, axis=0)
    for index in range(NUM_FRAMES):
        clip[index, 200:360, 140 + 3 * index : 280 + 3 * index] = (220, 60, 40)
        clip[index, 90 + index : 200 + index, 360:480] = (40, 90, 230)
    return clip


def load_clip(video: str, **_: Any) -> tuple[np.ndarray, None]:
    """What transformers' `load_video` gives for the card's address."""
    path = os.environ.get("SAM2_HF_CLIP")
    if path is None:
        return draw_clip(), None
    with open_video(path) as source:
        return np.stack([frame.permute(1, 2, 0).numpy() for frame in source]), None


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    save_tiny_checkpoint(folder / CHECKPOINT, image_size=128, video=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(transformers.video_utils, "load_video", load_clip)
        yield Reader(BLOCKS)


def sized(state, count: int) -> tuple[int, ...]:
    height, width = np.shape(state.video_frames)[1:3]
    return (count, 1, height, width)


def check_basic(state):
    assert type(state.model) is sam2_hf.Sam2VideoModel and state.model.dtype == torch.bfloat16
    assert sorted(state.video_segments) == list(range(len(state.video_frames)))
    assert all(masks.shape == sized(state, 1) for masks in state.video_segments.values())


def check_two_objects(state):
    assert len(state.video_segments) == len(state.video_frames)
    for masks in state.video_segments.values():
        assert list(masks) == [2, 3]
        assert all(mask.shape == sized(state, 1)[1:] for mask in masks.values())


def check_refined(state):
    # Object 2 was clicked on another place of frame 50: that frame conditions it from now on, and its masks changed.
    tracks = state.inference_session.tracks
    assert sorted(tracks[2].conditioning_frames()) == [0, 50]
    assert tracks[3].conditioning_frames() == [0]
    assert all(masks.shape == sized(state, 2) for masks in state.video_segments.values())


def check_streamed(state):
    assert state.inference_session.video is None
    assert state.sam2_video_output.frame_idx == 9
    assert state.video_res_masks.shape == sized(state, 1)


CHECKS = {
    "Basic Video Tracking": check_basic,
    "Multi-Object Video Tracking": check_two_objects,
    "Refining Video Segmentation": check_refined,
    "Streaming Video Inference": check_streamed,
    "Video Batch Processing for Multiple Objects": check_two_objects,
}


def test_no_video_block_of_the_card_is_left_out():
    assert [block.section for block in BLOCKS] == list(CHECKS)


@pytest.mark.parametrize("section", CHECKS)
def test_video_code_runs_as_written(section, card):
    state, outputs = card.read(section)
    CHECKS[section](state)
    for printed, wanted in outputs:
        assert printed == wanted or wanted.startswith(FROM_THE_CLIP)


def test_a_refinement_changes_the_object_that_it_is_for_and_no_other(card):
    before, _ = card.read("Multi-Object Video Tracking")
    after, _ = card.read("Refining Video Segmentation")
    last = len(before.video_frames) - 1
    assert not torch.equal(before.video_segments[last][2], after.video_segments[last][0])
    assert torch.equal(before.video_segments[last][3], after.video_segments[last][1])
