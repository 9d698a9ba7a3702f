"""The memory policies that have names. `registry` fills the table; a policy that is given as an instance joins it."""

from __future__ import annotations

MEMORY_POLICIES: dict[str, type] = {}


def name_of(policy: type) -> str:
    """The name of a policy's class; one that has none gets its own.

    Args:
        policy: the class.

    Raises:
        ValueError: if another class has that name.
    """
    for name, known in MEMORY_POLICIES.items():
        if known is policy:
            return name
    add_policy(policy.__name__, policy)
    return policy.__name__


def add_policy(name: str, policy: type) -> None:
    """Enter a policy's class.

    Args:
        name: its name.
        policy: the class.

    Raises:
        ValueError: if another class has the name.
    """
    if MEMORY_POLICIES.setdefault(name, policy) is not policy:
        raise ValueError(f"name must be a new one, but {name!r} is {MEMORY_POLICIES[name].__name__}")
