"""The worker: batches of rows in, tables of results out, in whatever process it is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .result_table import to_table
from .rows import IMAGE, Row, read_rows
from .worker_settings import WorkerSettings

Rows = list[dict[str, Any]]

_CLIPS_A_GROUP = 4  # for each that is tracked at a time: the next one begins when one ends


@dataclass(frozen=True)
class Worker(WorkerSettings):
    """Segments images and tracks through clips. It can be pickled; each process that calls it loads the model once.

    ```python
    worker = Worker("facebook/sam2.1-hiera-tiny")
    table = worker({"path": ["photo.jpg"], "points": [[500, 375]]})
    dataset.map(worker, batched=True, remove_columns=dataset.column_names)  # Hugging Face
    ray.data.from_items(rows).map_batches(worker)
    ```

    A row is segmented by its own prompts, else by `prompts`, else everything in it is.

    Args:
        settings: those of `WorkerSettings`, in their order or by their names: `checkpoint`, `device`, `dtype`, ...

    Raises:
        ValueError, TypeError: a setting that does not exist or is out of range.
    """

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

    def prepare_process(self, threads: int) -> None:
        """Set up a process that belongs to this worker, so that it computes what any other one would.

        Args:
            threads: of torch.
        """
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        import torch
        from transformers.utils import logging

        from ..fast.allocator import keep_freed_memory

        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        keep_freed_memory()
        logging.disable_progress_bar()

    def compute(self, rows: Iterable[Row]) -> Iterator[Rows]:
        """Compute rows in their order, images in batches and clips one after the other.

        Args:
            rows: taken as they are needed.

        Returns:
            For each batch of images, and for each clip in parts, rows of `result_table.schema`.
        """
        from .clips import track_row, track_rows
        from .images import ImageBatch, load_row

        images, clips = ImageBatch(self), list[Row]()
        for row in rows:
            if row.kind == IMAGE and not row.error:
                yield from track_rows(self, clips)
                clips = []
                loaded = load_row(self, row)
                if not images.takes(loaded):
                    yield images.compute()
                    images = ImageBatch(self)
                images.add(loaded)
                continue
            if images:
                yield images.compute()
                images = ImageBatch(self)
            if self.joins_others(row):
                clips.append(row)
                if len(clips) < _CLIPS_A_GROUP * self.clips_together:
                    continue
            yield from track_rows(self, clips)
            clips = []
            if not self.joins_others(row):
                yield from track_row(self, row)
        if images:
            yield images.compute()
        yield from track_rows(self, clips)
