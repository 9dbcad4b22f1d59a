"""The partition's own model: which blocks each tile has, given those of tiles before it and the step.

Tiles are sent along diagonals of their grid, so that those to the left, above, and to the left of that are known. First a tile's
large kind, or that it is split; then the kinds of the quadrants of split tiles, one after another. Each depends on the *sizes* of
blocks in the same three places, of tiles or of quadrants. All probabilities are integer counts in tables that are shipped. Those
are made at export, from a sum of parts for pairs of neighbours and for the step, which is trained (`partition_network.py`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dctcodec.bands import blocks
from dctcodec.errors import ModelError

SIZES = (1, 2, 2, 3, 4, 4, 5, 6)
"""Of each kind, finer and finer; 0 is outside the image."""
STATES = 1 + max(SIZES)
NEIGHBOURS = STATES**3
STEP_ROWS = 8
"""Rows of tables, for ranges of steps."""


class Counts:
    """A table of counts for each key, int32 (keys, entries). Raises ModelError for one that cannot be."""

    def __init__(self, counts: np.ndarray):
        if counts.ndim != 2 or counts.shape[1] < 2 or counts.min() < 1 or counts.sum(1, dtype=np.int64).max() > 2**20:
            raise ModelError("the model's tables of partitions are damaged")
        self.counts = counts
        self._models: dict[int, Any] = {}

    def model(self, key: int) -> Any:
        """The entropy model of a key."""
        from dctcodec import rans  # training has no need of the coder

        if key not in self._models:
            counts = self.counts[key].astype(np.float64)
            self._models[key] = rans.Categorical(counts / counts.sum(), perfect=False)
        return self._models[key]

    def bits(self, keys: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The length of each entry."""
        return np.log2(self.counts[keys].sum(1)) - np.log2(self.counts[keys, entries])


class Sent(NamedTuple):
    """Entries sent at once: the table and the key of each, and which tiles they are of."""

    table: Counts
    keys: np.ndarray
    tiles: tuple[np.ndarray, np.ndarray]
    place: int | None
    """The quadrant, None for the tile itself."""


Entered = tuple[Sent, Callable[[np.ndarray], None], np.ndarray]
"""What is sent at once, a function that a reader calls with the entries that it took, and the entries as they stand."""


class PartitionCode:
    """The model in integers. `tensors`: those that `export` makes, names that begin with `partition.`."""

    def __init__(self, tensors: dict[str, np.ndarray]):
        self.kinds = tuple(tensors["partition.kinds"].tolist())
        if sorted({*self.kinds} & {*range(len(blocks.KINDS))}) != list(self.kinds) or self.kinds[:1] != (0,):
            raise ModelError("the model's kinds of blocks are damaged")
        self._large, self._small = (np.array(f(self.kinds)) for f in (blocks.large_kinds, blocks.small_kinds))
        self._bounds = tensors["partition.bounds"]
        self._tiles = _tables(tensors["partition.tiles"])
        self._quadrants = _tables(tensors["partition.quadrants"]) if len(self._small) > 1 else None

    def steps(self, partition: np.ndarray, step16: int) -> Iterator[Entered]:
        """What is sent of the kinds of a partition, in order. What a reader takes is put in `partition`."""
        row = int(np.searchsorted(self._bounds, step16))
        labels, (_, height, width) = partition, partition.shape
        sizes = np.zeros((height + 1, width + 1), np.int64)
        fine = np.zeros((2 * height + 1, 2 * width + 1), np.int64)
        for rows, columns in diagonals(height, width):
            keys = (sizes[rows + 1, columns] * STATES + sizes[rows, columns + 1]) * STATES + sizes[rows, columns]
            yield self._tile_step(labels, Sent(self._tiles[row], keys, (rows, columns), None))
            split = labels[0, rows, columns] >= blocks.LARGE
            down, across = rows[split], columns[split]
            if self._quadrants is not None and len(down):
                for place in range(blocks.QUADRANTS):
                    top, left = 2 * down + place // 2, 2 * across + place % 2
                    keys = (fine[top + 1, left] * STATES + fine[top, left + 1]) * STATES + fine[top, left]
                    sent = Sent(self._quadrants[row], keys + place * NEIGHBOURS, (down, across), place)
                    yield self._quadrant_step(labels, sent)
                    fine[top + 1, left + 1] = np.array(SIZES)[labels[place, down, across]]
            taken = np.array(SIZES)[labels[: blocks.QUADRANTS, rows, columns]]
            sizes[rows + 1, columns + 1] = (taken.sum(0) + 2) // 4
            for place in range(blocks.QUADRANTS):
                fine[2 * rows + place // 2 + 1, 2 * columns + place % 2 + 1] = taken[place]

    def _tile_step(self, labels: np.ndarray, sent: Sent) -> Entered:
        first = labels[0][sent.tiles]
        entries = np.where(first < blocks.LARGE, np.searchsorted(self._large, first), len(self._large))

        def take(entries: np.ndarray) -> None:
            kinds = np.append(self._large, self._small[:1])  # a split tile's quadrants are told apart next
            labels[: blocks.QUADRANTS, *sent.tiles] = kinds[entries]

        return sent, take, entries

    def _quadrant_step(self, labels: np.ndarray, sent: Sent) -> Entered:
        def take(entries: np.ndarray) -> None:
            labels[sent.place][sent.tiles] = self._small[entries]

        return sent, take, np.searchsorted(self._small, labels[sent.place][sent.tiles])

    def check(self, partition: np.ndarray) -> None:
        """Raise ValueError for a partition (4, h, w) that cannot be sent."""
        whole = partition < blocks.LARGE
        if not np.isin(partition, self.kinds).all() or (whole.any(0) & (partition != partition[0]).any(0)).any():
            raise ValueError("the partition is none of this model")


def bits_of_tiles(entered: Iterable[Entered], height: int, width: int) -> np.ndarray:
    """Bits of each tile in what is sent, float64 (height, width)."""
    bits = np.zeros((height, width))
    for sent, _, entries in entered:
        bits[sent.tiles] += sent.table.bits(sent.keys, entries)
    return bits


def diagonals(height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the tiles of each diagonal of a grid, from the first tile on."""
    for diagonal in range(height + width - 1):
        rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        yield rows, diagonal - rows


def _tables(counts: np.ndarray) -> list[Counts]:
    if counts.ndim != 3 or len(counts) != STEP_ROWS or counts.shape[1] % NEIGHBOURS:
        raise ModelError("the model's tables of partitions are damaged")
    return [Counts(one) for one in counts]
