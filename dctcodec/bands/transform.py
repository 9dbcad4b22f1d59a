"""The transform: an image as quantised DCT coefficients of 32x32 tiles, and back.

RGB -> YCbCr (BT.601, full range) -> 32x32 tiles -> orthonormal DCT-II, of the whole tile or of the blocks that a partition says
(`blocks.py`) -> one step per image, times that of the frequency, with a dead zone -> integer symbols. Everything here is float
arithmetic of the *encoder*, which chooses the symbols, and of the decoder that is trained. No probability depends on it. Files are
painted by the integers of `exact_transform.py`.
"""

import numpy as np

from dctcodec.arrays import Array, Place, library, permuted, place_of, table, zeros_like
from dctcodec.bands import blocks
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.bands.steps import factors
from dctcodec.tiles import TILE, colour_energy, dct_basis, from_tiles, pad_to_tiles, rgb_to_ycbcr, to_tiles

ROUNDING_OFFSETS = (0.45, 0.45, 0.45, 0.4, 0.4, 0.4, 0.44, 0.46)
"""One for each band. A scaled coefficient u becomes sign(u) * floor(|u| + offset): 0.5 would be plain rounding."""
STEP_BITS = 4
LUMA_STEPS = ((1, 18), (5, 14), (8, 15), (12, 18), (18, 22), (31, 28))
CHROMA_STEPS = ((3, 15), (8, 21), (15, 24))
"""The step of each frequency (u, v) over the image's, in 1/16: that of the first pair (ring, step) with max(u, v) <= ring.
The eye, and MS-SSIM, see the middle frequencies best; the highest are nearly all zero, and a coarser step for them pays even
in squared error."""
SYMBOL_LIMIT = 32767
"""Symbols lie in [-SYMBOL_LIMIT, SYMBOL_LIMIT]."""


def analyse(rgb: Array, partition: Array | None = None) -> Array:
    """DCT coefficients of an RGB image.

    `rgb`: float32 (B, 3, H, W) in [0, 255], any H, W >= 1; `partition`: int64 (B, 4 or 5, h, w), of the tiles into blocks, None for
    blocks of 32x32.
    Returns float32 (B, CHANNELS, h, w) on the tile grid, h = ceil(H / 32): the coefficients that are coded, in coding order.
    """
    return coefficients(pad_to_tiles(rgb_to_ycbcr(rgb)), partition)


def coefficients(planes: Array, partition: Array | None = None) -> Array:
    """DCT coefficients (B, CHANNELS, h, w) of planes (B, 3, 32 h, 32 w): those that are coded, in coding order."""
    plane, u, v = coded_frequencies()
    return permuted(_forward(planes, partition)[:, plane, :, u, :, v], 1, 0, 2, 3)


def synthesise(coded: Array, partition: Array | None = None) -> Array:
    """Inverse of `coefficients` up to the frequencies that are not coded: (B, CHANNELS, h, w) to the YCbCr planes
    (B, 3, 32 h, 32 w), centred at 0."""
    return _inverse(_placed(coded, TILE), partition)


def synthesise_reduced(coded: Array, side: int, partition: Array | None = None) -> Array:
    """`synthesise` at a lower resolution: tiles of `side` x `side` pixels, from the frequencies below `side` alone; where there is
    a partition, from means of pixels."""
    if partition is not None:
        planes, scale = synthesise(coded, partition), TILE // side
        batch, _, height, width = planes.shape
        return planes.reshape(batch, 3, height // scale, scale, width // scale, scale).sum(5).sum(3) / scale**2
    return _inverse_whole(_placed(coded, side) * (side / TILE), dct_basis(side, place_of(coded)))


def coded_frequencies(side: int = TILE) -> tuple[list[int], list[int], list[int]]:
    """Plane, row and column of each channel whose frequencies are below `side`."""
    coded = [channel for channel in CHANNELS if max(channel.u, channel.v) < side]
    return [c.plane for c in coded], [c.u for c in coded], [c.v for c in coded]


def _placed(coded: Array, side: int) -> Array:
    """Coefficients (B, CHANNELS, h, w) at their positions, (B, 3, h, side, w, side), zeros where nothing is coded."""
    batch, _, h, w = coded.shape
    full = zeros_like(coded, (batch, 3, h, side, w, side))
    some = coded if side == TILE else coded[:, [max(channel.u, channel.v) < side for channel in CHANNELS]]
    plane, u, v = coded_frequencies(side)
    full[:, plane, :, u, :, v] = permuted(some, 1, 0, 2, 3)
    return full


def _forward(planes: Array, partition: Array | None) -> Array:
    """Coefficients of planes (B, 3, 32 h, 32 w) at all positions, (B, 3, h, 32, w, 32)."""
    batch, _, height, width = planes.shape
    h, w = height // TILE, width // TILE
    if partition is not None:
        matrices = blocks.float_matrices(place_of(planes))
        flat = blocks.forward(to_tiles(planes).reshape(-1, 3, TILE, TILE), blocks.of_tiles(partition), matrices)
        return permuted(flat.reshape(batch, h, w, 3, TILE, TILE), 0, 3, 1, 4, 2, 5)
    basis = dct_basis(TILE, place_of(planes))
    down = basis @ planes.reshape(batch, 3, h, TILE, width)
    return (down.reshape(-1, TILE) @ basis.T).reshape(batch, 3, h, TILE, w, TILE)


def _inverse(coefficients: Array, partition: Array | None) -> Array:
    """The inverse of `_forward`."""
    if partition is None:
        return _inverse_whole(coefficients, dct_basis(TILE, place_of(coefficients)))
    batch, _, h, _, w, _ = coefficients.shape
    flat = permuted(coefficients, 0, 2, 4, 1, 3, 5).reshape(-1, 3, TILE, TILE)
    tiles = blocks.inverse(flat, blocks.of_tiles(partition), blocks.float_matrices(place_of(flat)))
    return from_tiles(tiles.reshape(batch, h, w, 3, TILE, TILE))


def _inverse_whole(coefficients: Array, basis: Array) -> Array:
    """The inverse DCT of (B, 3, h, side, w, side) by one basis of that side: planes (B, 3, side h, side w)."""
    batch, _, h, side, w, _ = coefficients.shape
    across = (coefficients.reshape(-1, side) @ basis).reshape(batch, 3, h, side, w * side)
    return (basis.T @ across).reshape(batch, 3, h * side, w * side)


def consistent(added: Array, step: Array, partition: Array | None = None) -> Array:
    """What may be added to an image of dequantised symbols without contradicting them: no coefficient moves by more than half a
    step. `added`: YCbCr planes (B, 3, 32 h, 32 w); `step`: the images' (B,), pixel levels; `partition`: as for `analyse`.

    Each DCT coefficient, coded or not, is clamped to half a step of its frequency. Then a tile of which that took a share of the
    energy is not like those that what is added was learned from: the rest of it is multiplied by the square of the share that is
    left."""
    most = relative_steps(place_of(added))[:, None, :, None, :] * step[:, None, None, None, None, None] / 2
    of_tiles = factors(partition)
    if not isinstance(of_tiles, float):
        most = most * of_tiles[:, :, :, None, :, None]
    wanted = _forward(added, partition)
    allowed = library(added).clip(wanted, -most, most)
    left = (_norm(allowed) + 1e-6) / (_norm(wanted) + 1e-6)  # 1 where nothing is added, so that a new network learns
    return _inverse(allowed * left**4, partition)


def _norm(coefficients: Array) -> Array:
    """Root of a tile's energy, (B, 1, h, 1, w, 1)."""
    if isinstance(coefficients, np.ndarray):
        energy = np.einsum("bphuwv,bphuwv->bhw", coefficients, coefficients)
        return np.sqrt(energy)[:, None, :, None, :, None]
    return library(coefficients).linalg.vector_norm(coefficients, dim=(1, 3, 5), keepdim=True)


def quantise(coefficients: Array, step: Array | float, partition: Array | None = None) -> Array:
    """Symbols of coefficients: round with a dead zone. `step` in pixel levels, a number or (B, 1, 1, 1); `partition`: of steps.
    Returns whole numbers as float32 of the shape of `coefficients`."""
    xp, place = library(coefficients), place_of(coefficients)
    scaled = coefficients / step_of_symbols(step, place, partition)
    symbols = xp.sign(scaled) * xp.floor(abs(scaled) + rounding_offset(place))
    return xp.clip(symbols, -SYMBOL_LIMIT, SYMBOL_LIMIT)


def dequantise(symbols: Array, step: Array | float, partition: Array | None = None) -> Array:
    """Coefficients at the symbols' nominal values, symbol * step; the decoder network does the rest. Arguments as of `quantise`."""
    return symbols * step_of_symbols(step, place_of(symbols), partition)


def step_of_symbols(step: Array | float, place: Place, partition: Array | None = None) -> Array:
    """The step of each symbol in pixel levels, float32 (..., CHANNELS, 1, 1), or (..., CHANNELS, h, w) where tiles have their own.
    Arguments as of `quantise`."""
    return step * relative_step(place) * factors(partition)


@table
def coded_places() -> np.ndarray:
    """`coded_places(place)`: index of each channel in a tile's flattened (plane, u, v)."""
    return np.array([(c.plane * TILE + c.u) * TILE + c.v for c in CHANNELS])


@table
def rounding_offset() -> np.ndarray:
    """`rounding_offset(place)`: each channel's, float32 (CHANNELS, 1, 1)."""
    offsets = [offset for offset, band in zip(ROUNDING_OFFSETS, BANDS, strict=True) for _ in CHANNELS[band]]
    return np.array(offsets, np.float32)[:, None, None]


@table
def energy() -> np.ndarray:
    """`energy(place)`: squared error in RGB of a unit's change in each channel's coefficient, by the plain inverse DCT, float32
    (CHANNELS, 1, 1)."""
    return colour_energy()[[channel.plane for channel in CHANNELS]][:, None, None]


@table
def relative_step() -> np.ndarray:
    """`relative_step(place)`: each channel's step over the image's, float32 (CHANNELS, 1, 1), multiples of 2^-STEP_BITS."""
    steps: np.ndarray = relative_steps(None)
    return steps.flatten()[coded_places(None)][:, None, None]


@table
def relative_steps() -> np.ndarray:
    """`relative_steps(place)`: each frequency's step over the image's, float32 (3, 32, 32), multiples of 2^-STEP_BITS; beyond its
    table's last ring it is that ring's."""
    steps = np.empty((3, TILE, TILE), np.float32)
    for plane, table_of_plane in enumerate((LUMA_STEPS, CHROMA_STEPS, CHROMA_STEPS)):
        steps[plane] = table_of_plane[-1][1]
        for last, step in reversed(table_of_plane):
            steps[plane, : last + 1, : last + 1] = step
    return steps / np.float32(2**STEP_BITS)
