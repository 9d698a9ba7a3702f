"""Names for files that are written."""

from __future__ import annotations


def free_name(name: str, taken: set[str]) -> str:
    """Number a name where it is taken: photo, photo-2, photo-3.

    Args:
        name: what is wanted.
        taken: the names that are taken, to which the new one is added.
    """
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    taken.add(chosen)
    return chosen
