"""Tracking by NumPy: whatever a user does, the runtime gives the masks that torch gives, frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_graphs import TorchGraphs, write_parameters
from video_scenes import PROCESSOR, PROMPTS, clip, flickering_model, pixels, scene_model

from sam2_hf.prompt_values import NO_OBJECT_LOGIT
from sam2_hf.runtime import VideoProcessor, VideoSession
from sam2_hf.runtime.exported_folder import ExportedFolder
from sam2_hf.runtime.video_model import VideoModel
from sam2_hf.tracking.session import Sam2VideoInferenceSession

# Parts of the largest value. The arithmetic is the same in another order, so now and then the last bit of a memory in
# bfloat16, of eight, is rounded the other way; random weights answer to that with a multiple.
TOLERANCE = 5e-3


class Pair:
    """A model in torch and the runtime over the same weights, and a session of each, which get the same."""

    def __init__(self, model: Any, folder: Any, num_frames: int | None = 8, **settings: Any):
        exported = ExportedFolder(write_parameters(model, folder))
        self.graphs = TorchGraphs(model)
        self.model, self.processor = VideoModel(exported, self.graphs), VideoProcessor(exported)
        self.torch_model, self.settings = model, settings
        video = None if num_frames is None else clip(num_frames)
        self.session = self.processor.init_video_session(video, **settings)
        self.torch_session = PROCESSOR.init_video_session(video, **settings)

    def give(self, frame: int, obj_id: Any, kind: str, **settings: Any) -> None:
        for processor, session in ((self.processor, self.session), (PROCESSOR, self.torch_session)):
            processor.add_inputs_to_inference_session(session, frame, [obj_id], **PROMPTS[kind], **settings)

    def propagate(self, **settings: Any) -> int:
        """Both all the way; how many frames were compared."""
        ours = self.model.propagate_in_video_iterator(self.session, **settings)
        theirs = self.torch_model.propagate_in_video_iterator(self.torch_session, **settings)
        compared = 0
        for one, other in zip(ours, theirs, strict=True):
            assert_same_output(one, other)
            compared += 1
        return compared


def assert_same_output(ours: Any, theirs: Any) -> None:
    assert (ours.frame_idx, ours.object_ids) == (theirs.frame_idx, theirs.object_ids)
    for name in ("pred_masks", "object_score_logits", "iou_scores"):
        array = getattr(ours, name)
        assert isinstance(array, np.ndarray) and array.dtype == np.float32
        expected = getattr(theirs, name).numpy()
        assert np.array_equal(array == NO_OBJECT_LOGIT, expected == NO_OBJECT_LOGIT)
        scale = np.abs(expected[expected != NO_OBJECT_LOGIT]).max(initial=1.0)
        assert np.abs(array - expected).max() <= TOLERANCE * scale


def test_objects_with_every_kind_of_prompt_are_tracked_both_ways_and_corrected(tmp_path):
    pair = Pair(scene_model(), tmp_path)
    pair.give(2, "clicked", "click")
    pair.give(2, "boxed", "box_and_click")
    pair.give(4, "masked", "mask")
    assert pair.propagate(direction="both") == 6 + 4
    pair.give(5, "clicked", "background", clear_old_inputs=False)
    pair.give(6, "late", "box")
    assert pair.propagate(direction="both") == 6 + 6
    pair.session.remove_object("boxed")
    pair.torch_session.remove_object("boxed")
    assert pair.propagate() == 6


def test_objects_that_leave_and_come_back_give_the_same(tmp_path):
    pair = Pair(flickering_model(), tmp_path)
    pair.give(0, 1, "click")
    pair.give(0, 2, "box")
    assert pair.propagate() == 8
    scores = [track.results[frame].object_score for track in pair.session.tracks.values() for frame in range(8)]
    assert min(scores) < 0 < max(scores)


@pytest.mark.parametrize("policy", ["sam2", "visible", "samurai", "dam4sam", "sam2long"])
def test_every_memory_policy_reads_the_same(policy, tmp_path):
    pair = Pair(flickering_model(), tmp_path, num_frames=10, memory_policy=policy)
    pair.give(0, 1, "click")
    pair.give(3, 2, "box")
    pair.propagate()
    for track, other in zip(pair.session.tracks.values(), pair.torch_session.tracks.values(), strict=True):
        assert [result.provenance for result in track.results.values()] == [
            result.provenance for result in other.results.values()
        ]


def test_a_stream_is_tracked_in_constant_memory(tmp_path):
    pair = Pair(scene_model(), tmp_path, num_frames=None)
    sizes = []
    for frame in range(20):
        ours = pair.model(pair.session, frame=pixels(frame).numpy())
        theirs = pair.torch_model(pair.torch_session, frame=pixels(frame))
        if frame == 0:
            pair.give(0, 1, "click", original_size=(128, 128))
            continue
        assert_same_output(ours, theirs)
        sizes.append(pair.session.state_nbytes)
    assert len(pair.session.tracks[1].results) < 19
    assert sizes[-1] == sizes[-2]


@pytest.mark.parametrize("written_by", ["runtime", "torch"])
def test_what_one_side_saves_the_other_goes_on_with(written_by, tmp_path):
    pair = Pair(scene_model(), tmp_path)
    pair.give(0, 1, "click")
    pair.give(0, "two", "box")
    pair.propagate(max_frame_num_to_track=4)
    (pair.session if written_by == "runtime" else pair.torch_session).save(tmp_path / "saved")
    pair.session = VideoSession.load(tmp_path / "saved", clip(8), pair.processor)
    pair.graphs.runs.clear()
    pair.propagate(max_frame_num_to_track=4)
    assert "memory_attention" not in pair.graphs.runs, "results that were saved are computed again"
    if written_by == "runtime":
        loaded = Sam2VideoInferenceSession.load(tmp_path / "saved", clip(8))
        stored = loaded.tracks[1].results[3].memory.features
        assert stored.dtype == torch.bfloat16
        assert torch.equal(stored, pair.torch_session.tracks[1].results[3].memory.features) or torch.allclose(
            stored.float(), pair.torch_session.tracks[1].results[3].memory.features.float(), atol=2e-2
        )
    pair.give(5, 1, "clicks")
    pair.propagate()


def test_wrong_calls_name_what_is_wrong_and_change_nothing(tmp_path):
    pair = Pair(scene_model(), tmp_path)
    with pytest.raises(ValueError, match="there is nothing to propagate"):
        pair.model.propagate_in_video_iterator(pair.session)
    with pytest.raises(TypeError, match="inference_session must be a VideoSession, got Sam2VideoInferenceSession"):
        pair.model(pair.torch_session, frame_idx=0)
    with pytest.raises(TypeError, match="inference_session must be a session of init_video_session"):
        pair.processor.add_inputs_to_inference_session(pair.torch_session, 0, [1], input_boxes=[[[1, 2, 3, 4]]])
    with pytest.raises(ValueError, match="processor must be given with video"):
        VideoSession.load(tmp_path / "none", clip(8))
    stream = pair.processor.init_video_session()
    with pytest.raises(ValueError, match=r"frame must be one frame's pixel_values .* got \(3, 4, 4\)"):
        pair.model(stream, frame=np.zeros((3, 4, 4), np.float32))
    with pytest.raises(ValueError, match="NaN or infinite"):
        pair.model(stream, frame=np.full((3, 128, 128), np.nan, np.float32))
    assert stream.num_frames == 0
