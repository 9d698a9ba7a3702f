"""The names of memory policies, and how a policy is made from what a configuration or a session says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ...policy_setting import policy_setting
from .dam4sam import DistractorAwareMemory
from .policy import MemoryPolicy
from .policy_table import MEMORY_POLICIES, add_policy
from .recent import RecentMemory
from .sam2long import TreeMemory
from .samurai import SamuraiMemory
from .visible import VisibleMemory

if TYPE_CHECKING:
    from ...configuration_sam2 import Sam2VideoConfig

# A name; a dict of the name and settings; or a policy.
PolicySetting = str | Mapping[str, Any] | MemoryPolicy

for _name, _policy in {
    "sam2": RecentMemory,
    "visible": VisibleMemory,
    "samurai": SamuraiMemory,
    "dam4sam": DistractorAwareMemory,
    "sam2long": TreeMemory,
}.items():
    add_policy(_name, _policy)


def register_memory_policy(name: str, policy: type[MemoryPolicy]) -> None:
    """Make a policy available under a name.

    Args:
        name: what `memory_policy` says to have it, in a configuration and elsewhere.
        policy: the class; `from_config` makes the policy of a model.

    Raises:
        ValueError: if another policy has the name.
        TypeError: if `policy` is no subclass of `MemoryPolicy`.
    """
    if not (isinstance(policy, type) and issubclass(policy, MemoryPolicy)):
        raise TypeError(f"policy must be a subclass of MemoryPolicy, got {policy!r}")
    add_policy(name, policy)


def read_policy_setting(setting: PolicySetting | None) -> str | dict[str, Any] | None:
    """Read what a user says of the policy, in the form that JSON can hold.

    Args:
        setting: a name, a dict of the name and settings, or a policy; None stays None.

    Raises:
        ValueError: for anything else, an unknown name, and settings that the policy does not have.
    """
    if setting is None:
        return None
    read = policy_setting("memory_policy", dict(setting) if isinstance(setting, Mapping) else setting)
    _find(read)
    return read


def build_memory_policy(config: Sam2VideoConfig, setting: PolicySetting | None = None) -> MemoryPolicy:
    """Make a policy with the numbers of a model's configuration.

    Args:
        config: the model's configuration.
        setting: which policy; that of the configuration by default. Its own settings go before the numbers.

    Raises:
        ValueError: if no policy has the name, or it lacks a setting.
    """
    policy, changes = _find(policy_setting("memory_policy", config.memory_policy if setting is None else setting))
    return replace(policy.from_config(config), **changes)


def _find(setting: str | dict[str, Any]) -> tuple[type[MemoryPolicy], dict[str, Any]]:
    """The class of a policy, and its settings."""
    name, changes = (setting, {}) if isinstance(setting, str) else (setting["name"], dict(setting))
    changes.pop("name", None)
    policy = MEMORY_POLICIES.get(name)
    if policy is None:
        known = ", ".join(f'"{known}"' for known in MEMORY_POLICIES)
        raise ValueError(
            f"memory_policy must be one of {known}, got {name!r}; register_memory_policy makes others known"
        )
    settings = {one.name for one in fields(policy)}
    if unknown := sorted(map(str, changes.keys() - settings)):
        raise ValueError(f"memory_policy {name!r} has the settings {sorted(settings)}, got {unknown[0]!r}")
    return policy, changes
