"""PyAV, imported here alone, and only when a video is opened or written."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    try:  # code loaded from the Hub requires every import outside of `try`, and this one is for type checkers alone
        from av import Packet as Packet
        from av import VideoFrame as VideoFrame
        from av.container import InputContainer as InputContainer
        from av.container import OutputContainer as OutputContainer
        from av.video.stream import VideoStream as VideoStream
    except ImportError:
        pass

#: Before it, PyAV converts the colours of high definition as if they were those of standard definition, and does not
#: show the index of an MP4.
_OLDEST_AV = 17
_INSTALL = f"install it with: pip install 'av>={_OLDEST_AV}'"


def import_av() -> ModuleType:
    """Import PyAV.

    Returns:
        The module `av`.

    Raises:
        ImportError: PyAV is missing or too old; the message says how to get it.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(f"reading and writing video files needs PyAV; {_INSTALL}") from error
    if int(av.__version__.split(".")[0]) < _OLDEST_AV:
        raise ImportError(f"reading and writing video files needs a newer PyAV than {av.__version__}; {_INSTALL}")
    return av


def describe_error(error: Exception) -> str:
    """Say what FFmpeg reports, without its error number."""
    return getattr(error, "strerror", None) or str(error)
