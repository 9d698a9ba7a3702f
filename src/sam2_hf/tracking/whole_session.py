"""What is done with a session whole: it is written to disk, copied and shown."""

from __future__ import annotations

import copy
import os
import threading
from typing import Any

from .session_state import SessionState


class WholeSession(SessionState):
    """A `SessionState` that can be saved and forked."""

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

    def fork(self) -> Any:
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.fork()

    def __repr__(self) -> str:
        source = "stream" if self.video is None else repr(self.video)
        return f"{type(self).__name__}({source}, objects={self.obj_ids}, retention={self.retention!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a session is not pickled; use session.save(directory)")

    def __copy__(self) -> Any:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied
