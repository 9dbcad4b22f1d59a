"""Helpers for torch modules: typed lists, initialisation, memory layout."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class ModuleList(nn.ModuleList, Generic[M]):
    """`nn.ModuleList` that tells a type checker the type of its modules; the same at run time."""

    if TYPE_CHECKING:

        def __init__(self, modules: Iterable[M]): ...
        def __iter__(self) -> Iterator[M]: ...
        @overload
        def __getitem__(self, idx: slice) -> "ModuleList[M]": ...
        @overload
        def __getitem__(self, idx: int) -> M: ...
        def __getitem__(self, idx: int | slice) -> "M | ModuleList[M]": ...


@contextmanager
def built_alike() -> Iterator[None]:
    """Modules made in this context have float32 parameters, whatever torch's default dtype, and draw no numbers from the caller's
    random state."""
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def start_at_zero(layer: nn.Module) -> None:
    """Set all parameters of a layer to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def channels_last(module: M, device: torch.device | str | None = None) -> M:
    """A module on a device, or where it is, its convolutions in the layout that is fastest."""
    return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types forget it
