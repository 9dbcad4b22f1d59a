"""Networks that go through planes from top to bottom, some rows of tiles at a time: what they work on stays in the processor's
cache, and a large image takes little memory.

Rows below the present ones are not known yet. So a 3x3 layer is one row behind what it takes: it keeps its last two rows for the
next run. A sum of planes keeps rows of the one that is ahead, and a mean of squares those that are not yet whole squares.
"""

from collections.abc import Callable, Collection
from itertools import pairwise

import numpy as np

from dctcodec.tiles import TILE

CACHED = 256
"""Tiles of a run, about."""
Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays, list[np.ndarray]], tuple[list[np.ndarray], list[np.ndarray]]]
"""A network on some rows. It takes inputs and the rows that the last run kept, and returns outputs (1, height, width, channels) and
the rows to keep."""


class ByRows:
    """A network as a function of arrays. `run_of(begins, ends)`: the run of rows that begin at the top of the planes, end at
    their bottom, both or neither; `planes`: the inputs that have rows; `reach`: how many rows of tiles an output depends on below
    it, at most; None for all, in one run."""

    def __init__(self, run_of: Callable[[bool, bool], Run], planes: Collection[str], reach: int | None):
        self._run_of, self._planes, self._reach = run_of, planes, reach
        self._runs = {(True, True): run_of(True, True)}

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        """Outputs (1, height, width, channels)."""
        pieces, found = self._pieces(arrays), []
        kept: list[np.ndarray] = []
        for number, piece in enumerate(pieces):
            outputs, kept = self._run(number == 0, number == len(pieces) - 1)(piece, kept)
            found.append(outputs)
        return found[0] if len(found) == 1 else [np.concatenate(parts, 1) for parts in zip(*found, strict=True)]

    def _run(self, begins: bool, ends: bool) -> Run:
        if (begins, ends) not in self._runs:  # two threads may both make it: one of the two is kept
            self._runs.setdefault((begins, ends), self._run_of(begins, ends))
        return self._runs[begins, ends]

    def _pieces(self, arrays: Arrays) -> list[Arrays]:
        """The arrays of each run: some rows of planes, and all else as it is. The first run needs more rows than `reach`."""
        if self._reach is None:
            return [arrays]
        height, width = (max(arrays[name].shape[axis] for name in self._planes) // TILE for axis in (-2, -1))
        count = max(1, height // max(self._reach + 1, CACHED // width))
        edges = [height * number // count for number in range(count + 1)]

        def rows(name: str, array: np.ndarray, start: int, stop: int) -> np.ndarray:
            scale = array.shape[-2] // height
            return array[..., start * scale : stop * scale, :] if name in self._planes else array

        return [{name: rows(name, array, *piece) for name, array in arrays.items()} for piece in pairwise(edges)]
