"""Everything in a clip in one call, and the class behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..mask_generation.settings import MaskGenerationSettings, resolve_names
from ..predictors.tracker import Tracker
from ..results.clip_result import ClipResult
from ..results.image_result import ImageResult
from ..results.records import frame_file_name
from ..results.stream_writers import ResultStream
from ..sizes import Size
from ..tracking.memory.registry import PolicySetting
from ..video_io.open_video import VideoSource, open_video
from .admission import AdmissionRule
from .backward_pass import follow_back
from .candidates import Finder, GridFinder
from .forward_pass import ForwardPass
from .settings import EverythingSettings


class EverythingTracker:
    """Finds and tracks everything in clips and streams with one model, which stays loaded.

    Args:
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of its weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of its input in pixels, int or (height, width); that of the checkpoint by default.
        memory_policy: which memories tracking reads, such as "visible"; that of the checkpoint by default.
        settings: those of `EverythingSettings`, of `AdmissionRule` and of mask generation, by their names.

    Raises:
        TypeError: a setting that does not exist.
        ValueError: a setting out of range.
        OSError: the checkpoint cannot be found.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        image_size: int | Size | None = None,
        memory_policy: PolicySetting | None = None,
        **settings: Any,
    ):
        self.settings, self.generation = read_settings(settings)
        self.tracker = Tracker(checkpoint, device, dtype, image_size, memory_policy)
        defaults = self.tracker.loaded.thresholds
        self.finder: Finder = GridFinder(self.tracker.model, MaskGenerationSettings(**{**defaults, **self.generation}))

    @classmethod
    def of(cls, tracker: Tracker, finder: Finder, **settings: Any) -> EverythingTracker:
        """Make one with another way to find candidates.

        Args:
            tracker: has the model.
            finder: finds candidates for new objects.
            settings: those of `EverythingSettings` and of `AdmissionRule`.

        Raises:
            TypeError: a setting that does not exist.
            ValueError: a setting out of range.
        """
        made = cls.__new__(cls)
        made.tracker, made.finder = tracker, finder
        made.settings, made.generation = read_settings(settings)
        unfit = settings.keys() & MaskGenerationSettings.__dataclass_fields__.keys()
        if unfit:
            raise TypeError(f"{min(unfit)} is a setting of mask generation, which does not find these objects")
        return made

    def track(
        self,
        clip: Any,
        backward: bool = False,
        frames: int | None = None,
        progress: bool = False,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> ClipResult:
        """Find and track everything in a clip.

        Args:
            clip: a file, a folder of images, a list, an array; see `open_video`.
            backward: whether objects that were found late are followed back to where they first were visible.
            frames: how many frames from the first one; all by default.
            progress: whether a bar shows how far it is.
            is_interrupted: asked after each frame; where it is True, the frames so far are all.

        Returns:
            The objects of every frame. An object that was found again has one name in the whole clip.

        Raises:
            ValueError: the clip is a stream, which `stream` takes.
        """
        source = open_video(clip)
        if not source.seekable:
            raise ValueError("clip is a stream, of which not all can be kept: use EverythingTracker.stream")
        result, work = ClipResult(source, clip_name(clip)), self._pass(source)
        renamed: dict[Hashable, Hashable] = {}
        count = len(source) if frames is None else min(frames, len(source))
        for index, frame in tqdm(source.iterate(stop=count), total=count, disable=not progress, unit="frame"):
            result.put(index, work.step(index, frame))
            for old, new in work.take_renamed().items():
                renamed = {first: new if last == old else last for first, last in renamed.items()} | {old: new}
            if is_interrupted():
                break
        _rename(result, renamed)
        if backward and not is_interrupted():
            follow_back(work, result, progress)
        return result

    def stream(self, video: Any) -> ResultStream:
        """Find and track everything in a clip or stream of any length, in constant memory.

        Args:
            video: anything that `open_video` takes: a file, a camera, a generator, an address.

        Returns:
            Each frame as it is tracked, with its visible objects and its image. `save("out.mp4", "out.csv")` writes
            them. An object that was admitted anew before it was recognised has its old name from then on alone.
        """
        source, name = open_video(video), clip_name(video)
        work = self._pass(source)

        def results() -> Iterator[ImageResult]:
            for index, frame in source.iterate():
                objects, pixels = work.step(index, frame), frame.permute(1, 2, 0).cpu().numpy()
                work.take_renamed()  # frames that have passed keep their names
                yield ImageResult(objects, pixels, source.size, frame_file_name(name, index), index)

        return ResultStream(results(), [], source.fps, name)

    def _pass(self, source: VideoSource) -> ForwardPass:
        return ForwardPass(self.tracker, source, self.finder, self.settings)


def segment_and_track_everything(
    clip: Any,
    *,
    backward: bool = False,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    memory_policy: PolicySetting | None = None,
    **settings: Any,
) -> ClipResult | ResultStream:
    """Find and track everything in a clip or stream.

    Masks are generated on a frame every so often, on the features that tracking has computed. What is tracked stays as
    it is; new objects are admitted where it leaves room; an object that was lost goes on under its name when it is
    found again.

    Args:
        clip: anything that `open_video` takes.
        backward: of a clip, whether objects that were found late are followed back to where they first were visible.
        progress: of a clip, whether a bar shows how far it is.
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of the model's weights; that of the checkpoint by default.
        image_size: of the model's input in pixels, int or (height, width); that of the checkpoint by default.
        memory_policy: which memories tracking reads, such as "visible"; that of the checkpoint by default.
        settings: `every` (10), `max_objects` (100) and the others of `EverythingSettings` and `AdmissionRule`, and
            those of mask generation, such as `points_per_crop` (16) or `pred_iou_thresh`.

    Returns:
        Of a clip that can be read in any order a `ClipResult`, with objects numbered from 1; of a stream an iterator
        over its frames, each an `ImageResult`, in constant memory.

    Raises:
        TypeError: a setting that does not exist.
        ValueError: a setting out of range, or `backward` for a stream.
        OSError: the clip or the checkpoint cannot be found.
    """
    tracker = EverythingTracker(checkpoint, device, dtype, image_size, memory_policy, **settings)
    source = open_video(clip)
    if source.seekable:
        return tracker.track(clip, backward, progress=progress)
    if backward:
        raise ValueError("a stream can only be tracked forward: its frames are gone when they have passed")
    return tracker.stream(source)


def read_settings(given: dict[str, Any]) -> tuple[EverythingSettings, dict[str, Any]]:
    """Sort settings by what they are for.

    Args:
        given: settings of `EverythingSettings`, `AdmissionRule` and `MaskGenerationSettings` by their names.

    Returns:
        The first two, checked, and what is for mask generation.

    Raises:
        TypeError: a setting that does not exist.
        ValueError: a setting out of range.
    """
    known = [
        {item.name for item in fields(kind) if item.name != "rule"} for kind in (EverythingSettings, AdmissionRule)
    ]
    own, rule = ({name: value for name, value in given.items() if name in names} for names in known)
    rest = {name: value for name, value in given.items() if name not in known[0] | known[1]}
    generation = resolve_names({"points_per_crop": 16} | rest if "points_per_side" not in rest else rest)
    unfit = [name for name in generation if name not in MaskGenerationSettings.__dataclass_fields__]
    if unfit:
        raise TypeError(f"everything mode has no argument {unfit[0]!r}")
    return EverythingSettings(**own, rule=AdmissionRule(**rule)), generation


def clip_name(clip: Any) -> str:
    """Name a clip after its file; others are called "clip"."""
    return Path(os.fspath(clip)).stem if isinstance(clip, (str, os.PathLike)) else "clip"


def _rename(result: ClipResult, renamed: dict[Hashable, Hashable]) -> None:
    """Give objects that were recognised later their right names in all frames."""
    if not renamed:
        return
    for frame in result.frames:
        objects = [replace(item, name=renamed.get(item.name, item.name)) for item in result[frame].objects]
        result.put(frame, objects)
