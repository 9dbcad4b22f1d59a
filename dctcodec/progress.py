"""Progress of long calls."""

from collections.abc import Callable

Tick = Callable[[float], object]
"""Called with the share of the work that was just done. The shares add up to 1."""


def no_tick(_: float) -> None:
    """Ignore progress."""


def share_of(tick: Tick, share: float) -> Tick:
    """The progress of a part of the work, which is `share` of it."""
    return lambda done: tick(share * done)
