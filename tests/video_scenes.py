"""A clip of two discs with a processor, models and prompts for it, and what tests of tracking do with them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from official_goldens import IMAGE_SIZE, disc, draw_clip, draw_state_dict, official_shapes, small_config
from tiny import tiny_video_model
from torch import Tensor

from sam2_hf.hub.conversion import convert_state_dict
from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.processing_sam2_video import Sam2VideoProcessor
from sam2_hf.tracking.session import Sam2VideoInferenceSession

# The clip has the model's size, so nothing is resized.
PROCESSOR = Sam2VideoProcessor(Sam2ImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}))
# What users give, by kind. Coordinates are those of the discs in the first frames.
PROMPTS: dict[str, dict[str, Any]] = {
    "click": {"input_points": [[[[36, 44]]]], "input_labels": [[[1]]]},
    "background": {"input_points": [[[[70, 60]]]], "input_labels": [[[0]]]},
    "clicks": {"input_points": [[[[60, 60], [20, 20]]]], "input_labels": [[[1, 0]]]},
    "box": {"input_boxes": [[[80, 74, 112, 106]]]},
    "box_and_click": {
        "input_points": [[[[96, 90]]]],
        "input_labels": [[[1]]],
        "input_boxes": [[[80, 74, 112, 106]]],
    },
    "mask": {"input_masks": disc(64, 100, 18)},
    "empty_mask": {"input_masks": np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)},
}
Masks = dict[int, dict[Hashable, Tensor]]


def clip(num_frames: int) -> list[np.ndarray]:
    """uint8 frames (128, 128, 3)."""
    return list(draw_clip(num_frames))


@cache
def pixels(index: int) -> Tensor:
    """A frame of the clip as a stream hands it over: pixel_values (3, 128, 128)."""
    return PROCESSOR(images=draw_clip(index + 1)[index], return_tensors="pt").pixel_values[0]


@cache
def tiny_model(**config: Any) -> Sam2VideoModel:
    """Random weights; takes milliseconds a frame. Objects give clearly different masks, which drift no further apart
    than rounding makes them."""
    return tiny_video_model(seed=0, **config)


@cache
def flickering_model(**config: Any) -> Sam2VideoModel:
    """Like `tiny_model`, but its objects are absent from a good part of the frames."""
    model = tiny_video_model(seed=0, **config)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias -= 4.0
    return model


@cache
def scene_model(version: str = "sam2.1", **settings: Any) -> Sam2VideoModel:
    """The small model of the official goldens, on which objects keep masks of their own over a clip."""
    model = Sam2VideoModel(small_config(version, **settings))
    model.load_state_dict(convert_state_dict(draw_state_dict(official_shapes(f"small-{version}"), seed=47)))
    return model.eval()


def open_session(num_frames: int = 8, **settings: Any) -> Sam2VideoInferenceSession:
    return PROCESSOR.init_video_session(clip(num_frames), **settings)


def prompted(*prompts: tuple, num_frames: int = 8, **settings: Any) -> Sam2VideoInferenceSession:
    """A session over the clip with prompts, (frame, object) for a click or (frame, object, kind)."""
    session = open_session(num_frames, **settings)
    for frame_idx, obj_id, *kind in prompts:
        give(session, frame_idx, obj_id, *kind)
    return session


def give(
    session: Sam2VideoInferenceSession, frame_idx: int, obj_id: Hashable, kind: str = "click", **settings: Any
) -> Sam2VideoInferenceSession:
    """Gives one object a prompt of `PROMPTS`."""
    if session.video_height is None:
        settings["original_size"] = (IMAGE_SIZE, IMAGE_SIZE)
    return PROCESSOR.add_inputs_to_inference_session(session, frame_idx, [obj_id], **PROMPTS[kind], **settings)


def track(model: Sam2VideoModel, session: Sam2VideoInferenceSession, **settings: Any) -> Masks:
    """Propagates; the mask logits of each object in each frame, as last handed out."""
    return collect(model.propagate_in_video_iterator(session, **settings))


def stream(model: Sam2VideoModel, session: Sam2VideoInferenceSession, frames: Iterable[int]) -> Masks:
    """Hands over frames of the clip."""
    return collect(model(session, frame=pixels(index)) for index in frames)


def collect(outputs: Iterable[Any]) -> Masks:
    return {output.frame_idx: dict(zip(output.object_ids, output.pred_masks, strict=True)) for output in outputs}


def is_empty(mask: Tensor) -> bool:
    return bool((mask == -1024).all())


def assert_same(masks: Masks, expected: Masks) -> None:
    """Bit for bit."""
    assert list(masks) == list(expected)
    for frame, by_object in expected.items():
        assert list(masks[frame]) == list(by_object), f"frame {frame}"
        for obj_id, mask in by_object.items():
            torch.testing.assert_close(masks[frame][obj_id], mask, rtol=0, atol=0, msg=f"frame {frame}, {obj_id!r}")


def snapshot(session: Sam2VideoInferenceSession) -> Any:
    """All that a session remembers, as plain values that can be compared."""
    hidden = {name: value for name, value in vars(session).items() if name not in ("_follows", "_user")}
    hidden["frames"] = {
        name: value for name, value in vars(session.frames).items() if name not in ("video", "image_processor")
    }
    hidden["feature_cache"] = list(session.feature_cache)
    return _freeze(hidden)


def _freeze(value: Any) -> Any:
    if isinstance(value, Tensor):
        content = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), hashlib.sha256(content).hexdigest()[:12]
    if dataclasses.is_dataclass(value):
        return type(value).__name__, _freeze(vars(value))
    if isinstance(value, Mapping):
        return [(key, _freeze(entry)) for key, entry in value.items()]
    return value.copy() if isinstance(value, (list, set)) else value


def run_out_of_memory(*args: Any, **kwargs: Any) -> Any:
    """In place of what is to fail."""
    raise MemoryError


@contextmanager
def counted(model: Sam2VideoModel, monkeypatch: Any, *names: str) -> Any:
    """Counts calls of the model's methods while it lasts: a dict from name to the arguments of each call."""
    calls: dict[str, list[tuple]] = {name: [] for name in names}
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(model, name, _recording(getattr(model, name), calls[name]))
        yield calls


def _recording(method: Any, calls: list[tuple]) -> Any:
    def record(*args: Any, **kwargs: Any) -> Any:
        calls.append((*args, *kwargs.values()))
        return method(*args, **kwargs)

    return record
