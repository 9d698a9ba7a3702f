"""Exported graphs, run by onnxruntime. Each is loaded when it is first used."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .exported_folder import ExportedFolder


class Graphs:
    """The graphs of a folder. They have no state, so any number of threads and sessions may run them.

    Args:
        folder: where they lie.
        dtype: "fp32", "fp16" or "int8", whichever the folder has.
        threads: how many threads compute an operation; onnxruntime's choice by default.
        providers: what computes, in onnxruntime's names, the first that knows an operation; the CPU by default.

    Raises:
        ImportError: onnxruntime is missing.
        ValueError: the folder has no graphs of that dtype; no such number of threads; an unknown provider.
    """

    def __init__(
        self,
        folder: ExportedFolder,
        dtype: str = "fp32",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ):
        folder.graph("vision_encoder", dtype)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be None or a whole number of at least 1, got {threads!r}")
        self._folder = folder
        self._dtype = dtype
        self._threads = threads
        self._providers = list(providers or ["CPUExecutionProvider"])
        self._onnxruntime = _import_onnxruntime()
        known = self._onnxruntime.get_available_providers()
        if not {*self._providers} <= {*known}:
            raise ValueError(f"providers must be some of {', '.join(known)}, got {self._providers}")
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    def run(self, name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Run a graph.

        Args:
            name: of the graph.
            inputs: by name; those that the graph does not have are left out.
            outputs: the names of what is wanted.

        Returns:
            An array for each name.

        Raises:
            ValueError: the folder has no such graph, or its file is damaged.
            FileNotFoundError: its file is missing.
        """
        session, names = self._session(name)
        given = {key: np.ascontiguousarray(value) for key, value in inputs.items() if key in names}
        return session.run(list(outputs), given)

    def fingerprint(self, name: str) -> str:
        """Tell a graph from others: its file, with its length and the time of its last change."""
        path = self._folder.graph(name, self._dtype)
        found = path.stat()
        return f"{path.resolve()}|{found.st_size}|{found.st_mtime_ns}"

    def _session(self, name: str) -> tuple[Any, set[str]]:
        with self._lock:
            if name not in self._sessions:
                options = self._onnxruntime.SessionOptions()
                if self._threads is not None:
                    options.intra_op_num_threads = self._threads
                path = self._folder.graph(name, self._dtype)
                if not path.is_file():
                    raise FileNotFoundError(
                        f"{self._folder.path} has lost its graph {path.relative_to(self._folder.path)}"
                    )
                try:
                    session = self._onnxruntime.InferenceSession(str(path), options, providers=self._providers)
                except Exception as error:  # of onnxruntime's own kinds, one for each cause
                    reason = str(error).splitlines()[0]
                    raise ValueError(f"{path} cannot be read as a graph: {reason}") from error
                self._sessions[name] = (session, {found.name for found in session.get_inputs()})
            return self._sessions[name]


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('the runtime needs onnxruntime: pip install "sam2-hf[runtime]"') from error
    return onnxruntime
