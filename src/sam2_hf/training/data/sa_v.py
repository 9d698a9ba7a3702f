"""SA-V: training videos with run lengths in JSON, validation and test videos with a PNG for each object.

    root/sav_000001.mp4                                training
    root/sav_000001_manual.json, sav_000001_auto.json

    root/JPEGImages_24fps/VIDEO/00000.jpg              validation and test
    root/Annotations_6fps/VIDEO/OBJECT/00000.png

Videos have 24 frames a second, of which every fourth has masks. Source: Ravi et al., "SAM 2" (arXiv 2408.00714,
section 5.2); https://ai.meta.com/datasets/segment-anything-video.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...masks.rle import rle_to_mask
from ...video_io.open_video import open_video
from ...video_io.source import VideoSource
from .annotated_video import AnnotatedVideo, images_in, read_image, read_index_map, stem
from .palette_folder import read_names

FRAMES_A_MASK = 4


class _TrainingVideo(AnnotatedVideo):
    """One of fifty thousand: files are opened when they are needed."""

    def __init__(self, name: str, files: dict[str, Path]):
        self.name = name
        self._files = files
        self._video = next(iter(files.values())).with_name(f"{name}.mp4")

    @cached_property
    def _content(self) -> dict[str, dict[str, Any]]:
        """Annotations of the video, by kind."""
        return {kind: json.loads(path.read_text(encoding="utf-8")) for kind, path in self._files.items()}

    @cached_property
    def _source(self) -> VideoSource:
        return open_video(self._video, prefetch=0)

    @property
    def num_frames(self) -> int:  # type: ignore[override]
        return self._source.num_frames or 0

    @property
    def annotated(self) -> Sequence[int]:  # type: ignore[override]
        count = max(len(content["masklet"]) for content in self._content.values())
        return range(0, min(count * FRAMES_A_MASK, self.num_frames), FRAMES_A_MASK)

    def image(self, frame: int) -> np.ndarray:
        return self._source[frame].permute(1, 2, 0).numpy()

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        found: dict[Hashable, np.ndarray] = {}
        for kind, content in self._content.items():
            encoded = content["masklet"][frame // FRAMES_A_MASK]
            for obj_id, rle in zip(content["masklet_id"], encoded, strict=True):
                if rle is not None:
                    found[f"{kind} {obj_id}"] = rle_to_mask(rle).numpy()
        return found


class SaVTraining(Sequence[AnnotatedVideo]):
    """SA-V's training videos, in order of their names.

    Args:
        root: the folder of the videos, or one above it.
        videos: names of some videos, or the text file that lists them; all by default.
        kinds: "manual" for objects that people drew, "auto" for objects that the model found and people checked.

    Raises:
        FileNotFoundError: for videos without annotations of these kinds.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        videos: Iterable[str] | str | os.PathLike[str] | None = None,
        kinds: Sequence[str] = ("manual",),
    ):
        self._files: dict[str, dict[str, Path]] = {}
        for kind in kinds:
            for path in Path(root).rglob(f"*_{kind}.json"):
                self._files.setdefault(path.name.removesuffix(f"_{kind}.json"), {})[kind] = path
        self.names = sorted(self._files) if videos is None else read_names(videos)
        missing = [name for name in self.names if name not in self._files] or ["VIDEO"] * (not self.names)
        if missing:
            raise FileNotFoundError(f"{os.fspath(root)} has no {missing[0]}_{' or '.join(kinds)}.json")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> AnnotatedVideo:  # type: ignore[override]
        name = self.names[index]
        return _TrainingVideo(name, self._files[name])


class _EvaluationVideo(AnnotatedVideo):
    def __init__(self, name: str, images: Path, masks: Path):
        self.name = name
        self._images = images_in(images)
        self._masks: dict[int, dict[Hashable, str]] = {}
        frames = {stem(path): frame for frame, path in enumerate(self._images)}
        for folder in sorted(path for path in masks.iterdir() if path.is_dir()):
            for path in images_in(folder):
                if stem(path) in frames:
                    self._masks.setdefault(frames[stem(path)], {})[folder.name] = path
        self.num_frames = len(self._images)
        self.annotated = sorted(self._masks)

    def image(self, frame: int) -> np.ndarray:
        return read_image(self._images[frame])

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        return {obj_id: read_index_map(path) > 0 for obj_id, path in self._masks[frame].items()}


class SaVEvaluation(Sequence[AnnotatedVideo]):
    """SA-V's validation or test videos, in order of their names.

    Args:
        root: the folder of `JPEGImages_24fps` and `Annotations_6fps`.
        videos: names of some videos, or the text file that lists them; all by default.

    Raises:
        FileNotFoundError: if the annotations are missing.
    """

    def __init__(self, root: str | os.PathLike[str], videos: Iterable[str] | str | os.PathLike[str] | None = None):
        self._images, self._masks = Path(root, "JPEGImages_24fps"), Path(root, "Annotations_6fps")
        if not self._masks.is_dir():
            raise FileNotFoundError(f"{self._masks} is missing: expected {os.fspath(root)}/Annotations_6fps/VIDEO")
        names = sorted(path.name for path in self._masks.iterdir() if path.is_dir())
        self.names = names if videos is None else read_names(videos)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> AnnotatedVideo:  # type: ignore[override]
        name = self.names[index]
        return _EvaluationVideo(name, self._images / name, self._masks / name)
