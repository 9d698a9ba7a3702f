"""Sessions on disk: tensors as safetensors, everything else as JSON; nothing that could be executed.

A folder holds one `session.json`, which names its file of tensors. The tensors are written first, under a new name,
and `session.json` takes the place of the earlier one in a single step: a save that is cut short leaves the earlier
one readable.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .image_processing_sam2 import Sam2ImageProcessor
from .video_session import (
    FrameMemory,
    FrameResult,
    MaskPrompt,
    ObjectTrack,
    PointPrompt,
    Prompt,
    Provenance,
    Sam2VideoInferenceSession,
)

if TYPE_CHECKING:
    from .video_base import VideoSource

FORMAT = 1
SESSION_FILE = "session.json"
TENSORS_PATTERN = "tensors-*.safetensors"


def save_session(session: Sam2VideoInferenceSession, directory: str | os.PathLike[str]) -> None:
    """Writes a session into a folder, made if need be; see `Sam2VideoInferenceSession.save`."""
    tensors: dict[str, Tensor] = {}
    # Described before anything is written: an id that cannot be written must not cost the earlier save.
    description = _describe(session, tensors)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    name = TENSORS_PATTERN.replace("*", secrets.token_hex(8))
    save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, folder / name)
    _replace_text(folder / SESSION_FILE, json.dumps({**description, "tensors": name}, indent=1))
    for other in folder.glob(TENSORS_PATTERN):
        if other.name != name:
            other.unlink()


def load_session(
    directory: str | os.PathLike[str], video: VideoSource | None, **settings: Any
) -> Sam2VideoInferenceSession:
    """Reads a session back; see `Sam2VideoInferenceSession.load`."""
    description, tensors = _read(Path(directory))
    _check_video(description["video"], video)
    processor = description["image_processor"]
    session = Sam2VideoInferenceSession(
        video=video,
        video_height=description["height"],
        video_width=description["width"],
        dtype=getattr(torch, description["dtype"]),
        max_vision_features_cache_size=description["feature_cache_size"],
        image_processor=None if processor is None else Sam2ImageProcessor.from_dict(processor),
        retention=description["retention"],
        **settings,
    )
    newest = tensors.pop("newest_streamed", None)
    tensors = {name: tensor.to(session.inference_state_device) for name, tensor in tensors.items()}
    for index, entry in enumerate(description["objects"]):
        session.tracks[_decode_id(entry["id"])] = _build_track(entry, f"objects.{index}", tensors)
    session.restore_stream(
        description["num_streamed"],
        None if newest is None else newest.to(session.video_storage_device),
        description["next_version"],
    )
    return session


def _describe(session: Sam2VideoInferenceSession, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What goes into the JSON file; the tensors go into `tensors`."""
    num_streamed, newest, next_version = session.stream_state()
    if newest is not None:
        tensors["newest_streamed"] = newest
    video = session.video
    return {
        "format": FORMAT,
        "video": None if video is None else {"num_frames": video.num_frames, "size": [video.height, video.width]},
        "height": session.video_height,
        "width": session.video_width,
        "dtype": str(session.dtype).removeprefix("torch."),
        "retention": session.retention,
        "feature_cache_size": session.feature_cache.size,
        "image_processor": None if session.image_processor is None else session.image_processor.to_dict(),
        "num_streamed": num_streamed,
        "next_version": next_version,
        "objects": [
            {"id": _encode_id(obj_id), **_describe_track(track, f"objects.{index}", tensors)}
            for index, (obj_id, track) in enumerate(session.tracks.items())
        ],
    }


def _describe_track(track: ObjectTrack, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for frame, prompt in track.prompts.items():
        tensors.update({f"{prefix}.prompts.{frame}.{name}": tensor for name, tensor in vars(prompt).items()})
    results = {}
    for frame, result in track.results.items():
        named = {
            "mask_logits": result.mask_logits,
            "object_score": result.object_score,
            "iou": result.iou,
            "features": result.memory.features,
            "pointer": result.memory.pointer,
        }
        for name, tensor in named.items():
            if tensor is not None:
                tensors[f"{prefix}.results.{frame}.{name}"] = tensor
        results[str(frame)] = {
            "is_conditioning": result.is_conditioning,
            "tracked_in_reverse": result.tracked_in_reverse,
            "provenance": result.provenance,
            "version": result.version,
        }
    return {"prompts": sorted(track.prompts), "pending": sorted(track.pending), "results": results}


def _build_track(entry: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> ObjectTrack:
    track = ObjectTrack(pending=set(entry["pending"]))
    for frame in entry["prompts"]:
        track.prompts[frame] = _build_prompt(f"{prefix}.prompts.{frame}", tensors)
    for frame, facts in entry["results"].items():
        place = f"{prefix}.results.{frame}"
        track.results[int(frame)] = FrameResult(
            mask_logits=tensors.get(f"{place}.mask_logits"),
            object_score=tensors[f"{place}.object_score"],
            iou=tensors[f"{place}.iou"],
            memory=FrameMemory(tensors.get(f"{place}.features"), tensors[f"{place}.pointer"]),
            is_conditioning=facts["is_conditioning"],
            tracked_in_reverse=facts["tracked_in_reverse"],
            provenance=_build_provenance(facts["provenance"]),
            version=facts["version"],
        )
    return track


def _build_prompt(place: str, tensors: dict[str, Tensor]) -> Prompt:
    if f"{place}.mask" in tensors:
        return MaskPrompt(tensors[f"{place}.mask"])
    return PointPrompt(tensors[f"{place}.points"], tensors[f"{place}.labels"])


def _build_provenance(stored: list | None) -> Provenance | None:
    if stored is None:
        return None
    memories, pointers = stored
    return tuple(map(tuple, memories)), tuple(map(tuple, pointers))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = folder / SESSION_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no session in {folder}: there is no {SESSION_FILE}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        known = description["format"] == FORMAT
        name = description["tensors"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not describe a session: {error!r}") from error
    if not known:
        raise ValueError(f"{path} has the format {description['format']!r}, expected {FORMAT}")
    if Path(name).name != name:
        raise ValueError(f"{path} names tensors outside its folder: {name!r}")
    return description, load_file(folder / name)


def _check_video(stored: dict[str, Any] | None, video: VideoSource | None) -> None:
    if (stored is None) != (video is None):
        expected = "a stream: load it without video" if stored is None else "a video: give it as video"
        raise ValueError(f"the session was of {expected}")
    if video is None or stored is None:
        return
    given = {"num_frames": video.num_frames, "size": [video.height, video.width]}
    if given != stored:
        raise ValueError(f"video must be the clip of the session, {stored}, got {given}")


def _replace_text(path: Path, text: str) -> None:
    """Writes a file so that it is either the old or the new one, whatever happens on the way."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _encode_id(obj_id: Hashable) -> Any:
    if isinstance(obj_id, tuple):
        return {"tuple": [_encode_id(part) for part in obj_id]}
    if obj_id is None or isinstance(obj_id, (bool, int, float, str)):
        return obj_id
    raise TypeError(f"a session is saved with ids that JSON can hold (int, float, str, tuples of them), got {obj_id!r}")


def _decode_id(stored: Any) -> Hashable:
    return tuple(_decode_id(part) for part in stored["tuple"]) if isinstance(stored, dict) else stored
