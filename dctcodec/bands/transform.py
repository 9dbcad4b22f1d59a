"""The context: an image as quantised DCT coefficients of 32x32 tiles, and back.

RGB -> YCbCr (BT.601, full range) -> 32x32 tiles -> orthonormal DCT-II, of the whole tile or of the blocks that a partition says
(`blocks.py`) -> one step per image, times that of the frequency, with a dead zone -> integer symbols. Everything here is float
arithmetic of the *encoder* (which decides the symbols) and of the *decoder* (which paints from them); no probability depends on
it.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dctcodec.bands import blocks
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.tiles import TILE, dct_basis, from_tiles, pad_to_tiles, rgb_to_ycbcr, to_tiles

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


def analyse(rgb: Tensor, partition: Tensor | None = None) -> Tensor:
    """DCT coefficients of an RGB image.

    `rgb`: float32 (B, 3, H, W) in [0, 255], any H, W >= 1; `partition`: int64 (B, 4, h, w), of the tiles into blocks, None for
    blocks of 32x32.
    Returns float32 (B, CHANNELS, h, w) on the tile grid, h = ceil(H / 32): the coefficients that are coded, in coding order.
    """
    return coefficients(pad_to_tiles(rgb_to_ycbcr(rgb)), partition)


def coefficients(planes: Tensor, partition: Tensor | None = None) -> Tensor:
    """DCT coefficients (B, CHANNELS, h, w) of planes (B, 3, 32 h, 32 w): those that are coded, in coding order."""
    flat = _forward(to_tiles(planes), partition).flatten(3)
    return flat[..., coded_places(planes.device)].permute(0, 3, 1, 2)


def synthesise(coded: Tensor, partition: Tensor | None = None) -> Tensor:
    """Inverse of `coefficients` up to the frequencies that are not coded: (B, CHANNELS, h, w) to the YCbCr planes
    (B, 3, 32 h, 32 w), centred at 0."""
    batch, _, h, w = coded.shape
    full = coded.new_zeros(batch, h, w, 3 * TILE * TILE)
    full[..., coded_places(coded.device)] = coded.permute(0, 2, 3, 1)
    return from_tiles(_inverse(full.reshape(batch, h, w, 3, TILE, TILE), partition))


def synthesise_reduced(coded: Tensor, side: int, partition: Tensor | None = None) -> Tensor:
    """`synthesise` at a lower resolution: tiles of `side` x `side` pixels, from the frequencies below `side` alone; where there is
    a partition, from means of pixels."""
    if partition is not None:
        return avg_pool2d(synthesise(coded, partition), TILE // side)
    batch, _, h, w = coded.shape
    full = coded.new_zeros(batch, h, w, 3 * TILE * TILE)
    full[..., coded_places(coded.device)] = coded.permute(0, 2, 3, 1)
    corner = full.reshape(batch, h, w, 3, TILE, TILE)[..., :side, :side] * (side / TILE)
    basis = dct_basis(side, coded.device)
    tiles = basis.T @ corner @ basis
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, h * side, w * side)


def _forward(tiles: Tensor, partition: Tensor | None) -> Tensor:
    """Coefficients of tiles (B, h, w, 3, 32, 32) at all positions."""
    if partition is None:
        basis = dct_basis(TILE, tiles.device)
        return basis @ tiles @ basis.T
    kinds = partition.permute(0, 2, 3, 1).flatten(0, 2)
    return blocks.forward(tiles.flatten(0, 2), kinds, blocks.float_matrices(tiles.device)).reshape(tiles.shape)


def _inverse(coefficients: Tensor, partition: Tensor | None) -> Tensor:
    """The inverse of `_forward`."""
    if partition is None:
        basis = dct_basis(TILE, coefficients.device)
        return basis.T @ coefficients @ basis
    kinds = partition.permute(0, 2, 3, 1).flatten(0, 2)
    tiles = blocks.inverse(coefficients.flatten(0, 2), kinds, blocks.float_matrices(coefficients.device))
    return tiles.reshape(coefficients.shape)


def consistent(added: Tensor, step: Tensor, partition: Tensor | None = None) -> Tensor:
    """What may be added to an image of dequantised symbols without contradicting them: no coefficient moves by more than half a
    step. `added`: YCbCr planes (B, 3, 32 h, 32 w); `step`: the images' (B,), pixel levels; `partition`: as for `analyse`.

    Each DCT coefficient, coded or not, is clamped to half a step of its frequency. Then a tile of which that took a share of the
    energy is not like those that what is added was learned from: the rest of it is multiplied by the square of the share that is
    left."""
    most = _steps(added.device) * step[:, None, None, None, None, None] / 2
    wanted = _forward(to_tiles(added), partition)
    allowed = wanted.clamp(-most, most)
    left = (_norm(allowed) + 1e-6) / (_norm(wanted) + 1e-6)  # 1 where nothing is added, so that a new network learns
    return from_tiles(_inverse(allowed * left**4, partition))


def _norm(tiles: Tensor) -> Tensor:
    """Root of a tile's energy, (B, h, w, 1, 1, 1)."""
    return torch.linalg.vector_norm(tiles, dim=(-3, -2, -1), keepdim=True)


def quantise(coefficients: Tensor, step: Tensor | float) -> Tensor:
    """Symbols of coefficients: round with a dead zone. `step` in pixel levels, a number or (B, 1, 1, 1).
    Returns whole numbers as float32 of the shape of `coefficients`."""
    scaled = coefficients / (step * relative_step(coefficients.device))
    symbols = scaled.sign() * torch.floor(scaled.abs() + rounding_offset(coefficients.device))
    return symbols.clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)


def dequantise(symbols: Tensor, step: Tensor | float) -> Tensor:
    """Coefficients at the symbols' nominal values, symbol * step; the decoder network does the rest."""
    return symbols * (step * relative_step(symbols.device))


@cache
@torch.inference_mode(False)
def coded_places(device: torch.device) -> Tensor:
    """Index of each channel in a tile's flattened (plane, u, v)."""
    return torch.tensor([(c.plane * TILE + c.u) * TILE + c.v for c in CHANNELS], device=device)


@cache
@torch.inference_mode(False)
def rounding_offset(device: torch.device) -> Tensor:
    """Each channel's, (CHANNELS, 1, 1)."""
    offsets = [offset for offset, band in zip(ROUNDING_OFFSETS, BANDS, strict=True) for _ in CHANNELS[band]]
    return torch.tensor(offsets, dtype=torch.float32, device=device)[:, None, None]


@cache
@torch.inference_mode(False)
def relative_step(device: torch.device) -> Tensor:
    """Each channel's step over the image's, (CHANNELS, 1, 1), multiples of 2^-STEP_BITS."""
    return _steps(device).flatten()[coded_places(device)][:, None, None]


@cache
@torch.inference_mode(False)
def _steps(device: torch.device) -> Tensor:
    """Each frequency's step over the image's, (3, 32, 32), multiples of 2^-STEP_BITS; beyond its table's last ring it is that
    ring's."""
    steps = torch.empty(3, TILE, TILE, dtype=torch.float32)
    for plane, table in enumerate((LUMA_STEPS, CHROMA_STEPS, CHROMA_STEPS)):
        steps[plane] = table[-1][1]
        for last, step in reversed(table):
            steps[plane, : last + 1, : last + 1] = step
    return steps.to(device) / 2**STEP_BITS
