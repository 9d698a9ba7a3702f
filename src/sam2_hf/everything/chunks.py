"""Objects in several sessions over one source, so that hundreds of them are computed a few at a time.

Objects do not see each other, so which of them share a session changes nothing but how much memory a step takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..network.features import FrameFeatures
from ..tracking.object_state import ObjectState
from ..tracking.prompts import MaskPrompt
from ..tracking.session import Sam2VideoInferenceSession


class FrameMasks(NamedTuple):
    """N objects in a frame: their names, logits (N, h, w), object scores (N,) and predicted IoU (N,)."""

    names: list[Hashable]
    logits: Tensor
    object_scores: Tensor
    ious: Tensor

    @property
    def masks(self) -> Tensor:
        """(N, h, w) bool; empty where an object is hidden."""
        return (self.logits > 0) & (self.object_scores > 0)[:, None, None]

    def take(self, rows: list[int]) -> FrameMasks:
        """Some of the objects."""
        return FrameMasks([self.names[row] for row in rows], *(each[rows] for each in self[1:]))

    def joined(self, other: FrameMasks) -> FrameMasks:
        """These objects and others."""
        pairs = zip(self[1:], other[1:], strict=True)
        return FrameMasks(self.names + other.names, *(torch.cat(pair) for pair in pairs))


class ObjectChunks:
    """Objects by name, each in one of several sessions.

    Args:
        model: a `Sam2VideoModel`.
        new_session: opens a session over the source.
        size: how many objects a session has at most.
    """

    def __init__(self, model: Any, new_session: Callable[[], Sam2VideoInferenceSession], size: int):
        self.model = model
        self._new_session = new_session
        self._size = size
        self._sessions: list[Sam2VideoInferenceSession] = []

    @property
    def names(self) -> list[Hashable]:
        """All objects."""
        return [name for session in self._sessions for name in session.tracks]

    def __len__(self) -> int:
        return sum(len(session.tracks) for session in self._sessions)

    def run(self, frame_idx: int, features: FrameFeatures, reverse: bool = False, remember: bool = True) -> FrameMasks:
        """Bring all objects up to date in a frame.

        Args:
            frame_idx: the index of the frame.
            features: of the frame; it is not encoded again.
            reverse: whether the clip is tracked backwards.
            remember: whether the frame is remembered; else the objects stay as they were.
        """
        found = self._none(features)
        for session in self._sessions:
            session.feature_cache.put(frame_idx, features)
            output = self.model(session, frame_idx=frame_idx, reverse=reverse, run_mem_encoder=remember)
            scores, ious = output.object_score_logits[:, 0].float(), output.iou_scores[:, 0].float()
            found = found.joined(FrameMasks(list(output.object_ids), output.pred_masks[:, 0], scores, ious))
        return found

    def add(self, frame_idx: int, features: FrameFeatures, masks: Mapping[Hashable, Tensor]) -> None:
        """Prompt new objects with masks (H, W) bool of the model's input size; `run` then segments them."""
        for name, mask in masks.items():
            session = self._session_with_room()
            session.feature_cache.put(frame_idx, features)  # a stream has passed frames that it does not hold
            session.add_prompts(frame_idx, {name: MaskPrompt(mask)})

    def put(self, name: Hashable, state: ObjectState) -> None:
        """Take up an object that `pop` gave."""
        self._session_with_room().tracks[name] = state

    def pop(self, name: Hashable) -> ObjectState:
        """Give an object away, with all that is stored of it.

        Raises:
            KeyError: there is no object of that name.
        """
        for session in self._sessions:
            if name in session.tracks:
                state = session.tracks[name]
                session.remove_object(name)
                self._sessions = [other for other in self._sessions if other.tracks]
                return state
        raise KeyError(name)

    def state_nbytes(self) -> int:
        """Bytes of all that is stored of the objects."""
        return sum(session.state_nbytes for session in self._sessions)

    def _session_with_room(self) -> Sam2VideoInferenceSession:
        for session in self._sessions:
            if len(session.tracks) < self._size:
                return session
        self._sessions.append(self._new_session())
        return self._sessions[-1]

    def _none(self, features: FrameFeatures) -> FrameMasks:
        size = self.model.prompt_encoder.mask_input_size
        device = features.coarsest.device
        none = torch.zeros(0, device=device, dtype=torch.float32)
        return FrameMasks([], none.view(0, 1, 1).expand(0, *size), none, none)
