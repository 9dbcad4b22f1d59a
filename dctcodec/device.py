"""Where to compute."""

import ctypes
import os
import sys
from functools import cache

import torch

from dctcodec.errors import ModelError

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's mallopt."""


def device_of(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, or cuda:1 for the second one. Raises ModelError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"there is no device {name!r}: use auto, cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"devices of the kind {device.type} are not supported: use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device was found: use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"there are {torch.cuda.device_count()} CUDA devices here, the first is cuda:0")
    return device


@cache
def _first_process() -> int:
    """The one that computed first."""
    return os.getpid()


def survive_fork() -> None:
    """Compute with one thread in a process that was forked after another had computed: torch's threads do not come along, and
    work handed to them would wait for ever."""
    if _first_process() != os.getpid() and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def prepare(name: str, threads: int | None) -> None:
    """What a long run on the device of a name needs first. `threads`: of the processor; None leaves them as they are. Raises
    ModelError where there is no such device."""
    keep_freed()
    device_of(name)
    if threads:
        torch.set_num_threads(threads)


def fast_convolutions(device: torch.device) -> torch.autocast:
    """A context in which convolutions and what is between them are bfloat16, where an x86 processor multiplies that itself and
    torch tells of it: nearly twice as fast as float32, which they are elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu" and _multiplies_bfloat16())


def training_precision(device: torch.device) -> torch.autocast:
    """A context for training: as `fast_convolutions`, and bfloat16 on a GPU too. A processor that does not multiply bfloat16 itself
    takes several times as long with it as with float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=trains_in_bfloat16(device))


def trains_in_bfloat16(device: torch.device) -> bool:
    return device.type != "cpu" or _multiplies_bfloat16()


@cache
def _multiplies_bfloat16() -> bool:
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not know them
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


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
