"""SA-V JSON of a clip: the run lengths of every fourth frame, as the data set of SAM 2 has them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .image_result import ImageResult


FRAMES_A_MASK = 4


def to_sa_v(
    results: Iterable[ImageResult], names: Sequence[Hashable], video_id: str, fps: float | None
) -> dict[str, Any]:
    """Describe a clip as SA-V does.

    Args:
        results: the frames of a clip, in their order.
        names: of the objects.
        video_id: name of the clip; the file is to be called `{video_id}_manual.json`, beside `{video_id}.mp4`.
        fps: frames a second; None where it is not known.

    Returns:
        `masklet` holds for every fourth frame the run lengths of each object, None where it is not in sight.
    """
    masklet, count, size = [], 0, (0, 0)
    for result in results:
        number = count if result.frame is None else result.frame
        count, size = max(count, number + 1), result.size
        if number % FRAMES_A_MASK == 0:
            by_name = {item.name: item for item in result.objects}
            shown = [by_name.get(name) for name in names]
            masklet.append([item.compressed_rle() if item is not None and item.visible else None for item in shown])
    height, width = size
    return {
        "video_id": video_id,
        "video_duration": count / fps if fps else None,
        "video_frame_count": count,
        "video_height": height,
        "video_width": width,
        "video_resolution": height * width,
        "masklet_num": len(names),
        "masklet_id": list(range(len(names))),
        "masklet_name": [str(name) for name in names],
        "masklet": masklet,
    }
