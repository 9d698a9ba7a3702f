"""The memory policies of SAMURAI and DAM4SAM: what they decide, and that sessions carry it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from video_scenes import PROCESSOR, assert_same, clip, give, prompted, stream, tiny_model, track

from sam2_hf.tracking.memory import dam4sam, kalman, rivals
from sam2_hf.tracking.memory.candidates import MaskCandidates, boxes_of
from sam2_hf.tracking.memory.dam4sam import DistractorAwareMemory
from sam2_hf.tracking.memory.history import FrameSets
from sam2_hf.tracking.memory.policy import Sighting
from sam2_hf.tracking.memory.registry import build_memory_policy
from sam2_hf.tracking.memory.rivals import largest_components, rival_overlaps
from sam2_hf.tracking.memory.sam2long import TreeMemory
from sam2_hf.tracking.memory.samurai import SamuraiMemory
from sam2_hf.tracking.retention import Checkpointed
from sam2_hf.tracking.session import Sam2VideoInferenceSession

# With random weights few masks are trusted, so these trust more of them.
PROMOTING = {"stride": 2, "resolving_iou": 0.0, "resolving_area": 9.0, "resolving_gap": 1, "rival_overlap": 1.0}
POLICIES = {
    "samurai": SamuraiMemory(stable_frames=2, stable_iou=0.01, memory_iou=0.3, motion_weight=0.9, num_maskmem=4),
    "dam4sam": DistractorAwareMemory(num_maskmem=4, max_cond_frame_num=3, **PROMOTING),
    "sam2long": TreeMemory(num_maskmem=4, memory_iou=0.3, delay=0),
}
LENGTH = 9  # so that multiples of the stride are multiples of it in the reversed clip as well

policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))


def decisions(session: Sam2VideoInferenceSession, obj_id: str = "a") -> dict[int, tuple]:
    """What a policy left of each frame: its state, whether it was promoted, whether it counts as visible."""
    results = session.tracks[obj_id].results
    return {
        frame: (result.policy_state, result.is_promoted, result.is_visible) for frame, result in sorted(results.items())
    }


def assert_close(masks, expected) -> None:
    """Up to rounding: batches of other sizes, and memories in another order, add up in another order.

    Rounding of memories to bfloat16 makes some of it larger. Logits go up to 35.
    """
    assert list(masks) == list(expected)
    for frame, by_object in expected.items():
        for obj_id, mask in by_object.items():
            torch.testing.assert_close(masks[frame][obj_id], mask, rtol=1e-3, atol=0.1, msg=f"frame {frame}, {obj_id}")


class TestSessions:
    @policies
    def test_an_object_is_tracked_alone_as_among_others(self, policy) -> None:
        alone = prompted((0, "a"), num_frames=LENGTH, memory_policy=policy)
        among = prompted((0, "b", "box"), (0, "a"), (2, "c", "clicks"), num_frames=LENGTH, memory_policy=policy)
        expected, masks = track(tiny_model(), alone), track(tiny_model(), among)
        assert_close({frame: {"a": found["a"]} for frame, found in masks.items()}, expected)
        assert [seen[1:] for seen in decisions(among).values()] == [seen[1:] for seen in decisions(alone).values()]

    @policies
    def test_a_stream_gives_what_a_clip_gives(self, policy) -> None:
        session = PROCESSOR.init_video_session(memory_policy=policy)
        give(session, 0, "a")
        # With 16 frames, the pointers of a clip reach as far as those of a stream.
        expected = track(tiny_model(), prompted((0, "a"), num_frames=16, memory_policy=policy))
        assert_same(stream(tiny_model(), session, range(16)), expected)
        assert len(session.tracks["a"].results) <= 24

    @policies
    def test_saving_in_the_middle_changes_nothing(self, policy, tmp_path: Path) -> None:
        session = prompted((0, "a"), num_frames=LENGTH, memory_policy=policy)
        track(tiny_model(), session, max_frame_num_to_track=5)
        session.save(tmp_path)
        loaded = Sam2VideoInferenceSession.load(tmp_path, video=clip(LENGTH))
        assert decisions(loaded) == decisions(session)
        assert_same(track(tiny_model(), loaded), track(tiny_model(), session))
        assert decisions(loaded) == decisions(session)

    @policies
    def test_backwards_is_the_reversed_clip_forwards(self, policy) -> None:
        forward, backward = (
            PROCESSOR.init_video_session(frames, memory_policy=policy) for frames in (clip(LENGTH)[::-1], clip(LENGTH))
        )
        give(forward, 0, "a", "mask")
        give(backward, LENGTH - 1, "a", "mask")
        expected = track(tiny_model(), forward)
        found = track(tiny_model(), backward, start_frame_idx=LENGTH - 1, reverse=True)
        assert_close({LENGTH - 1 - frame: masks for frame, masks in found.items()}, expected)
        assert [seen[1:] for seen in decisions(backward).values()] == [
            seen[1:] for seen in reversed(decisions(forward).values())
        ]

    @policies
    def test_a_correction_computes_what_a_new_session_computes(self, policy) -> None:
        session = prompted((0, "a"), num_frames=LENGTH, memory_policy=policy)
        track(tiny_model(), session)
        give(session, 4, "a", "mask")
        corrected = track(tiny_model(), session)
        fresh = prompted((0, "a"), num_frames=LENGTH, memory_policy=policy)
        track(tiny_model(), fresh, max_frame_num_to_track=4)
        give(fresh, 4, "a", "mask")
        assert_same(corrected, track(tiny_model(), fresh))
        assert decisions(session) == decisions(fresh)

    @policies
    def test_what_is_readable_suffices(self, policy) -> None:
        everything = prompted((0, "a"), (3, "b"), num_frames=LENGTH, memory_policy=policy, retention="everything")
        readable = prompted((0, "a"), (3, "b"), num_frames=LENGTH, memory_policy=policy, retention="readable")
        assert_same(track(tiny_model(), readable), track(tiny_model(), everything))

    @policies
    def test_what_checkpoints_give_again_suffices(self, policy) -> None:
        found = {}
        for retention in ("everything", Checkpointed(interval=4, window=2)):
            session = prompted((0, "a"), (2, "b"), num_frames=14, memory_policy=policy, retention=retention)
            track(tiny_model(), session)
            give(session, 5, "a", "mask")
            found[str(retention)] = track(tiny_model(), session)
        everything, checkpointed = found.values()  # of which old masks are kept as bits
        for frame, by_object in everything.items():
            for obj_id, mask in by_object.items():
                assert torch.equal(checkpointed[frame][obj_id] > 0, mask > 0), f"frame {frame}, {obj_id}"

    def test_promoted_frames_are_bounded_in_clips_too(self) -> None:
        session = prompted((0, "a"), num_frames=16, memory_policy=POLICIES["dam4sam"], retention="readable")
        track(tiny_model(), session)
        promoted = [result for result in session.tracks["a"].results.values() if result.is_promoted]
        assert 1 < sum(result.memory.features is not None for result in promoted) <= 5
        assert sum(result.mask_logits is not None for result in promoted) <= 1

    @policies
    def test_the_device_is_waited_for_once_a_frame(self, policy, monkeypatch) -> None:
        monkeypatch.setattr(rivals, "is_on_accelerator", lambda array: True)
        monkeypatch.setattr(dam4sam, "is_on_accelerator", lambda array: True)

        def waits(setting) -> int:
            session, count = prompted((0, "a"), (0, "b"), num_frames=LENGTH, memory_policy=setting), 0

            def counting(method):
                def call(*args):
                    nonlocal count
                    count += 1
                    return method(*args)

                return call

            with monkeypatch.context() as patched:
                for name in ("tolist", "item", "__bool__", "cpu", "numpy", "nonzero"):
                    patched.setattr(torch.Tensor, name, counting(getattr(torch.Tensor, name)))
                track(tiny_model(), session)
            return count

        assert waits(policy) - waits("sam2") <= LENGTH

    def test_another_policy_goes_on_with_a_session(self) -> None:
        session = prompted((0, "a"), num_frames=LENGTH, memory_policy="samurai")
        track(tiny_model(), session, max_frame_num_to_track=3)
        session.memory_policy = "dam4sam"
        track(tiny_model(), session)
        assert session.tracks["a"].results[LENGTH - 1].policy_state.keys() == DistractorAwareMemory().new_state().keys()


def matrices(motion) -> tuple[np.ndarray, np.ndarray]:
    """The estimate of 8 states with its covariance (8, 8)."""
    mean = np.array([quantity.value for quantity in motion] + [quantity.velocity for quantity in motion])
    covariance = np.zeros((8, 8))
    for index, quantity in enumerate(motion):
        covariance[index, index] = quantity.variance
        covariance[index, index + 4] = covariance[index + 4, index] = quantity.covariance
        covariance[index + 4, index + 4] = quantity.velocity_variance
    return mean, covariance


boxes = st.tuples(*[st.floats(0, 500)] * 2, *[st.floats(1, 300)] * 2).map(
    lambda sides: (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
)


class TestKalmanFilter:
    @settings(max_examples=30)
    @given(st.lists(boxes, min_size=2, max_size=6))
    def test_equals_the_filter_of_eight_states(self, seen) -> None:
        motion = kalman.start(seen[0])
        mean, covariance = matrices(motion)
        step = np.eye(8) + np.eye(8, k=4)
        for box in seen[1:]:
            height = mean[3]
            noise = [height / scale for scale in (20, 20, 1, 20, 160, 160, 1, 160)]
            noise[2], noise[6] = 1e-2, 1e-5
            mean, covariance = step @ mean, step @ covariance @ step.T + np.diag(np.square(noise))
            motion = kalman.predict(motion)
            np.testing.assert_allclose(matrices(motion)[0], mean, atol=1e-6)
            sensed = np.diag(np.square([mean[3] / 20, mean[3] / 20, 1e-1, mean[3] / 20]))
            gain = covariance[:, :4] @ np.linalg.inv(covariance[:4, :4] + sensed)
            width, tall = box[2] - box[0], box[3] - box[1]
            measured = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, width / tall, tall])
            mean = mean + gain @ (measured - mean[:4])
            covariance = covariance - gain @ covariance[:4]
            motion = kalman.update(motion, box)
            np.testing.assert_allclose(matrices(motion)[0], mean, atol=1e-6)
            np.testing.assert_allclose(matrices(motion)[1], covariance, atol=1e-4)

    def test_a_box_at_rest_is_predicted_where_it_is(self) -> None:
        motion = kalman.start((10, 20, 30, 60))
        assert kalman.box_of(kalman.predict(motion)) == pytest.approx((10, 20, 30, 60))


def candidates(*masks: tuple[int, int, int, int], ious, size: int = 32, score: float = 5.0) -> MaskCandidates:
    """Candidates of one object that are boxes, (left, top, right, bottom)."""
    drawn = torch.full((1, len(masks), size, size), -1.0)
    for number, (left, top, right, bottom) in enumerate(masks):
        drawn[0, number, top:bottom, left:right] = 1.0
    return MaskCandidates(
        drawn,
        torch.tensor([ious]),
        torch.tensor([score]),
        lambda values, dtype: torch.tensor(values, dtype=getattr(torch, dtype)),
    )


def seen(policy, state, candidate, iou=0.9, score=5.0, frame=0, given=None):
    """What a policy makes of a frame, and which candidate it takes."""
    given = given or candidates(candidate, ious=[iou], score=score)
    chosen = policy.choose([state], given)
    (measured,) = policy.measure([state], given, chosen).tolist()
    return policy.observe(state, Sighting(frame, iou, score, False, tuple(measured))), int(chosen)


class TestSamurai:
    def moving(self, frames: int) -> tuple[SamuraiMemory, dict]:
        policy = SamuraiMemory(stable_frames=4)
        state = policy.new_state()
        for frame in range(frames):
            state = seen(policy, state, (2 * frame, 4, 2 * frame + 8, 12))[0].state
        return policy, state

    def test_the_mask_that_moves_as_expected_wins_once_the_motion_is_stable(self) -> None:
        given = candidates((10, 4, 18, 12), (0, 20, 8, 28), ious=[0.7, 0.8])
        for frames, expected in ((3, 1), (5, 0)):
            policy, state = self.moving(frames)
            assert int(policy.choose([state], given)) == expected

    def test_the_counter_starts_again_where_the_score_is_low(self) -> None:
        policy, state = self.moving(5)
        assert state["stable"] == 4
        assert seen(policy, state, (10, 4, 18, 12), iou=0.2)[0].state["stable"] == 0

    def test_frames_are_read_for_their_scores(self) -> None:
        policy, state = self.moving(5)
        assert seen(policy, state, (10, 4, 18, 12))[0].visible
        assert not seen(policy, state, (10, 4, 18, 12), iou=0.4)[0].visible
        assert not seen(policy, state, (10, 4, 18, 12), score=-1.0)[0].visible
        assert not seen(policy, state, (10, 24, 18, 32))[0].visible  # nowhere near the predicted box

    def test_an_empty_mask_or_a_prompt_starts_the_motion_anew(self) -> None:
        policy, state = self.moving(5)
        assert seen(policy, state, (0, 0, 0, 0))[0].state == policy.new_state()
        prompted_there = policy.observe(state, Sighting(5, 1.0, 5.0, True, (0.0, 0.0, 4.0, 4.0)))
        assert prompted_there.state["stable"] == 1
        assert policy.observe(state, Sighting(5, 1.0, 5.0, True)).state == policy.new_state()

    def test_a_model_names_its_numbers(self) -> None:
        config = tiny_model().config
        assert build_memory_policy(config, {"name": "samurai", "motion_weight": 0.15}).motion_weight == 0.15
        with pytest.raises(ValueError, match="motion_weight must be from 0 to 1, got 2"):
            SamuraiMemory(motion_weight=2)


class TestDam4Sam:
    policy = DistractorAwareMemory()

    def usual(self, frames: int = 3) -> dict:
        state = self.policy.new_state()
        for frame in range(frames):
            state = seen(self.policy, state, (4, 4, 12, 12), frame=frame)[0].state
        return state

    def test_a_frame_with_a_rival_is_promoted_where_the_mask_is_trusted(self) -> None:
        rival = candidates((4, 4, 12, 12), (4, 4, 20, 12), (4, 4, 12, 12), ious=[0.9, 0.5, 0.4])
        near = candidates((4, 4, 12, 12), (4, 4, 13, 12), (4, 4, 12, 12), ious=[0.9, 0.5, 0.4])
        state = self.usual()
        observation, chosen = seen(self.policy, state, None, given=rival, frame=7)
        assert chosen == 0 and observation.promotes and observation.state["promoted"] == 7
        assert not seen(self.policy, state, None, given=near)[0].promotes
        assert not seen(self.policy, state, None, given=rival, iou=0.8)[0].promotes
        assert not seen(self.policy, self.usual(0), None, given=rival)[0].promotes
        larger = candidates((4, 4, 16, 12), (4, 4, 30, 12), ious=[0.9, 0.5])
        assert not seen(self.policy, state, None, given=larger)[0].promotes  # half as large again
        hidden = candidates((4, 4, 12, 12), (4, 4, 20, 12), ious=[0.9, 0.5], score=-1.0)
        assert not seen(self.policy, state, None, given=hidden, score=-1.0)[0].promotes

    def test_some_frames_pass_before_the_next_is_promoted(self) -> None:
        rival = candidates((4, 4, 12, 12), (4, 4, 20, 12), ious=[0.9, 0.5])
        state = self.usual() | {"promoted": 10}
        found = [seen(self.policy, state, None, given=rival, frame=frame)[0].promotes for frame in (15, 16, 5, 4)]
        assert found == [False, True, False, True]

    def test_frames_share_seven_slots(self) -> None:
        tracked = [frame for frame in range(1, 60) if frame not in (30, 40)]
        history = FrameSets([0, 30, 40], tracked, visible=set(range(60)) - {45, 59})
        selection = self.policy.select(history, 60)
        assert selection.memories == ((0, 6), (30, 6), (40, 6), (35, 3), (50, 2), (55, 1), (58, 0))
        assert [slot.frame for slot in selection.pointers] == [0, 30, 40, *range(46, 59)]

    def test_the_first_and_the_nearest_conditioning_frames_are_read(self) -> None:
        assert self.policy.read_conditioning([0, 10, 20, 30, 40, 49], 50, reverse=False) == [0, 20, 30, 40]
        assert self.policy.read_conditioning([90, 80, 70, 60, 51], 50, reverse=True) == [60, 70, 80, 90]
        assert self.policy.read_conditioning([49], 50, reverse=False) == [49]

    def test_a_limit_of_the_model_goes_before_its_own(self) -> None:
        config = tiny_model().config
        assert build_memory_policy(config, "dam4sam").max_cond_frame_num == 4
        config = tiny_model(max_cond_frame_num=2).config
        assert build_memory_policy(config, "dam4sam").max_cond_frame_num == 2


class TestRivals:
    @pytest.mark.parametrize("waits", [True, False])
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 1.0])
    def test_largest_components_are_those_of_scipy(self, share, waits, monkeypatch) -> None:
        monkeypatch.setattr(rivals, "is_on_accelerator", lambda array: not waits)
        masks = np.random.default_rng(0).random((3, 17, 23)) < share
        expected = np.zeros_like(masks)
        for mask, kept in zip(masks, expected, strict=True):
            labels, count = ndimage.label(mask, np.ones((3, 3)))
            if count:
                kept[:] = labels == np.bincount(labels.ravel())[1:].argmax() + 1
        assert (largest_components(masks) == expected).all()
        assert (largest_components(torch.from_numpy(masks)).numpy() == expected).all()

    def test_a_long_path_is_one_component_on_accelerators_too(self, monkeypatch) -> None:
        path = np.zeros((1, 64, 64), bool)
        path[0, ::2] = True
        path[0, 1::4, -1] = path[0, 3::4, 0] = True
        path[0, 1, -1] = False  # cut off the first line
        monkeypatch.setattr(rivals, "is_on_accelerator", lambda array: True)
        found = largest_components(torch.from_numpy(path))[0].numpy()
        assert not found[0].any() and (found[2:] == path[0, 2:]).all()

    def test_without_a_rival_the_boxes_are_the_same(self) -> None:
        masks = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
        masks[0, :2, 2:4, 2:4] = True
        assert rival_overlaps(masks, torch.tensor([0])).tolist() == [1.0]
        masks[0, 2, 2:4, 6:8] = True  # beside it, so that the box is three times as wide
        masks[0, 1, 0, 0] = True
        assert rival_overlaps(masks, torch.tensor([0])).tolist() == pytest.approx([0.25])
        assert rival_overlaps(masks.numpy(), np.array([0])).tolist() == pytest.approx([0.25])

    def test_boxes_reach_to_the_edges_of_pixels(self) -> None:
        masks = torch.full((2, 6, 8), -1.0)
        masks[0, 2:4, 3:7] = 1.0
        for either in (masks, masks.numpy()):
            box, empty = boxes_of(either).tolist()
            assert box == [3, 2, 7, 4] and empty[2] <= empty[0] and empty[3] <= empty[1]
