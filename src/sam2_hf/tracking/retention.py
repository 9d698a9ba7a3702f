"""What a session keeps of the frames that tracking has passed: everything, checkpoints, or what is readable onward.

Source of the idea of checkpoints: Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174): what
is dropped is computed again from the nearest point where it was kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from .archive import Block
from .frame_result import paths_of

if TYPE_CHECKING:
    from .memory.policy import MemoryPolicy
    from .object_state import ObjectState

Retention = Literal["everything", "checkpointed", "readable"]


class RetentionRule(Protocol):
    """A rule for what is kept.

    Attributes:
        name: how a session is asked for it.
        records: whether results note how they were computed, so that they can be computed again.
    """

    name: ClassVar[Retention]
    records: ClassVar[bool]

    @property
    def window(self) -> int:
        """How many results of an object are kept whole at least."""

    def prune(
        self, track: ObjectState, policy: MemoryPolicy, frame_idx: int, reverse: bool, is_seekable: bool
    ) -> list[Block]:
        """Drop what need not be kept of an object once tracking has passed a frame.

        Args:
            track: the object.
            policy: decides what later frames can read.
            frame_idx: the frame that was just tracked.
            reverse: the direction of tracking.
            is_seekable: whether the clip can be gone through again.

        Returns:
            What was put into little space.
        """

    def as_setting(self) -> Any:
        """Describe the rule as a saved session holds it."""


@dataclass(frozen=True)
class Everything:
    """Keeps all results as they are."""

    name: ClassVar[Retention] = "everything"
    records: ClassVar[bool] = False
    window: ClassVar[int] = 0

    def prune(
        self, track: ObjectState, policy: MemoryPolicy, frame_idx: int, reverse: bool, is_seekable: bool
    ) -> list[Block]:
        """Drop nothing."""
        return []

    def as_setting(self) -> Any:
        """The name."""
        return self.name


@dataclass(frozen=True)
class Readable:
    """Keeps what tracking can still read when it goes on: a constant amount an object."""

    name: ClassVar[Retention] = "readable"
    records: ClassVar[bool] = False
    window: ClassVar[int] = 0

    def prune(
        self, track: ObjectState, policy: MemoryPolicy, frame_idx: int, reverse: bool, is_seekable: bool
    ) -> list[Block]:
        """Drop what cannot be read; of a clip, conditioning frames are kept whole."""
        track.forget_unreadable(policy, frame_idx, reverse, keep_prompted=is_seekable)
        return []

    def as_setting(self) -> Any:
        """The name."""
        return self.name


@dataclass(frozen=True)
class Checkpointed:
    """Keeps masks, pointers and scores of all frames, and memories at checkpoints; the rest is computed again.

    The frames passed last are kept whole, and so are conditioning frames and all that tracking can read when it goes
    on. Of the others, features and logits are dropped. Where they are needed, they are computed again from the nearest
    checkpoint, which takes `interval` frames at most.

    Attributes:
        interval: how many frames lie between checkpoints. At each, the features that can be read there are kept on the
            host.
        window: how many frames passed last are kept whole at least; up to twice as many are.
        directory: where to keep what is put into little space in files; None for the memory of the host.
    """

    name: ClassVar[Retention] = "checkpointed"
    records: ClassVar[bool] = True
    interval: int = 128
    window: int = 32
    directory: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for setting in ("interval", "window"):
            value = getattr(self, setting)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{setting} must be an int of at least 1, got {value!r}")
        if self.directory is not None:
            object.__setattr__(self, "directory", Path(self.directory))

    def prune(
        self, track: ObjectState, policy: MemoryPolicy, frame_idx: int, reverse: bool, is_seekable: bool
    ) -> list[Block]:
        """Make a checkpoint if one is due, and put the oldest whole results into little space if there are many."""
        results = track.results
        newest = results.entry(frame_idx)
        depths = [path.source.depth for path in (() if newest is None else paths_of(newest)) if path.source is not None]
        is_due = max(depths, default=0) >= self.interval
        is_crowded = len(results.whole) > 2 * self.window
        if not is_due and not is_crowded:
            return []
        readable = policy.retained(results, frame_idx, reverse).features
        if is_due:
            results.pin(readable)
        if not is_crowded:
            return []
        oldest = list(results.whole)[: -self.window]
        return results.seal([frame for frame in oldest if frame not in readable])

    def as_setting(self) -> Any:
        """The name and the numbers; a directory is of one machine."""
        return {"name": self.name, "interval": self.interval, "window": self.window}


def read_retention(setting: Any, is_seekable: bool) -> RetentionRule:
    """Read what a user or a file says of what is kept.

    Args:
        setting: a name, a rule, the dictionary of a `Checkpointed`, or None: "checkpointed" for a clip, "readable" for
            a stream.
        is_seekable: whether the session is of a clip whose frames can be read in any order.

    Raises:
        ValueError: for anything else; or for checkpoints of a stream, whose frames cannot be read again.
    """
    if setting is None:
        return Checkpointed() if is_seekable else Readable()
    if isinstance(setting, dict) and setting.get("name") == Checkpointed.name:
        # No directory: a file from elsewhere must not say where to write.
        rule: Any = Checkpointed(**{name: setting[name] for name in ("interval", "window") if name in setting})
    elif isinstance(setting, (Everything, Readable, Checkpointed)):
        rule = setting
    else:
        rules: dict[Any, Any] = {rule.name: rule for rule in (Everything, Checkpointed, Readable)}
        if not isinstance(setting, str) or setting not in rules:
            raise ValueError(f'retention must be "everything", "checkpointed" or "readable", got {setting!r}')
        rule = rules[setting]()
    if isinstance(rule, Checkpointed) and not is_seekable:
        raise ValueError('retention="checkpointed" needs a clip whose frames can be read in any order, got a stream')
    return rule
