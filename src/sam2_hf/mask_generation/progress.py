"""How far a search is: a bar that counts the points that the model has been asked for, over all parts of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY = 1.0  # seconds that a search takes at least, for a bar to show


@contextmanager
def counting_points(total: int, is_shown: bool) -> Iterator[Callable[[int], object]]:
    """Show a bar on the error stream while points are asked for; it has their rate and the time left.

    Args:
        total: how many points there are.
        is_shown: whether there is a bar. What is done within a second shows none.

    Yields:
        What is called with how many points have been asked for since the last call.

    Raises:
        ImportError: a bar is wanted, and tqdm is missing.
    """
    if not is_shown:
        yield lambda asked: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("a progress bar needs tqdm: pip install tqdm") from error
    # Below a bar that counts images, this one goes when it is done.
    with tqdm(total=total, unit="point", delay=DELAY, leave=None) as bar:
        yield bar.update
