"""How large an image may be: told from its size, before anything is allocated."""

import os
from pathlib import Path

from dctcodec.errors import ImageError

MAX_PIXELS = 2**27
"""No .dct file has more."""
BYTES_PER_PIXEL = 90
BYTES_PER_COLUMN = 100_000
"""For each pixel of the width: networks take up to 20 whole rows of tiles at once."""


def memory_for(width: int, height: int) -> int:
    """Bytes of memory that encoding and decoding need at most, beside 1 GiB for models and libraries."""
    return BYTES_PER_PIXEL * width * height + BYTES_PER_COLUMN * width


def check_pixels(width: int, height: int, max_pixels: int | None = None) -> None:
    """Raise ImageError for an image of more than `max_pixels` pixels; where that is None, of more than 2^27, or of more than
    the free memory is enough for."""
    pixels = width * height
    size = f"the image has {width}x{height} pixels"
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if pixels > limit:
        raise ImageError(f"{size}, the limit is {limit} pixels")
    needed, free = memory_for(width, height), free_memory()
    if max_pixels is None and free is not None and needed > free:
        figures = f"up to {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise ImageError(f"{size} and needs {figures}; --max-pixels {pixels} tries all the same")


def free_memory() -> int | None:
    """Bytes of memory that this process may still take, None where the system does not say."""
    free = [found for found in (_of_the_machine(), _of_the_control_group()) if found is not None]
    return min(free, default=None)


def _of_the_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_the_control_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a container's limit leaves (control groups, version 2)."""
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no such limit: "max"
        return None
