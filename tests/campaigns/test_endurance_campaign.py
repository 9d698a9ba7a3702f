"""Streams that do not end: memory and time a frame stay what they were, of the whole and of the plan alone."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_video_model

from sam2_hf import Sam2ImageProcessor, Sam2VideoProcessor

pytestmark = pytest.mark.slow

SIDE = 64
PROCESSOR = Sam2VideoProcessor(Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}))
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def resident_bytes() -> int:
    gc.collect()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024


def frames(count: int) -> Iterator[np.ndarray]:
    """A disc that goes round, (SIDE, SIDE, 3) uint8."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    drawn = []
    for step in range(200):
        x, y = SIDE / 2 + 16 * np.cos(step * np.pi / 100), SIDE / 2 + 16 * np.sin(step * np.pi / 100)
        frame = np.full((SIDE, SIDE, 3), 60, np.uint8)
        frame[(columns - x) ** 2 + (rows - y) ** 2 < 80] = 200
        drawn.append(frame)
    for index in range(count):
        yield drawn[index % len(drawn)]


def test_frames_of_a_stream(campaign) -> None:
    count = campaign.count(100_000)
    tenth = max(2, count // 10)
    model = tiny_video_model(image_size=SIDE, width=16, memory_width=8, memory_attention_num_layers=1)
    session = PROCESSOR.init_video_session(frames(count), retention="readable")
    PROCESSOR.add_inputs_to_inference_session(session, 0, ["disc"], input_points=[[[[48, 32]]]], input_labels=[[[1]]])
    memory, states, times = [], [], []
    begun = time.process_time()
    tracked = 0
    for output in model.propagate_in_video_iterator(session):
        assert output.frame_idx == tracked and output.pred_masks.shape[0] == 1
        tracked += 1
        if tracked % tenth == 0:
            times.append((time.process_time() - begun) / tenth)
            memory.append(resident_bytes())
            states.append(session.state_nbytes)
            begun = time.process_time()
    assert tracked == count
    growth = memory[-1] - memory[0]
    assert states[-1] == states[0], "the state grows"
    if count >= 10_000:
        assert growth < 16 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB"
        assert np.median(times[-3:]) < 1.5 * np.median(times[:3]), times
    campaign.record(
        frames=count,
        state_KiB=round(states[-1] / 1024, 1),
        growth_MiB_from_a_tenth_on=round(growth / MEBIBYTE, 2),
        first_tenth_milliseconds=round(1e3 * times[0], 3),
        last_tenth_milliseconds=round(1e3 * times[-1], 3),
    )


def test_planned_frames(campaign) -> None:
    """The plan of every frame, its result stored and what is not read any more dropped; the network's part is given."""
    from sam2_hf.tracking.memory.registry import build_memory_policy
    from sam2_hf.tracking.step import FrameStep

    count = campaign.count(1_000_000)
    tenth = max(2, count // 10)
    model = tiny_video_model(image_size=SIDE, width=16, memory_width=8, memory_attention_num_layers=1)
    session = PROCESSOR.init_video_session(frames(3), retention="readable")
    PROCESSOR.add_inputs_to_inference_session(session, 0, ["disc"], input_points=[[[[48, 32]]]], input_labels=[[[1]]])
    for output in model.propagate_in_video_iterator(session):
        assert output.pred_masks.isfinite().all()
    policy = build_memory_policy(model.config, model.config.memory_policy)
    step = FrameStep(model, policy, session)
    (track,) = session.tracks.values()
    given = track.results[2]
    memory, states, times, selected = [], [], [], set()
    begun = time.process_time()
    for frame in range(3, count):
        (task,), _ = step.plan(frame)
        chosen_maps, pointers = task.selection.frames()
        selected.add((len(chosen_maps), len(pointers)))
        assert max(chosen_maps) == frame - 1, f"frame {frame} does not read the frame before it"
        session.store(frame, {"disc": replace(given, provenance=task.provenance, is_conditioning=False)})
        session.prune(policy, frame, reverse=False)
        if frame % tenth == 0:
            times.append((time.process_time() - begun) / tenth)
            memory.append(resident_bytes())
            states.append(session.state_nbytes)
            begun = time.process_time()
    growth = memory[-1] - memory[0]
    assert states[-1] == states[0], "the state grows"
    if count >= 100_000:
        assert growth < 16 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB"
        assert np.median(times[-3:]) < 1.5 * np.median(times[:3]), times
    campaign.record(
        frames=count,
        most_memories_and_pointers=max(selected),
        growth_MiB_from_a_tenth_on=round(growth / MEBIBYTE, 2),
        first_tenth_microseconds=round(1e6 * times[0], 1),
        last_tenth_microseconds=round(1e6 * times[-1], 1),
    )
