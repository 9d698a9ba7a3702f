"""`InferenceState`: a session as the mapping that Meta's video predictor calls its inference state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from typing import Any

from torch import Tensor

from ..tracking.frame_result import FrameResult
from ..tracking.object_state import ObjectState
from ..tracking.prompts import MaskPrompt, PointPrompt
from ..tracking.session import Sam2VideoInferenceSession

Outputs = dict[str, Any]


class FrameOutputs(Mapping[int, Outputs]):
    """Results of one object by frame, under Meta's names.

    Args:
        results: the results.
        position_encoding: of memories, (D, h, w).
    """

    def __init__(self, results: Mapping[int, FrameResult], position_encoding: Tensor) -> None:
        self._results = results
        self._position_encoding = position_encoding

    def __getitem__(self, frame_idx: int) -> Outputs:
        result = self._results[frame_idx]
        features = result.memory.features
        logits = result.shown_logits
        return {
            "maskmem_features": None if features is None else features[None],
            "maskmem_pos_enc": None if features is None else [self._position_encoding[None]],
            "pred_masks": None if logits is None else logits[None],
            "obj_ptr": result.memory.pointer[None],
            "object_score_logits": result.object_score[None],
        }

    def __iter__(self) -> Iterator[int]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


class InferenceState(MutableMapping[str, Any]):
    """A session under the keys of Meta's inference state.

    Values are made when they are read, from what the session holds, so that they are never out of date; changing them
    changes nothing. Keys that Meta's state does not have can be set, read and deleted freely.

    Args:
        session: the state.
        images: gives the model's input (3, H, W) of a frame by its number.
        position_encoding: gives the encoding (D, h, w) of memories.
    """

    def __init__(
        self, session: Sam2VideoInferenceSession, images: Any, position_encoding: Callable[[], Tensor]
    ) -> None:
        self.session = session
        self.images = images
        self._position_encoding = position_encoding
        self._extra: dict[str, Any] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video's frames in pixels."""
        height, width = self.session.video_height, self.session.video_width
        if height is None or width is None:
            raise ValueError("the size of the frames is not known before the first one")
        return height, width

    def __getitem__(self, key: str) -> Any:
        if key in _VALUES:
            return _VALUES[key](self)
        return self._extra[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in _VALUES:
            raise TypeError(f"inference_state[{key!r}] is read from the session and cannot be set; see its .session")
        self._extra[key] = value

    def __delitem__(self, key: str) -> None:
        if key in _VALUES:
            raise TypeError(f"inference_state[{key!r}] is read from the session and cannot be deleted")
        del self._extra[key]

    def __iter__(self) -> Iterator[str]:
        return iter([*_VALUES, *self._extra])

    def __len__(self) -> int:
        return len(_VALUES) + len(self._extra)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session!r})"

    def per_object(self, make: Callable[[ObjectState], Any]) -> dict[int, Any]:
        """What `make` gives for each object, by its index."""
        return {index: make(track) for index, track in enumerate(self.session.tracks.values())}

    def outputs(self, results: Mapping[int, FrameResult]) -> dict[str, FrameOutputs]:
        """Results of one object, apart by whether their frames condition it."""
        encoding = self._position_encoding()
        kinds = {"cond_frame_outputs": True, "non_cond_frame_outputs": False}
        return {
            name: FrameOutputs(
                {frame: result for frame, result in results.items() if result.is_conditioning == is_conditioning},
                encoding,
            )
            for name, is_conditioning in kinds.items()
        }


def _point_inputs(track: ObjectState) -> dict[int, dict[str, Tensor]]:
    return {
        frame: {"point_coords": prompt.points[None], "point_labels": prompt.labels[None]}
        for frame, prompt in track.prompts.items()
        if isinstance(prompt, PointPrompt)
    }


def _mask_inputs(track: ObjectState) -> dict[int, Tensor]:
    return {
        frame: prompt.mask[None, None].float()
        for frame, prompt in track.prompts.items()
        if isinstance(prompt, MaskPrompt)
    }


def _new_results(track: ObjectState) -> dict[int, FrameResult]:
    """Results of prompts that nothing was tracked from yet."""
    return {frame: track.results[frame] for frame in track.superseded}


def _tracked_directions(track: ObjectState) -> dict[int, dict[str, bool]]:
    return {
        frame: {"reverse": result.tracked_in_reverse}
        for frame, result in track.results.items()
        if result.tracked_in_reverse is not None
    }


def _by_index(state: InferenceState) -> OrderedDict[int, Hashable]:
    return OrderedDict(enumerate(state.session.obj_ids))


_VALUES: dict[str, Callable[[InferenceState], Any]] = {
    "images": lambda state: state.images,
    "num_frames": lambda state: state.session.num_frames,
    "video_height": lambda state: state.session.video_height,
    "video_width": lambda state: state.session.video_width,
    "device": lambda state: state.session.inference_device,
    "storage_device": lambda state: state.session.inference_state_device,
    "offload_video_to_cpu": lambda state: state.session.video_storage_device.type == "cpu",
    "offload_state_to_cpu": lambda state: state.session.inference_state_device.type == "cpu",
    "obj_ids": lambda state: state.session.obj_ids,
    "obj_idx_to_id": _by_index,
    "obj_id_to_idx": lambda state: OrderedDict((obj_id, index) for index, obj_id in _by_index(state).items()),
    "point_inputs_per_obj": lambda state: state.per_object(_point_inputs),
    "mask_inputs_per_obj": lambda state: state.per_object(_mask_inputs),
    "output_dict_per_obj": lambda state: state.per_object(lambda track: state.outputs(track.before_prompts())),
    "temp_output_dict_per_obj": lambda state: state.per_object(lambda track: state.outputs(_new_results(track))),
    "frames_tracked_per_obj": lambda state: state.per_object(_tracked_directions),
    "cached_features": lambda state: {},
    "constants": lambda state: {},
}
"""What each key of Meta's state is here."""
