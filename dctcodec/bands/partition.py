"""The partition's own model: which blocks each tile has, given those of tiles before it and the step.

Tiles are sent along diagonals of their grid, so that those to the left, above, and to the left of that are known. First a tile's
large kind, or that it is split; then the kinds of the quadrants of split tiles, one after another. Each depends on the *sizes* of
blocks in the same three places, of tiles or of quadrants. All probabilities are integer counts in tables that are shipped. Those
are made at export, from a sum of parts for pairs of neighbours and for the step, which is trained.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.bands import blocks
from dctcodec.errors import ModelError

SIZES = (1, 2, 2, 3, 4, 4, 5, 6)
"""Of each kind, finer and finer; 0 is outside the image."""
STATES = 1 + max(SIZES)
NEIGHBOURS = STATES**3
STEP_ROWS = 8
STEP_RANGE = (14.0, 190.0)
"""The middles of the first and the last row of steps."""
GAIN = 30.0
"""A parameter is this much smaller than what it adds to a logarithm of odds, for optimisers that move all by about as much."""
COUNT_BITS = 14


def step_bounds() -> Tensor:
    """Steps in 1/16 at which the next row of the tables begins, int32."""
    low, high = (math.log(step) for step in STEP_RANGE)
    edges = torch.linspace(low, high, STEP_ROWS, dtype=torch.float64)
    return torch.round(torch.exp((edges[1:] + edges[:-1]) / 2) * 16).to(torch.int32)


class Logits(nn.Module):
    """Logarithms of odds of `entries` choices, in `places` places of a tile."""

    def __init__(self, entries: int, places: int = 1):
        super().__init__()
        self.pairs = nn.Parameter(torch.zeros(3, places, STATES, STATES, entries))
        self.step = nn.Parameter(torch.zeros(2, places, STEP_ROWS, STATES, entries))

    def forward(self, place: Tensor, row: Tensor, left: Tensor, above: Tensor, corner: Tensor) -> Tensor:
        """Logits (..., entries) of int64 tensors (...), which hold the place, the row of the step and three sizes."""
        pairs = self.pairs[0, place, left, above] + self.pairs[1, place, left, corner] + self.pairs[2, place, above, corner]
        return (pairs + self.step[0, place, row, left] + self.step[1, place, row, above]) * GAIN

    def counts(self) -> Tensor:
        """int32 (STEP_ROWS, places * NEIGHBOURS, entries), all positive."""
        places, sizes = torch.arange(self.pairs.shape[1]), torch.arange(STATES)
        row, place, *around = torch.meshgrid(torch.arange(STEP_ROWS), places, sizes, sizes, sizes, indexing="ij")
        chances = self(place, row, *around).double().softmax(-1).reshape(STEP_ROWS, -1, self.pairs.shape[-1])
        return torch.round(chances * 2**COUNT_BITS).clamp_min(1).to(torch.int32)


class PartitionNetwork(nn.Module):
    """The model as it is trained."""

    bounds: Tensor

    def __init__(self, kinds: tuple[int, ...]):
        super().__init__()
        self.kinds = kinds
        large, small = blocks.large_kinds(kinds), blocks.small_kinds(kinds)
        self.tiles = Logits(len(large) + bool(small))
        self.quadrants = Logits(len(small), blocks.QUADRANTS) if len(small) > 1 else None
        self.register_buffer("bounds", step_bounds(), persistent=False)

    def bits(self, partition: Tensor, step: Tensor) -> Tensor:
        """Bits of the partitions (B, 4, h, w) of images, step (B,): a scalar."""
        row = torch.bucketize(step * 16, self.bounds)[:, None, None].expand(-1, *partition.shape[2:])
        large, small = blocks.large_kinds(self.kinds), blocks.small_kinds(self.kinds)
        split = partition[:, 0] >= blocks.LARGE
        tile = torch.where(split, len(large), _position(partition[:, 0], large))
        logits = self.tiles(torch.zeros_like(row), row, *_around(tile_sizes(partition)))
        total = F.cross_entropy(logits.permute(0, 3, 1, 2), tile, reduction="sum")
        if self.quadrants is not None:
            around = _around(sizes_of(blocks.quadrant_map(partition)))
            for place in range(blocks.QUADRANTS):
                top, left = divmod(place, 2)
                here = [values[:, top::2, left::2][split] for values in around]
                logits = self.quadrants(torch.full_like(here[0], place), row[split], *here)
                total = total + F.cross_entropy(logits, _position(partition[:, place][split], small), reduction="sum")
        return total / math.log(2)


def _position(kinds: Tensor, among: tuple[int, ...]) -> Tensor:
    """The position of each kind in the tuple, 0 for others."""
    return sum((kinds == kind) * position for position, kind in enumerate(among)) + torch.zeros_like(kinds)


def sizes_of(kinds: Tensor) -> Tensor:
    return torch.tensor(SIZES, device=kinds.device)[kinds]


def tile_sizes(partition: Tensor) -> Tensor:
    """The mean of the quadrants' sizes, rounded, int64 (B, h, w)."""
    return (sizes_of(partition).sum(-3) + 2) // 4


def _around(sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes to the left, above, and above that to the left, 0 outside."""
    padded = F.pad(sizes, (1, 0, 1, 0))
    return padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]


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


class PartitionCode:
    """The model in integers. `tensors`: those that `export` makes, names that begin with `partition.`."""

    def __init__(self, tensors: dict[str, Tensor]):
        self.kinds = tuple(tensors["partition.kinds"].tolist())
        if sorted({*self.kinds} & {*range(len(blocks.KINDS))}) != list(self.kinds) or self.kinds[:1] != (0,):
            raise ModelError("the model's kinds of blocks are damaged")
        self._large, self._small = (np.array(f(self.kinds)) for f in (blocks.large_kinds, blocks.small_kinds))
        self._bounds = tensors["partition.bounds"]
        self._tiles = _tables(tensors["partition.tiles"])
        self._quadrants = _tables(tensors["partition.quadrants"]) if len(self._small) > 1 else None

    def steps(self, partition: Tensor, step16: int) -> Iterator[tuple[Sent, Callable[[np.ndarray], None], np.ndarray]]:
        """What is sent of a partition (4, h, w), in order; a function that a reader calls with the entries that it took, which then
        are in `partition`; and the entries as `partition` holds them now."""
        row = int(torch.bucketize(step16, self._bounds))
        labels = partition.numpy()
        _, height, width = labels.shape
        sizes = np.zeros((height + 1, width + 1), np.int64)
        fine = np.zeros((2 * height + 1, 2 * width + 1), np.int64)
        for diagonal in range(height + width - 1):
            rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
            columns = diagonal - rows
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
            taken = np.array(SIZES)[labels[:, rows, columns]]
            sizes[rows + 1, columns + 1] = (taken.sum(0) + 2) // 4
            for place in range(blocks.QUADRANTS):
                fine[2 * rows + place // 2 + 1, 2 * columns + place % 2 + 1] = taken[place]

    def _tile_step(self, labels: np.ndarray, sent: Sent) -> tuple[Sent, Callable[[np.ndarray], None], np.ndarray]:
        first = labels[0][sent.tiles]
        entries = np.where(first < blocks.LARGE, np.searchsorted(self._large, first), len(self._large))

        def take(entries: np.ndarray) -> None:
            kinds = np.append(self._large, self._small[:1])  # a split tile's quadrants are told apart next
            labels[:, *sent.tiles] = kinds[entries]

        return sent, take, entries

    def _quadrant_step(self, labels: np.ndarray, sent: Sent) -> tuple[Sent, Callable[[np.ndarray], None], np.ndarray]:
        def take(entries: np.ndarray) -> None:
            labels[sent.place][sent.tiles] = self._small[entries]

        return sent, take, np.searchsorted(self._small, labels[sent.place][sent.tiles])

    def check(self, partition: Tensor) -> None:
        """Raise ValueError for a partition that cannot be sent."""
        kinds = partition.numpy()
        whole = kinds < blocks.LARGE
        if not np.isin(kinds, self.kinds).all() or (whole.any(0) & (kinds != kinds[0]).any(0)).any():
            raise ValueError("the partition is none of this model")

    def tile_bits(self, partition: Tensor, step16: int) -> Tensor:
        """Bits of each tile, float (h, w)."""
        bits = torch.zeros(partition.shape[1:], dtype=torch.float64)
        for sent, _, entries in self.steps(partition, step16):
            bits.numpy()[sent.tiles] += sent.table.bits(sent.keys, entries)
        return bits.float()


def _tables(counts: Tensor) -> list[Counts]:
    if counts.ndim != 3 or len(counts) != STEP_ROWS or counts.shape[1] % NEIGHBOURS:
        raise ModelError("the model's tables of partitions are damaged")
    return [Counts(one) for one in counts.numpy()]
