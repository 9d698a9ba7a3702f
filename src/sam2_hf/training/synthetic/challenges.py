"""Videos of the synthetic world in which tracking is hard: look-alikes, occlusions, fast motion, exits."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.annotated_video import AnnotatedVideo
from .motion import Size
from .scene import SceneSettings
from .world import SPLITS, Split, SyntheticVideo

CHALLENGES = ("look-alikes", "hidden 10", "hidden 30", "hidden 60", "fast", "exits")
# Apart from the seeds of `SyntheticVideos`, which are small.
_KEY = 26


class ChallengeVideos(Sequence[AnnotatedVideo]):
    """Videos of several kinds, in turn.

    "look-alikes": three or four objects of one appearance that move about. "hidden N": two or three objects that hide
    behind a wall for N frames. "fast": objects that cross the image in a few frames. "exits": objects that leave the
    image for 20 frames. In all but the first kind, some objects look alike as well.

    Args:
        count: number of videos of each kind.
        seed: of the world.
        split: "train", "validation" and "test" have no video in common.
        size: (height, width) in pixels.
        kinds: which of `CHALLENGES`.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        split: Split = "train",
        size: Size = (256, 256),
        kinds: Sequence[str] = CHALLENGES,
    ):
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        unknown = [kind for kind in kinds if kind not in CHALLENGES]
        if unknown or not kinds:
            raise ValueError(f"kinds must be some of {CHALLENGES}, got {list(kinds)}")
        self._count, self._seed, self.split, self._size, self.kinds = count, seed, split, size, tuple(kinds)

    def __len__(self) -> int:
        return self._count * len(self.kinds)

    def __getitem__(self, index: int) -> SyntheticVideo:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"index must lie in 0..{len(self) - 1}, got {index}")
        number, kind = divmod(index, len(self.kinds))
        name = self.kinds[kind]
        key = (_KEY, self._seed, SPLITS.index(self.split), CHALLENGES.index(name), number)
        return SyntheticVideo(f"{name} / {number}", key, _settings(name, self._size))


def _settings(kind: str, size: Size) -> SceneSettings:
    """The scenes of a kind."""
    if kind == "look-alikes":
        return SceneSettings(size, 60, (3, 4), True, 1.0, plot="wander")
    if kind == "fast":
        return SceneSettings(size, 40, (2, 3), True, 0.3, plot="dash")
    if kind == "exits":
        return SceneSettings(size, 60, (2, 3), True, 0.3, plot="leave", hidden=20)
    hidden = int(kind.split()[1])
    return SceneSettings(size, 40 + hidden, (3, 4), True, 0.3, plot="hide", hidden=hidden)
