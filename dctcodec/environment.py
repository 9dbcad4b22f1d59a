"""Settings of libraries, made before they are imported. Variables of the environment that the caller has set stay."""

import ctypes
import os
from collections.abc import MutableMapping
from contextlib import suppress

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables of the environment by which a caller says how OpenMP's threads wait."""
_ARENA_MAX = -8
"""M_ARENA_MAX of malloc.h."""


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenMP's threads, which are torch's, sleep while one waits for another, and give OpenBLAS, which is NumPy's, one thread,
    unless the caller says otherwise. By default both spin: beside other work they take the processor from the thread that they wait
    for. OpenBLAS cannot sleep soon enough, and its products here are small. It works before torch and NumPy are imported."""
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not any(name in environment for name in WAITING):
        environment.update(OMP_WAIT_POLICY="passive", KMP_BLOCKTIME="0")


def without_amx(environment: MutableMapping[str, str] = os.environ) -> None:
    """Tell oneDNN, which computes torch's convolutions, not to use AMX. With torch 2.13 it writes outside its memory on AMX, in the
    gradients of layers with few channels."""
    environment.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def one_heap() -> None:
    """Have the C library (glibc) of this process take all memory from one heap, unless MALLOC_ARENA_MAX says otherwise. By default
    each thread has a heap of its own, and memory that one thread frees is of no use to the others. Elsewhere this does nothing."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(AttributeError, OSError, TypeError):  # another C library; Windows
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
