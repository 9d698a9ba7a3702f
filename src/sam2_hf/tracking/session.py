"""The session that a processor opens, a model fills and a user holds: its state, and what is done with it whole."""

from __future__ import annotations

import copy
import os
import threading
from typing import Any

import torch

from .transformers_names import TransformersNames


class Sam2VideoInferenceSession(TransformersNames):
    """Everything that is known while one clip or stream is tracked. `SessionState` has the state and its invariants.

    A session belongs to one thread at a time; models serve any number of sessions at once.
    """

    # On disk

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the session into a folder as safetensors and JSON, in place of one that is there already.

        A save that is cut short leaves the earlier one readable, and several savers wait for each other. The video
        itself is not written.

        Args:
            directory: the folder, made if need be.

        Raises:
            TypeError: for an object id that JSON cannot hold, or a session over pixel values.
            OSError: if the folder cannot be written, as on a full disk.
        """
        from .session_storage import save_session

        save_session(self, directory)

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        video: Any = None,
        inference_device: torch.device | str | None = None,
        inference_state_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
        processing_device: torch.device | str | None = None,
    ) -> Sam2VideoInferenceSession:
        """Read a session back; going on from there gives what going on without a break would have given.

        Args:
            directory: the folder.
            video: the clip that the session was opened on, in any of the forms of
                `Sam2VideoProcessor.init_video_session`; None for a stream. Its values are read as before: a window is
                saved with the session.
            inference_device: where frames are computed; where the model is by default. It may be another than before,
                like the next three.
            inference_state_device: where memories, masks and scores are kept.
            video_storage_device: where pixels are kept while they are needed.
            processing_device: where frames are resized.

        Raises:
            FileNotFoundError: for a folder that holds no session.
            ValueError: for files that are damaged, or a video that is not the session's.
        """
        from .session_storage import load_session

        return load_session(
            cls,
            directory,
            video,
            inference_device=inference_device,
            inference_state_device=inference_state_device,
            video_storage_device=video_storage_device,
            processing_device=processing_device,
        )

    def fork(self) -> Sam2VideoInferenceSession:
        """Copy the session, to try something and throw it away.

        Tensors and the video are shared, so this is cheap in time and memory. Changes of one do not reach the other;
        a live source is one and the same for both. `copy.deepcopy` does this.
        """
        forked = copy.copy(self)
        forked.frames = copy.copy(self.frames)
        forked.tracks = {obj_id: track.copy() for obj_id, track in self.tracks.items()}
        forked.feature_cache = self.feature_cache.copy()
        forked._user = threading.RLock()
        return forked

    def __deepcopy__(self, memo: dict[int, Any]) -> Sam2VideoInferenceSession:
        return self.fork()

    def __repr__(self) -> str:
        source = "stream" if self.video is None else repr(self.video)
        return f"{type(self).__name__}({source}, objects={self.obj_ids}, retention={self.retention!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a session is not pickled; use session.save(directory)")

    def __copy__(self) -> Sam2VideoInferenceSession:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied
