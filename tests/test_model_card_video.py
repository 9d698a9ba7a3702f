"""The video code of the checkpoints' model card, as it is written there but for the import line.

Like its image code in `test_model_card`, on a small random checkpoint. In place of the clip that the card fetches,
one of the same size but shorter is drawn here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers.video_utils
from test_model_card import ALL_BLOCKS, CHECKPOINT, VIDEO_CHAPTERS, Reader
from tiny_checkpoint import save_tiny_checkpoint

import sam2_hf

SIZE = (480, 854)
NUM_FRAMES = 54  # the card's clip has 180; its correction is on frame 50
VIDEO_BLOCKS = [block for block in ALL_BLOCKS if block.chapter in VIDEO_CHAPTERS]


def draw_video(url: str) -> tuple[np.ndarray, None]:
    """What `load_video` gives: frames (time, height, width, 3) uint8, a square that moves over a ground in colours."""
    assert url.endswith("bedroom.mp4")
    ground = np.random.default_rng(0).integers(60, 180, (6, 7, 3), dtype=np.uint8).repeat(80, 0).repeat(122, 1)
    frames = np.stack([ground] * NUM_FRAMES)
    for index, frame in enumerate(frames):
        frame[250:420, 120 + 4 * index : 300 + 4 * index] = (220, 40, 40)
    return frames, None


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    save_tiny_checkpoint(folder / CHECKPOINT, video=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(transformers.video_utils, "load_video", draw_video)
        yield Reader(VIDEO_BLOCKS)


def check_basic_tracking(state):
    assert type(state.model) is sam2_hf.Sam2VideoModel and type(state.processor) is sam2_hf.Sam2VideoProcessor
    assert state.model.dtype == torch.bfloat16
    assert list(state.video_segments) == list(range(NUM_FRAMES))
    assert all(masks.shape == (1, 1, *SIZE) for masks in state.video_segments.values())


def check_several_objects(state):
    assert state.inference_session.obj_ids == [2, 3]
    assert list(state.video_segments) == list(range(NUM_FRAMES))
    for masks in state.video_segments.values():
        assert {obj_id: mask.shape for obj_id, mask in masks.items()} == {2: (1, *SIZE), 3: (1, *SIZE)}


def check_refinement(state):
    assert list(state.video_segments) == list(range(NUM_FRAMES))
    assert all(masks.shape == (2, 1, *SIZE) for masks in state.video_segments.values())
    tracks = state.inference_session.tracks
    assert {obj_id: sorted(track.results.conditioning) for obj_id, track in tracks.items()} == {2: [0, 50], 3: [0]}


def check_streaming(state):
    assert state.inference_session.video is None and state.inference_session.num_frames == 10
    assert state.video_res_masks.shape == (1, 1, *SIZE)


def check_batch_of_objects(state):
    session = state.inference_session
    assert session.obj_ids == [2, 3] and len(session.tracks[2].prompts[0].labels) == 3
    assert list(state.video_segments) == list(range(NUM_FRAMES))


CHECKS = {
    "Basic Video Tracking": check_basic_tracking,
    "Multi-Object Video Tracking": check_several_objects,
    "Refining Video Segmentation": check_refinement,
    "Streaming Video Inference": check_streaming,
    "Video Batch Processing for Multiple Objects": check_batch_of_objects,
}


def test_no_video_block_of_the_card_is_left_out():
    assert [block.section for block in VIDEO_BLOCKS] == list(CHECKS)


@pytest.mark.parametrize("section", CHECKS)
def test_video_code_runs_as_written(section, card):
    state, outputs = card.read(section)
    CHECKS[section](state)
    for printed, wanted in outputs:
        assert printed == wanted.replace("180 frames", f"{NUM_FRAMES} frames")
