"""The session that a processor opens, a model fills and a user holds: its state, and what is done with it whole."""

from __future__ import annotations

import os
from typing import Any

import torch

from .transformers_names import TransformersNames
from .whole_session import WholeSession


class Sam2VideoInferenceSession(WholeSession, TransformersNames):
    """Everything that is known while one clip or stream is tracked. `SessionState` has the state and its invariants.

    A session belongs to one thread at a time; models serve any number of sessions at once.
    """

    # On disk

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        video: Any = None,
        inference_device: torch.device | str | None = None,
        inference_state_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
        processing_device: torch.device | str | None = None,
        spill_directory: str | os.PathLike[str] | None = None,
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
            spill_directory: where a session with checkpoints keeps its state in files from now on; in memory by
                default, wherever it was before.

        Raises:
            FileNotFoundError: for a folder that holds no session.
            ValueError: for files that are damaged, a video that is not the session's, or a directory for a session
                without checkpoints.
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
            spill_directory=spill_directory,
        )
