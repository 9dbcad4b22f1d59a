"""The forecast: what is known of an image, painted, and what its painting says of the frequencies not yet known.

The network on the tile grid sees a tile as one point, and cannot tell from known frequencies where in the tile an edge lies; so
it knows how large the next symbols will be, but not their signs. The forecast can: before each band it takes the inverse DCT
of the symbols of the bands before, runs a small convolutional network over the image's pixels, and the DCT of what that paints
is added to the means of the band. The mean activations of each tile are added to its scales.

Trained in float with the rounding of the exact form in the loop (`exact/quantised.py`); `exact_forecast.py` runs the integers.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.bands.blocks import QUADRANT, planes
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.bands.transform import coefficients, dequantise, step_of_symbols, synthesise
from dctcodec.bands.units import (
    COARSE,
    COARSE_BRANCH_BITS,
    FINE,
    FINE_BRANCH_BITS,
    IMAGE_GAIN,
    PAINT_GAIN,
    POOL_GAIN,
    TOLD_LIMIT,
)
from dctcodec.configuration import Count
from dctcodec.exact.quantised import Conditioning, ExactConv, activation, branch, on_grid
from dctcodec.modules import ModuleList
from dctcodec.tiles import TILE


@dataclass(frozen=True)
class ForecastShape:
    """Channels of both scales, and their residual blocks."""

    width: Count = 48
    coarse: int = 2
    fine: int = 1


class Forecasts(NamedTuple):
    """Forecasts of n samples of a batch: which they are, their images and bands, int64 (n,), and what `Forecast` gives."""

    rows: Tensor
    images: Tensor
    bands: Tensor
    painted: Tensor
    pooled: Tensor


class PartitionBiases(nn.Module):
    """What both scales are told of the blocks: a bias for each kind of quadrant, and each place in it. `planes`: number of kinds
    but one."""

    def __init__(self, planes: int, width: int):
        super().__init__()
        self.coarse = ExactConv(planes, width * (QUADRANT // COARSE) ** 2, 1, gain=0.0)
        self.fine = ExactConv(planes, width * (QUADRANT // FINE) ** 2, 1, gain=0.0)

    def forward(self, kinds: Tensor, pixels: int) -> Tensor:
        """`kinds`: float (n, planes, 2 h, 2 w), as `blocks.planes` gives them; of the scale of so many pixels a feature."""
        layer = self.coarse if pixels == COARSE else self.fine
        return F.pixel_shuffle(layer(kinds).float().clamp(-TOLD_LIMIT, TOLD_LIMIT), QUADRANT // pixels)


class Forecast(nn.Module):
    """Symbols known before a band, (n, CHANNELS, h, w) with zeros for the rest, to what they say of it."""

    def __init__(self, shape: ForecastShape = ForecastShape(), kinds: tuple[int, ...] = ()):
        super().__init__()
        self.shape, self.kinds, width, blocks = shape, kinds, shape.width, shape.coarse + shape.fine
        self.branch_bits = (COARSE_BRANCH_BITS,) * shape.coarse + (FINE_BRANCH_BITS,) * shape.fine
        self.coarse = ExactConv(3 * COARSE**2, width, 1)
        self.up = ExactConv(width, 4 * width, 1, gain=0.5)
        self.fine = ExactConv(3 * FINE**2, width, 1)
        self.first = ModuleList(ExactConv(width, width, 3) for _ in range(blocks))
        self.second = ModuleList(ExactConv(width, width, 3, gain=0.3) for _ in range(blocks))
        self.paint = ExactConv(width, 3 * FINE**2, 3, gain=0.0)
        self.pool = ExactConv(2 * width, len(CHANNELS), 1, gain=0.0)
        self.conditioning = Conditioning(len(BANDS), blocks + 2, width)
        self.partition = PartitionBiases(len(kinds[1:]), width) if kinds else None

    def forward(self, known: Tensor, log_step: Tensor, band: Tensor, partition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`known`: float (n, CHANNELS, h, w); `log_step` and the band to be forecast, (n,) each; `partition`: int64 (n, 4, h, w),
        None where the network has no kinds of blocks. Returns what is painted as
        coefficients in symbols, and mean activations of each tile, (n, CHANNELS, h, w) and (n, 2 * width, h, w)."""
        image = on_grid(synthesise(dequantise(known, IMAGE_GAIN, partition), partition)).contiguous(
            memory_format=torch.channels_last
        )
        kinds = None if partition is None else planes(partition, self.kinds)
        bias = self.conditioning(band, log_step)
        layers = list(zip(self.first, self.second, strict=True))
        stream = self.coarse(F.pixel_unshuffle(image, COARSE)).float()
        if self.partition and kinds is not None:
            stream = stream + self.partition(kinds, COARSE)
        for number, (first, second) in enumerate(layers[: self.shape.coarse]):
            added = second(activation(first(activation(stream + bias[:, number]))))
            stream = stream + branch(added, self.branch_bits[number])
        coarse = activation(stream + bias[:, -2])
        stream = (F.pixel_shuffle(self.up(coarse), 2) + self.fine(F.pixel_unshuffle(image, FINE))).float()
        if self.partition and kinds is not None:
            stream = stream + self.partition(kinds, FINE)
        for number, (first, second) in enumerate(layers[self.shape.coarse :], self.shape.coarse):
            added = second(activation(first(activation(stream + bias[:, number]))))
            stream = stream + branch(added, self.branch_bits[number])
        fine = activation(stream + bias[:, -1])
        painted = on_grid(F.pixel_shuffle(self.paint(fine), FINE)) * PAINT_GAIN
        pooled = torch.cat([F.avg_pool2d(coarse, TILE // COARSE), F.avg_pool2d(fine, TILE // FINE)], 1)
        steps = step_of_symbols(1.0, painted.device, partition)
        return coefficients(painted, partition) / steps, activation(pooled * POOL_GAIN)


def known_before(symbols: Tensor, bands: Tensor) -> Tensor:
    """Symbols (n, CHANNELS, h, w) with zeros from the first channel of each one's band, (n,), on."""
    starts = torch.tensor([band.start for band in BANDS], device=symbols.device)[bands]
    return symbols * (torch.arange(symbols.shape[1], device=symbols.device) < starts[:, None])[:, :, None, None]
