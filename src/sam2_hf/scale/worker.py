"""The worker: batches of rows in, tables of results out, in whatever process it is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .result_table import to_table
from .row_prompts import read_row_prompts
from .rows import CLIP, IMAGE, KINDS, Row, read_rows

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Worker:
    """Segments images and tracks through clips. It can be pickled; each process that calls it loads the model once.

    ```python
    worker = Worker("facebook/sam2.1-hiera-tiny")
    table = worker({"path": ["photo.jpg"], "points": [[500, 375]]})
    dataset.map(worker, batched=True, remove_columns=dataset.column_names)  # Hugging Face
    ray.data.from_items(rows).map_batches(worker)
    ```

    A row is segmented by its own prompts, else by `prompts`, else everything in it is.

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
    batch_size: int = 8
    batch_pixels: int = 2**25
    kind: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_pixels", "frames"):
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

    def __call__(self, batch: Any) -> Any:
        """Compute a batch.

        Args:
            batch: columns of equal length by the names of `rows.COLUMNS`, or a `pyarrow.Table` with them; at least one
                of `image`, `video`, `clip`, `bytes` and `path`.

        Returns:
            A `pyarrow.Table`; see `result_table.schema`. A row for each image, and for each frame of a clip. A row
            that cannot be computed has an `error`, and the others go on.

        Raises:
            OSError: the checkpoint cannot be found.
            MachineError: the machine failed, not a row.
        """
        columns = batch.to_pydict() if hasattr(batch, "to_pydict") else dict(batch)
        return to_table([values for found in self.compute(read_rows(columns, kind=self.kind)) for values in found])

    def compute(self, rows: Iterable[Row]) -> Iterator[Rows]:
        """Compute rows in their order, images in batches and clips one after the other.

        Args:
            rows: taken as they are needed.

        Returns:
            For each batch of images, and for each clip in parts, rows of `result_table.schema`.
        """
        from .clips import track_row
        from .images import ImageBatch, load_row

        waiting = ImageBatch(self)
        for row in rows:
            if row.kind == IMAGE and not row.error:
                loaded = load_row(self, row)
                if not waiting.takes(loaded):
                    yield waiting.compute()
                    waiting = ImageBatch(self)
                waiting.add(loaded)
                continue
            if waiting:
                yield waiting.compute()
                waiting = ImageBatch(self)
            yield from track_row(self, row)
        if waiting:
            yield waiting.compute()

    def loading(self, is_clip: bool) -> dict[str, Any]:
        """Collect the arguments of `Segmenter`, or of `Tracker`."""
        names = ("checkpoint", "device", "dtype", "image_size", *(("memory_policy",) if is_clip else ()))
        return {name: getattr(self, name) for name in names}

    def prompts_of(self, row: Row) -> Any:
        """Read a row's prompts, by frame; None where everything is to be found.

        Raises:
            ValueError, TypeError: naming what is wrong.
        """
        given = self.prompts if row.prompts is None else row.prompts
        return None if given is None else read_row_prompts(given, row.kind == CLIP)

    def described(self) -> dict[str, Any]:
        """What the results depend on, as JSON has it; of the device, its type."""
        return {**asdict(self), "device": None if self.device is None else str(self.device).split(":")[0]}
