"""Inference states that a program makes itself: a dictionary with Meta's keys in the place of `init_state`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from .inference_state import InferenceState

ADOPTED = "sam2_hf_state"
"""The key under which such a dictionary holds the state that computes for it."""

_NEEDED = ("images", "video_height", "video_width")
_MAPPINGS = (
    "obj_id_to_idx",
    "obj_idx_to_id",
    "point_inputs_per_obj",
    "mask_inputs_per_obj",
    "output_dict_per_obj",
    "temp_output_dict_per_obj",
    "frames_tracked_per_obj",
)


class LiveMapping(Mapping[Any, Any]):
    """A mapping that is made anew whenever it is read.

    Args:
        make: gives it.
    """

    def __init__(self, make: Callable[[], Mapping[Any, Any]]) -> None:
        self._make = make

    def __getitem__(self, key: Any) -> Any:
        return self._make()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())

    def __repr__(self) -> str:
        return repr(dict(self))


class LiveList(Sequence[Any]):
    """A list that is made anew whenever it is read.

    Args:
        make: gives it.
    """

    def __init__(self, make: Callable[[], Sequence[Any]]) -> None:
        self._make = make

    def __getitem__(self, index: Any) -> Any:
        return self._make()[index]

    def __len__(self) -> int:
        return len(self._make())

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    def __repr__(self) -> str:
        return repr(list(self))


def check_own_state(given: Any) -> None:
    """Check that something can stand for an inference state.

    Raises:
        TypeError: it is no mapping.
        ValueError: it lacks a key, or has objects that it did not get from a predictor.
    """
    if not isinstance(given, MutableMapping):
        raise TypeError(f"inference_state must come from init_state, or be a dictionary, got {type(given).__name__}")
    missing = [key for key in _NEEDED if key not in given]
    if missing:
        raise ValueError(f"inference_state must have {', '.join(_NEEDED)}, and lacks {', '.join(missing)}")
    if len(given.get("obj_ids", ())):
        raise ValueError(f"an inference_state of a program's own must begin without objects, got {given['obj_ids']}")


def take_over(given: MutableMapping[str, Any], state: InferenceState) -> None:
    """Have a dictionary show what a state knows from now on, and hold that state.

    Args:
        given: the program's dictionary; its other keys stay as they are.
        state: computes.
    """
    for key in _MAPPINGS:
        given[key] = LiveMapping(lambda key=key: state[key])  # type: ignore[misc]
    given["obj_ids"] = LiveList(lambda: state["obj_ids"])
    given[ADOPTED] = state
