"""How much MS-SSIM sees of an error: the weights by which `--tune ms-ssim` moves symbols, and the tiles' steps.

Texture masks errors. At each scale MS-SSIM divides the variance of an error by 2 v + C2, where v is the variance of the image
around it (1 - c s of Wang et al. 2003, where the error is small). So the weight of a squared error is a sum over the scales: the
scale's weight in the measure, times the share of the error's frequency that reaches the scale, times the mean of 1 / (2 v + C2)
over the tile. Variances are of blocks of luma, about as large as the measure's window.

Where errors weigh little, steps are coarser too (`steps.py`): they follow the mean weight of a tile, in part.
"""

from functools import cache

import numpy as np

from dctcodec.bands.order import CHANNELS
from dctcodec.bands.steps import chosen
from dctcodec.bands.transform import relative_step
from dctcodec.metrics import MS_SSIM_WEIGHTS
from dctcodec.tiles import TILE, pad_to_tiles, rgb_to_ycbcr, tiles_across

C2 = (0.03 * 255) ** 2
BLOCK = 8
"""Pixels across a block, at each scale."""
WHOLE = BLOCK * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
"""Pixels of the image across a block of the last scale."""
EXPONENT = 0.85
"""Of the weights. The full weights are better for MS-SSIM, and worse for SSIMULACRA2."""
SAVING = 2.0
"""Bits weigh this much more than for PSNR: a finer step with fewer symbols is better here."""
STEP_EXPONENT = -0.25
"""The step of a tile is proportional to this power of its mean weight. With -1/2 an error would cost as much in all tiles."""
CHANGE_WEIGHT = 1 / 300
"""Of bits for steps, over the image's step: a tile with a coarse step has few bits."""
LARGEST_VARIANCE, FALL = 180_000.0, 2.2
"""The variance of a coefficient of luma (u, v) of photographs is about LARGEST_VARIANCE * (u^2 + v^2) ^ (-FALL / 2)."""


def seen(rgb: np.ndarray) -> np.ndarray:
    """Weights of the squared error of each symbol up to a factor, float32 (CHANNELS, h, w). `rgb`: the image, float32 (3, H, W) in
    [0, 255]."""
    found: np.ndarray = np.einsum("sc,shw->chw", _reaching(), _masks(rgb)) ** np.float32(EXPONENT)
    return found


def weights(seen: np.ndarray, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """What `seen` gave, times a factor: their mean over the error is 1 / SAVING. `slope` and `curvature`, those of rounded symbols
    (`trellis.Draft`), tell the error."""
    error = slope**2 / curvature
    return seen * np.float32((error.sum() + 1e-9) / (SAVING * (error * seen).sum() + 1e-9))


def step_index(seen: np.ndarray, step: float) -> np.ndarray:
    """The step index of each tile, int64 (h, w), of what `seen` gave and the image's step."""
    of_tiles = np.log(np.einsum("c,chw->hw", _errors(step), seen) + 1e-30)
    return chosen(STEP_EXPONENT * (of_tiles - of_tiles.mean()), CHANGE_WEIGHT * step)


def _errors(step: float) -> np.ndarray:
    """The error that quantisation leaves of each channel of luma, about: float32 (CHANNELS,), 0 for chroma."""
    squares = np.array([max(1, channel.u**2 + channel.v**2) for channel in CHANNELS])
    luma = np.array([channel.plane == 0 for channel in CHANNELS])
    error = np.minimum(LARGEST_VARIANCE * squares ** (-FALL / 2), (step * relative_step(None)[:, 0, 0]) ** 2 / 12) * luma
    return error.astype(np.float32)


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
