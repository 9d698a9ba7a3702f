"""Which memories a frame reads, and which may be forgotten, by either policy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sam2_hf.network.features import pointer_distance_scale
from sam2_hf.network.memory_tokens import build_memory
from sam2_hf.tracking.memory.dam4sam import DistractorAwareMemory
from sam2_hf.tracking.memory.history import FrameSets
from sam2_hf.tracking.memory.recent import RecentMemory
from sam2_hf.tracking.memory.selection import RetainedFrames, closest_conditioning_frames
from sam2_hf.tracking.memory.visible import VisibleMemory

LAST_FRAME = 40

numbers = {
    "num_maskmem": st.integers(1, 8),
    "max_object_pointers": st.integers(1, 17),
    "max_cond_frame_num": st.sampled_from([-1, 2, 3, 5]),
    "past_pointers_only": st.booleans(),
}
rules = st.builds(RecentMemory, stride=st.integers(1, 4), **numbers)
visible_rules = st.builds(VisibleMemory, **numbers)
distractor_rules = st.builds(DistractorAwareMemory, stride=st.integers(1, 4), **numbers)
frame_sets = st.sets(st.integers(0, LAST_FRAME - 1))
# What becomes of a frame, and whether it shows the object.
events = st.tuples(st.sampled_from(["tracked", "prompted", "skipped"]), st.booleans())


@st.composite
def histories(draw, max_size=LAST_FRAME):
    """Disjoint conditioning frames, in any order, and tracked frames."""
    frames = draw(st.permutations(range(LAST_FRAME)))[: draw(st.integers(0, max_size))]
    split = draw(st.integers(0, len(frames)))
    return frames[:split], set(frames[split:])


def frames_of(slots):
    return [slot.frame for slot in slots]


def select_memory(policy, frame, conditioning, tracked, reverse=False, visible=None):
    return policy.select(FrameSets(conditioning, tracked, visible), frame, reverse)


def retained_frames(policy, frame, conditioning, tracked, reverse=False, visible=None):
    """What a session keeps: what the policy names, and all frames ahead."""
    kept = policy.retained(FrameSets(conditioning, tracked, visible), frame, reverse)
    ahead = {other for other in (*conditioning, *tracked) if (other < frame if reverse else other > frame)}
    return RetainedFrames(kept.features | ahead, kept.pointers | ahead)


def as_visible(policy):
    """The policy of visible frames with the same numbers."""
    return VisibleMemory(**{name: getattr(policy, name) for name in numbers})


def as_recent(policy):
    return RecentMemory(**{name: getattr(policy, name) for name in numbers})


class TestSelection:
    def test_one_prompt_and_a_long_history_read_forward(self):
        selection = select_memory(RecentMemory(), 30, [0], range(1, 30))
        assert selection.memories == ((0, 6), (24, 5), (25, 4), (26, 3), (27, 2), (28, 1), (29, 0))
        assert selection.pointers == ((0, 30), *((30 - distance, distance) for distance in range(15, 0, -1)))

    def test_reverse_reads_what_lies_after_the_frame(self):
        selection = select_memory(RecentMemory(num_maskmem=3, max_object_pointers=3), 10, [20], range(20), reverse=True)
        assert selection.memories == ((20, 2), (12, 1), (11, 0))
        assert selection.pointers == ((20, 10), (12, 2), (11, 1))

    def test_the_first_tracked_frame_reads_the_prompt_alone(self):
        selection = select_memory(RecentMemory(), 1, [0], set())
        assert selection == (((0, 6),), ((0, 1),))

    def test_conditioning_frames_to_come_give_features_but_no_pointer(self):
        selection = select_memory(RecentMemory(), 5, [0, 9], set())
        assert frames_of(selection.memories) == [0, 9]
        assert selection.pointers == ((0, 5),)

    def test_training_reads_pointers_of_frames_to_come_with_a_negative_distance(self):
        selection = select_memory(RecentMemory(past_pointers_only=False), 5, [0, 9], set())
        assert selection.pointers == ((0, 5), (9, -4))

    def test_conditioning_frames_over_the_cap_count_as_recent_ones(self):
        rule = RecentMemory(max_cond_frame_num=2)
        selection = select_memory(rule, 10, [6, 7, 8, 9], set())
        assert frames_of(slot for slot in selection.memories if slot.temporal_index == 6) == [8, 9]
        assert (7, 2) in selection.memories and (6, 3) in selection.memories
        assert set(selection.pointers) == {(8, 2), (9, 1), (7, 3), (6, 4)}

    def test_a_stride_spreads_memories_but_keeps_the_neighbour(self):
        selection = select_memory(RecentMemory(num_maskmem=4, stride=5), 23, [0], range(1, 23))
        assert selection.memories == ((0, 3), (15, 2), (20, 1), (22, 0))

    def test_a_prompted_frame_reads_its_own_former_memory(self):
        selection = select_memory(RecentMemory(), 4, [4], set())
        assert selection == (((4, 6),), ((4, 0),))

    @given(rules, histories(), st.integers(0, LAST_FRAME - 1), st.booleans())
    def test_equals_the_definition(self, rule, history, frame, reverse):
        conditioning, tracked = history
        memories, pointers = select_by_definition(rule, frame, conditioning, tracked, reverse)
        selection = select_memory(rule, frame, conditioning, tracked, reverse)
        assert sorted(selection.memories) == sorted(memories)
        assert sorted(selection.pointers) == sorted(pointers)

    @given(rules, histories(), st.integers(0, LAST_FRAME - 1), st.booleans())
    def test_does_not_depend_on_the_order_of_prompts_without_a_cap(self, rule, history, frame, reverse):
        conditioning, tracked = history
        if rule.max_cond_frame_num == -1:
            ordered = select_memory(rule, frame, sorted(conditioning), tracked, reverse)
            assert select_memory(rule, frame, conditioning, tracked, reverse) == ordered


class TestVisibleOnly:
    rule = VisibleMemory(num_maskmem=4)

    def test_reads_the_neighbour_and_the_last_frames_that_show_the_object(self):
        selection = select_memory(self.rule, 30, [0], range(1, 30), visible={0, 3, 4, 5, 6, 27})
        assert selection.memories == ((0, 3), (6, 2), (27, 1), (29, 0))
        assert frames_of(selection.pointers) == [0, *range(15, 30)]  # which are of all frames

    def test_conditioning_frames_are_read_whether_or_not_they_show_it(self):
        selection = select_memory(self.rule, 30, [0, 20], range(21, 30), visible={0, 22, 23})
        assert selection.memories == ((0, 3), (20, 3), (22, 2), (23, 1), (29, 0))

    @given(rules, histories(), st.integers(0, LAST_FRAME - 1), st.booleans(), st.booleans())
    def test_where_it_is_visible_all_along_these_are_the_recent_frames(self, rule, history, frame, reverse, told):
        conditioning, tracked = history
        tracked = set(range(LAST_FRAME)).difference(conditioning)  # without gaps
        recent = select_memory(replace(rule, stride=1), frame, conditioning, tracked, reverse)
        visible = range(LAST_FRAME) if told else None
        assert select_memory(as_visible(rule), frame, conditioning, tracked, reverse, visible) == recent

    @given(visible_rules, histories(), frame_sets, st.integers(0, LAST_FRAME - 1), st.booleans())
    def test_equals_the_definition(self, rule, history, visible, frame, reverse):
        conditioning, tracked = history
        chosen = closest_conditioning_frames(frame, conditioning, rule.max_cond_frame_num)
        steps = range(frame + 1, LAST_FRAME) if reverse else range(frame - 1, -1, -1)
        candidates = [
            other
            for age, other in enumerate(steps)
            if other in {*conditioning, *tracked} and (other in visible or age == 0)
        ]
        expected = [(other, rule.num_maskmem - 1) for other in chosen]
        window = enumerate(candidates[: rule.num_maskmem - 1])
        expected += [(other, age) for age, other in window if other not in chosen]
        selection = select_memory(rule, frame, conditioning, tracked, reverse, visible)
        assert sorted(selection.memories) == sorted(expected)
        assert selection.pointers == select_memory(as_recent(rule), frame, *history, reverse).pointers

    def test_what_was_last_seen_is_kept_however_long_ago(self):
        kept = retained_frames(self.rule, 1000, [0], range(1, 1001), visible={1, 2, 3, 4, 5})
        assert kept.features == {0, 3, 4, 5, 1000}

    @given(visible_rules, histories(), frame_sets, st.booleans())
    def test_a_stream_keeps_at_most_one_frame_more_than_its_next_frame_reads(self, rule, history, visible, reverse):
        last, following = (0, -1) if reverse else (LAST_FRAME - 1, LAST_FRAME)
        kept = retained_frames(rule, last, *history, reverse, visible)
        selection = select_memory(rule, following, *history, reverse, visible)
        assert kept.features.issuperset(frames_of(selection.memories))
        assert len(kept.features) <= len(selection.memories) + 1


class TestClosestConditioningFrames:
    def test_takes_the_nearest_on_each_side_before_nearer_ones(self):
        assert closest_conditioning_frames(20, [0, 17, 18, 19], 2) == [18, 19]
        assert closest_conditioning_frames(20, [17, 18, 19, 90], 2) == [19, 90]
        assert closest_conditioning_frames(20, [17, 18, 19, 90], 3) == [18, 19, 90]

    def test_a_cap_of_one_takes_the_nearer_neighbour(self):
        assert closest_conditioning_frames(20, [1, 18, 21, 30], 1) == [21]

    def test_of_two_equally_near_the_first_listed_wins(self):
        assert closest_conditioning_frames(10, [9, 11, 5, 15], 3) == [5, 9, 11]
        assert closest_conditioning_frames(10, [9, 11, 15, 5], 3) == [9, 11, 15]


class TestRetention:
    @settings(max_examples=200)
    @given(
        st.one_of(rules, visible_rules, distractor_rules),
        histories(12),
        frame_sets,
        st.lists(events, max_size=30),
        st.data(),
    )
    def test_pruning_after_every_frame_changes_no_later_selection(self, rule, history, visible, events, data):
        """A stream that starts in the middle of any history; frames are tracked, prompted or skipped."""
        reverse = data.draw(st.booleans())
        direction, frame = (-1 if reverse else 1), data.draw(st.integers(0, LAST_FRAME - 1))
        everything = [list(history[0]), list(history[1])]
        pruned = [list(history[0]), list(history[1])]
        readable = retained_frames(rule, frame - direction, *pruned, reverse, visible)
        for event, shows in events:
            expected = select_memory(rule, frame, *everything, reverse, visible)
            assert select_memory(rule, frame, *pruned, reverse, visible) == expected
            assert readable.features.issuperset(frames_of(expected.memories))
            assert readable.pointers.issuperset(frames_of(expected.pointers))
            for conditioning, tracked in (everything, pruned):
                store(frame, event, conditioning, tracked)
            if event != "skipped":
                visible = visible | {frame} if shows else visible - {frame}
            readable = retained_frames(rule, frame, *pruned, reverse, visible)
            pruned = [[other for other in kind if other in readable.features | readable.pointers] for kind in pruned]
            frame += direction

    @given(rules, histories(), st.booleans())
    def test_a_stream_keeps_exactly_what_its_next_frame_reads(self, rule, history, reverse):
        """What lies behind and is read by any later frame is read by the very next one."""
        last, following = (0, -1) if reverse else (LAST_FRAME - 1, LAST_FRAME)
        kept = retained_frames(rule, last, *history, reverse)
        selection = select_memory(rule, following, *history, reverse)
        assert kept.features == set(frames_of(selection.memories))
        assert kept.pointers == set(frames_of(selection.pointers))

    def test_the_number_of_frames_kept_does_not_grow(self):
        rule, tracked = RecentMemory(), []
        for frame in range(1, 10_000):
            tracked.append(frame)
            kept = retained_frames(rule, frame, [0], tracked)
            tracked = [other for other in tracked if other in kept.features | kept.pointers]
        assert len(kept.features) == 1 + 6
        assert len(kept.pointers) == 1 + 15

    def test_a_cap_bounds_conditioning_frames_too(self):
        kept = retained_frames(RecentMemory(max_cond_frame_num=3), 999, range(0, 1000, 10), [])
        assert kept.features == kept.pointers == {970, 980, 990}

    def test_frames_ahead_are_kept(self):
        kept = retained_frames(RecentMemory(max_cond_frame_num=2), 50, [0, 10, 20, 90], [80, 30])
        assert kept.features == {10, 20, 80, 90}


class TestRule:
    @pytest.mark.parametrize("field", ["num_maskmem", "max_object_pointers", "stride", "max_cond_frame_num"])
    def test_refuses_counts_that_mean_nothing(self, field):
        with pytest.raises(ValueError, match=f"{field} must be .* got 0"):
            RecentMemory(**{field: 0})

    def test_refuses_a_stride_between_frames_that_are_chosen_for_what_they_show(self):
        with pytest.raises(TypeError, match="stride"):
            VisibleMemory(stride=2)


@pytest.mark.peers
class TestOfficialCode:
    @settings(max_examples=300, deadline=None)
    @given(rules, histories(), st.integers(0, LAST_FRAME - 1), st.booleans(), st.sampled_from([LAST_FRAME, 9]))
    def test_reads_the_same_memories_at_the_same_distances(self, rule, history, frame, reverse, num_frames):
        conditioning, tracked = ([other for other in kind if other < num_frames] for kind in history)
        frame = min(frame, num_frames - 1)
        assume(conditioning)
        assume(rule.max_object_pointers > 1)  # the official code divides by zero, see pointer_distance_scale
        tokens, positions, num_pointers = official_memory(rule, frame, conditioning, tracked, reverse, num_frames)
        ours = our_memory(rule, frame, conditioning, tracked, reverse, num_frames)
        assert ours.num_pointer_tokens == num_pointers
        for part in (slice(0, len(tokens) - num_pointers), slice(len(tokens) - num_pointers, None)):
            expected = sorted_rows(tokens[part], positions[part])
            torch.testing.assert_close(sorted_rows(ours.tokens[0, part], ours.position[0, part]), expected)


def store(frame, event, conditioning, tracked):
    """Writes one processed frame into a history, in place of what it held before; a frame skipped keeps that."""
    if event != "skipped":
        for kind in (conditioning, tracked):
            if frame in kind:
                kind.remove(frame)
        (conditioning if event == "prompted" else tracked).append(frame)


def select_by_definition(rule, frame, conditioning, tracked, reverse):
    """The selection, spelled out by searching all frames of the clip."""
    chosen = list(conditioning)
    if rule.max_cond_frame_num != -1 and len(chosen) > rule.max_cond_frame_num:
        chosen = sorted(other for other in conditioning if other < frame)[-1:]
        chosen += sorted(other for other in conditioning if other >= frame)[:1]
        while len(chosen) < rule.max_cond_frame_num:
            rest = [other for other in conditioning if other not in chosen]
            chosen.append(min(rest, key=lambda other: abs(other - frame)))
    recent = set(tracked) | (set(conditioning) - set(chosen))

    passed = sorted(range(-100, 100), key=lambda other: abs(other - frame))
    passed = [other for other in passed if (other > frame if reverse else other < frame)]
    window = passed[:1] + [other for other in passed[1:] if other % rule.stride == 0]
    memories = [(other, rule.num_maskmem - 1) for other in chosen]
    memories += [(other, age) for age, other in enumerate(window[: rule.num_maskmem - 1]) if other in recent]

    ago = {other: (other - frame if reverse else frame - other) for other in range(-100, 100)}
    pointers = [(other, ago[other]) for other in chosen if ago[other] >= 0 or not rule.past_pointers_only]
    pointers += [(other, ago[other]) for other in recent if 0 < ago[other] < rule.max_object_pointers]
    return memories, pointers


# What the fakes below hold: a frame's features are its index, so that every token tells where it comes from.
HIDDEN, WIDTH, SIZE = 8, 4, (2, 3)
POSITION = torch.linspace(0, 1, WIDTH * 6).view(WIDTH, *SIZE)
TIME_PROJECTION = torch.linspace(-1, 1, HIDDEN * WIDTH).view(HIDDEN, WIDTH)


def feature_of(frame):
    return torch.full((1, WIDTH, *SIZE), float(frame))


def pointer_of(frame):
    return torch.full((1, HIDDEN), float(frame)) + torch.arange(HIDDEN) / 100


def time_table(rule):
    return torch.arange(rule.num_maskmem * WIDTH, dtype=torch.float32).view(-1, 1, 1, WIDTH)


def sine_of_distances(distances, scale):
    """The encoding of SAM 2 for positions in time: all sines, then all cosines."""
    periods = 10000 ** (2 * (torch.arange(HIDDEN // 2) // 2) / (HIDDEN // 2))
    angles = torch.tensor(distances, dtype=torch.float32)[:, None] / scale / periods
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def our_memory(rule, frame, conditioning, tracked, reverse, num_frames):
    selection = select_memory(rule, frame, conditioning, tracked, reverse)
    pointers = pointer_encoding = None
    if selection.pointers:
        distances = [slot.distance for slot in selection.pointers]
        sines = sine_of_distances(distances, pointer_distance_scale(rule.max_object_pointers, num_frames))
        pointers = torch.stack([pointer_of(other) for other in frames_of(selection.pointers)], dim=1)
        pointer_encoding = (sines @ TIME_PROJECTION)[None]
    return build_memory(
        torch.stack([feature_of(other) for other in frames_of(selection.memories)], dim=1),
        POSITION,
        time_table(rule)[[slot.temporal_index for slot in selection.memories], 0, 0][None],
        pointers,
        pointer_encoding,
    )


def official_memory(rule, frame, conditioning, tracked, reverse, num_frames):
    """Tokens, positions and the number of pointer tokens that the official code hands to its memory attention."""
    from sam2.modeling.sam2_base import SAM2Base

    def output(other):
        spatial = {"maskmem_features": feature_of(other), "maskmem_pos_enc": [POSITION[None]]}
        return {**spatial, "obj_ptr": pointer_of(other)}

    seen = {}

    def attention(curr, curr_pos, memory, memory_pos, num_obj_ptr_tokens):
        seen.update(memory=memory[:, 0], position=memory_pos[:, 0], pointers=num_obj_ptr_tokens)
        return curr[0]

    model = SimpleNamespace(
        hidden_dim=HIDDEN,
        mem_dim=WIDTH,
        num_maskmem=rule.num_maskmem,
        max_cond_frames_in_attn=rule.max_cond_frame_num,
        memory_temporal_stride_for_eval=rule.stride,
        max_obj_ptrs_in_encoder=rule.max_object_pointers,
        only_obj_ptrs_in_the_past_for_eval=rule.past_pointers_only,
        training=False,
        use_obj_ptrs_in_encoder=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        maskmem_tpos_enc=time_table(rule),
        obj_ptr_tpos_proj=lambda sines: sines @ TIME_PROJECTION,
        memory_attention=attention,
    )
    current = torch.zeros(SIZE[0] * SIZE[1], 1, HIDDEN)
    SAM2Base._prepare_memory_conditioned_features(
        model,
        frame_idx=frame,
        is_init_cond_frame=False,
        current_vision_feats=[current],
        current_vision_pos_embeds=[current],
        feat_sizes=[SIZE],
        output_dict={
            "cond_frame_outputs": {other: output(other) for other in conditioning},
            "non_cond_frame_outputs": {other: output(other) for other in tracked},
        },
        num_frames=num_frames,
        track_in_reverse=reverse,
    )
    return seen["memory"], seen["position"], seen["pointers"]


def sorted_rows(tokens, positions):
    """Rows of tokens and their positions, in an order that does not depend on the one they come in."""
    return torch.tensor(sorted(torch.cat((tokens, positions), dim=-1).double().tolist()))
