"""Where to compute."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

from dctcodec import threads
from dctcodec.arrays import Place
from dctcodec.errors import ModelError

if TYPE_CHECKING:
    import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's mallopt."""


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """A context that imports torch. Raises ModelError, which says what needs it, where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModelError(f"{what} needs torch: pip install 'dctcodec[torch]'") from error


def device_of(name: str) -> str:
    """The name of a device: cpu, cuda, or cuda:1 for the second one; auto is cuda where there is one. Raises ModelError where it is
    not there."""
    if name == "auto":
        try:
            return "cuda" if _has_driver() and _cuda_devices() else "cpu"
        except ModuleNotFoundError:
            return "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or name.endswith(":"):
        raise ModelError(f"there is no device {name!r}: use auto, cpu, cuda or cuda:1")
    if kind == "cpu":
        return "cpu"
    with needing_torch("--device cuda"):
        devices = _cuda_devices()
    if devices == 0:
        raise ModelError("no CUDA device was found: use --device cpu")
    if int(number or 0) >= devices:
        raise ModelError(f"there is no {name}: use cuda:0" + (f" to cuda:{devices - 1}" if devices > 1 else ""))
    return name


def place(device: str) -> Place:
    """Where arrays of a device are: None, NumPy, for the CPU, else a torch.device."""
    if device == "cpu":
        return None
    import torch

    return torch.device(device)


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@cache
def _has_driver() -> bool:
    """Whether CUDA's driver is there: asking torch itself takes seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


@contextmanager
def as_a_guest() -> Iterator[None]:
    """A context in which NumPy and torch compute in anybody's process: NumPy's products with one thread; torch without the caller's
    autocast, whose bfloat16 sums would not be exact, and in a forked child too."""
    with ExitStack() as stack:
        stack.enter_context(threads.one_for_products())
        if "torch" in sys.modules:  # who has not imported it has no autocast
            import torch

            _survive_fork()
            if (number := threads.chosen()) and number != (before := torch.get_num_threads()):  # it was imported since
                torch.set_num_threads(number)
                stack.callback(torch.set_num_threads, before)
            for kind in ("cpu", "cuda"):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@cache
def _first_process() -> int:
    """The one that computed first."""
    return os.getpid()


def _survive_fork() -> None:
    """Compute with one thread in a process that was forked after another had computed: torch's threads do not come along, and
    work handed to them would wait for ever."""
    import torch

    if _first_process() != os.getpid() and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def prepare(name: str, threads: int | None) -> None:
    """What a long run on the device of a name needs first. `threads`: of the processor; None leaves them as they are. Raises
    ModelError where there is no such device."""
    import torch

    keep_freed()
    device_of(name)
    if threads:
        torch.set_num_threads(threads)


def fast_convolutions(device: "torch.device") -> "torch.autocast":
    """A context in which convolutions and what is between them are bfloat16, where an x86 processor multiplies that itself and
    torch tells of it: nearly twice as fast as float32, which they are elsewhere."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu" and _multiplies_bfloat16())


def training_precision(device: "torch.device") -> "torch.autocast":
    """A context for training: as `fast_convolutions`, and bfloat16 on a GPU too. A processor that does not multiply bfloat16 itself
    takes several times as long with it as with float32."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=trains_in_bfloat16(device))


def trains_in_bfloat16(device: "torch.device") -> bool:
    return device.type != "cpu" or _multiplies_bfloat16()


@cache
def _multiplies_bfloat16() -> bool:
    import torch

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
