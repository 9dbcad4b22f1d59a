"""Units, ranges and places that the prior has in training and in its integer form: of symbols, features, and the forecast."""

import numpy as np

from dctcodec.arrays import Array, Place, placed
from dctcodec.bands.order import CHANNELS, PARTS, REVEALS, Reveal

MEAN_BITS = 4
MEAN_LIMIT = 2**15 - 1
"""A mean is an integer in units of 1/16 symbol, within +-MEAN_LIMIT."""
MIXTURE = ((0.7, 0.7), (0.3, 1.5))
"""(weight, width) of the two logistics whose sum a symbol is coded with, widths in units of the scale: heavier tails and a
sharper peak than one logistic. The best of a grid on held-out photographs: 1.0 % fewer bits there, before any retraining."""
SCALES = 64
SCALE_BITS = 3
LOG_SCALE_MIN = -3.25
"""Scale i of the table is exp(LOG_SCALE_MIN + i / 2^SCALE_BITS), in symbols; i < SCALES."""
LINEAR_GAIN = 4
"""A symbol s enters as LINEAR_GAIN * s, as ASINH_GAIN * asinh(s) and as the magnitude of that, in 1/16 and clamped to +-127. The
magnitudes tell scales: from signed values alone a unit must be spent on each, and there are more symbols than units."""
FEATURES = 3
ASINH_GAIN = 16
INPUT_CHANNELS = REVEALS[-1].start
"""Symbols of the last reveal are seen by no other."""

FIRST_BAND = 2
"""Bands from this one are forecast; before it there is too little to paint."""
COARSE, FINE = 8, 4
"""Pixels a feature, of the two scales."""
IMAGE_GAIN = 0.5
"""The painted image, in steps, enters this much smaller."""
PAINT_GAIN = 0.5
"""What is painted is this many steps a unit."""
BRANCH_BITS, COARSE_BRANCH_BITS, FINE_BRANCH_BITS = 4, 8, 5
"""What a residual block adds to its stream is a byte in units of 2^bits / 256: in the prior, and in both scales of the forecast. Of
all units that were tried without training, these cost the least bits, 0.05 % on held-out photographs."""
TOLD_LIMIT = 32.0
"""What a partition adds to the stream, or each of two such things, is limited to this."""
POOL_GAIN = 4
"""Mean activations of a tile enter this much larger."""
INPUT_GAIN = 1 / 64
"""The decoder sees the plain image so much smaller."""
PAINTED_SCALES = (32, 16, 8, 4)
"""Pixels per feature at each of the decoder's scales, coarse to fine."""
IMAGE_BITS = (0, 0, 3, 3)
"""The decoder sees the plain image in 2^-bits of a level, at each scale."""
WIDE_BLOCKS, WIDE_BITS = 2, (12, 10)
"""In the first residual blocks of the decoder's last scale, and in what paints, numbers before and after silu have so many bits:
bytes would cost 0.05 dB."""
UP_MOST = 128
"""The largest magnitude of a byte that goes up a scale."""
LATENTS = 8
"""Channels of the latent of a scale."""


def noise_of(seed: int, pixels: int, size: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 (1, LATENTS, h, w) of size (h, w), for a scale of so many pixels per feature, from a counter-based
    generator."""
    generator = np.random.Generator(np.random.Philox(key=[seed, pixels]))
    return generator.standard_normal((1, LATENTS, *size), dtype=np.float32)


def distribution_function(x: np.ndarray) -> np.ndarray:
    """P(X <= x) of the distribution at scale 1, for the coder's tables."""
    return sum((weight / (1 + np.exp(-x / width)) for weight, width in MIXTURE), np.zeros(x.shape))


def sent_before() -> np.ndarray:
    """Which symbols of its tile are known when a channel is sent: bool (CHANNELS, INPUT_CHANNELS)."""
    order = np.empty(len(CHANNELS), np.int64)
    for position, part in enumerate(part for band in PARTS for part in band):
        order[list(part)] = position
    return order[None, :INPUT_CHANNELS] < order[:, None]


def checkerboard(height: int, width: int, place: Place = None) -> Array:
    """Parity (row + column) mod 2 of each tile, int64 (height, width)."""
    return placed((np.arange(height)[:, None] + np.arange(width)) % 2, place)


def tiles_of(reveal: Reveal, board: Array) -> Array:
    """Which tiles of a checkerboard (height, width) a reveal sends: bool, of its shape."""
    return board >= 0 if reveal.parity is None else board == reveal.parity
