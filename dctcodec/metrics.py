"""How near a decoded image is to its original, in the three measures that codecs are compared by."""

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

MS_SSIM_MIN_SIDE = 161  # four halvings of an 11-pixel window
MS_SSIM_WINDOW = 11
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales, fine to coarse (Wang et al. 2003)."""
NEARLY_EQUAL = 1e-5
"""Of 1 - MS-SSIM: below it two images are equal, and its logarithm need not fall further."""
NEARLY_NO_ERROR = 2e-3
"""The same of SSIMULACRA2's error, which is about 1 for poor images."""


def psnr(original: Image.Image, decoded: Image.Image) -> float:
    """PSNR in dB over the 8-bit RGB values of both images; `math.inf` where they are equal.

    Raises ValueError if the sizes differ.
    """
    first, second = _rgb(original, decoded)
    mse = np.mean((first.astype(np.float64) - second) ** 2)
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def ms_ssim(original: Image.Image, decoded: Image.Image) -> float | None:
    """MS-SSIM in 0..1 over 8-bit RGB, by the pytorch-msssim package.

    None where the shorter side is below `MS_SSIM_MIN_SIDE`: the measure has no value there.
    Raises ValueError if the sizes differ.
    """
    import pytorch_msssim
    import torch

    arrays = _rgb(original, decoded)
    if min(original.size) < MS_SSIM_MIN_SIDE:
        return None
    first, second = (torch.from_numpy(array).permute(2, 0, 1)[None].float() for array in arrays)
    return float(pytorch_msssim.ms_ssim(first, second, data_range=255))


def ssimulacra2(original: Image.Image, decoded: Image.Image) -> float | None:
    """The SSIMULACRA2 score over 8-bit RGB: 100 for equal images, about 70 for good ones, below 0 for very bad ones.

    None where the shorter side is below `dctcodec.ssimulacra2.MIN_SIDE`: the measure has no value there.
    Raises ValueError if the sizes differ.
    """
    import torch

    from dctcodec.ssimulacra2 import MIN_SIDE, score

    arrays = _rgb(original, decoded)
    if min(original.size) < MIN_SIDE:
        return None
    return score(*(torch.from_numpy(array).permute(2, 0, 1) for array in arrays))


def log_dissimilarity(first: "Tensor", second: "Tensor") -> "Tensor":
    """ln(1 - MS-SSIM) of images float32 (B, C, H, W) in [0, 255], (B,), with a gradient. Sides shorter than MS_SSIM_MIN_SIDE
    have their last row or column repeated."""
    import pytorch_msssim

    pair = (_extended(images, MS_SSIM_MIN_SIDE) for images in (first, second))
    similarities: Tensor = pytorch_msssim.ms_ssim(*pair, data_range=255, size_average=False)
    return (1 - similarities + NEARLY_EQUAL).log()


def log_ssimulacra2_error(original: "Tensor", decoded: "Tensor") -> "Tensor":
    """ln of the error that the SSIMULACRA2 score is made of, of images float32 (B, 3, H, W) in [0, 255], (B,), with a gradient.
    Sides shorter than `dctcodec.ssimulacra2.MIN_SIDE` have their last row or column repeated."""
    from dctcodec.ssimulacra2 import MIN_SIDE, error

    return (error(_extended(original, MIN_SIDE), _extended(decoded, MIN_SIDE)) + NEARLY_NO_ERROR).log()


def _extended(images: "Tensor", side: int) -> "Tensor":
    """Images (B, C, H, W) of at least so many pixels each side."""
    from torch.nn.functional import pad

    down, right = (max(0, side - length) for length in images.shape[2:])
    return pad(images.contiguous(), (0, right, 0, down), mode="replicate")


def ms_ssim_scales(side: int) -> int:
    """How many of the five scales of MS-SSIM an image fits into, whose shorter side has that many pixels; 0 below the window."""
    sides = [math.ceil(side / 2**scale) for scale in range(len(MS_SSIM_WEIGHTS))]
    return sum(side >= MS_SSIM_WINDOW for side in sides)


def ms_ssim_that_fits(first: "Tensor", second: "Tensor") -> "Tensor":
    """MS-SSIM of small images float32 (B, C, H, W) in [0, 1], (B,): over the scales that fit, whose weights are scaled to a sum
    of 1. Where all five fit it is the usual MS-SSIM. Raises ValueError where none fits."""
    import torch
    from torch.nn.functional import avg_pool2d

    scales = ms_ssim_scales(min(first.shape[2:]))
    if not scales:
        raise ValueError(f"MS-SSIM needs sides of at least {MS_SSIM_WINDOW} pixels")
    weights = torch.tensor(MS_SSIM_WEIGHTS[:scales], device=first.device)
    factors = []
    for scale in range(scales):
        if scale:
            padding = [side % 2 for side in first.shape[2:]]
            first, second = (avg_pool2d(images, 2, padding=padding) for images in (first, second))
        structure, whole = _ssim(first, second)
        factors.append(structure if scale < scales - 1 else whole)
    powers = torch.stack(factors).relu() ** (weights / weights.sum())[:, None, None]
    return powers.prod(0).mean(1)


def _ssim(first: "Tensor", second: "Tensor") -> tuple["Tensor", "Tensor"]:
    """SSIM without luminance, and with it, means over the positions of a Gaussian window, (B, C) each."""
    import torch
    from torch.nn.functional import conv2d

    offsets = torch.arange(MS_SSIM_WINDOW, device=first.device) - MS_SSIM_WINDOW // 2
    line = torch.exp(-(offsets.float() ** 2) / (2 * 1.5**2))
    line = line / line.sum()

    def blurred(images: "Tensor") -> "Tensor":
        planes = images.flatten(0, 1)[:, None]
        return conv2d(conv2d(planes, line[None, None, :, None]), line[None, None, None]).reshape(*images.shape[:2], -1)

    mean, other = blurred(first), blurred(second)
    variances = blurred(first**2) - mean**2 + blurred(second**2) - other**2
    structure = (2 * (blurred(first * second) - mean * other) + 0.03**2) / (variances + 0.03**2)
    luminance = (2 * mean * other + 0.01**2) / (mean**2 + other**2 + 0.01**2)
    return structure.mean(2), (luminance * structure).mean(2)


def ms_ssim_db(value: float) -> float:
    """MS-SSIM in 0..1 on the usual decibel scale, -10 log10(1 - value); `math.inf` for 1."""
    return -10 * math.log10(1 - value) if value < 1 else math.inf


def _rgb(original: Image.Image, decoded: Image.Image) -> list[np.ndarray]:
    if original.size != decoded.size:
        raise ValueError(f"the decoded image is {decoded.size}, the original {original.size}")
    return [np.array(image.convert("RGB")) for image in (original, decoded)]
