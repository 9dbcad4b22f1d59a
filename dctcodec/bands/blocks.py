"""Adaptive blocks: a tile's transform is one DCT of 32x32, or DCTs of smaller blocks.

A *kind* is a size of block. A tile is of one large kind, or it is split: then each quadrant of 16x16 is of a small kind of its own.
The *partition* of an image is the kind of each quadrant, int64 (..., 4, h, w) on the grid of tiles, quadrants in the order of rows;
all four are equal in a tile of a large kind. Where tiles have steps of their own, the partition is
(..., 5, h, w), with their indices (`steps.py`).

The coefficients of a tile have 32x32 positions whatever its blocks are, and about the same frequency is at the same position. Where
a side of `side` pixels is cut into k blocks, position p is frequency p div k of block p mod k. The quadrants of a split tile are
interleaved in the same way. The DCs of the blocks of a quadrant, or of a tile that is not split, go through one more DCT; then the
means of the four quadrants do, so that position 0 is the tile's mean in every partition. Each of these is orthonormal.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from dctcodec.arrays import Array, Place, cast, copied, library, permuted, place_of, placed, table, zeros_like
from dctcodec.bands.order import CHANNELS
from dctcodec.errors import ModelError
from dctcodec.tiles import TILE, dct_basis

KINDS = ((32, 32), (32, 16), (16, 32), (16, 16), (16, 8), (8, 16), (8, 8), (4, 4))
"""Height and width of the blocks of each kind, pixels. Their numbers are part of the file format of models."""
LARGE = 3
"""Kinds below this one are of whole tiles."""
QUADRANT = TILE // 2
QUADRANTS = 4
SMALLEST_SIDE = 2 * QUADRANT // min(map(min, KINDS))
"""The first positions, so many in both directions, hold all DCs."""


def kinds_of(names: tuple[str, ...] | list[str]) -> tuple[int, ...]:
    """Numbers of kinds by their names, "HEIGHTxWIDTH", ascending. Raises ModelError for names that are unknown or twice there, and
    where 32x32 is missing."""
    known = {f"{height}x{width}": number for number, (height, width) in enumerate(KINDS)}
    kinds = sorted({known.get(str(name), -1) for name in names})
    if names and (kinds[0] != 0 or len(kinds) < len(names)):
        raise ModelError(f"blocks {', '.join(map(str, names))} should be different sizes of {', '.join(known)}, with 32x32")
    return tuple(kinds)


def small_kinds(kinds: tuple[int, ...]) -> tuple[int, ...]:
    """Those of `kinds` that quadrants may have."""
    return tuple(kind for kind in kinds if kind >= LARGE)


def large_kinds(kinds: tuple[int, ...]) -> tuple[int, ...]:
    """Those of `kinds` that whole tiles may have."""
    return tuple(kind for kind in kinds if kind < LARGE)


def whole(height: int, width: int) -> np.ndarray:
    """The partition (4, height, width) of tiles that all are one block."""
    return np.zeros((QUADRANTS, height, width), np.int64)


@table
def quadrant_of_channels() -> np.ndarray:
    """`quadrant_of_channels(place)`: the quadrant of a split tile that each channel belongs to, int64 (CHANNELS,)."""
    return np.array([2 * (channel.u % 2) + channel.v % 2 for channel in CHANNELS])


def quadrant_map(partition: Array) -> Array:
    """Kinds of a partition as a grid of quadrants, (..., 2 h, 2 w)."""
    height, width = partition.shape[-2:]
    grid = partition[..., :QUADRANTS, :, :].reshape(-1, 2, 2, height, width)
    return permuted(grid, 0, 3, 1, 4, 2).reshape(*partition.shape[:-3], 2 * height, 2 * width)


def rows_by_place(numbers: Array, side: int) -> Array:
    """Rows of a table by kind, row and column of a quadrant, for each place of quadrants of `side` x `side` places: numbers
    (2 h, 2 w), int64, to (2 h * side, 2 w * side)."""
    places = placed(np.arange(side**2).reshape(1, side, 1, side), place_of(numbers))
    return (numbers[:, None, :, None] * side**2 + places).reshape(len(numbers) * side, -1)


def of_tiles(partition: Array) -> Array:
    """Kinds of a partition as those of tiles, one after another: (tiles, 4)."""
    return library(partition).moveaxis(partition[..., :QUADRANTS, :, :], -3, -1).reshape(-1, QUADRANTS)


def planes(partition: Array, kinds: Sequence[int]) -> Array:
    """Float (B, n, 2 h, 2 w) of 0 and 1 on the grid of quadrants: which are of each of the kinds after the first."""
    grid = quadrant_map(partition)
    return cast(library(grid).stack([grid == kind for kind in kinds[1:]], 1), "float32")


def packed(symbols: Array, partition: Array | None) -> Array:
    """Symbols (CHANNELS, h, w) of an image and its partition as one, int32 (CHANNELS + 4 or 5, h, w); without one the symbols."""
    return symbols if partition is None else library(symbols).concatenate([symbols, cast(partition, "int32")])


def unpacked(symbols: Array) -> tuple[Array, Array | None]:
    """The inverse of `packed`, the partition int64."""
    coded, partition = symbols[: len(CHANNELS)], symbols[len(CHANNELS) :]
    return coded, cast(partition, "int64") if len(partition) else None


class Matrices(NamedTuple):
    """The matrices of all blocks' transforms. `interleaved[side, block]`: the DCTs of the blocks of a side of 32 or 16 pixels;
    `dcs[k]`: the DCT of k blocks' DCs; `settled`: what is made of a product with two of the latter, and `rounded` of one with two
    of the former, the identity for floats."""

    interleaved: dict[tuple[int, int], Array]
    dcs: dict[int, Array]
    settled: Callable[[Array], Array]
    rounded: Callable[[Array], Array]


@cache
def float_matrices(place: Place) -> Matrices:
    """Orthonormal, float32."""
    return matrices_of(lambda size: dct_basis(size, None), _as_it_is, place)


def _as_it_is(values: Array) -> Array:
    return values


def matrices_of(
    basis: Callable[[int], np.ndarray],
    settled: Callable[[Array], Array],
    place: Place,
    rounded: Callable[[Array], Array] = _as_it_is,
) -> Matrices:
    """The matrices at a place, made of the DCTs of sizes 1 to 32 that `basis` gives."""
    sides = {(TILE if kind < LARGE else QUADRANT, length) for kind, lengths in enumerate(KINDS) for length in lengths}
    interleaved = {(side, block): placed(_interleaved(basis(block), side), place) for side, block in sides}
    return Matrices(interleaved, {side // block: placed(basis(side // block), place) for side, block in sides}, settled, rounded)


def _interleaved(basis: np.ndarray, side: int) -> np.ndarray:
    """The DCTs of the blocks of a side: rows frequency * k + number of the block, for k blocks."""
    block = len(basis)
    count = side // block
    diagonal = np.kron(np.eye(count, dtype=basis.dtype), basis)
    return np.ascontiguousarray(diagonal.reshape(count, block, side).swapaxes(0, 1).reshape(side, side))


def forward(tiles: Array, partition: Array, matrices: Matrices, side: int = TILE) -> Array:
    """Coefficients (n, 3, side, side) of the first positions of tiles (n, 3, 32, 32), `partition` (n, 4). `side` is even, at least
    SMALLEST_SIDE."""
    parts, rows = [], []
    for kind in range(LARGE):
        where = library(partition).where(partition[:, 0] == kind)[0]
        if len(where):
            parts.append(_unit_forward(tiles[where], kind, matrices, side))
            rows.append(where)
    where = library(partition).where(partition[:, 0] >= LARGE)[0]
    if len(where):
        parts.append(_split_forward(tiles[where], partition[where], matrices, side))
        rows.append(where)
    return _in_order(parts, rows)


def inverse(coefficients: Array, partition: Array, matrices: Matrices) -> Array:
    """The inverse of `forward`, coefficients at further positions 0: tiles (n, 3, 32, 32)."""
    parts, rows = [], []
    for kind in range(LARGE):
        where = library(partition).where(partition[:, 0] == kind)[0]
        if len(where):
            parts.append(_unit_inverse(coefficients[where], kind, matrices))
            rows.append(where)
    where = library(partition).where(partition[:, 0] >= LARGE)[0]
    if len(where):
        parts.append(_split_inverse(coefficients[where], partition[where], matrices))
        rows.append(where)
    return _in_order(parts, rows)


def _in_order(parts: list[Array], rows: list[Array]) -> Array:
    """Parts that hold the items of these rows, put together."""
    if len(parts) == 1:
        return parts[0]
    whole = zeros_like(parts[0], (sum(map(len, rows)), *parts[0].shape[1:]))
    for part, where in zip(parts, rows, strict=True):
        whole[where] = part
    return whole


def _split_forward(tiles: Array, partition: Array, matrices: Matrices, side: int) -> Array:
    quadrants = permuted(tiles.reshape(-1, 3, 2, QUADRANT, 2, QUADRANT), 0, 2, 4, 1, 3, 5)
    quadrants = quadrants.reshape(-1, 3, QUADRANT, QUADRANT)
    kinds = partition.reshape(-1)
    coefficients = _by_kind(quadrants, kinds, lambda one, kind: _unit_forward(one, kind, matrices, side // 2))
    coefficients = permuted(coefficients.reshape(-1, 2, 2, 3, side // 2, side // 2), 0, 3, 4, 1, 5, 2).reshape(-1, 3, side, side)
    return _on_corner(coefficients, matrices.dcs[2], matrices.dcs[2], matrices)


def _split_inverse(coefficients: Array, partition: Array, matrices: Matrices) -> Array:
    side = coefficients.shape[-1]
    coefficients = _on_corner(coefficients, matrices.dcs[2].T, matrices.dcs[2].T, matrices)
    quadrants = permuted(coefficients.reshape(-1, 3, side // 2, 2, side // 2, 2), 0, 3, 5, 1, 2, 4)
    quadrants = quadrants.reshape(-1, 3, side // 2, side // 2)
    tiles = _by_kind(quadrants, partition.reshape(-1), lambda one, kind: _unit_inverse(one, kind, matrices))
    return permuted(tiles.reshape(-1, 2, 2, 3, QUADRANT, QUADRANT), 0, 3, 1, 4, 2, 5).reshape(-1, 3, TILE, TILE)


def _by_kind(items: Array, kinds: Array, made: Callable[[Array, int], Array]) -> Array:
    parts, rows = [], []
    for kind in range(LARGE, len(KINDS)):
        where = library(kinds).where(kinds == kind)[0]
        if len(where):
            parts.append(made(items[where], kind))
            rows.append(where)
    return _in_order(parts, rows)


def _unit_forward(pixels: Array, kind: int, matrices: Matrices, side: int) -> Array:
    """Of whole tiles, or of quadrants: (n, 3, s, s) to (n, 3, side, side)."""
    down, across, corner = _unit_matrices(pixels.shape[-1], kind, matrices)
    coefficients = matrices.rounded(down[:side] @ pixels @ across[:side].T)
    return coefficients if corner is None else _on_corner(coefficients, *corner, matrices)


def _unit_inverse(coefficients: Array, kind: int, matrices: Matrices) -> Array:
    side = coefficients.shape[-1]
    down, across, corner = _unit_matrices(TILE if kind < LARGE else QUADRANT, kind, matrices)
    if corner is not None:
        coefficients = _on_corner(coefficients, corner[0].T, corner[1].T, matrices)
    return matrices.rounded(down[:side].T @ coefficients @ across[:side])


def _unit_matrices(size: int, kind: int, matrices: Matrices) -> tuple[Array, Array, tuple[Array, Array] | None]:
    height, width = KINDS[kind]
    corner = None if (height, width) == (size, size) else (matrices.dcs[size // height], matrices.dcs[size // width])
    return matrices.interleaved[size, height], matrices.interleaved[size, width], corner


def _on_corner(coefficients: Array, down: Array, across: Array, matrices: Matrices) -> Array:
    """The lowest positions times a matrix from both sides."""
    height, width = len(down), len(across)
    result = copied(coefficients)
    result[..., :height, :width] = matrices.settled(down @ coefficients[..., :height, :width] @ across.T)
    return result
