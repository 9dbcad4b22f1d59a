"""How many threads compute: as many as there are processors for this process, or as OMP_NUM_THREADS says."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_chosen: int | None = None


def count() -> int:
    """The number of threads of each computation on the CPU, at least 1."""
    if _chosen:
        return _chosen
    try:
        wanted = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
    except ValueError:
        wanted = 0
    return wanted if wanted > 0 else _processors()


def choose(number: int | None) -> None:
    """Compute with so many threads from now on; None for the default."""
    global _chosen
    _chosen = number


@contextmanager
def limited(number: int) -> Iterator[None]:
    """A context in which so many threads compute, those of torch too where it is loaded."""
    before, torch = _chosen, sys.modules.get("torch")
    torch_before = torch and torch.get_num_threads()
    choose(number)
    if torch:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        choose(before)
        if torch:
            torch.set_num_threads(torch_before)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
