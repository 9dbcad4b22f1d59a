"""Symbols that are worth their bits: rounds of moves, without gradients and without the prior.

Rounding asks only how near a coefficient is to a symbol. Here a symbol moves by one where squared error + weight * bits falls. The
painted image tells how the error changes: its error is transformed as the image is, as if the decoder painted each change as the
inverse DCT does. The magnitudes around a symbol tell its bits: the scale of its distribution is about their weighted mean. Moves
are judged as if nothing else moved. `rdo.py` searches further, with the decoder's gradients and the prior's distributions.
"""

import numpy as np

from dctcodec.arrays import Array, Place, cast, library, place_of, table, zeros_like
from dctcodec.bands.transform import SYMBOL_LIMIT, coded_frequencies, coefficients, energy, step_of_symbols
from dctcodec.bands.units import LOG_SCALE_MIN, SCALE_BITS, SCALES, distribution_function
from dctcodec.tiles import TILE, gradient_of_ycbcr

ROUNDS = 2
"""Each begins with an image that is painted of the symbols so far. A third one saves a fifth of what the second does."""
LEFT_OF_ROUNDING = 0.7
"""Of the slope that the inverse DCT would have."""
ERROR_UNIT = 2.0**-10
"""In steps."""
BITS_WEIGHT = 1 / 4
"""Squared error that a bit is worth, over the squared step."""
SETTLING_CURVATURE = 0.9
"""The error's curvature over that of the inverse DCT, for the moves that are made where symbols are coded."""
NEAR = {1: 1.0, 2: 0.7, 4: 0.4, 5: 0.3, 8: 0.2}
"""Weight of a magnitude at another position of the tile, by the squared distance."""
REACH = 2
"""The largest distance across or down."""
NEXT_TILE = 0.6
"""Weight of the same position in each of the four tiles around."""
SCALE_OF, SCALE_OF_NONE = 0.08, 0.06
"""The scale is SCALE_OF * the weighted sum + SCALE_OF_NONE. Read from symbols of photographs: it is about the same at every
frequency and step (`models/TRAINING.md`)."""
LARGEST = 64
"""Larger magnitudes take as many bits."""
COUNTED = 8.0
"""Larger magnitudes count as this one."""


def slopes(error: Array, step: Array, partition: Array | None = None) -> Array:
    """How the squared error changes along each symbol, float32 (B, CHANNELS, h, w), as if the inverse DCT painted changes.
    `error`: what is painted at temperature 0 less the image, float32 (B, 3, 32 h, 32 w), RGB; `step`: (B,), pixel levels;
    `partition`: int64 (B, 4 or 5, h, w), where there is one."""
    steps = step_of_symbols(step[:, None, None, None], place_of(error), partition)
    return 2 * coefficients(gradient_of_ycbcr(error), partition) * steps


def slopes_of_rounding(symbols: Array, coefficients: Array, step: Array, partition: Array | None = None) -> Array:
    """`slopes` without a painted image, of the coefficients (B, CHANNELS, h, w) that were rounded to symbols: a decoder leaves
    LEFT_OF_ROUNDING of what the inverse DCT would. Flat tiles have none, on any machine: errors are whole ERROR_UNITs."""
    place = place_of(symbols)
    error = symbols - coefficients / step_of_symbols(step[:, None, None, None], place, partition)
    curvature = curvatures(step, place, partition)
    return 2 * LEFT_OF_ROUNDING * curvature * library(error).round(error / ERROR_UNIT) * ERROR_UNIT


def curvatures(step: Array, place: Place, partition: Array | None = None) -> Array:
    """What the squared error grows by where a symbol moves by one, besides its slope: float32 (B, CHANNELS, 1, 1), or (B, CHANNELS,
    h, w) where tiles have steps of their own."""
    return energy(place) * step_of_symbols(step[:, None, None, None], place, partition) ** 2


def moves(symbols: Array, slope: Array, curvature: Array, step: Array) -> Array:
    """-1, 0 or 1 for each of the symbols float32 (B, CHANNELS, h, w) of images. `slope` and `curvature`: as of `slopes` and
    `curvatures`, times the same weights where errors have weights; `step`: (B,)."""
    xp, place = library(symbols), place_of(symbols)
    weight = BITS_WEIGHT * step[:, None, None, None] ** 2
    lengths, row = _lengths(place), scale_index(symbols)
    here = lengths[row, _magnitude(symbols)]
    best, gains = zeros_like(symbols, symbols.shape), zeros_like(symbols, symbols.shape)
    for move in (-1.0, 1.0):
        gain = -(move * slope + curvature + weight * (lengths[row, _magnitude(symbols + move)] - here))
        better = (gain > gains) & (abs(symbols + move) <= SYMBOL_LIMIT)
        best, gains = xp.where(better, move, best), xp.where(better, gain, gains)
    return best


def _magnitude(symbols: Array) -> Array:
    return cast(library(symbols).clip(abs(symbols), None, LARGEST), "int64")


def scale_index(symbols: Array) -> Array:
    """Which of the scales each symbol has, int64."""
    xp = library(symbols)
    scale = xp.log(SCALE_OF * around(symbols) + SCALE_OF_NONE)
    return cast(xp.clip(xp.round((scale - LOG_SCALE_MIN) * 2**SCALE_BITS), 0, SCALES - 1), "int64")


def around(symbols: Array) -> Array:
    """The weighted sum of the magnitudes around each of the symbols (B, CHANNELS, h, w), itself not among them."""
    magnitude = library(symbols).clip(abs(symbols), None, COUNTED)
    batch, _, height, width = magnitude.shape
    plane, u, v = map(np.array, coded_frequencies())
    side = TILE + 2 * REACH
    full = zeros_like(magnitude, (3, side, side, batch, height, width))
    full[plane, u + REACH, v + REACH] = magnitude.swapaxes(0, 1)
    total = zeros_like(magnitude, (3, TILE, TILE, batch, height, width))
    for down in range(2 * REACH + 1):
        for across in range(2 * REACH + 1):
            if weight := NEAR.get((down - REACH) ** 2 + (across - REACH) ** 2):
                total += weight * full[:, down : down + TILE, across : across + TILE]
    near = total[plane, u, v].swapaxes(0, 1)
    near[:, :, 1:] += NEXT_TILE * magnitude[:, :, :-1]
    near[:, :, :-1] += NEXT_TILE * magnitude[:, :, 1:]
    near[..., 1:] += NEXT_TILE * magnitude[..., :-1]
    near[..., :-1] += NEXT_TILE * magnitude[..., 1:]
    return near


@table
def _lengths() -> np.ndarray:
    """`_lengths(place)`: bits of each magnitude up to LARGEST, with a sign, at each scale, float32 (SCALES, LARGEST + 1)."""
    scale = np.exp(LOG_SCALE_MIN + np.arange(SCALES)[:, None] / 2**SCALE_BITS)
    magnitude = np.arange(LARGEST + 1)
    mass = distribution_function((magnitude + 0.5) / scale) - distribution_function((magnitude - 0.5) / scale)
    return -np.log2(np.maximum(mass, 1e-30)).astype(np.float32)
