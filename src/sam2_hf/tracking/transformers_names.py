"""The names that transformers gives a session's parts, over our state.

Programs written for transformers' `Sam2VideoInferenceSession` address objects by index, and read prompts and results
from dictionaries. Here these are methods and read-only views; nothing is stored twice. An object's index is its
position in `obj_ids`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..inputs.lru_cache import LruCache
from ..network.features import FrameFeatures
from .device_state import DeviceState
from .frame_result import FrameMemory, FrameResult
from .object_state import ObjectState
from .prompts import MaskPrompt, PointPrompt, Prompt

Value = TypeVar("Value")
# What transformers calls the parts of a result.
OUTPUT_KEYS = ("pred_masks", "object_score_logits", "object_pointer", "maskmem_features")


class ReadOnlyView(Mapping[int, Value], Generic[Value]):
    """A mapping whose keys and values are looked up when they are asked for."""

    def __init__(self, keys: Callable[[], Iterable[int]], get: Callable[[int], Value]):
        self._keys = keys
        self._get = get

    def __getitem__(self, key: int) -> Value:
        if key not in self._keys():
            raise KeyError(key)
        return self._get(key)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys())

    def __len__(self) -> int:
        return sum(1 for _ in self._keys())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keys={list(self)})"


class VisionFeatures:
    """The features of the frames last used, as transformers' cache gives them. The model alone fills it."""

    def __init__(self, features: LruCache[int, FrameFeatures]):
        self._features = features
        self.max_vision_features_cache_size = features.size

    def get_vision_features(self, frame_idx: int) -> dict[str, list[Tensor]] | None:
        """Look up "vision_feats", three maps (h * w, 1, C) from high to low resolution; None if they are not kept."""
        found = self._features.get(frame_idx)
        if found is None:
            return None
        return {"vision_feats": [level.flatten(2).permute(2, 0, 1) for level in (*found.fine, found.coarsest)]}

    def clear_all(self) -> None:
        """Drop them."""
        self._features.clear()


class TransformersNames(DeviceState):
    """Methods of a session by transformers' names."""

    # Objects

    def get_obj_num(self) -> int:
        """Number of objects."""
        return len(self.tracks)

    def obj_id_to_idx(self, obj_id: Hashable) -> int:
        """Index of an object; an unknown one is added, without prompts."""
        self.tracks.setdefault(obj_id, ObjectState())
        return list(self.tracks).index(obj_id)

    def obj_idx_to_id(self, obj_idx: int) -> Hashable:
        """Id of an object.

        Raises:
            KeyError: if there is no such index.
        """
        if not 0 <= obj_idx < len(self.tracks):
            raise KeyError(f"obj_idx must be in 0..{len(self.tracks) - 1}, got {obj_idx!r}")
        return list(self.tracks)[obj_idx]

    @property
    def obj_with_new_inputs(self) -> list[Hashable]:
        """Ids of the objects that have a prompt which is not yet segmented; a list of the caller's own."""
        return [obj_id for obj_id, track in self.tracks.items() if track.pending]

    # Frames

    @property
    def processed_frames(self) -> Mapping[int, Tensor] | None:
        """Frames as the model's input, (3, H, W) each, read when they are asked for; None before a stream's first."""
        if self.frames.is_handed_over:
            newest = self.frames.newest
            return None if newest is None else ReadOnlyView(lambda: [newest], self.get_frame)
        return ReadOnlyView(lambda: range(self.num_frames or 0), self.get_frame)

    def get_frame(self, frame_idx: int) -> Tensor:
        """Read a frame as the model's input, (3, H, W), on the inference device."""
        return self.pixel_values(self.check_frame_idx(frame_idx))[0]

    def add_new_frame(self, pixel_values: Tensor, frame_idx: int | None = None) -> int:
        """Take the next frame of a stream, (3, H, W) or (1, 3, H, W); returns its index."""
        channels, height, width = pixel_values.shape[-3:]
        index = self.check_next_frame(pixel_values, frame_idx, (height, width), channels)
        self.add_frame(pixel_values, index)
        return index

    @property
    def cache(self) -> VisionFeatures:
        """The features of the frames last used."""
        return VisionFeatures(self.feature_cache)

    @property
    def max_vision_features_cache_size(self) -> int:
        """How many frames' features are kept."""
        return self.feature_cache.size

    # Prompts

    def add_point_inputs(self, obj_idx: int, frame_idx: int, inputs: Mapping[str, Tensor]) -> None:
        """Give an object points on a frame, in place of its prompt there.

        Args:
            obj_idx: index of the object.
            frame_idx: index of the frame.
            inputs: "point_coords" (1, 1, N, 2) in pixels of the model's input, and "point_labels" (1, 1, N).
        """
        points, labels = inputs["point_coords"].reshape(-1, 2), inputs["point_labels"].reshape(-1)
        self.add_prompts(frame_idx, {self.obj_idx_to_id(obj_idx): PointPrompt(points.float(), labels.long())})

    def add_mask_inputs(self, obj_idx: int, frame_idx: int, inputs: Tensor) -> None:
        """Give an object a mask (1, 1, H, W) at the model's input size on a frame, in place of its prompt there."""
        mask = inputs.reshape(inputs.shape[-2:]) > 0
        self.add_prompts(frame_idx, {self.obj_idx_to_id(obj_idx): MaskPrompt(mask)})

    def remove_point_inputs(self, obj_idx: int, frame_idx: int) -> None:
        """Take back an object's points on a frame, if there are any."""
        self._remove_inputs(obj_idx, frame_idx, PointPrompt)

    def remove_mask_inputs(self, obj_idx: int, frame_idx: int) -> None:
        """Take back an object's mask on a frame, if there is one."""
        self._remove_inputs(obj_idx, frame_idx, MaskPrompt)

    def _remove_inputs(self, obj_idx: int, frame_idx: int, kind: type[Prompt]) -> None:
        obj_id = self.obj_idx_to_id(obj_idx)
        if isinstance(self.tracks[obj_id].prompts.get(frame_idx), kind):
            self.clear_prompts(frame_idx, obj_id)

    @property
    def point_inputs_per_obj(self) -> Mapping[int, Mapping[int, dict[str, Tensor]]]:
        """Points by object index and frame, as `add_point_inputs` takes them."""
        return self._per_object(lambda track: _prompts_of(track, PointPrompt, _describe_points))

    @property
    def mask_inputs_per_obj(self) -> Mapping[int, Mapping[int, Tensor]]:
        """Masks by object index and frame, (1, 1, H, W) in the session's dtype."""
        return self._per_object(
            lambda track: _prompts_of(track, MaskPrompt, lambda prompt: prompt.mask[None, None].to(self.dtype))
        )

    # Results

    @property
    def output_dict_per_obj(self) -> Mapping[int, dict[str, Mapping[int, dict[str, Any]]]]:
        """Results by object index, "cond_frame_outputs" or "non_cond_frame_outputs", frame, and transformers' key."""
        return self._per_object(
            lambda track: {
                "cond_frame_outputs": _results_of(track, conditioning=True),
                "non_cond_frame_outputs": _results_of(track, conditioning=False),
            }
        )

    @property
    def frames_tracked_per_obj(self) -> Mapping[int, Mapping[int, dict[str, bool]]]:
        """Frames that tracking has passed, by object index, with the direction: {"reverse": bool}."""

        def passed(track: ObjectState) -> Mapping[int, dict[str, bool]]:
            return ReadOnlyView(
                lambda: [frame for frame, result in track.results.items() if result.tracked_in_reverse is not None],
                lambda frame: {"reverse": bool(track.results[frame].tracked_in_reverse)},
            )

        return self._per_object(passed)

    def get_output(
        self,
        obj_idx: int,
        frame_idx: int,
        output_key: str,
        is_conditioning_frame: bool = True,
    ) -> Tensor | None:
        """Look up a part of a result, on the inference device.

        Args:
            obj_idx: index of the object.
            frame_idx: index of the frame.
            output_key: one of `OUTPUT_KEYS`.
            is_conditioning_frame: whether a conditioning frame's result is wanted, or another's.

        Returns:
            The tensor; None if there is no such result, or the part was dropped.
        """
        result = self.tracks[self.obj_idx_to_id(obj_idx)].results.get(frame_idx)
        if result is None or result.is_conditioning != is_conditioning_frame:
            return None
        value = _describe_result(result)[_check_key(output_key)]
        return None if value is None else value.to(self.inference_device)

    def store_output(
        self,
        obj_idx: int,
        frame_idx: int,
        output_key: str | None = None,
        output_value: Tensor | Mapping[str, Any] | None = None,
        is_conditioning_frame: bool = True,
    ) -> None:
        """Put a result, or a part of one, in place of what is stored.

        Args:
            obj_idx: index of the object.
            frame_idx: index of the frame.
            output_key: one of `OUTPUT_KEYS`; None to store several parts at once.
            output_value: the part (1, ...), or a dictionary of parts.
            is_conditioning_frame: whether the frame conditions the object.

        Raises:
            KeyError: for an unknown key.
            ValueError: if a part is given of a result that is not there, or a new result lacks its masks, its score
                or its pointer.
        """
        obj_id = self.obj_idx_to_id(obj_idx)
        parts = {output_key: output_value} if output_key is not None else dict(output_value or {})
        parts = {_check_key(key): value for key, value in parts.items() if key != "high_res_masks"}
        old = self.tracks[obj_id].results.get(self.check_frame_idx(frame_idx))
        stored = {} if old is None else _describe_result(old)
        missing = [key for key in OUTPUT_KEYS[:3] if parts.get(key, stored.get(key)) is None]
        if missing:
            raise ValueError(f"output_value must hold {', '.join(missing)}, as nothing is stored on frame {frame_idx}")
        merged: dict[str, Any] = {**stored, **parts}
        result = FrameResult(
            mask_logits=merged["pred_masks"].reshape(1, *merged["pred_masks"].shape[-2:]),
            object_score=merged["object_score_logits"].reshape(1),
            iou=torch.ones(1, dtype=torch.float32, device="cpu") if old is None else old.iou,
            memory=FrameMemory(
                None if merged.get("maskmem_features") is None else _without_leading(merged["maskmem_features"], 3),
                _without_leading(merged["object_pointer"], 1),
            ),
            is_conditioning=is_conditioning_frame,
            tracked_in_reverse=None if old is None else old.tracked_in_reverse,
            provenance=None if is_conditioning_frame or old is None else old.provenance,
        )
        if old is not None:
            result = replace(result, policy_state=old.policy_state)
        self.store(frame_idx, {obj_id: result})

    def _per_object(self, describe: Callable[[ObjectState], Value]) -> Mapping[int, Value]:
        return ReadOnlyView(
            lambda: range(len(self.tracks)), lambda obj_idx: describe(self.tracks[self.obj_idx_to_id(obj_idx)])
        )


def _prompts_of(track: ObjectState, kind: type[Any], describe: Callable[[Any], Value]) -> Mapping[int, Value]:
    return ReadOnlyView(
        lambda: [frame for frame, prompt in track.prompts.items() if isinstance(prompt, kind)],
        lambda frame: describe(track.prompts[frame]),
    )


def _describe_points(prompt: PointPrompt) -> dict[str, Tensor]:
    return {"point_coords": prompt.points[None, None], "point_labels": prompt.labels[None, None]}


def _results_of(track: ObjectState, conditioning: bool) -> Mapping[int, dict[str, Any]]:
    return ReadOnlyView(
        lambda: [frame for frame, result in track.results.items() if result.is_conditioning == conditioning],
        lambda frame: _describe_result(track.results[frame]),
    )


def _describe_result(result: FrameResult) -> dict[str, Any]:
    """The parts of a result as transformers names them, with an axis for the object."""
    features = result.memory.features
    return {
        "pred_masks": None if result.shown_logits is None else result.shown_logits[None],
        "object_score_logits": result.object_score[None],
        "object_pointer": result.memory.pointer[None],
        "maskmem_features": None if features is None else features[None],
    }


def _check_key(output_key: str) -> str:
    if output_key not in OUTPUT_KEYS:
        raise KeyError(f"output_key must be one of {', '.join(OUTPUT_KEYS)}, got {output_key!r}")
    return output_key


def _without_leading(value: Tensor, num_axes: int) -> Tensor:
    """A tensor without its leading axes of length 1; `num_axes` are left."""
    return value.reshape(value.shape[-num_axes:])
