"""Planning a frame, which decides what each object needs and reads, after histories of different lengths.

The history is made here: one prompted frame, then tracked frames. Nothing is computed with tensors.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from ..case import Bench, Case, Job, groups, register

if TYPE_CHECKING:
    from sam2_hf import Sam2VideoInferenceSession
    from sam2_hf.tracking.plan import StepPlan

_PLANS = 1000
_HIDDEN_EVERY = 10


def session_after(num_frames: int) -> Sam2VideoInferenceSession:
    """A session of one object that was prompted on frame 0, tracked since, and hidden in every tenth frame."""
    from sam2_hf import Sam2VideoInferenceSession
    from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
    from sam2_hf.tracking.object_state import ObjectState

    session = Sam2VideoInferenceSession(video_height=64, video_width=64, retention="everything")
    track = session.tracks["object"] = ObjectState()
    memory = FrameMemory(torch.zeros(1, 2, 2), torch.zeros(4))
    for frame in range(num_frames):
        score = torch.tensor([-1.0 if frame % _HIDDEN_EVERY == _HIDDEN_EVERY - 1 else 1.0])
        direction = None if frame == 0 else False
        track.add_result(frame, FrameResult(torch.zeros(1, 2, 2), score, torch.ones(1), memory, frame == 0, direction))
    return session


def plan(bench: Bench, num_frames: int, memory_policy: str) -> Job:
    """Plans the next frame, a thousand times."""
    from sam2_hf import Sam2VideoConfig
    from sam2_hf.tracking.memory.registry import build_memory_policy
    from sam2_hf.tracking.plan import plan_step

    config = Sam2VideoConfig(memory_policy=memory_policy)
    policy, session = build_memory_policy(config), session_after(num_frames)

    def run() -> StepPlan:
        for _ in range(_PLANS):
            planned = plan_step(config, policy, session, num_frames, reverse=False, scope="all")
        return planned

    return Job(run, read=lambda planned: {})


for _count in (100, 10_000, 100_000):
    for _selection in ("sam2", "visible"):
        register(
            Case(
                f"plan-{_count}-{_selection}",
                f"plan 1000 frames, 1 object, after {_count:,} frames",
                partial(plan, num_frames=_count, memory_policy=_selection),
                groups("quick", "full"),
                implementations=("ours",),
                image_size=256,
                runs=9,
                seconds=20,
            )
        )
