"""Colour, tiling and the DCT: what both families do with an image's pixels."""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

TILE = 32
"""Side of a tile, pixels."""
STRIP = 2048
"""Tiles of a strip of a large image, about: it bounds memory."""
_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def tiles_across(pixels: int) -> int:
    """Number of 32-pixel tiles that cover `pixels` pixels."""
    return -(-pixels // TILE)


def strips_of(size: Sequence[int], reach: int) -> list[tuple[slice, slice]]:
    """Strips that cover a grid of tiles of a size (height, width), of some `STRIP` tiles each and an even number of rows, so that a
    checkerboard looks the same: the rows of interest, counted from the start of the strip, and those of the strip, `reach` more
    on either side where there are any."""
    height, width = size
    rows = max(2, STRIP // width // 2 * 2)
    if height <= rows:
        return [(slice(0, height), slice(0, height))]
    strips = []
    for start in range(0, height, rows):
        stop, first = min(start + rows, height), max(0, start - reach)
        strips.append((slice(start - first, stop - first), slice(first, min(stop + reach, height))))
    return strips


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """RGB in [0, 255], float (..., 3, H, W), to Y - 128, Cb, Cr, all centred at 0 (BT.601, full range)."""
    ycbcr = _mix(rgb, _TO_YCBCR)
    return ycbcr - ycbcr.new_tensor([128.0, 0.0, 0.0])[:, None, None]


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of `rgb_to_ycbcr`, not clamped."""
    return _mix(ycbcr + ycbcr.new_tensor([128.0, 0.0, 0.0])[:, None, None], _TO_RGB)


def pad_to_tiles(planes: Tensor) -> Tensor:
    """Replicate the right and bottom edges of (B, 3, H, W) until both sides are whole tiles."""
    height, width = planes.shape[-2:]
    right, bottom = tiles_across(width) * TILE - width, tiles_across(height) * TILE - height
    return torch.nn.functional.pad(planes, (0, right, 0, bottom), mode="replicate")


def to_tiles(planes: Tensor) -> Tensor:
    """Planes (B, 3, 32 h, 32 w) as (B, h, w, 3, 32, 32)."""
    batch, _, height, width = planes.shape
    return planes.reshape(batch, 3, height // TILE, TILE, width // TILE, TILE).permute(0, 2, 4, 1, 3, 5)


def from_tiles(tiles: Tensor) -> Tensor:
    """Inverse of `to_tiles`."""
    batch, h, w = tiles.shape[:3]
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, h * TILE, w * TILE)


def _mix(planes: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", planes.new_tensor(matrix), planes)


@cache
@torch.inference_mode(False)
def dct_basis(size: int, device: torch.device) -> Tensor:
    """Orthonormal DCT-II matrix, float32 (size, size), row u = frequency u."""
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float().to(device)
