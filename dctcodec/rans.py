"""The coder of symbols: constriction's rANS where that is installed, else `ans.py`, which gives the same bytes more slowly.

The variable DCTCODEC_CODER of the environment, `constriction` or `numpy`, decides otherwise.
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from dctcodec.errors import DctcodecError

CODERS = ("constriction", "numpy")
_CHUNK = 4096
"""Tables that are gathered at a time: they stay in the processor's cache."""


def _chosen() -> str:
    wanted = os.environ.get("DCTCODEC_CODER") or ("constriction" if find_spec("constriction") else "numpy")
    if wanted not in CODERS:
        raise DctcodecError(f"DCTCODEC_CODER is {wanted!r}: set it to one of {', '.join(CODERS)}, or unset it")
    return wanted


CODER = _chosen()
"""The one in use, of CODERS."""

if TYPE_CHECKING or CODER == "numpy":
    from dctcodec.ans import AnsCoder, Categorical, Uniform
else:
    import constriction

    AnsCoder = constriction.stream.stack.AnsCoder
    Categorical, Uniform = constriction.stream.model.Categorical, constriction.stream.model.Uniform

__all__ = ["CODER", "DISTRIBUTIONS", "AnsCoder", "Categorical", "Uniform", "chunks", "pop_rows", "push_rows"]

DISTRIBUTIONS = Categorical(perfect=False)
"""Distributions whose tables are given with each symbol."""


def push_rows(stack: AnsCoder, entries: np.ndarray, rows: np.ndarray, keys: np.ndarray) -> None:
    """Push entries int32 (n,), the last one first, each of the table of its key (n,): a row of `rows`, float64 (keys, entries)."""
    if CODER == "numpy":
        stack.push_rows(entries, rows, keys)
        return
    for part in reversed(chunks(len(entries))):
        stack.encode_reverse(entries[part], DISTRIBUTIONS, rows[keys[part]])


def pop_rows(stack: AnsCoder, rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Pop entries int64 (n,), each of the table of its key."""
    if CODER == "numpy":
        return stack.pop_rows(rows, keys).astype(np.int64)
    parts = [stack.decode(DISTRIBUTIONS, rows[keys[part]]) for part in chunks(len(keys))]
    return np.concatenate([np.empty(0, np.int64), *parts])


def chunks(count: int) -> list[slice]:
    """Parts of so many symbols, whose tables are gathered at a time."""
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
