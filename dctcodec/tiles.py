"""Colour, tiling and the DCT: what both families do with an image's pixels."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from dctcodec import threads
from dctcodec.arrays import Array, Place, library, permuted, place_of, placed, table

Strip = TypeVar("Strip")

TILE = 32
"""Side of a tile, pixels."""
STRIP = 2048
"""Tiles of a strip of a large image, about: it bounds memory."""
IN_CACHE = 128
"""Tiles whose transforms fit into a processor's cache, about."""
_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]],
    np.float32,
)
_TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136286, -0.714136286], [1.0, 1.772, 0.0]], np.float32)
_GREY = np.array([128.0, 0.0, 0.0], np.float32)[:, None, None]


def tiles_across(pixels: int) -> int:
    """Number of 32-pixel tiles that cover `pixels` pixels."""
    return _parts(pixels, TILE)


def strips_of(size: Sequence[int], reach: int, tiles: int | None = None) -> list[tuple[slice, slice]]:
    """Strips that cover a grid of tiles of a size (height, width), of some `tiles` each (None for `STRIP`) and an even number of
    rows, so that a checkerboard looks the same: the rows of interest, counted from the start of the strip, and those of the strip,
    `reach` more on either side where there are any."""
    height, width = size
    count = _parts(height * width, tiles or STRIP)
    rows = 2 * _parts(_parts(height, count), 2)
    strips = []
    for start in range(0, height, rows):
        stop, first = min(start + rows, height), max(0, start - reach)
        strips.append((slice(start - first, stop - first), slice(first, min(stop + reach, height))))
    return strips


def in_strips(
    work: Callable[[slice, slice], Strip], size: Sequence[int], reach: int, place: Place, tiles: int | None = None
) -> list[Strip]:
    """What `work` makes of each strip of `strips_of`, in order. On the CPU some are made at once. `tiles`: how many
    a strip has on the CPU, about; None means `STRIP`."""
    if place is not None:
        return [work(*strip) for strip in strips_of(size, reach)]
    return threads.together(lambda strip: work(*strip), strips_of(size, reach, tiles))


def in_large_strips(work: Callable[[slice, slice], Strip], size: Sequence[int], reach: int, place: Place) -> list[Strip]:
    """`in_strips` with strips so large that few rows are in two of them. On the CPU a large grid has as many strips as are made at
    once; networks take little memory for them (`exact/rows.py`)."""
    height, width = size
    if place is not None:
        return [work(*strip) for strip in strips_of(size, reach, max(STRIP, 8 * reach * width))]
    return in_strips(work, size, reach, place, max(STRIP, 4 * reach * width, _parts(height * width, threads.at_once())))


def over_tiles(work: Callable[[slice], Array], tiles: int, place: Place) -> Array:
    """What `work` makes of some tiles of so many at a time, put together. On the CPU some parts are made at once."""
    parts = _pieces(tiles, IN_CACHE)
    made = threads.together(work, parts) if place is None else [work(part) for part in parts]
    return library(made[0]).concatenate(made)


def over_rows(work: Callable[[slice], Array], height: int, width: int, place: Place) -> Array:
    """What `work` makes of some rows of a grid of tiles, joined. On the CPU some rows, whose tiles fit into a core's cache, are
    made at once."""
    if place is not None:
        return joined([work(rows) for rows in _pieces(height, max(1, STRIP // width))])
    return joined(threads.together(work, _pieces(height, max(1, IN_CACHE // width))))


def _pieces(count: int, most: int) -> list[slice]:
    """`count` items in pieces of `most` or fewer, as many for each core."""
    pieces = _parts(count, most)
    if pieces > 1:
        pieces = min(count, threads.at_once() * _parts(pieces, threads.at_once()))
    edges = [count * piece // pieces for piece in range(pieces + 1)]
    return [slice(*piece) for piece in pairwise(edges)]


def _parts(count: int, most: int) -> int:
    """How many parts of `most` items `count` items make."""
    return -(-count // most)


def joined(strips: Sequence[Array]) -> Array:
    """Arrays (n, rows of a strip, ...) of all strips as one."""
    return strips[0] if len(strips) == 1 else library(strips[0]).concatenate(strips, 1)


def scaled(rows: slice, scale: int) -> slice:
    """Rows of tiles as rows of `scale` positions a tile."""
    return slice(rows.start * scale, rows.stop * scale)


def rgb_to_ycbcr(rgb: Array) -> Array:
    """RGB in [0, 255], float32 (..., 3, H, W), to Y - 128, Cb, Cr, all centred at 0 (BT.601, full range)."""
    return _mix(rgb, _TO_YCBCR) - placed(_GREY, place_of(rgb))


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of RGB (3, H, W), float64 (H, W): the same on every machine where RGB are multiples of 1/64."""
    red, green, blue = rgb.astype(np.float64)
    return (299 * red + 587 * green + 114 * blue) / 1000


def ycbcr_to_rgb(ycbcr: Array) -> Array:
    """Inverse of `rgb_to_ycbcr`, not clamped."""
    return _mix(ycbcr + placed(_GREY, place_of(ycbcr)), _TO_RGB)


def gradient_of_ycbcr(gradient: Array) -> Array:
    """The gradient of a function along Y, Cb and Cr, from that along RGB: (..., 3, H, W)."""
    return _mix(gradient, np.ascontiguousarray(_TO_RGB.T))


def colour_energy() -> np.ndarray:
    """Squared change of RGB where Y, Cb or Cr changes by 1, float32 (3,)."""
    return np.square(_TO_RGB).sum(0)


def pad_to_tiles(planes: Array) -> Array:
    """Replicate the right and bottom edges of (B, 3, H, W) until both sides are whole tiles."""
    height, width = planes.shape[-2:]
    rows, columns = (np.minimum(np.arange(tiles_across(side) * TILE), side - 1) for side in (height, width))
    if len(rows) > height:
        planes = planes[:, :, rows]
    return planes[:, :, :, columns] if len(columns) > width else planes


def to_tiles(planes: Array) -> Array:
    """Planes (B, 3, 32 h, 32 w) as (B, h, w, 3, 32, 32)."""
    batch, _, height, width = planes.shape
    return permuted(planes.reshape(batch, 3, height // TILE, TILE, width // TILE, TILE), 0, 2, 4, 1, 3, 5)


def from_tiles(tiles: Array) -> Array:
    """Inverse of `to_tiles`, for tiles of any side."""
    batch, h, w, _, side, _ = tiles.shape
    return permuted(tiles, 0, 3, 1, 4, 2, 5).reshape(batch, 3, h * side, w * side)


def _mix(planes: Array, matrix: np.ndarray) -> Array:
    mixed = placed(matrix, place_of(planes)) @ planes.reshape(*planes.shape[:-2], -1)
    return mixed.reshape(planes.shape)


@table
def dct_basis(size: int) -> np.ndarray:
    """`dct_basis(size, place)`: orthonormal DCT-II matrix, float32 (size, size), row u = frequency u."""
    n = np.arange(size)
    basis = np.cos(math.pi / size * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)
