"""Videos whose frames are NumPy arrays."""

from __future__ import annotations

from typing import Any

from ..video_io.open_video import open_video as open_any_video
from ..video_io.source import VideoSource


def open_video(video: Any, **settings: Any) -> VideoSource:
    """Open a video as `sam2_hf.video_io.open_video.open_video` does, with frames as arrays.

    Args:
        video: a path, folder, list, array, generator, camera or address. An open source gives arrays from
            now on.
        settings: see there.

    Returns:
        The source; a frame is a NumPy array (3, height, width) uint8.

    Raises:
        Exception: what that function raises.
    """
    source = video if isinstance(video, VideoSource) else open_any_video(video, **settings)
    return source.as_arrays()
