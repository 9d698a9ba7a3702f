"""How rows are computed, checked when it is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .row_prompts import PromptsByFrame, read_row_prompts
from .rows import CLIP, KINDS, Row


@dataclass(frozen=True)
class WorkerSettings:
    """What the results depend on, beside the rows.

    Attributes:
        checkpoint: a folder or a name on the Hub; the bundled one by default.
        device: where the model runs; a GPU where there is one, else the CPU.
        dtype: of its weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of its input in pixels, int or (height, width); that of the checkpoint by default.
        memory_policy: which memories tracking reads; that of the checkpoint by default.
        prompts: of rows without prompts of their own; see `row_prompts.read_row_prompts`.
        search: settings of mask generation, for everything in an image.
        clip_search: settings of `EverythingTracker`, for everything in a clip.
        frames: how many frames of a clip, at most.
        clips_together: clips with prompts that are tracked in one batch, at most. With more than one, results are the
            same up to rounding, and not byte for byte.
        batch_size: images that are encoded at once, at most.
        batch_pixels: pixels of the images that are encoded at once, at most, unless it is a single image.
        kind: "image" or "clip", of rows that do not tell it.

    Raises:
        ValueError, TypeError: a setting that does not exist or is out of range.
    """

    checkpoint: str | None = None
    device: str | None = None
    dtype: str | None = None
    image_size: int | tuple[int, int] | None = None
    memory_policy: str | None = None
    prompts: Any = None
    search: Mapping[str, Any] = field(default_factory=dict)
    clip_search: Mapping[str, Any] = field(default_factory=dict)
    frames: int | None = None
    clips_together: int = 1
    batch_size: int = 8
    batch_pixels: int = 2**25
    kind: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_pixels", "frames", "clips_together"):
            value = getattr(self, name)
            optional = name == "frames" and value is None
            if not optional and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.prompts is not None:
            read_row_prompts(self.prompts, is_clip=True)
        from ..everything.everything_tracker import read_settings
        from ..mask_generation.settings import MaskGenerationSettings, resolve_names

        MaskGenerationSettings(**resolve_names(dict(self.search)))
        read_settings(dict(self.clip_search))

    def loading(self, is_clip: bool) -> dict[str, Any]:
        """Collect the arguments of `Segmenter`, or of `Tracker`."""
        names = ("checkpoint", "device", "dtype", "image_size", *(("memory_policy",) if is_clip else ()))
        return {name: getattr(self, name) for name in names}

    def joins_others(self, row: Row) -> bool:
        """Whether a clip is tracked together with others: it has prompts, and there are to be several at a time."""
        has_prompts = row.prompts is not None or self.prompts is not None
        return self.clips_together > 1 and has_prompts and not row.error

    def prompts_of(self, row: Row) -> PromptsByFrame | None:
        """Read a row's prompts, by frame; None where everything is to be found.

        Raises:
            ValueError, TypeError: naming what is wrong.
        """
        given = self.prompts if row.prompts is None else row.prompts
        return None if given is None else read_row_prompts(given, row.kind == CLIP)

    def described(self) -> dict[str, Any]:
        """What the results depend on, as JSON has it; of the device, its type."""
        return {**asdict(self), "device": None if self.device is None else str(self.device).split(":")[0]}
