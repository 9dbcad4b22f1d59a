"""Memory that long CPU runs free and take again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's mallopt."""


def keep_freed() -> None:
    """Have the C library keep freed memory for the next step, on Linux with glibc; nothing elsewhere.

    By default large tensors come from the kernel anew each time: half of a training's CPU time was spent on giving pages.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
