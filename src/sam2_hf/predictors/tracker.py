"""Clips in one call: objects tracked from prompts on any frames, corrected afterwards."""

from __future__ import annotations

import copy
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arrays import cast, to_numpy
from ..results.clip_result import ClipResult
from ..results.image_result import ImageResult
from ..results.records import ObjectMask, ShownPrompt, encode_masks, frame_file_name
from ..results.stream_writers import ResultStream
from ..sizes import Size
from ..tracking.memory.registry import PolicySetting, read_policy_setting
from ..tracking.propagation import Direction
from ..video_io.open_video import VideoSource, open_video
from .object_prompts import ObjectPrompt, check_positions, read_object_prompt

if TYPE_CHECKING:
    import torch

    from .loaded_models import LoadedModel

_PROMPT_KEYS = ("frame", "points", "labels", "box", "mask")


class Tracker:
    """Tracks objects through clips with one model, which stays loaded.

    Args:
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of its weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of its input in pixels, int or (height, width); that of the checkpoint by default. A smaller one is
            faster and less exact.
        memory_policy: which memories tracking reads, such as "visible"; that of the checkpoint by default.

    Raises:
        ValueError: for a policy that does not exist.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        image_size: int | Size | None = None,
        memory_policy: PolicySetting | None = None,
    ):
        self.memory_policy = read_policy_setting(memory_policy)
        from .loaded_models import load_model

        self.loaded: LoadedModel = load_model(checkpoint, device, dtype, image_size, video=True)

    @property
    def model(self) -> Any:
        """The `Sam2VideoModel`."""
        return self.loaded.model

    @property
    def processor(self) -> Any:
        """The `Sam2VideoProcessor`."""
        return self.loaded.processor

    def open_session(self, video: VideoSource | None = None, **settings: Any) -> Any:
        """Open a session on the model's device, with this tracker's memory policy.

        Args:
            video: an open source of frames; None for a stream whose frames are handed over one by one.
            settings: further arguments of `Sam2VideoProcessor.init_video_session`.

        Returns:
            The session, without objects.
        """
        device = self.model.device
        return self.processor.init_video_session(
            video, inference_device=device, memory_policy=self.memory_policy, **settings
        )

    def open_video(self, clip: Any) -> VideoSource:
        """Open anything that `open_video` takes, for a session of this tracker."""
        return open_video(clip)

    def track(self, clip: Any, prompts: Mapping[Hashable, Any], progress: bool = False) -> Tracks:
        """Track objects through a clip; see `track`."""
        return self.begin(clip, prompts).run(progress=progress)

    def begin(self, clip: Any, prompts: Mapping[Hashable, Any]) -> Tracks:
        """Open a clip and prompt objects in it, for `Tracks.run` or `Tracks.steps`; arguments as those of `track`."""
        tracks = Tracks(self, self.open_video(clip), _clip_name(clip))
        tracks.add(prompts)
        return tracks

    def propagate(self, session: Any, direction: Direction = "forward", progress: bool = False) -> Iterator[Any]:
        """Go through a session; the outputs of the model, frame by frame."""
        frames: Iterator[Any] = self.model.propagate_in_video_iterator(
            session, direction=direction, show_progress_bar=progress
        )
        return frames

    def stream(self, video: Any, prompts: Mapping[Hashable, Any]) -> ResultStream:
        """Track through a clip or stream of any length in constant memory.

        Args:
            video: anything that `open_video` takes: a file, a camera, a generator, an address.
            prompts: as those of `track`; of a stream, on frames that have not passed.

        Returns:
            Each frame as it is tracked, with its objects and its image. `save("out.mp4", "out.csv")` writes them.

        Raises:
            ValueError, TypeError, IndexError: naming what is wrong with the prompts or the video.
        """
        source, by_frame = self.open_video(video), read_clip_prompts(prompts)
        name = _clip_name(video)
        session = self.open_session(source, retention="readable")
        shown = add_prompts(self.processor, session, by_frame)

        def results() -> Iterator[ImageResult]:
            for output in self.propagate(session):
                frame = output.frame_idx
                objects = tracked_objects(self.processor, output, source.size, shown.get(frame, {}))
                pixels = to_numpy(source[frame]).transpose(1, 2, 0)
                yield ImageResult(objects, pixels, source.size, frame_file_name(name, frame), frame)

        return ResultStream(results(), list(prompts), source.fps, name)


class Tracks(ClipResult):
    """The objects of a clip, which can be corrected, added to and removed.

    Args:
        tracker: computes them.
        video: an open source that can be read in any order.
        name: of the clip.

    Raises:
        ValueError: the video is a stream.
    """

    def __init__(self, tracker: Tracker, video: VideoSource, name: str = "clip"):
        super().__init__(video, name)
        if not video.seekable:
            raise ValueError(
                "a stream cannot be corrected or read again: track it with Tracker().stream(video, prompts)"
            )
        self.tracker = tracker
        self.session = tracker.open_session(video)
        self._shown: dict[int, dict[Hashable, ShownPrompt]] = {}

    @property
    def names(self) -> list[Hashable]:
        """The names of the objects, in the order in which they came."""
        return list(self.session.obj_ids)

    def add(self, prompts: Mapping[Hashable, Any]) -> None:
        """Prompt objects, known or new ones, in the form of `track`; `run` computes what that changes.

        Raises:
            ValueError, TypeError, IndexError: naming what is wrong; nothing is changed then.
        """
        for frame, shown in add_prompts(self.tracker.processor, self.session, read_clip_prompts(prompts)).items():
            self._shown.setdefault(frame, {}).update(shown)

    def run(self, progress: bool = False, backward: bool = True) -> Tracks:
        """Compute what is not computed yet, over the whole clip.

        Args:
            progress: whether a bar shows how far it is.
            backward: whether objects are followed back from their first prompts to the start of the clip as well.

        Returns:
            These tracks.
        """
        for _ in self.steps(progress, backward):
            pass
        return self

    def steps(self, progress: bool = False, backward: bool = True, frames: int | None = None) -> Iterator[int]:
        """Do what `run` does, and hand out the number of each frame as it is computed.

        It may be left at any time, and what is computed until then is kept. The next `steps` or `run` goes on from it.

        Args:
            progress: whether a bar shows how far it is.
            backward: whether objects are followed back from their first prompts to the start of the clip as well.
            frames: how many frames at most, from the earliest prompted one on, and as many back; None for all.

        Returns:
            The numbers; first those of the way forward, then those of the way back.
        """
        needs_to_go_back = backward and any(min(track.prompted_frames()) for track in self.session.tracks.values())
        direction: Direction = "both" if needs_to_go_back else "forward"
        if frames is None:
            outputs = self.tracker.propagate(self.session, direction, progress)
        else:
            outputs = self.tracker.model.propagate_in_video_iterator(
                self.session, direction=direction, show_progress_bar=progress, max_frame_num_to_track=frames - 1
            )
        for output in outputs:
            self._put(output)
            yield output.frame_idx

    def segment_frame(self, frame: int) -> ImageResult:
        """Compute one frame alone: its prompts, and the objects that are tracked to it.

        Raises:
            IndexError: the clip has no such frame.
            ValueError: there are no objects.
        """
        if not self.names:
            raise ValueError("there are no objects: add one with a prompt")
        self._put(self.tracker.model(self.session, frame_idx=frame))
        return self[frame]

    def fork(self) -> Tracks:
        """Copy the tracks, to try something and throw it away; what is computed is shared, so this is cheap."""
        forked = copy.copy(self)
        forked.session = self.session.fork()
        forked._objects = dict(self._objects)
        forked._shown = {frame: dict(shown) for frame, shown in self._shown.items()}
        return forked

    def _put(self, output: Any) -> None:
        shown = self._shown.get(output.frame_idx, {})
        self.put(output.frame_idx, tracked_objects(self.tracker.processor, output, self.size, shown))

    def correct(
        self,
        name: Hashable,
        frame: int,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        progress: bool = False,
    ) -> Tracks:
        """Correct an object on a frame, and compute what that changes in the rest of the clip.

        Args:
            name: the object.
            frame: the number of the frame.
            points: (x, y) or [(x, y), ...], which start from the mask that is there.
            labels: 1 on the object and 0 on the background, one a point; 1 by default.
            box: (x0, y0, x1, y1).
            mask: the right mask, (height, width), instead of points and box.
            progress: whether a bar shows how far it is.

        Returns:
            These tracks.

        Raises:
            KeyError: there is no object of that name.
            ValueError, TypeError, IndexError: naming what is wrong; nothing is changed then.
        """
        if name not in self.names:
            raise KeyError(f"name must be one of {self.names}, got {name!r}")
        given = {"points": points, "labels": labels, "box": box, "mask": mask}
        prompt = {key: value for key, value in given.items() if value is not None}
        self.add({name: {"frame": frame, **prompt}})
        return self.run(progress=progress)

    def remove(self, name: Hashable) -> None:
        """Forget an object; the others are not touched.

        Raises:
            KeyError: there is no object of that name.
        """
        self.session.remove_object(name)
        for shown in self._shown.values():
            shown.pop(name, None)
        for frame in self.frames:
            self.put(frame, [item for item in self[frame].objects if item.name != name])


def track(
    clip: Any,
    prompts: Mapping[Hashable, Any],
    *,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    memory_policy: PolicySetting | None = None,
) -> Tracks:
    """Track objects through a clip.

    The model stays loaded for the next call.

    Args:
        clip: a file, a folder of images, a list, an array, an address of a recording; see `open_video`.
        prompts: by the objects' names, `{"cup": dict(frame=0, points=[(210, 350)])}`. A prompt has `frame` (0 by
            default) and any of `points`, `labels` and `box`, or `mask`, in the flat forms of `segment`; a list of
            points alone is on frame 0; a list of such dictionaries prompts an object on several frames.
        progress: whether a bar shows how far it is.
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of the model's weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of the model's input in pixels, int or (height, width); that of the checkpoint by default.
        memory_policy: which memories tracking reads, such as "visible" or "sam2long"; that of the checkpoint
            by default.

    Returns:
        Tracks: `tracks[frame]` is a frame with its masks, `save("out.mp4")`, `to_csv`, `to_coco`, `correct(...)`.

    Raises:
        ValueError, TypeError, IndexError: naming what is wrong with the prompts or the clip.
        OSError: the clip or the checkpoint cannot be found.
    """
    return Tracker(checkpoint, device, dtype, image_size, memory_policy).track(clip, prompts, progress)


def read_clip_prompts(prompts: Mapping[Hashable, Any]) -> dict[int, list[ObjectPrompt]]:
    """Read the prompts of a clip by their frames.

    Raises:
        ValueError, TypeError: naming the object.
    """
    if not isinstance(prompts, Mapping) or not prompts:
        raise ValueError(f"prompts must be a dictionary by the objects' names, {{'cup': {{...}}}}, got {prompts!r}")
    by_frame: dict[int, list[ObjectPrompt]] = {}
    for name, value in prompts.items():
        several = isinstance(value, Sequence) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)
        for item in value if several else [value]:
            fields = dict(item) if isinstance(item, Mapping) else {"points": item}
            unknown = [key for key in fields if key not in _PROMPT_KEYS]
            if unknown:
                raise ValueError(f"the prompt of {name!r} may have {', '.join(_PROMPT_KEYS)}, got {', '.join(unknown)}")
            frame = fields.pop("frame", 0)
            renamed = {{"box": "boxes", "mask": "masks"}.get(key, key): value for key, value in fields.items()}
            by_frame.setdefault(frame, []).append(read_object_prompt(name, **renamed))
    return by_frame


def add_prompts(
    processor: Any, session: Any, by_frame: Mapping[int, Sequence[ObjectPrompt]]
) -> dict[int, dict[Hashable, ShownPrompt]]:
    """Hand prompts to a session.

    Returns:
        What to draw, by frame and name.

    Raises:
        ValueError, IndexError: naming what is wrong; nothing is changed then.
    """
    for frame, prompts in by_frame.items():
        session.check_frame_idx(frame)
        if session.video_height is not None and session.video_width is not None:
            check_positions(prompts, (session.video_height, session.video_width))
        for prompt in prompts:
            if prompt.mask is not None and (prompt.points or prompt.box is not None):
                raise ValueError(f"the prompt of {prompt.name!r} has a mask: points and box cannot stand beside it")
    shown: dict[int, dict[Hashable, ShownPrompt]] = {}
    for frame, prompts in by_frame.items():
        for prompt in prompts:
            given: dict[str, Any] = {}
            if prompt.mask is not None:
                given["input_masks"] = [prompt.mask]
            if prompt.points:
                given["input_points"] = [[[list(point) for point in prompt.points]]]
                given["input_labels"] = [[list(prompt.labels)]]
            if prompt.box is not None:
                given["input_boxes"] = [[list(prompt.box)]]
            processor.add_inputs_to_inference_session(session, frame, [prompt.name], **given)
            shown.setdefault(int(frame), {})[prompt.name] = prompt.shown()
    return shown


def tracked_objects(
    processor: Any, output: Any, size: tuple[int, int], shown: Mapping[Hashable, ShownPrompt] | None = None
) -> list[ObjectMask]:
    """Read the objects of a tracked frame from a model's output.

    Args:
        processor: resizes the masks.
        output: of the model.
        size: (height, width) of the frame.
        shown: what each was prompted with on this frame.
    """
    logits, visible, scores = (
        to_numpy(cast(values, "float32"))
        for values in (output.pred_masks, output.object_score_logits, output.iou_scores)
    )
    (masks,) = processor.post_process_masks([logits], [list(size)])
    rles, scores, visible = encode_masks(masks[:, 0]), scores.ravel().tolist(), visible.ravel().tolist()
    found = zip(output.object_ids, rles, scores, visible, strict=True)
    prompts = shown or {}
    return [ObjectMask(name, rle, score, object_score, prompts.get(name)) for name, rle, score, object_score in found]


def _clip_name(clip: Any) -> str:
    return Path(os.fspath(clip)).stem if isinstance(clip, (str, os.PathLike)) else "clip"
