"""How much MS-SSIM sees of an error: the weights by which `--tune ms-ssim` moves symbols.

Texture masks errors. At each scale MS-SSIM divides the variance of an error by 2 v + C2, where v is the variance of the image
around it (1 - c s of Wang et al. 2003, where the error is small). So the weight of a squared error is a sum over the scales: the
scale's weight in the measure, times the share of the error's frequency that reaches the scale, times the mean of 1 / (2 v + C2)
over the tile. Variances are of blocks of luma, about as large as the measure's window.
"""

from functools import cache

import numpy as np

from dctcodec.bands.order import CHANNELS
from dctcodec.metrics import MS_SSIM_WEIGHTS
from dctcodec.tiles import TILE, pad_to_tiles, rgb_to_ycbcr, tiles_across

C2 = (0.03 * 255) ** 2
BLOCK = 8
"""Pixels across a block, at each scale."""
WHOLE = BLOCK * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
"""Pixels of the image across a block of the last scale."""
EXPONENT = 0.7
"""Of the weights. As symbols have one step in all tiles, the full weights cost more in flat tiles than they save elsewhere."""
SAVING = 1.4
"""Bits weigh this much more than for PSNR: a finer step with fewer symbols is better here."""


def weights(rgb: np.ndarray, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Weights of the squared error of each symbol, float32 (CHANNELS, h, w). `rgb`: the image, float32 (3, H, W) in [0, 255];
    `slope` and `curvature`: those of its rounded symbols (`trellis.Draft`). Their mean, over the error that the two tell, is
    1 / SAVING."""
    seen = np.einsum("sc,shw->chw", _reaching(), _masks(rgb)) ** np.float32(EXPONENT)
    error = slope**2 / curvature
    return seen * np.float32((error.sum() + 1e-9) / (SAVING * (error * seen).sum() + 1e-9))


def _masks(rgb: np.ndarray) -> np.ndarray:
    """Mean of 1 / (2 v + C2) over each tile, at each scale: float32 (scales, h, w)."""
    height, width = map(tiles_across, rgb.shape[1:])
    luma = rgb_to_ycbcr(pad_to_tiles(rgb[None]))[0, 0]
    luma = np.pad(luma, [(0, -side % WHOLE) for side in luma.shape], "edge")
    masks = []
    for scale in range(len(MS_SSIM_WEIGHTS)):
        down, across = (side // BLOCK for side in luma.shape)
        mask = 1 / (2 * luma.reshape(down, BLOCK, across, BLOCK).var((1, 3)) + np.float32(C2))
        side = TILE // (BLOCK * 2**scale)
        if side > 1:
            mask = mask.reshape(down // side, side, across // side, side).mean((1, 3))
        elif not side:
            mask = mask.repeat(BLOCK * 2**scale // TILE, 0).repeat(BLOCK * 2**scale // TILE, 1)
        masks.append(mask[:height, :width])
        luma = luma.reshape(luma.shape[0] // 2, 2, luma.shape[1] // 2, 2).mean((1, 3))
    return np.stack(masks)


@cache
def _reaching() -> np.ndarray:
    """What reaches each scale of the energy of each channel's frequency, times the scale's weight: float32 (scales, CHANNELS)."""
    down, across = (np.array([getattr(channel, axis) for channel in CHANNELS]) / (2 * TILE) for axis in "uv")
    rows = [
        weight * _mean_response(down, 2**scale) * _mean_response(across, 2**scale) for scale, weight in enumerate(MS_SSIM_WEIGHTS)
    ]
    return np.array(rows, np.float32)


def _mean_response(frequency: np.ndarray, pixels: int) -> np.ndarray:
    """Energy that a mean of so many pixels leaves of frequencies in cycles a pixel."""
    response: np.ndarray = np.sinc(frequency * pixels) / np.sinc(frequency)
    return response**2
