"""The encoder's choice of blocks, by distortion + weight * bits: each tile, and each quadrant of a split one, by itself.

Bits are those that a symbol of a magnitude takes in a block of a kind, whatever is around it (`LENGTHS`). Each kind is tried on all
tiles at once; the quadrants of a tile count as if all four were of one kind.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from dctcodec import threads
from dctcodec.arrays import Array, Place, cast, library, permuted, place_of, placed
from dctcodec.bands import blocks
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.steps import factor_of
from dctcodec.bands.transform import coded_places, energy, relative_step, rounding_offset
from dctcodec.tiles import TILE, colour_energy, pad_to_tiles, rgb_to_ycbcr, tiles_across, to_tiles

SLOPE = 18.0
"""The weight of a bit a pixel is step^2 / SLOPE, against the squared error, mean over RGB. dMSE/dbpp of photographs is 1.6 times as
much; but the trained networks make more of small blocks than the errors and LENGTHS say (`models/TRAINING.md`)."""
SLOPE_WITH_STEPS = SLOPE / 1.4
"""The same where tiles have steps of their own: bits weigh more there (`masking.SAVING`)."""
LEVELS = 64
"""Magnitudes are told apart by round(8 asinh(|symbol|)), below LEVELS."""
FIRST_LEVEL = 7
"""That of |symbol| = 1."""
SPLIT_BITS = 1.0
"""What it takes to say whether a tile is split."""
LENGTHS = (
    (4.8, -0.3, 4.5, 1.7, 10.0),
    (5.0, -0.2, 5.4, 2.1, 17.5),
    (5.0, -0.2, 5.4, 2.1, 17.5),
    (4.5, 0.3, 4.9, 0.6, 8.3),
    (4.4, 0.6, 4.9, 1.7, 9.8),
    (4.4, 0.6, 4.9, 1.7, 9.8),
    (4.3, 0.8, 4.7, 2.9, 9.5),
    (4.5, 0.9, 5.4, 5.3, 6.2),
)
"""Code lengths in bits of each kind in `blocks.KINDS`: of a symbol of luma that is 1, and more for each doubling of it; the same of
chroma; and of all else, zeros and the kind itself, in a tile of a large kind or in a quadrant of a small one. Fitted by least
squares to conditional code lengths (`models/TRAINING.md`)."""


class Bits(NamedTuple):
    """`symbols`: float (kinds, CHANNELS, LEVELS), of each kind in `blocks.KINDS`; `tile`: float (LARGE + 1,), of each large kind
    and of splitting; `quadrant`: float (kinds,), of each small kind."""

    symbols: Array
    tile: Array
    quadrant: Array


@cache
def fitted_bits(place: Place) -> Bits:
    """Those of LENGTHS, the same for all frequencies and steps."""
    octaves = np.log2(np.maximum(np.sinh(np.arange(LEVELS) / 8), 1))
    luma = np.array([channel.plane == 0 for channel in CHANNELS])
    symbols = np.zeros((len(blocks.KINDS), len(CHANNELS), LEVELS), np.float32)
    for kind, (first, doubling, chroma_first, chroma_doubling, _) in enumerate(LENGTHS):
        symbols[kind, luma, FIRST_LEVEL:] = (first + doubling * octaves)[FIRST_LEVEL:]
        symbols[kind, ~luma, FIRST_LEVEL:] = (chroma_first + chroma_doubling * octaves)[FIRST_LEVEL:]
    rest = np.array(LENGTHS, np.float32)[:, -1]
    tile = np.append(rest[: blocks.LARGE], 0) + np.float32(SPLIT_BITS)
    return Bits(*(placed(values, place) for values in (symbols, tile.astype(np.float32), rest)))


def choose(rgb: Array, step: Array, kinds: tuple[int, ...], index: Array | None = None, bits: Bits | None = None) -> Array:
    """The partition of images: `rgb` float32 (B, 3, H, W) in [0, 255], `step` (B,) in pixel levels; int64 (B, 4, h, w). `index`: of
    the tiles' steps, int64 (B, h, w), where they have their own; they become the last plane of (B, 5, h, w). Arrays of torch should
    need no gradient."""
    xp, place = library(rgb), place_of(rgb)
    slope = SLOPE if index is None else SLOPE_WITH_STEPS
    options, quadrants = _options(rgb, step, kinds, index, bits or fitted_bits(place), slope)
    large, small = blocks.large_kinds(kinds), blocks.small_kinds(kinds)
    labels = placed(np.array(large), place)[:, None]
    if quadrants is None:
        chosen = xp.broadcast_to(labels[options.argmin(0)], (options.shape[1], blocks.QUADRANTS))
    else:
        tile = options.argmin(0)
        whole = labels[xp.clip(tile, None, len(large) - 1)]
        chosen = xp.where((tile < len(large))[:, None], whole, placed(np.array(small), place)[quadrants.argmin(0)])
    height, width = (tiles_across(side) for side in rgb.shape[2:])
    partition = permuted(chosen.reshape(len(rgb), height, width, blocks.QUADRANTS), 0, 3, 1, 2)
    return partition if index is None else xp.concatenate([partition, index[:, None]], 1)


def costs(rgb: Array, step: Array, kinds: tuple[int, ...]) -> Array:
    """What each tile costs in its best partition, float32 (B, h, w): the sum over its pixels of the squared error, mean over RGB,
    + step^2 / SLOPE * bits. Images and steps as in `choose`."""
    options, _ = _options(rgb, step, kinds, None, fitted_bits(place_of(rgb)), SLOPE)
    height, width = (tiles_across(side) for side in rgb.shape[2:])
    least = library(rgb).amin(options, 0).reshape(len(rgb), height, width)
    squares = pad_to_tiles(rgb_to_ycbcr(rgb)) ** 2
    of_planes = squares.reshape(len(rgb), 3, height, TILE, width, TILE).sum((3, 5))
    uncoded = (of_planes * placed(colour_energy() / 3, place_of(rgb))[:, None, None]).sum(1)
    return uncoded + least * (step * step)[:, None, None]


def _options(
    rgb: Array, step: Array, kinds: tuple[int, ...], index: Array | None, bits: Bits, slope: float
) -> tuple[Array, Array | None]:
    """What each large kind, and then splitting, costs each of n tiles, (options, n), and what each small kind costs each quadrant,
    (kinds, n, 4), None where there is none: as in `_costs`."""
    xp, place = library(rgb), place_of(rgb)
    height, width = (tiles_across(side) for side in rgb.shape[2:])
    tiles = to_tiles(pad_to_tiles(rgb_to_ycbcr(rgb))).reshape(-1, 3, TILE, TILE)
    steps = xp.broadcast_to(step[:, None, None], (len(rgb), height, width)).reshape(-1)
    if index is not None:
        steps = steps * factor_of(index).reshape(-1)

    def costs_of(kind: int) -> Array:
        return _costs(tiles, steps, kind, bits.symbols[kind] / slope)

    found = dict(zip(kinds, threads.together(costs_of, kinds) if place is None else map(costs_of, kinds), strict=True))
    options = [found[kind].sum(1) + float(bits.tile[kind]) / slope for kind in blocks.large_kinds(kinds)]
    small = blocks.small_kinds(kinds)
    if not small:
        return xp.stack(options), None
    quadrants = xp.stack([found[kind] + float(bits.quadrant[kind]) / slope for kind in small])
    options.append(xp.amin(quadrants, 0).sum(1) + float(bits.tile[blocks.LARGE]) / slope)
    return xp.stack(options), quadrants


def _costs(tiles: Array, steps: Array, kind: int, lengths: Array) -> Array:
    """Distortion + weight * bits of the quadrants of tiles (n, 3, 32, 32) of one kind, over step^2, up to what is the same for all
    kinds: (n, 4). `lengths`: times the weight, (CHANNELS, LEVELS)."""
    xp, place = library(tiles), place_of(tiles)
    places = _places(place)
    partition = placed(np.full((len(tiles), blocks.QUADRANTS), kind), place)
    scaled = blocks.forward(tiles, partition, blocks.float_matrices(place)).reshape(len(tiles), -1)
    scaled = abs(scaled * places.inverse_step / steps[:, None])
    row, position = xp.where(scaled >= places.threshold)  # few: the others become 0
    magnitude, channel = scaled[row, position], places.channel[position]
    symbols = xp.floor(magnitude + (1 - places.threshold)[position])
    level = cast(xp.clip(xp.round(8 * xp.arcsinh(symbols)), None, LEVELS - 1), "int64")
    cost = symbols * (symbols - 2 * magnitude) * places.weight[position]
    cost = cost + lengths[channel, level] - lengths[channel, 0]
    quadrant = blocks.quadrant_of_channels(place)
    empty = xp.bincount(quadrant, lengths[:, 0], blocks.QUADRANTS)
    sums = xp.bincount(row * blocks.QUADRANTS + places.quadrant[position], cost, len(tiles) * blocks.QUADRANTS)
    return cast(empty + sums.reshape(-1, blocks.QUADRANTS), "float32")


class _Places(NamedTuple):
    """Of each place in a tile's flattened (plane, u, v): its channel; 1 over its step over the image's, 0 where nothing is coded;
    the scaled coefficient from which its symbol is not 0; the squared error, mean over RGB, of a symbol's change by 1, over step^2;
    the quadrant of a split tile that it is of."""

    channel: Array
    inverse_step: Array
    threshold: Array
    weight: Array
    quadrant: Array


@cache
def _places(place: Place) -> _Places:
    coded, step = coded_places(None), relative_step(None).flatten()
    weight = energy(None).flatten() / 3 * step**2
    threshold = 1 - rounding_offset(None).flatten()
    values = (np.arange(len(CHANNELS)), 1 / step, threshold, weight, blocks.quadrant_of_channels(None))
    tables = [np.zeros(3 * TILE**2, value.dtype) for value in values]
    tables[2][:] = 1
    for whole, value in zip(tables, values, strict=True):
        whole[coded] = value
    return _Places(*(placed(whole, place) for whole in tables))
