"""How many threads compute: as many as there are processors for this process, or as OMP_NUM_THREADS says."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 2
"""Parts of an image that are computed at once, at most: each takes memory."""
MOST = 256
"""Threads that OMP_NUM_THREADS may ask for."""

_chosen: int | None = None
_own = threading.local()


def count() -> int:
    """The number of threads of each computation on the CPU, at least 1."""
    if share := getattr(_own, "share", None):
        return int(share)
    if _chosen:
        return _chosen
    try:
        wanted = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
    except ValueError:
        wanted = 0
    return min(wanted, MOST) if wanted > 0 else processors()


def chosen() -> int | None:
    """The number that `choose` was told."""
    return _chosen


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


@contextmanager
def one_for_products() -> Iterator[None]:
    """A context in which NumPy's products of matrices take one thread. They are small here, and threads of OpenBLAS that wait
    for each other take the processors from ours. The number is that of the whole process, so the main thread alone changes it; from
    others OpenBLAS would not take it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    """Of the libraries that are loaded: to look for them takes some milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def at_once() -> int:
    """How many parts of an image are computed at once, at most."""
    return min(count(), AT_ONCE)


def together(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in order, some of them at once; each of these has its share of the threads."""
    workers = min(at_once(), len(items))
    if workers < 2:
        return [function(item) for item in items]
    share = count() // workers
    with ThreadPoolExecutor(workers - 1, initializer=_take, initargs=(share,)) as pool:
        begun = [pool.submit(function, item) for item in items]
        try:
            with _share_of(share):  # this thread does what no other has begun
                own = {number: function(items[number]) for number, future in enumerate(begun) if future.cancel()}
        except BaseException:  # Ctrl-C, too, need not wait for what has not begun
            pool.shutdown(cancel_futures=True)
            raise
    return [own[number] if number in own else future.result() for number, future in enumerate(begun)]


@contextmanager
def _share_of(share: int) -> Iterator[None]:
    """A context in which this thread has a share of the threads."""
    before = getattr(_own, "share", None)
    _take(share)
    try:
        yield
    finally:
        _take(before)


def _take(share: int | None) -> None:
    _own.share = share


def processors() -> int:
    """Processors that the system lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
