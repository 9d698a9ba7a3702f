"""The names of memory policies, as `Sam2VideoConfig.memory_selection` gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .policy import MemoryPolicy
from .recent import RecentMemory
from .visible import VisibleMemory

if TYPE_CHECKING:
    from ...configuration_sam2 import Sam2VideoConfig

MEMORY_POLICIES: dict[str, type[MemoryPolicy]] = {"recent": RecentMemory, "visible": VisibleMemory}


def register_memory_policy(name: str, policy: type[MemoryPolicy]) -> None:
    """Make a policy available under a name.

    Args:
        name: what `Sam2VideoConfig.memory_selection` says to have it.
        policy: the class; `from_config` makes the policy of a model.

    Raises:
        ValueError: if another policy has the name.
        TypeError: if `policy` is no subclass of `MemoryPolicy`.
    """
    if not (isinstance(policy, type) and issubclass(policy, MemoryPolicy)):
        raise TypeError(f"policy must be a subclass of MemoryPolicy, got {policy!r}")
    if MEMORY_POLICIES.setdefault(name, policy) is not policy:
        raise ValueError(f"name must be a new one, but {name!r} is {MEMORY_POLICIES[name].__name__}")


def build_memory_policy(config: Sam2VideoConfig) -> MemoryPolicy:
    """Make the policy that a configuration names.

    Raises:
        ValueError: if no policy has the name.
    """
    if config.memory_selection not in MEMORY_POLICIES:
        known = ", ".join(f'"{name}"' for name in MEMORY_POLICIES)
        raise ValueError(f"memory_selection must be one of {known}, got {config.memory_selection!r}")
    return MEMORY_POLICIES[config.memory_selection].from_config(config)
