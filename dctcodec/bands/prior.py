"""The prior's network as it is trained: float tensors, but with the quantisation of its exact form in the loop.

A pre-activation residual network on the tile grid. At each reveal it sees every symbol already revealed, in this tile
and its neighbours, and gives each symbol of the reveal a discretised distribution: a mean in 1/16 symbols and the index of a scale,
which is also told of the magnitudes of those parts of its band in its tile that are sent before it
(Austin et al. 2021 and Hoogeboom et al. 2022 for masked diffusion in this order-given form; DESIGN section 3).

`exact/quantised.py` has its layers, `export.py` turns a trained network into integers, `exact_prior.py` runs them.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.bands import blocks
from dctcodec.bands.forecast import Forecast, Forecasts, ForecastShape, known_before
from dctcodec.bands.order import CHANNELS, REVEALS
from dctcodec.bands.partition_network import PartitionNetwork
from dctcodec.bands.steps import factors
from dctcodec.bands.units import (
    ASINH_GAIN,
    BRANCH_BITS,
    FEATURES,
    FIRST_BAND,
    INPUT_CHANNELS,
    LINEAR_GAIN,
    LOG_SCALE_MIN,
    MEAN_BITS,
    MEAN_LIMIT,
    MIXTURE,
    SCALE_BITS,
    SCALES,
    TOLD_LIMIT,
    checkerboard,
    sent_before,
)
from dctcodec.configuration import Count
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX
from dctcodec.exact.quantised import Conditioning, ExactConv, activation, branch, nearest
from dctcodec.modules import ModuleList

HEAD_GAIN = 4.0
"""The network's raw outputs are this much smaller than means (symbols) and log-scales."""


@dataclass(frozen=True)
class PriorShape:
    """Size of the network: channels of the stream, residual blocks; and of its forecast, if it has one."""

    width: Count = 192
    blocks: Count = 4
    forecast: ForecastShape | None = None


def symbol_features(symbols: Tensor) -> Tensor:
    """(B, INPUT_CHANNELS, h, w) symbols to features (B, FEATURES * INPUT_CHANNELS, h, w): linear, logarithmic, its magnitude;
    multiples of 1/16."""
    linear = (symbols * LINEAR_GAIN).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    magnitude = torch.floor(torch.asinh(symbols.abs()) * ASINH_GAIN + 0.5).clamp_max(ACTIVATION_MAX)
    return torch.cat([linear, magnitude * symbols.sign(), magnitude], 1) / 2**ACTIVATION_BITS


def visibility(reveal: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Which inputs are known before `reveal`: float (INPUT_CHANNELS, height, width) of 0 and 1."""
    seen = torch.zeros(INPUT_CHANNELS, height, width, device=device)
    now = REVEALS[reveal]
    seen[: now.start] = 1
    if now.parity == 1:
        seen[now.start : now.stop] = (checkerboard(height, width, device) == 0).float()
    return seen


class PartitionInput(nn.Module):
    """What the network is told of the blocks of each tile: its kinds, and its magnitudes once more if it is split; a `skip` for the
    symbols of each kind but the first; and the model of the partition itself, which is sent first."""

    def __init__(self, kinds: tuple[int, ...], width: int):
        super().__init__()
        self.planes = ExactConv(blocks.QUADRANTS * len(kinds[1:]), width, 1, gain=0.0)
        self.split = ExactConv(INPUT_CHANNELS, width, 1, gain=0.0)
        self.skips = ModuleList(ExactConv(INPUT_CHANNELS, len(CHANNELS), 1, gain=0.0) for _ in kinds[1:])
        self.code = PartitionNetwork(kinds)


class PriorNetwork(nn.Module):
    """Masked-diffusion network over symbols (B, CHANNELS, h, w). `kinds`: numbers of the kinds of blocks that a tile may have, none
    where all are 32x32."""

    sent_before: Tensor
    quadrants: Tensor

    def __init__(self, shape: PriorShape = PriorShape(), kinds: tuple[int, ...] = ()):
        super().__init__()
        self.shape, self.kinds = shape, kinds
        width, self.branch_bits = shape.width, (BRANCH_BITS,) * shape.blocks
        self.input = ExactConv(FEATURES * INPUT_CHANNELS + 1, width, 1)
        self.first = ModuleList(ExactConv(width, width, 3) for _ in range(shape.blocks))
        self.second = ModuleList(ExactConv(width, width, 3, gain=0.3) for _ in range(shape.blocks))
        self.head = ExactConv(width, 2 * len(CHANNELS), 1, gain=0.1)
        # a tile has more scales than the stream has channels: each also depends on every magnitude that is known of its tile
        self.skip = ExactConv(INPUT_CHANNELS, len(CHANNELS), 1, gain=0.0)
        self.register_buffer("sent_before", torch.from_numpy(sent_before()).float(), persistent=False)
        self.conditioning = Conditioning(len(REVEALS), shape.blocks + 1, width)
        self.forecast = Forecast(shape.forecast, kinds) if shape.forecast else None
        self.partition = PartitionInput(kinds, width) if kinds else None
        self.register_buffer("quadrants", blocks.quadrant_of_channels(torch.device("cpu")), persistent=False)

    def forward(
        self,
        symbols: Tensor,
        log_step: Tensor,
        reveals: Tensor,
        forecasts: Forecasts | None = None,
        partition: Tensor | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Distributions of the symbols of some reveals of each image, given all that is sent before.

        `symbols`: float (B, CHANNELS, h, w); `log_step`: (B,), ln of the step; `reveals`: int64 (B, R); `forecasts`: those of
        `self.forecasts`, if they are at hand; `partition`: int64 (B, 4, h, w), None where the network has no kinds of blocks.
        Returns B * R pairs, image by image: mean in 1/16 symbols and scale index, float (n, h, w), n channels of the reveal.
        """
        height, width = symbols.shape[-2:]
        reveal, source = reveals.flatten(), torch.arange(len(symbols)).repeat_interleave(reveals.shape[1])
        parity = (checkerboard(height, width, symbols.device) * 2.0 - 1).expand(len(reveal), 1, -1, -1)
        seen = torch.stack([visibility(r, height, width, symbols.device) for r in reveal.tolist()]).repeat(1, FEATURES, 1, 1)
        features = symbol_features(symbols[:, :INPUT_CHANNELS])
        magnitudes = features[:, -INPUT_CHANNELS:]
        stream = self.input(torch.cat([features[source] * seen, parity], 1)).float()
        told = None if partition is None else partition[source]
        if self.partition and told is not None:
            stream = stream + self._told(self.partition, magnitudes[source] * seen[:, :INPUT_CHANNELS], told)
        bias = self.conditioning(reveal, _log_steps(log_step, partition)[source])
        for block, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            stream = stream + branch(second(activation(first(activation(stream + bias[:, block])))), self.branch_bits[block])
        outputs = self._heads(activation(stream + bias[:, -1]), magnitudes[source], reveal, told)
        forecasts = forecasts or self.forecasts(symbols, log_step, reveals, partition)
        if forecasts and self.forecast:
            _add_forecasts(outputs, forecasts, self.forecast.pool, reveal)
        return [(mean.clamp(-MEAN_LIMIT, MEAN_LIMIT), scale.clamp(0, SCALES - 1)) for mean, scale in outputs]

    def _told(self, layers: PartitionInput, magnitudes: Tensor, partition: Tensor) -> Tensor:
        """What the partitions add to the stream, (n, width, h, w). `magnitudes`: of what is known."""
        split = layers.split(magnitudes * (partition[:, :1] >= blocks.LARGE))
        planes = layers.planes(F.pixel_unshuffle(blocks.planes(partition, self.kinds), 2))
        return split.float().clamp(-TOLD_LIMIT, TOLD_LIMIT) + planes.float().clamp(-TOLD_LIMIT, TOLD_LIMIT)

    def forecasts(self, symbols: Tensor, log_step: Tensor, reveals: Tensor, partition: Tensor | None = None) -> Forecasts | None:
        """The forecasts that `forward` would need of the same images and reveals; None if there are none."""
        bands = torch.tensor([REVEALS[number].band for number in reveals.flatten().tolist()], device=symbols.device)
        rows = (bands >= FIRST_BAND).nonzero()[:, 0]
        if self.forecast is None or len(rows) == 0:
            return None
        images = rows.to(symbols.device) // reveals.shape[1]
        known = known_before(symbols[images], bands[rows])
        told = None if partition is None else partition[images]
        return Forecasts(rows, images, bands[rows], *self.forecast(known, log_step[images], bands[rows], told))

    def _heads(self, features: Tensor, magnitudes: Tensor, reveal: Tensor, partition: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Mean in 1/16 symbols and scale index of each sample's channels. `magnitudes`: of all symbols, known or not."""
        outputs: dict[int, tuple[Tensor, Tensor]] = {}
        for number in reveal.unique().tolist():
            where = (reveal == number).nonzero()[:, 0]
            rows = slice(2 * REVEALS[number].start, 2 * REVEALS[number].stop)
            raw = F.conv2d(features[where], self.head.rounded(rows)[:, :, None, None]) + self.head.bias[rows, None, None]
            mean, log_scale = (raw.float() * HEAD_GAIN).chunk(2, 1)
            channels = slice(REVEALS[number].start, REVEALS[number].stop)
            more = self._skipped(magnitudes[where], channels, None if partition is None else partition[where])
            mean = nearest(mean * 2**MEAN_BITS)
            scale = nearest((log_scale - LOG_SCALE_MIN) * 2**SCALE_BITS) + nearest(more.float() * 2**SCALE_BITS)
            for position, sample in enumerate(where.tolist()):
                outputs[sample] = (mean[position], scale[position])
        return [outputs[sample] for sample in range(len(reveal))]

    def _skipped(self, magnitudes: Tensor, channels: slice, partition: Tensor | None) -> Tensor:
        """What the magnitudes of a tile add to the scales of some channels, by the kinds of the blocks that these belong to."""
        more = self._skipped_by(self.skip, magnitudes, channels)
        if self.partition and partition is not None:
            kinds = partition[:, self.quadrants[channels]]
            for kind, skip in zip(self.kinds[1:], self.partition.skips, strict=True):
                more = torch.where(kinds == kind, self._skipped_by(skip, magnitudes, channels), more)
        return more

    def _skipped_by(self, skip: ExactConv, magnitudes: Tensor, channels: slice) -> Tensor:
        weight = skip.rounded(channels) * self.sent_before[channels]
        return F.conv2d(magnitudes, weight[:, :, None, None]) + skip.bias[channels, None, None]


def _log_steps(log_step: Tensor, partition: Tensor | None) -> Tensor:
    """ln of the steps of images (B,), or of their tiles, (B, h, w), where these have their own."""
    of_tiles = factors(partition)
    return log_step if isinstance(of_tiles, float) else log_step[:, None, None] + torch.log(of_tiles[:, 0])


def _add_forecasts(outputs: list[tuple[Tensor, Tensor]], forecasts: Forecasts, pool: ExactConv, reveal: Tensor) -> None:
    """Add the forecasts to the means and scales of their samples. `pool`: the forecast's layer of scales."""
    for row, painted, pooled in zip(forecasts.rows.tolist(), forecasts.painted, forecasts.pooled, strict=True):
        now = REVEALS[int(reveal[row])]
        channels, (mean, scale) = slice(now.start, now.stop), outputs[row]
        more = F.conv2d(pooled, pool.rounded(channels)[:, :, None, None]) + pool.bias[channels, None, None]
        outputs[row] = (mean + nearest(painted[channels] * 2**MEAN_BITS), scale + nearest(more.float() * 2**SCALE_BITS))


def code_bits(symbols: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Code length in bits of symbols under the distributions, before their tables are rounded (same shapes)."""
    inverse = torch.exp(-(scale.float() / 2**SCALE_BITS + LOG_SCALE_MIN))
    centred = symbols - mean.float() / 2**MEAN_BITS
    parts = [math.log(weight) + _logistic_log_mass(centred, inverse / width) for weight, width in MIXTURE]
    return torch.logaddexp(*parts) / -math.log(2)


def _logistic_log_mass(centred: Tensor, inverse: Tensor) -> Tensor:
    """ln of a logistic's mass on centred +- 1/2, stable far out."""
    upper, lower = (centred + 0.5) * inverse, (centred - 0.5) * inverse
    return torch.log(-torch.expm1(-inverse)) - F.softplus(-upper) - F.softplus(lower)
