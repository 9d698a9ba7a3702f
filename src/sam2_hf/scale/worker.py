"""The worker: batches of rows in, tables of results out, in whatever process it is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .result_table import to_table
from .rows import IMAGE, Row, read_rows
from .worker_settings import WorkerSettings

Rows = list[dict[str, Any]]


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
