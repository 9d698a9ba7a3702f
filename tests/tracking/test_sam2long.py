"""The memory policy of SAM2Long: which paths go on, what each reads, and what is shown in the end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from video_scenes import PROCESSOR, assert_same, clip, counted, give, prompted, tiny_model, track

from sam2_hf.tracking.memory.candidates import MaskCandidates
from sam2_hf.tracking.memory.policy import Sighting
from sam2_hf.tracking.memory.sam2long import STREAM_DELAY, TreeMemory
from sam2_hf.tracking.retention import Checkpointed
from sam2_hf.tracking.session import Sam2VideoInferenceSession

LENGTH = 10
STREAMED = 16  # the pointers of a clip then reach as far as those of a stream


def take_numpy(values: Any, dtype: str) -> np.ndarray:
    return np.asarray(values, dtype)


def take_torch(values: Any, dtype: str) -> torch.Tensor:
    return torch.tensor(values, dtype=getattr(torch, dtype))


def best_by_definition(
    scores: list[float], ious: list[list[float]], object_scores: list[float], count: int
) -> list[tuple[int, int]]:
    """Section 3.2 of the paper for one object: (path, candidate) of those that go on, the best first."""
    found = [
        (scores[path] + math.log(iou + 1e-5), path, candidate)
        for path, row in enumerate(ious)
        for candidate, iou in enumerate(row)
    ]
    found.sort(key=lambda one: -one[0])
    if max(map(abs, object_scores)) > 2.0:
        return [one[1:] for one in found[:count]]
    distinct: list[tuple[int, int]] = []
    for _, path, candidate in found:
        if round(100 * ious[path][candidate]) not in {round(100 * ious[p][c]) for p, c in distinct}:
            distinct.append((path, candidate))
    rest = [one[1:] for one in found if one[1:] not in distinct]
    return [*distinct, *rest][:count]


# IoUs away from where rounding to two digits is a matter of the last bit, and no two sums alike.
hundredths = st.integers(0, 20).map(lambda number: number / 20 + 0.001)


@st.composite
def frames_of_objects(draw: Any) -> tuple[list[list[float]], list[list[list[float]]], list[list[float]]]:
    """Scores of paths, IoUs and object scores of two objects."""
    paths, each = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    floats = st.floats(-4, 4, width=32)
    scores = [[-0.37 * draw(st.integers(0, 3)) - 0.0131 * path for path in range(paths)] for _ in range(2)]
    ious = [[[draw(hundredths) for _ in range(each)] for _ in range(paths)] for _ in range(2)]
    return scores, ious, [[draw(floats) for _ in range(paths)] for _ in range(2)]


class TestBranch:
    @pytest.mark.parametrize("take", [take_torch, take_numpy])
    @settings(max_examples=25, deadline=None)
    @given(given_frames=frames_of_objects())
    def test_equals_the_paper(self, take: Any, given_frames: Any) -> None:
        scores, ious, object_scores = given_frames
        policy = TreeMemory()
        flat = [[iou for row in rows for iou in row] for rows in ious]
        candidates = MaskCandidates(
            take([[[[1.0]]] * len(flat[0])] * 2, "float32")[:, :, 0],
            take(flat, "float32"),
            take(object_scores, "float32"),
            take,
        )
        states = [{**policy.new_state(), "scores": one} for one in scores]
        chosen, measured = policy.branch(states, candidates)
        for row in range(2):
            expected = best_by_definition(scores[row], ious[row], object_scores[row], 3)
            columns = np.array(measured[row].tolist()).reshape(5, -1)
            sums = [scores[row][path] + math.log(ious[row][path][one] + 1e-5) for path, one in expected]
            found = [(int(path), int(one)) for path, one in columns[:2].T]
            assert [ious[row][path][one] for path, one in found] == [ious[row][path][one] for path, one in expected]
            np.testing.assert_allclose(columns[2], np.array(sums) - sums[0], atol=1e-4)
            assert chosen[row].tolist() == [path * len(ious[row][0]) + one for path, one in found]
            np.testing.assert_allclose(columns[4], [object_scores[row][path] for path, _ in found], rtol=1e-6)

    def test_paths_that_go_on_differ_where_no_path_is_certain(self) -> None:
        policy, ious = TreeMemory(), take_torch([[0.9, 0.901, 0.5, 0.899, 0.3, 0.2]], "float32")
        found = {}
        for score in (1.0, 3.0):
            candidates = MaskCandidates(
                torch.ones(1, 6, 2, 2), ious, take_torch([[score, -1.0]], "float32"), take_torch
            )
            state = {**policy.new_state(), "scores": [0.0, 0.0]}
            found[score] = policy.branch([state], candidates)[0].tolist()
        assert found == {1.0: [[1, 2, 4]], 3.0: [[1, 0, 3]]}


class TestPaths:
    @settings(max_examples=12, deadline=None)
    @given(data=st.data())
    def test_each_path_reads_its_last_good_frames_by_its_own_numbers(self, data: Any) -> None:
        policy = TreeMemory(num_maskmem=4, max_object_pointers=5)
        state = policy.observe(policy.new_state(), Sighting(0, 0.9, 5.0, is_prompted=True)).state
        lineages: list[list[tuple[int, int, bool]]] = [[(0, 0, True)]]
        for frame in range(1, 12):
            parents = data.draw(st.lists(st.integers(0, len(lineages) - 1), min_size=3, max_size=3))
            ious = data.draw(st.lists(st.sampled_from([0.05, 0.8]), min_size=3, max_size=3))
            shows = data.draw(st.lists(st.sampled_from([-1.0, 4.0]), min_size=3, max_size=3))
            measured = (*map(float, parents), 0.0, 1.0, 2.0, 0.0, -1.0, -2.0, *ious, *shows)
            seen = policy.observe(state, Sighting(frame, ious[0], shows[0], measured=measured))
            state, good = seen.state, [iou > 0.1 and score > 0 for iou, score in zip(ious, shows, strict=True)]
            lineages = [[(frame, number, good[number]), *lineages[parents[number]]] for number in range(3)]
            assert seen.visible == good[0]
            for path, lineage in zip(policy.paths(state), lineages, strict=True):
                assert path.visible == tuple(other for other, _, is_good in lineage if is_good)[:3]
                for other, number, _ in lineage:
                    if frame - other < 5 or other in path.visible:
                        assert path.numbers.get(other, 0) == number

    def test_keys_are_scaled_by_the_rank_of_the_object_score(self) -> None:
        session = prompted((0, "a"), num_frames=LENGTH, memory_policy=TreeMemory(num_maskmem=4))
        with counted(tiny_model(), pytest.MonkeyPatch(), "read_memories") as calls:
            track(tiny_model(), session)
        _, stored, scale = calls["read_memories"][-1]
        assert stored.features.shape[0] == 3, "the paths are rows of the batch"
        count = stored.features.shape[1]
        expected = torch.linspace(0.95, 1.05, count)
        for row in scale:
            torch.testing.assert_close(row.sort().values, expected)

    def test_paths_differ(self) -> None:
        session = prompted((0, "a"), num_frames=LENGTH, memory_policy="sam2long")
        track(tiny_model(), session)
        last = session.tracks["a"].results[LENGTH - 1]
        masks = [last.mask_logits, *(other.mask_logits for other in last.alternatives)]
        assert len(masks) == 3
        assert all(not masks[one].equal(masks[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


def lineage(session: Sam2VideoInferenceSession, last: int) -> list[int]:
    """The number by which each frame has what leads to the best path of the last one."""
    results, number, numbers = session.tracks["a"].results, 0, []
    for frame in range(last, -1, -1):
        numbers.append(number)
        number = results[frame].policy_state["parents"][number]
    return numbers[::-1]


class TestAnswers:
    def test_a_clip_shows_what_leads_to_the_best_path_in_the_end(self) -> None:
        session = prompted((0, "a"), (0, "b", "box"), num_frames=LENGTH, memory_policy="sam2long")
        masks = track(tiny_model(), session)
        numbers, results = lineage(session, LENGTH - 1), session.tracks["a"].results
        assert any(numbers), "later frames change what is shown"
        for frame, number in enumerate(numbers):
            result = results[frame]
            shown = result if number == 0 else result.alternatives[number - 1]
            assert masks[frame]["a"].equal(shown.mask_logits)
        assert_same(track(tiny_model(), session), masks)

    @pytest.mark.parametrize("delay", [0, 2])
    def test_a_stream_shows_it_a_few_frames_later(self, delay: int) -> None:
        frames = iter(clip(STREAMED))
        session = PROCESSOR.init_video_session(frames, memory_policy=TreeMemory(delay=delay))
        give(session, 0, "a")
        whole = prompted((0, "a"), num_frames=STREAMED, memory_policy=TreeMemory(delay=delay), retention="everything")
        expected, found = track(tiny_model(), whole), []
        for output in tiny_model().propagate_in_video_iterator(session):
            frame, newest = output.frame_idx, session.newest_streamed
            assert newest == min(frame + delay, STREAMED - 1)
            number = lineage(whole, newest)[frame]
            result = whole.tracks["a"].results[frame]
            assert torch.equal(output.pred_masks[0], (result, *result.alternatives)[number].mask_logits)
            assert torch.equal(output.pred_masks[0], expected[frame]["a"])
            found.append(frame)
        assert found == list(range(STREAMED))

    def test_a_stream_still_has_the_image_of_an_answer(self) -> None:
        session = PROCESSOR.init_video_session(iter(clip(LENGTH)), memory_policy="sam2long")
        give(session, 0, "a")
        outputs = tiny_model().propagate_in_video_iterator(session)
        for frame, output in enumerate(outputs):
            assert output.frame_idx == frame
            assert np.array_equal(session.video[frame].permute(1, 2, 0), clip(LENGTH)[frame])
            assert len(session.tracks["a"].results) <= frame + STREAM_DELAY + 1
        assert frame == LENGTH - 1

    def test_a_prompt_leaves_one_path_and_corrects_what_was_shown(self) -> None:
        session = prompted((0, "a"), num_frames=LENGTH, memory_policy="sam2long")
        masks = track(tiny_model(), session)
        frame = next(frame for frame, number in enumerate(lineage(session, LENGTH - 1)) if number)
        give(session, frame, "a", "background")
        seen: list[Any] = []
        with counted(tiny_model(), pytest.MonkeyPatch(), "candidates") as calls:
            tiny_model()(session, frame_idx=frame)
            seen = calls["candidates"]
        previous = next(call[4] for call in seen if len(call) > 4 and call[4] is not None)
        assert previous.flatten().equal(masks[frame]["a"].clamp(-32, 32).flatten())
        assert not session.tracks["a"].results[frame].alternatives
        track(tiny_model(), session)
        assert len(session.tracks["a"].results[frame + 1].alternatives) == 2

    def test_backwards_too(self) -> None:
        session = prompted((LENGTH - 1, "a", "mask"), num_frames=LENGTH, memory_policy="sam2long")
        mirrored = PROCESSOR.init_video_session(clip(LENGTH)[::-1], memory_policy="sam2long")
        give(mirrored, 0, "a", "mask")
        expected = track(tiny_model(), mirrored)
        found = track(tiny_model(), session, start_frame_idx=LENGTH - 1, reverse=True)
        for frame, masks in found.items():
            torch.testing.assert_close(masks["a"], expected[LENGTH - 1 - frame]["a"], rtol=1e-3, atol=0.1)

    def test_checkpoints_and_files_keep_what_is_shown(self, tmp_path: Path) -> None:
        rules = {"whole": "everything", "less": Checkpointed(interval=4, window=2)}
        sessions = {
            name: prompted((0, "a"), num_frames=14, memory_policy="sam2long", retention=rule)
            for name, rule in rules.items()
        }
        expected, found = (track(tiny_model(), session) for session in sessions.values())
        for frame, masks in expected.items():
            assert torch.equal(masks["a"] > 0, found[frame]["a"] > 0)
        for name, session in sessions.items():
            session.save(tmp_path / name)
            loaded = Sam2VideoInferenceSession.load(tmp_path / name, video=clip(14))
            assert_same(track(tiny_model(), loaded), track(tiny_model(), session))


class TestSettings:
    @pytest.mark.parametrize("wrong", [{"num_paths": 0}, {"delay": -1}])
    def test_numbers_are_checked(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            TreeMemory(**wrong)

    def test_one_path_takes_the_best_score(self) -> None:
        session = prompted((0, "a"), num_frames=6, memory_policy=TreeMemory(num_paths=1, least_scale=1, most_scale=1))
        visible = prompted((0, "a"), num_frames=6, memory_policy="visible")
        for frame, masks in track(tiny_model(), visible).items():
            torch.testing.assert_close(track(tiny_model(), session)[frame]["a"], masks["a"], rtol=1e-3, atol=0.1)
