"""How long work tells of its progress."""

from collections.abc import Callable

Tick = Callable[[float], object]
"""Told the share of a call's work just done, for a progress bar. The shares add up to 1."""


def no_tick(_: float) -> None:
    """Tells nobody."""
