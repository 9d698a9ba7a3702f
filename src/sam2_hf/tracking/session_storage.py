"""Sessions on disk: what of a session goes into JSON, what into tensors, and how both become a session again."""

from __future__ import annotations

import os
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..arrays import Array, moved_to, to_numpy
from ..video_io.source import VideoDecodingError
from .object_storage import build_track, describe_track
from .retention import Checkpointed, RetentionRule, read_retention
from .session_files import SESSION_FILE, naming_the_file, read_folder, write_folder
from .session_state import SessionState
from .stored_values import count, optional_count

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
    write_folder(_read_directory(directory), description, tensors)


def load_session(
    session_class: type[SessionT],
    directory: str | os.PathLike[str],
    video: Any,
    spill_directory: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> SessionT:
    """Read a session back; see `Sam2VideoInferenceSession.load`."""
    folder = _read_directory(directory)
    path = folder / SESSION_FILE
    description, tensors = read_folder(folder, session_class.holds_tensors)
    with naming_the_file(path):
        if description["format"] != FORMAT:
            raise ValueError(f"its format is {description['format']!r}, expected {FORMAT}")
        stored_video = _read_video(description["video"])
        window = _read_window(description.get("value_range"))
    source = None if video is None else _open(video, window)
    _check_video(stored_video, source)
    with naming_the_file(path):
        rule = read_retention(description["retention"], is_seekable=source is not None and source.seekable)
    if spill_directory is not None:
        if not isinstance(rule, Checkpointed):
            raise ValueError(f'spill_directory is for a session with retention="checkpointed", got {rule.name!r}')
        rule = replace(rule, directory=spill_directory)
    with naming_the_file(path):
        session = _build_session(session_class, description, tensors, source, rule, settings)
    if session.spill is not None:
        for track in session.tracks.values():
            session.spill.add(track.results.archive)
    return session


def _read_directory(directory: Any) -> Path:
    """Refuse what names no folder; an empty name would be the current one."""
    if not isinstance(directory, (str, os.PathLike)) or not os.fspath(directory):
        raise ValueError(f"directory must be the path of a folder, got {directory!r}")
    return Path(directory)


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
        "retention": session.rule.as_setting(),
        **({} if session.memory_policy is None else {"memory_policy": session.memory_policy}),
        "feature_cache_size": session.feature_cache.size,
        **settings,
        "num_streamed": num_streamed,
        "next_version": next_version,
        "last_visited": session.last_visited,
        "objects": [
            {"id": _encode_id(obj_id), **describe_track(track, f"objects.{index}", tensors)}
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
    rule: RetentionRule,
    settings: dict[str, Any],
) -> SessionT:
    session = session_class.from_settings(
        description,
        video=video,
        video_height=optional_count(description["height"]),
        video_width=optional_count(description["width"]),
        max_vision_features_cache_size=count(description["feature_cache_size"]),
        retention=rule,
        memory_policy=description.get("memory_policy"),
        **settings,
    )
    newest = tensors.pop("newest_streamed", None)
    tensors = {
        name: array if ".blocks." in name else moved_to(array, session.inference_state_device)
        for name, array in tensors.items()
    }
    for index, entry in enumerate(description["objects"]):
        session.tracks[_decode_id(entry["id"])] = build_track(entry, f"objects.{index}", tensors)
    session.restore_stream(
        count(description["num_streamed"]),
        newest,
        count(description["next_version"]),
    )
    session.last_visited = optional_count(description.get("last_visited"))
    return session


def _read_video(stored: Any) -> dict[str, Any] | None:
    if stored is None:
        return None
    levels = stored["first_frame"]
    return {
        "num_frames": optional_count(stored["num_frames"]),
        "size": [count(side) for side in stored["size"]],
        "first_frame": None if levels is None else [count(level) for level in levels],
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


def _decode_id(stored: Any) -> Hashable:
    return tuple(_decode_id(part) for part in stored["tuple"]) if isinstance(stored, dict) else stored
