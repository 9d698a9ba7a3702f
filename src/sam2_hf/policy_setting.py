"""What `memory_policy` may be, in a configuration and wherever else it is given."""

from __future__ import annotations

from typing import Any


def policy_setting(name: str, value: Any) -> str | dict[str, Any]:
    """Read which memory policy is meant: a name, a dict of the name and settings, or a policy, which gives this dict.

    "recent" is the former name of "sam2".

    Args:
        name: what an error calls the argument.
        value: what was given.

    Returns:
        The name, or the dict: what JSON can hold.

    Raises:
        ValueError: for anything else.
    """
    given = value.as_setting() if hasattr(value, "as_setting") else value
    named = given.get("name") if isinstance(given, dict) else given
    if not isinstance(named, str) or not named:
        raise ValueError(
            f"{name} must be the name of a memory policy, got {value!r} (a dict of its name and settings also does)"
        )
    if named == "recent":
        return "sam2" if isinstance(given, str) else {**given, "name": "sam2"}
    return given
