"""Sessions on disk: what of a session goes into JSON, what into tensors, and how both become a session again."""

from __future__ import annotations

import os
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..arrays import Array, is_tensor, moved_to, to_numpy
from ..video_io.source import VideoDecodingError
from .frame_result import FrameMemory, FrameResult, Provenance
from .memory.policy import PolicyState
from .object_state import ObjectState
from .prompts import MaskPrompt, PointPrompt, Prompt
from .session_files import SESSION_FILE, naming_the_file, read_folder, write_folder
from .session_state import SessionState

if TYPE_CHECKING:
    from ..inputs.value_range import ValueRange
    from ..video_io.source import VideoSource

SessionT = TypeVar("SessionT", bound=SessionState)

FORMAT = 1
# First frames whose grey levels, averaged over a sixteenth of the image, are further apart belong to two clips.
LEVELS_APART = 16


def save_session(session: SessionState, directory: str | os.PathLike[str]) -> None:
    """Write a session into a folder, made if need be; see `Sam2VideoInferenceSession.save`."""
    tensors: dict[str, Array] = {}
    # Described before anything is written: an id that cannot be written must not cost the earlier save.
    description = _describe(session, tensors)
    write_folder(Path(directory), description, tensors)


def load_session(
    session_class: type[SessionT], directory: str | os.PathLike[str], video: Any, **settings: Any
) -> SessionT:
    """Read a session back; see `Sam2VideoInferenceSession.load`."""
    path = Path(directory) / SESSION_FILE
    description, tensors = read_folder(Path(directory), session_class.holds_tensors)
    with naming_the_file(path):
        if description["format"] != FORMAT:
            raise ValueError(f"its format is {description['format']!r}, expected {FORMAT}")
        stored_video = _read_video(description["video"])
        window = _read_window(description.get("value_range"))
    source = None if video is None else _open(video, window)
    _check_video(stored_video, source)
    with naming_the_file(path):
        return _build_session(session_class, description, tensors, source, settings)


# What is written


def _describe(session: SessionState, tensors: dict[str, Array]) -> dict[str, Any]:
    """What goes into the JSON file; the tensors go into `tensors`."""
    settings = session.describe_settings()
    num_streamed, newest, next_version = session.stream_state()
    if newest is not None:
        tensors["newest_streamed"] = newest
    return {
        "format": FORMAT,
        "video": None if session.video is None else _describe_video(session.video),
        "value_range": None if session.video is None else _describe_window(session.video.value_range),
        "height": session.video_height,
        "width": session.video_width,
        "retention": session.retention,
        **({} if session.memory_policy is None else {"memory_policy": session.memory_policy}),
        "feature_cache_size": session.feature_cache.size,
        **settings,
        "num_streamed": num_streamed,
        "next_version": next_version,
        "objects": [
            {"id": _encode_id(obj_id), **_describe_track(track, f"objects.{index}", tensors)}
            for index, (obj_id, track) in enumerate(session.tracks.items())
        ],
    }


def _describe_video(video: VideoSource) -> dict[str, Any]:
    """What tells a clip from others; of a stream, no frame is looked at."""
    levels = None
    if video.seekable:
        with suppress(VideoDecodingError):  # a clip may be damaged where it begins
            levels = _levels(to_numpy(video[0]))
    return {"num_frames": video.num_frames, "size": [video.height, video.width], "first_frame": levels}


def _describe_window(window: ValueRange) -> dict[str, Any] | None:
    """A window of values, with text for numbers: JSON has no NaN."""
    if not window.is_set:
        return None
    pairs = {"input_range": window.limits, "input_percentiles": window.percentiles}
    texts: dict[str, Any] = {name: None if pair is None else [*map(repr, pair)] for name, pair in pairs.items()}
    return {**texts, "nodata": None if window.nodata is None else repr(window.nodata)}


def _levels(frame: np.ndarray) -> list[int]:
    """The mean grey levels of a frame (3, height, width) in 4 rows of 4 parts, channel by channel."""
    height, width = frame.shape[1:]
    rows = [(step * height // 4, -(-(step + 1) * height // 4)) for step in range(4)]
    columns = [(step * width // 4, -(-(step + 1) * width // 4)) for step in range(4)]
    parts = [frame[:, top:bottom, left:right].mean((1, 2)) for top, bottom in rows for left, right in columns]
    return np.stack(parts, axis=1).round().astype(int).flatten().tolist()


def _describe_track(track: ObjectState, prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    for frame, prompt in track.prompts.items():
        tensors.update({f"{prefix}.prompts.{frame}.{name}": tensor for name, tensor in vars(prompt).items()})
    results = {
        str(frame): _describe_result(result, f"{prefix}.results.{frame}", tensors)
        for frame, result in track.results.items()
    }
    superseded = {
        str(frame): None if result is None else _describe_result(result, f"{prefix}.superseded.{frame}", tensors)
        for frame, result in track.superseded.items()
    }
    return {
        "prompts": list(track.prompts),
        "pending": sorted(track.pending),
        "results": results,
        "superseded": superseded,
    }


def _describe_result(result: FrameResult, prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    named = {
        "mask_logits": result.mask_logits,
        "object_score": result.object_score,
        "iou": result.iou,
        "features": result.memory.features,
        "pointer": result.memory.pointer,
    }
    tensors.update({f"{prefix}.{name}": tensor for name, tensor in named.items() if tensor is not None})
    state = result.policy_state or {}
    tensors.update({f"{prefix}.policy.{name}": value for name, value in state.items() if _is_array(value)})
    return {
        "is_conditioning": result.is_conditioning,
        "tracked_in_reverse": result.tracked_in_reverse,
        "provenance": result.provenance,
        "version": result.version,
        **({} if result.policy_state is None else _describe_policy(result.policy_state, result.visible)),
    }


def _describe_policy(state: PolicyState, visible: bool | None) -> dict[str, Any]:
    """The plain values of a policy's state, the names of its tensors, and whether it counts the frame as visible."""
    values = {name: value for name, value in state.items() if not _is_array(value)}
    names = [name for name in state if name not in values]
    return {"policy_state": {"values": values, "tensors": names}, "visible": visible}


def _encode_id(obj_id: Hashable) -> Any:
    if isinstance(obj_id, tuple):
        return {"tuple": [_encode_id(part) for part in obj_id]}
    if obj_id is None or isinstance(obj_id, (bool, int, float, str)):
        return obj_id
    raise TypeError(f"a session is saved with ids that JSON can hold (int, float, str, tuples of them), got {obj_id!r}")


# What is read


def _build_session(
    session_class: type[SessionT],
    description: dict[str, Any],
    tensors: dict[str, Array],
    video: VideoSource | None,
    settings: dict[str, Any],
) -> SessionT:
    session = session_class.from_settings(
        description,
        video=video,
        video_height=_optional_count(description["height"]),
        video_width=_optional_count(description["width"]),
        max_vision_features_cache_size=_count(description["feature_cache_size"]),
        retention=description["retention"],
        memory_policy=description.get("memory_policy"),
        **settings,
    )
    newest = tensors.pop("newest_streamed", None)
    tensors = {name: moved_to(tensor, session.inference_state_device) for name, tensor in tensors.items()}
    for index, entry in enumerate(description["objects"]):
        session.tracks[_decode_id(entry["id"])] = _build_track(entry, f"objects.{index}", tensors)
    session.restore_stream(
        _count(description["num_streamed"]),
        newest,
        _count(description["next_version"]),
    )
    return session


def _read_video(stored: Any) -> dict[str, Any] | None:
    if stored is None:
        return None
    levels = stored["first_frame"]
    return {
        "num_frames": _optional_count(stored["num_frames"]),
        "size": [_count(side) for side in stored["size"]],
        "first_frame": None if levels is None else [_count(level) for level in levels],
    }


def _read_window(stored: Any) -> dict[str, Any]:
    """The arguments of `open_video` that give the window of values that was saved."""
    if stored is None:
        return {}
    pairs = {name: stored[name] for name in ("input_range", "input_percentiles")}
    given: dict[str, Any] = {
        name: None if pair is None else [float(limit) for limit in pair] for name, pair in pairs.items()
    }
    return {**given, "nodata": None if stored["nodata"] is None else float(stored["nodata"])}


def _open(video: Any, window: dict[str, Any]) -> VideoSource:
    """Open a video with a window of values; a source that is open keeps its own."""
    from ..video_io.open_video import VideoSource, open_video

    return video if isinstance(video, VideoSource) else open_video(video, **window)


def _check_video(stored: dict[str, Any] | None, video: VideoSource | None) -> None:
    if (stored is None) != (video is None):
        expected = "a stream: load it without video" if stored is None else "a video: give it as video"
        raise ValueError(f"the session was of {expected}")
    if video is None or stored is None:
        return
    given = _describe_video(video)
    wanted, found = stored.pop("first_frame"), given.pop("first_frame")
    if given != stored:
        raise ValueError(f"video must be the clip of the session, {stored}, got {given}")
    if wanted is not None and found is not None:
        apart = max(abs(one - other) for one, other in zip(wanted, found, strict=True))
        if apart > LEVELS_APART:
            raise ValueError("video must be the clip of the session, but its first frame is another one")


def _build_track(entry: dict[str, Any], prefix: str, tensors: dict[str, Array]) -> ObjectState:
    track = ObjectState(pending={_count(frame) for frame in entry["pending"]})
    for frame in entry["prompts"]:
        track.prompts[_count(frame)] = _build_prompt(f"{prefix}.prompts.{frame}", tensors)
    for frame, facts in entry["results"].items():
        track.results[int(frame)] = _build_result(facts, f"{prefix}.results.{frame}", tensors)
    for frame, facts in entry["superseded"].items():
        result = None if facts is None else _build_result(facts, f"{prefix}.superseded.{frame}", tensors)
        track.superseded[int(frame)] = result
    return track


def _build_result(facts: dict[str, Any], prefix: str, tensors: dict[str, Array]) -> FrameResult:
    return FrameResult(
        mask_logits=_optional_tensor(tensors, f"{prefix}.mask_logits", "1hw"),
        object_score=_tensor(tensors, f"{prefix}.object_score", "1"),
        iou=_tensor(tensors, f"{prefix}.iou", "1"),
        memory=FrameMemory(
            _optional_tensor(tensors, f"{prefix}.features", "dhw"), _tensor(tensors, f"{prefix}.pointer", "c")
        ),
        is_conditioning=bool(facts["is_conditioning"]),
        tracked_in_reverse=facts["tracked_in_reverse"],
        provenance=_build_provenance(facts["provenance"]),
        version=_count(facts["version"]),
        visible=facts.get("visible"),
        policy_state=_build_state(facts.get("policy_state"), f"{prefix}.policy", tensors),
    )


def _build_state(stored: dict[str, Any] | None, prefix: str, tensors: dict[str, Array]) -> PolicyState | None:
    if stored is None:
        return None
    return {**stored["values"], **{name: tensors[f"{prefix}.{name}"] for name in stored["tensors"]}}


def _build_prompt(prefix: str, tensors: dict[str, Array]) -> Prompt:
    if f"{prefix}.mask" in tensors:
        return MaskPrompt(_tensor(tensors, f"{prefix}.mask", "hw", floating=False))
    points, labels = (
        _tensor(tensors, f"{prefix}.points", "n2"),
        _tensor(tensors, f"{prefix}.labels", "n", floating=False),
    )
    if len(points) != len(labels):
        raise ValueError(f"{prefix} has {len(points)} points and {len(labels)} labels")
    return PointPrompt(points, labels)


def _tensor(tensors: dict[str, Array], name: str, axes: str, floating: bool = True) -> Array:
    """A tensor that was stored, with as many axes as there are letters; a digit is the length of its axis."""
    tensor = tensors[name]
    fits = tensor.ndim == len(axes) and all(
        not axis.isdigit() or int(axis) == length for axis, length in zip(axes, tensor.shape, strict=True)
    )
    if not fits or _is_floating(tensor) != floating:
        kind = "floating-point" if floating else "integer or bool"
        raise ValueError(
            f"{name} must be {kind} with the axes ({', '.join(axes)}), got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return tensor


def _optional_tensor(tensors: dict[str, Array], name: str, axes: str) -> Array | None:
    return _tensor(tensors, name, axes) if name in tensors else None


def _build_provenance(stored: list | None) -> Provenance | None:
    if stored is None:
        return None
    return tuple(tuple((frame, version) for frame, version in slots) for slots in stored)


def _decode_id(stored: Any) -> Hashable:
    return tuple(_decode_id(part) for part in stored["tuple"]) if isinstance(stored, dict) else stored


def _count(stored: Any) -> int:
    if isinstance(stored, bool) or not isinstance(stored, int) or stored < 0:
        raise ValueError(f"expected a number from 0 up, got {stored!r}")
    return stored


def _optional_count(stored: Any) -> int | None:
    return None if stored is None else _count(stored)


def _is_array(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray)


def _is_floating(array: Array) -> bool:
    """Whether an array holds floating-point numbers, bits of bfloat16 included."""
    return bool(array.is_floating_point()) if is_tensor(array) else array.dtype.kind == "f" or array.dtype == np.uint16
