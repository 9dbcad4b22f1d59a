"""The partition's model as it is trained: float logits, from which export makes the counts of `partition.py`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.bands import blocks
from dctcodec.bands.partition import SIZES, STATES, STEP_ROWS

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
    return (sizes_of(partition[..., : blocks.QUADRANTS, :, :]).sum(-3) + 2) // 4


def _around(sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes to the left, above, and above that to the left, 0 outside."""
    padded = F.pad(sizes, (1, 0, 1, 0))
    return padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]
