"""Prompts as a user gives them to a session: nested numbers in pixels of the original frame."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..arrays import again, is_tensor, to_numpy
from ..inputs.mask_prompts import GivenMask, read_masks
from ..inputs.prompts import Prompts, read_prompts, scale_prompts
from ..prompt_values import BOX_CORNER_LABELS, FOREGROUND_LABEL, PAD_VALUE
from ..sizes import Size, read_sizes
from .prompts import MaskPrompt, PointPrompt, Prompt
from .session_state import SessionState

SessionT = TypeVar("SessionT", bound=SessionState)


class SessionPrompting:
    """The call that gives the objects of a session prompts, for the processors of clips.

    Attributes:
        session_class: of the sessions that are taken.
    """

    session_class: ClassVar[type[SessionState]]

    def model_input_size(self) -> Size:
        """(height, width) of the model's input, which coordinates are scaled to."""
        raise NotImplementedError

    def add_inputs_to_inference_session(
        self,
        inference_session: SessionT,
        frame_idx: int,
        obj_ids: Hashable | Sequence[Hashable],
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        original_size: Any = None,
        clear_old_inputs: bool = True,
    ) -> SessionT:
        """Give objects prompts on a frame; the model segments them when it next meets the frame.

        Args:
            inference_session: the session, which is returned. It decides whether prompts are tensors or arrays.
            frame_idx: the frame; of a stream, the newest one or one to come.
            obj_ids: a list with an id for each object, or one id alone. Any hashable is an id; a tuple is one.
            input_points: nested images (one), objects, points, (x, y) in pixels of the original frame.
            input_labels: nested images, objects, labels: 1 for the object, 0 for the background; 2 and 3, as a pair,
                for the upper left and lower right corner of a box.
            input_boxes: nested images, objects, (x0, y0, x1, y1). A box goes before the object's points.
            input_masks: a mask (height, width) for each object, instead of points and boxes; of any size, which is
                resized to that of the frames. See `inputs.mask_prompts` for what its values mean.
            original_size: (height, width) of a stream's frames in pixels, once.
            clear_old_inputs: whether the objects' former points on the frame are replaced; else points are added.

        Returns:
            The session.

        Raises:
            ValueError, IndexError, TypeError: names the argument; the session is then as it was.
        """
        if not isinstance(inference_session, self.session_class):
            kind = type(inference_session).__name__
            raise TypeError(f"inference_session must be a session of init_video_session, got {kind}")
        ids = _read_ids(obj_ids)
        frame_idx = inference_session.check_frame_idx(frame_idx)
        _check_one_kind(input_points, input_labels, input_boxes, input_masks)
        as_tensors = inference_session.holds_tensors
        masks = None if input_masks is None else _read_masks(input_masks, ids, as_tensors)
        size = _agree_on_size(inference_session, original_size) or (None if masks is None else masks[0].size)
        if size is None:
            raise ValueError("original_size (height, width) must be given with the first prompts of a stream")
        prompts: list[Prompt]
        if masks is not None:
            prompts = [MaskPrompt(mask.resize(self.model_input_size())) for mask in masks]
        else:
            points = read_prompts(input_points, input_labels, input_boxes, as_tensors)
            prompts = [*_point_prompts(scale_prompts(points, [size], [self.model_input_size()]), ids)]
        prompt_of = dict(zip(ids, prompts, strict=True))
        if not clear_old_inputs:
            _check_boxes_come_first(inference_session, frame_idx, prompt_of)
        inference_session.add_prompts(frame_idx, prompt_of, keep_old_points=not clear_old_inputs)
        inference_session.video_height, inference_session.video_width = size
        return inference_session


def _check_one_kind(input_points: Any, input_labels: Any, input_boxes: Any, input_masks: Any) -> None:
    has_points = any(given is not None for given in (input_points, input_labels, input_boxes))
    if has_points == (input_masks is not None):
        given = "both" if has_points else "neither"
        raise ValueError(f"expected either points and boxes, or input_masks; got {given}")


def _read_ids(obj_ids: Any) -> list[Hashable]:
    given = list(obj_ids) if isinstance(obj_ids, (list, range)) else [obj_ids]
    if isinstance(obj_ids, np.ndarray) or is_tensor(obj_ids):
        given = list(obj_ids.reshape(-1))
    # Tensors are hashed by identity, so two of the same number would be two objects.
    ids = [
        value.item() if isinstance(value, (np.ndarray, np.generic)) or is_tensor(value) else value for value in given
    ]
    for value, obj_id in zip(given, ids, strict=True):
        try:
            hash(obj_id)
        except TypeError:
            raise TypeError(f"obj_ids must be hashable, got {obj_id!r}") from None
        if _holds_nan(obj_id) or (isinstance(value, np.generic) and value != value):  # a date that is none becomes None
            raise ValueError(f"obj_ids must be equal to themselves, got {obj_id!r}")
    if not ids or len(set(ids)) != len(ids):
        raise ValueError(f"obj_ids must name at least one object, and each once, got {ids}")
    return ids


def _holds_nan(obj_id: Any) -> bool:
    """Whether an id is not equal to itself, or has a part that is not."""
    parts = obj_id if isinstance(obj_id, (tuple, frozenset)) else ()
    return bool(obj_id != obj_id) or any(map(_holds_nan, parts))


def _agree_on_size(session: SessionState, original_size: Any) -> Size | None:
    """The size of the session's frames, None if it is not known; `original_size` may tell it, but not change it."""
    known = None
    if session.video_height is not None and session.video_width is not None:
        known = (session.video_height, session.video_width)
    if original_size is None:
        return known
    given = read_sizes([original_size], "original_size")[0]
    if known is not None and given != known and (session.video is not None or session.tracks):
        raise ValueError(f"original_size must stay the same through a session: expected {known}, got {given}")
    return given


def _point_prompts(prompts: Prompts, ids: list[Hashable]) -> list[PointPrompt]:
    """Every object's box corners and points, without padding."""
    name, count = next((name, tensor.shape[1]) for name, tensor in prompts.named().items())
    if count != len(ids):
        raise ValueError(
            f"{name} must hold prompts for the {len(ids)} obj_ids {ids}, got {count} objects{_about_tuples(ids)}"
        )
    kind = next(iter(prompts.named().values()))
    given_points, given_labels, boxes = (None if given is None else to_numpy(given) for given in prompts)
    result = []
    for row, obj_id in enumerate(ids):
        points, labels = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        if boxes is not None and not (boxes[0, row] == PAD_VALUE).all():
            points, labels = boxes[0, row].reshape(2, 2), np.array(BOX_CORNER_LABELS, np.int64)
        if given_points is not None and given_labels is not None:
            given = given_labels[0, row]
            # The corners of a box come first, as the session stores it.
            for chosen in (given > FOREGROUND_LABEL, (given <= FOREGROUND_LABEL) & (given != PAD_VALUE)):
                points = np.concatenate((points, given_points[0, row][chosen]))
                labels = np.concatenate((labels, given[chosen]))
        if len(labels) == 0:
            raise ValueError(f"every object needs a point or a box, but there is none for obj_id {obj_id!r}")
        result.append(PointPrompt(again(points, kind), again(labels, kind)))
    return result


def _check_boxes_come_first(session: SessionState, frame_idx: int, prompts: dict[Hashable, Prompt]) -> None:
    for obj_id, prompt in prompts.items():
        old = session.tracks[obj_id].prompts.get(frame_idx) if obj_id in session.tracks else None
        has_box = isinstance(prompt, PointPrompt) and BOX_CORNER_LABELS[0] in prompt.labels
        if has_box and isinstance(old, PointPrompt):
            raise ValueError(
                f"a box must come before the points of an object: give input_boxes for obj_id {obj_id!r} with "
                "clear_old_inputs=True"
            )


def _read_masks(input_masks: Any, ids: list[Hashable], as_tensors: bool) -> list[GivenMask]:
    """One mask for each object."""
    masks = read_masks(input_masks, as_tensors=as_tensors)
    if len(masks) != len(ids):
        raise ValueError(
            f"input_masks must hold a mask for each of the {len(ids)} obj_ids, got {len(masks)}{_about_tuples(ids)}"
        )
    return masks


def _about_tuples(ids: list[Hashable]) -> str:
    """What an error adds where one id is a tuple and prompts are for several objects."""
    if len(ids) == 1 and isinstance(ids[0], tuple):
        return f"; a tuple is one id, for several objects give a list: obj_ids={list(ids[0])}"
    return ""
