"""NumPy arrays and torch tensors by the same names: code that is written with these functions runs on both.

torch is not imported here: who passes a tensor has it.
"""

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np

Array = Any
"""A NumPy array or a torch tensor."""
Place = Any
"""Where an array is: None for NumPy, else a torch.device."""


def library(array: Array) -> Any:
    """The module numpy or torch, whose functions of the same name take the array."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def place_of(array: Array) -> Place:
    return None if isinstance(array, np.ndarray) else array.device


def placed(values: np.ndarray, place: Place) -> Array:
    """A NumPy array as an array of a place, with the same dtype."""
    if place is None:
        return values
    torch = sys.modules["torch"]
    with torch.inference_mode(False):
        return torch.tensor(values, device=place)


def to_numpy(array: Array) -> np.ndarray:
    """An array as one of NumPy, on the CPU."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def table(make: Callable[..., np.ndarray]) -> Callable[..., Array]:
    """A function whose last parameter is a place, from one without it that makes a NumPy array. Each array is made once."""

    @wraps(make)
    @cache
    def at(*arguments: Any) -> Array:
        *parameters, place = arguments
        return placed(make(*parameters), place)

    return at


def permuted(array: Array, *axes: int) -> Array:
    """A view with its axes in another order."""
    return array.transpose(axes) if isinstance(array, np.ndarray) else array.permute(axes)


def cast(array: Array, kind: str) -> Array:
    """An array with the dtype of a name, itself where it has it."""
    if isinstance(array, np.ndarray):
        return array.astype(kind, copy=False)
    return array.to(getattr(sys.modules["torch"], kind))


def copied(array: Array) -> Array:
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def zeros(shape: tuple[int, ...], kind: str, place: Place) -> Array:
    if place is None:
        return np.zeros(shape, kind)
    torch = sys.modules["torch"]
    return torch.zeros(shape, dtype=getattr(torch, kind), device=place)


def zeros_like(array: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of the dtype and place of an array."""
    return np.zeros(shape, array.dtype) if isinstance(array, np.ndarray) else array.new_zeros(shape)
