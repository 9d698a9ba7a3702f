"""What implementations are run with, what they give, and what they say when they cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Output = dict[str, "torch.Tensor"]


class Unavailable(Exception):
    """An implementation cannot do a piece of work here; the message says what is missing."""


@dataclass(frozen=True)
class Runtime:
    """The settings of one process.

    Args:
        device: "cpu" or "cuda".
        dtype: name of a dtype of torch.
        compiled: preset of `model.compile`; None runs the model as it is.
        plain: whether the fast forms of the arithmetic are turned off in ours.
        threads: of torch; None leaves one for each core.
    """

    device: str = "cpu"
    dtype: str = "float32"
    compiled: str | None = None
    plain: bool = False
    threads: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Runtime:
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
