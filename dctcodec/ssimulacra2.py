"""SSIMULACRA 2.1: how far a decoded image looks from its original, as the authors of the measure compute it.

The measure, its constants and its weights are Jon Sneyers' (https://github.com/cloudinary/ssimulacra2, April 2023). This module
differs from that program by up to 0.15 points. (The PyPI package `ssimulacra2` 0.3.0 blurs otherwise and differs by up to 7.)
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

MIN_SIDE = 113
"""Of an image with all six scales; the weights are for six."""
_SCALES = 6
_C2 = 0.0009
_OPSIN = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.5518098665095536),
)
_OPSIN_BIAS = 0.0037930732552754493
_SIGMA, _RADIUS = 1.5, 5
_LEAST_FOURTH_POWER = 1e-28
"""The fourth root has no gradient at 0."""
_WEIGHTS = (
    (  # X
        (0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0),
        (0, 0.0004371155730107379, 0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752),
        (0, 0.0016406437456599754, 0, 1.8422455520539298, 11.441172603757666, 0),
        (0.0007989109436015163, 0.000176816438078653, 0, 1.8787594979546387, 10.94906990605142, 0),
        (0.0007289346991508072, 0.9677937080626833, 0, 0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053),
        (0.0004550992113792063, 0, 0, 0.0013648766163243398, 0, 0),
    ),
    (  # Y
        (0, 0, 0, 7.466890328078848, 0, 17.445833984131262),
        (0.0006235601634041466, 0, 0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264),
        (225.20515300849274, 0, 0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985),
        (176.39317598450694, 0, 0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408),
        (0, 0, 0, 34.77906344483772, 44.835625328877896, 0),
        (0, 0, 0, 0, 0, 0),
    ),
    (  # B-Y
        (0, 0.0008680556573291698, 0, 0, 0, 0),
        (0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0),
        (0, 0, 0, 0.0004179171803251336, 0.0017290828234722833, 0),
        (0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0),
        (95.1080498811086, 0.9863978034400682, 0.9834382792465353, 0.0012286405048278493, 171.2667255897307, 0.9807858872435379),
        (0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537),
    ),
)
"""A row for each scale: weights of the 1-norms of three error maps (structure, new edges, lost edges), then of their 4-norms."""


@torch.no_grad()
def score(original: Tensor, decoded: Tensor) -> float:
    """The SSIMULACRA2 score of two sRGB images, uint8 (3, height, width): 100 for equal images, below 0 for very bad ones.

    Raises ValueError where a side is shorter than `MIN_SIDE` or the sizes differ.
    """
    return _as_score(error(original[None].float(), decoded[None].float()).item())


def error(original: Tensor, decoded: Tensor) -> Tensor:
    """The error that the score is made of, float32 (n,), 0 for equal images, with a gradient: of sRGB images, float32 (n, 3,
    height, width) in [0, 255].

    Raises ValueError where a side is shorter than `MIN_SIDE` or the sizes differ.
    """
    if original.shape != decoded.shape or min(original.shape[2:]) < MIN_SIDE:
        raise ValueError(f"images of one size, at least {MIN_SIDE} pixels each side: {original.shape}, {decoded.shape}")
    first, second = _linear(original), _linear(decoded)
    weights = torch.tensor(_WEIGHTS, device=original.device).unbind(1)
    total = original.new_zeros(len(original))
    for scale in range(_SCALES):
        if scale:
            first, second = _halved(first), _halved(second)
        total = total + (weights[scale] * _norms(_positive_xyb(first), _positive_xyb(second))).sum((1, 2))
    return total


def _linear(srgb: Tensor) -> Tensor:
    """Linear light in [0, 1] of sRGB in [0, 255]."""
    values = srgb.clamp(0, 255) / 255
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _halved(linear: Tensor) -> Tensor:
    """Means of 2×2 pixels; the last row or column of an odd number counts twice."""
    height, width = linear.shape[2:]
    return avg_pool2d(pad(linear, (0, width % 2, 0, height % 2), mode="replicate"), 2)


def _positive_xyb(linear: Tensor) -> Tensor:
    """The XYB colours of JPEG XL, moved to about 0..1."""
    mixed = torch.einsum("oi,bihw->bohw", torch.tensor(_OPSIN, device=linear.device), linear) + _OPSIN_BIAS
    first, second, third = (mixed ** (1 / 3) - _OPSIN_BIAS ** (1 / 3)).unbind(1)
    x, y = (first - second) / 2, (first + second) / 2
    return torch.stack([14 * x + 0.42, y + 0.01, third - y + 0.55], 1)


def _norms(first: Tensor, second: Tensor) -> Tensor:
    """The norms of the error maps of images (n, 3, height, width), (n, 3, 6), in the order of `_WEIGHTS`."""
    mean1, mean2, square1, square2, product = map(_blur, (first, second, first * first, second * second, first * second))
    contrast = 2 * (product - mean1 * mean2) + _C2
    energy = square1 - mean1 * mean1 + square2 - mean2 * mean2 + _C2
    structure = 1 - (1 - (mean1 - mean2) ** 2) * contrast / energy
    edges = (1 + (second - mean2).abs()) / (1 + (first - mean1).abs()) - 1
    maps = torch.stack([structure, edges, -edges], 2).clamp(min=0)
    return torch.cat([maps.mean((3, 4)), ((maps**4).mean((3, 4)) + _LEAST_FOURTH_POWER) ** 0.25], 2)


def _blur(images: Tensor) -> Tensor:
    """Each plane of images (n, 3, height, width) smoothed; outside it is black."""
    for axis in (2, 3):
        size, border = images.shape[axis], _RADIUS - 1
        padded = pad(images, (0, 0, border, border) if axis == 2 else (border, border))
        images = torch.zeros_like(images)
        for start, weight in enumerate(_window()):
            images.add_(padded.narrow(axis, start, size), alpha=weight)
    return images


@cache
def _window() -> tuple[float, ...]:
    """The Gaussian as JPEG XL approximates it, by three cosines (Charalampidis 2016), without their recursion."""
    angles = [k * math.pi / (2 * _RADIUS) for k in (1, 3, 5)]
    sums = [sign / math.tan(angle / 2) for sign, angle in zip((1, -1, 1), angles, strict=True)]
    moments = [sign * s**2 / math.sin(angle) for sign, s, angle in zip((1, -1, 1), sums, angles, strict=True)]
    fits = [math.exp(-0.5 * _SIGMA**2 * angle**2) / _RADIUS for angle in angles]
    (p1, p3, p5), (r1, r3, r5) = sums, moments
    scale = p1 * r3 - r1 * p3
    zeta = [(p3 * r5 - r3 * p5) / scale, (p5 * r1 - r5 * p1) / scale, 1.0]
    wanted = [1.0, _RADIUS**2 - _SIGMA**2, sum(z * fit for z, fit in zip(zeta, fits, strict=True))]
    amplitudes = torch.linalg.solve(
        torch.tensor([sums, moments, zeta], dtype=torch.float64), torch.tensor(wanted, dtype=torch.float64)
    )
    taps = range(1 - _RADIUS, _RADIUS)
    return tuple(sum(a * math.cos(angle * tap) for a, angle in zip(amplitudes.tolist(), angles, strict=True)) for tap in taps)


def _as_score(error: float) -> float:
    """The weighted sum on the scale of people's votes."""
    error *= 0.9562382616834844
    error = 2.326765642916932 * error - 0.020884521182843837 * error**2 + 6.248496625763138e-05 * error**3
    return 100 - 10 * error**0.6276336467831387 if error > 0 else 100.0
