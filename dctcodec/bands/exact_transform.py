"""The transform of `transform.py` in whole numbers: from symbols to the plain image, and what may be added to that.

Planes, and coefficients, are in 1/64 of a level (LEVEL_BITS). Bases are the orthonormal DCTs times 2^13, rounded. Products are in
float64: coefficients of symbols, and of what the network adds, are limited to 2^19, so no partial sum can reach 2^53, and each
processor gives the same numbers.
"""

import math
from functools import cache

import numpy as np

from dctcodec.arrays import Array, Place, cast, library, placed, zeros
from dctcodec.bands import blocks
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.steps import FACTOR_BITS, whole_factors
from dctcodec.bands.transform import STEP_BITS, coded_frequencies, relative_steps
from dctcodec.exact.layers import rescaled
from dctcodec.tiles import TILE, dct_basis, from_tiles, over_rows, scaled, to_tiles

LEVEL_BITS = 6
"""Planes are in 1/64 of a level."""
BASIS_BITS = 13
LIMIT = 2.0**19
"""Coefficients beyond this are taken as this."""
RESIDUAL_BITS = 10
"""What the network paints is in 1/1024 of the root of the step."""
COLOUR_BITS = 16
_TO_RGB = ((0, 91881), (-22554, -46802), (116130, 0))
"""Of Cb and Cr in R, G and B, times 2^16."""
_GREY = 128 * 2**LEVEL_BITS


def plain(symbols: np.ndarray, step16: int, partition: np.ndarray, place: Place) -> Array:
    """The inverse DCT of symbols (CHANNELS, h, w) with a step in 1/16 of a level: YCbCr planes (3, 32 h, 32 w), float32, centred
    at 0. `partition`: int64 (4 or 5, h, w)."""
    count, h, w = symbols.shape
    scale, (plane, u, v) = _steps_of_channels(place) * step16, coded_frequencies()

    def work(rows: slice) -> Array:
        told = partition[:, rows]
        values = cast(placed(symbols[:, rows].reshape(count, -1).T, place), "float64") * scale
        bits, factors = 2 * STEP_BITS - LEVEL_BITS, _factors(told, place)
        if factors is not None:
            values, bits = values * factors[:, None], bits + FACTOR_BITS
        coefficients = zeros((len(values), 3, TILE, TILE), "float64", place)
        coefficients[:, plane, u, v] = rescaled(values, bits).clip(-LIMIT, LIMIT)
        tiles = blocks.inverse(coefficients, placed(blocks.of_tiles(told), place), _matrices(place))
        return from_tiles(cast(tiles, "float32").reshape(1, rows.stop - rows.start, w, 3, TILE, TILE))[0]

    return over_rows(work, h, w, place)


def completed(image: Array, residual: Array, step16: int, partition: np.ndarray, place: Place) -> Array:
    """RGB, float32 (3, 32 h, 32 w) in levels, of a plain image with what the network adds: its residual, in 1/1024 of the root of
    16 times the step, as far as it contradicts no symbol (`transform.consistent`)."""
    h, w = (length // TILE for length in image.shape[1:])
    root = math.sqrt(step16)  # four times that of the step in levels
    half = _steps_of_planes(place) * (step16 / root / 2 ** (2 * STEP_BITS + 1 - RESIDUAL_BITS))

    def work(rows: slice) -> Array:
        pixels, told = scaled(rows, TILE), partition[:, rows]
        wanted, there = (to_tiles(planes[None, :, pixels]).reshape(-1, 3, TILE, TILE) for planes in (residual, image))
        kinds, factors = placed(blocks.of_tiles(told), place), _factors(told, place)
        coefficients = blocks.forward(cast(wanted, "float64"), kinds, _matrices(place)).clip(-LIMIT, LIMIT)
        most = half if factors is None else half * (factors / 2**FACTOR_BITS)[:, None, None, None]
        most = library(most).floor(most)
        allowed = library(coefficients).clip(coefficients, -most, most)
        left = (_energy(allowed) + 1) / (_energy(coefficients) + 1)
        added = rescaled(allowed * (left * left * root), RESIDUAL_BITS - LEVEL_BITS)
        tiles = _rgb(blocks.inverse(added, kinds, _matrices(place)) + there)
        return from_tiles(tiles.reshape(1, rows.stop - rows.start, w, 3, TILE, TILE))[0]

    return over_rows(work, h, w, place)


def _rgb(planes: Array) -> Array:
    """YCbCr (n, 3, 32, 32) in 1/64 of a level as RGB in levels, float32."""
    luma = (planes[:, 0] + _GREY) * 2.0**COLOUR_BITS
    channels = [rescaled(luma + cb * planes[:, 1] + cr * planes[:, 2], COLOUR_BITS) for cb, cr in _TO_RGB]
    return cast(library(planes).stack(channels, 1) * 2.0**-LEVEL_BITS, "float32")


def _energy(coefficients: Array) -> Array:
    """Sums of squares of tiles, (n, 1, 1, 1): whole numbers below 2^53."""
    return (coefficients * coefficients).reshape(len(coefficients), -1).sum(1)[:, None, None, None]


def _factors(partition: np.ndarray, place: Place) -> Array | None:
    """Those of the tiles' steps in 2^-FACTOR_BITS, float64 (tiles,); None where all have the image's."""
    factors = whole_factors(partition)
    return None if factors is None else placed(factors.reshape(-1).astype(np.float64), place)


@cache
def _matrices(place: Place) -> blocks.Matrices:
    return blocks.matrices_of(_basis, _once_more, place, _once_more)


def _basis(size: int) -> np.ndarray:
    return np.rint(dct_basis(size, None).astype(np.float64) * 2**BASIS_BITS)


def _once_more(product: Array) -> Array:
    """A product with two of the matrices, in the unit that it was in before."""
    return rescaled(product, 2 * BASIS_BITS)


@cache
def _steps_of_planes(place: Place) -> Array:
    """The step of each frequency over the image's, in 2^-STEP_BITS: float64 (3, 32, 32)."""
    return placed(relative_steps(None).astype(np.float64) * 2**STEP_BITS, place)


@cache
def _steps_of_channels(place: Place) -> Array:
    """The same of channels, (CHANNELS,)."""
    plane, u, v = coded_frequencies()
    assert len(plane) == len(CHANNELS)
    return _steps_of_planes(place)[plane, u, v]
