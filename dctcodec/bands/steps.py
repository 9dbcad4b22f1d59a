"""A step for each tile. Files of `--tune ms-ssim` have them: textures hide errors, so busy tiles are quantised more coarsely.

The *step index* of a tile is a whole number from -MOST to MOST: its step is the image's times about exp(index / PER_E). The indices
of an image are the last plane of its partition (`blocks.py`). They are sent after the kinds of the blocks, along diagonals of the
grid of tiles. The counts of an index depend on its distance from the mean of the indices to the left and above.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

from dctcodec.arrays import Array, place_of, table
from dctcodec.bands.blocks import QUADRANTS
from dctcodec.bands.partition import Counts, Entered, Sent, diagonals

MOST = 4
PER_E = 4
FACTOR_BITS = 8
WHOLE_FACTORS = (94, 121, 155, 199, 256, 329, 422, 542, 696)
"""round(2^8 exp(index / PER_E)) for each index."""
COUNTS = (15000, 2400, 800, 80, 60, 6, 6, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1)
"""Of an index, by the difference between twice the index and the sum of those to the left and above. Read from photographs."""


def index_of(partition: Array) -> Array | None:
    """Step indices (..., 1, h, w) of a partition, None where it has none."""
    return partition[..., QUADRANTS:, :, :] if partition.shape[-3] > QUADRANTS else None


def factors(partition: Array | None) -> Array | float:
    """Steps of tiles over the image's, float32 (..., 1, h, w); 1 where all tiles have the image's."""
    index = None if partition is None else index_of(partition)
    return 1.0 if index is None else factor_of(index)


def factor_of(index: Array) -> Array:
    """The factors of step indices, float32 of their shape."""
    return _factors(place_of(index))[index + MOST]


def whole_factors(partition: np.ndarray | None) -> np.ndarray | None:
    """`factors` of a partition (4 or 5, h, w) in 2^-FACTOR_BITS, int64 (h, w); None where all tiles have the image's step."""
    index = None if partition is None else index_of(partition)
    return None if index is None else np.array(WHOLE_FACTORS)[index[0] + MOST]


def chosen(log_factor: np.ndarray, weight: float) -> np.ndarray:
    """Step indices, int64 (h, w), near to those of factors with these logarithms, and cheap to send. `weight`: what a difference
    of 1 as in COUNTS is worth, in squared indices."""
    height, width = log_factor.shape
    wanted, index = PER_E * log_factor, np.zeros((height, width), np.int64)
    entries = np.arange(-MOST, MOST + 1)
    for tiles in diagonals(height, width):
        surprise = abs(2 * entries - _around(index, *tiles)[:, None])
        cost = (entries - wanted[tiles][:, None]) ** 2 + weight * surprise
        index[tiles] = entries[cost.argmin(1)]
    return index


@table
def _factors() -> np.ndarray:
    """`_factors(place)`: the factor of each index, float32 (2 * MOST + 1,)."""
    return np.array(WHOLE_FACTORS, np.float32) / 2**FACTOR_BITS


@cache
def _counts() -> Counts:
    """Key: the sum of two indices, + 2 MOST."""
    entries = np.arange(2 * MOST + 1)
    return Counts(np.array(COUNTS, np.int32)[abs(2 * entries - np.arange(4 * MOST + 1)[:, None])])


def sent(index: np.ndarray) -> Iterator[Entered]:
    """What is sent of step indices (h, w), in order. What a reader takes is put in `index`."""
    height, width = index.shape
    for tiles in diagonals(height, width):

        def take(entries: np.ndarray, tiles: tuple[np.ndarray, np.ndarray] = tiles) -> None:
            index[tiles] = entries - MOST

        yield Sent(_counts(), _around(index, *tiles) + 2 * MOST, tiles, None), take, index[tiles] + MOST


def _around(index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sum of the indices to the left and above. One outside the image counts as the other; if both are, each counts as 0."""
    left, above = index[rows, columns - 1], index[rows - 1, columns]
    left, above = np.where(columns > 0, left, above), np.where(rows > 0, above, left)
    return np.where((rows > 0) | (columns > 0), left + above, 0)
