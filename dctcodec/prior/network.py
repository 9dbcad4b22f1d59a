"""The prior's network as it is trained: float tensors, but with the quantisation of its exact form in the loop.

A pre-activation residual network on the tile grid. At each reveal it sees every symbol already revealed, in this tile
and its neighbours, and gives each symbol of the reveal a discretised distribution: a mean in 1/16 symbols and the index of a scale
(Austin et al. 2021 and Hoogeboom et al. 2022 for masked diffusion in this order-given form; DESIGN section 3).

Fixed point: activations are 7-bit, in 1/16; weights 8-bit with a power-of-two scale for each output channel, chosen so that
every sum of a layer stays below 2^23. `export.py` turns a trained network into integers, `exact.py` runs them.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.schedule import CHANNELS, REVEALS

ACTIVATION_BITS = 4
"""Fraction bits of an activation: its unit is 1/16."""
ACTIVATION_MAX = 127
WEIGHT_MAX = 127
SUM_LIMIT = 2**23
"""Bound on the sum of a layer's |weight| * 127: half of what float32 holds exactly, the rest is for rounding."""
STREAM_BITS = 8
"""Fraction bits of the residual stream: its unit is 1/256."""
MEAN_BITS = 4
MEAN_LIMIT = 2**15 - 1
"""A mean is an integer in units of 1/16 symbol, within +-MEAN_LIMIT."""
SCALES = 64
SCALE_BITS = 3
LOG_SCALE_MIN = -3.25
"""Scale i of the table is exp(LOG_SCALE_MIN + i / 2^SCALE_BITS), in symbols; i < SCALES."""
LINEAR_GAIN = 4
"""A symbol s enters as LINEAR_GAIN * s, as ASINH_GAIN * asinh(s) and as the magnitude of that, in 1/16 and clamped to +-127. The
magnitudes tell scales: from signed values alone a unit must be spent on each, and there are more symbols than units."""
FEATURES = 3
ASINH_GAIN = 16
MIXTURE = ((0.7, 0.7), (0.3, 1.5))
"""(weight, width) of the two logistics whose sum a symbol is coded with, widths in units of the scale: heavier tails and a
sharper peak than one logistic. The best of a grid on held-out photographs: 1.0 % fewer bits there, before any retraining."""
INPUT_CHANNELS = REVEALS[-1].start
"""Symbols of the last reveal are seen by no other."""
HEAD_GAIN = 4.0
"""The network's raw outputs are this much smaller than means (symbols) and log-scales."""


@dataclass(frozen=True)
class PriorShape:
    """Size of the network: channels of the stream, residual blocks."""

    width: int = 192
    blocks: int = 4


def weight_exponent(weight: Tensor) -> Tensor:
    """Largest e for each row of (out, n) such that weight * 2^e keeps |w| <= 127 and sum |w| * 127 <= 2^23."""
    peak = weight.abs().amax(1).clamp_min(1e-8)
    total = weight.abs().sum(1).clamp_min(1e-8)
    # half a unit of rounding a weight is allowed for in the sum
    allowed = SUM_LIMIT / ACTIVATION_MAX - weight.shape[1] / 2
    room = torch.minimum(WEIGHT_MAX / peak, allowed / total)
    return torch.floor(torch.log2(room)).clamp(0, 14)


def symbol_features(symbols: Tensor) -> Tensor:
    """(B, INPUT_CHANNELS, h, w) symbols to features (B, FEATURES * INPUT_CHANNELS, h, w): linear, logarithmic, its magnitude;
    multiples of 1/16."""
    linear = (symbols * LINEAR_GAIN).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    magnitude = torch.floor(torch.asinh(symbols.abs()) * ASINH_GAIN + 0.5).clamp_max(ACTIVATION_MAX)
    return torch.cat([linear, magnitude * symbols.sign(), magnitude], 1) / 2**ACTIVATION_BITS


def checkerboard(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Parity (row + column) mod 2 of each tile, int64 (height, width)."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return (rows[:, None] + columns[None]) % 2


def visibility(reveal: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Which inputs are known before `reveal`: float (INPUT_CHANNELS, height, width) of 0 and 1."""
    seen = torch.zeros(INPUT_CHANNELS, height, width, device=device)
    now = REVEALS[reveal]
    seen[: now.start] = 1
    if now.parity == 1:
        seen[now.start : now.stop] = (checkerboard(height, width, device) == 0).float()
    return seen


class ExactConv(nn.Module):
    """Convolution whose weights are rounded as in the exact form; gradients pass straight through the rounding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = 1.0):
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.randn(outputs, inputs * kernel**2) * gain * (2 / (inputs * kernel**2)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def rounded(self) -> Tensor:
        scale = torch.exp2(-weight_exponent(self.weight.detach()))
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(self.weight, scale, zero, 0, -WEIGHT_MAX, WEIGHT_MAX)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.rounded().reshape(-1, x.shape[1], self.kernel, self.kernel)
        return F.conv2d(x, weight, padding=self.kernel // 2) + self.bias[:, None, None]


def activation(stream: Tensor) -> Tensor:
    """ReLU on the grid of 1/16, clipped at 127/16."""
    if not torch.is_grad_enabled():  # the same values, six times as fast
        return (stream.float() * 2**ACTIVATION_BITS).round_().clamp_(0, ACTIVATION_MAX).div_(2**ACTIVATION_BITS)
    return torch.fake_quantize_per_tensor_affine(stream.float(), 2.0**-ACTIVATION_BITS, 0, 0, ACTIVATION_MAX)


class Conditioning(nn.Module):
    """Biases for each reveal and for each step: (B,) reveal index and (B,) ln step to (B, layers, width)."""

    def __init__(self, layers: int, width: int, hidden: int = 64):
        super().__init__()
        self.layers = layers
        self.reveal = nn.Parameter(torch.randn(len(REVEALS), layers * width) * 0.1)
        self.step_in = nn.Linear(1, hidden)
        self.step_out = nn.Linear(hidden, layers * width)

    def of_step(self, log_step: Tensor) -> Tensor:
        centred = (log_step - math.log(50.0))[:, None] * 2
        return self.step_out(torch.sin(self.step_in(centred)))

    def forward(self, reveal: Tensor, log_step: Tensor) -> Tensor:
        total = self.reveal[reveal] + self.of_step(log_step)
        return total.reshape(len(reveal), self.layers, -1, 1, 1)


class PriorNetwork(nn.Module):
    """Masked-diffusion network over symbols (B, CHANNELS, h, w)."""

    def __init__(self, shape: PriorShape = PriorShape()):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.input = ExactConv(FEATURES * INPUT_CHANNELS + 1, width, 1)
        self.first = nn.ModuleList(ExactConv(width, width, 3) for _ in range(shape.blocks))
        self.second = nn.ModuleList(ExactConv(width, width, 3, gain=0.3) for _ in range(shape.blocks))
        self.head = ExactConv(width, 2 * len(CHANNELS), 1, gain=0.1)
        # a tile has more scales than the stream has channels: each also depends on every magnitude that is known of its tile
        self.skip = ExactConv(INPUT_CHANNELS, len(CHANNELS), 1, gain=0.0)
        self.conditioning = Conditioning(shape.blocks + 1, width)

    def forward(self, symbols: Tensor, log_step: Tensor, reveals: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Distributions of the symbols of some reveals of each picture, given all that is revealed before.

        `symbols`: float (B, CHANNELS, h, w); `log_step`: (B,), ln of the step; `reveals`: int64 (B, R).
        Returns B * R pairs, picture by picture: mean in 1/16 symbols and scale index, float (n, h, w), n channels of the reveal.
        """
        height, width = symbols.shape[-2:]
        reveal, source = reveals.flatten(), torch.arange(len(symbols)).repeat_interleave(reveals.shape[1])
        parity = (checkerboard(height, width, symbols.device) * 2.0 - 1).expand(len(reveal), 1, -1, -1)
        seen = torch.stack([visibility(r, height, width, symbols.device) for r in reveal.tolist()]).repeat(1, FEATURES, 1, 1)
        features = symbol_features(symbols[:, :INPUT_CHANNELS])[source] * seen
        stream = self.input(torch.cat([features, parity], 1)).float()
        bias = self.conditioning(reveal, log_step[source])
        for block, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            stream = stream + second(activation(first(activation(stream + bias[:, block]))))
        return self._heads(activation(stream + bias[:, -1]), features[:, -INPUT_CHANNELS:], reveal)

    def _heads(self, features: Tensor, magnitudes: Tensor, reveal: Tensor) -> list[tuple[Tensor, Tensor]]:
        outputs: list = [None] * len(reveal)
        weight, skip = self.head.rounded(), self.skip.rounded()
        for number in reveal.unique().tolist():
            where = (reveal == number).nonzero()[:, 0]
            rows = slice(2 * REVEALS[number].start, 2 * REVEALS[number].stop)
            raw = F.conv2d(features[where], weight[rows, :, None, None]) + self.head.bias[rows, None, None]
            mean, log_scale = (raw.float() * HEAD_GAIN).chunk(2, 1)
            channels = slice(REVEALS[number].start, REVEALS[number].stop)
            more = F.conv2d(magnitudes[where], skip[channels, :, None, None]) + self.skip.bias[channels, None, None]
            mean = _round(mean * 2**MEAN_BITS).clamp(-MEAN_LIMIT, MEAN_LIMIT)
            scale = _round((log_scale - LOG_SCALE_MIN) * 2**SCALE_BITS) + _round(more.float() * 2**SCALE_BITS)
            scale = scale.clamp(0, SCALES - 1)
            for position, sample in enumerate(where.tolist()):
                outputs[sample] = (mean[position], scale[position])
        return outputs


def code_bits(symbols: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Code length in bits of symbols under the distributions, before their tables are rounded (same shapes)."""
    inverse = torch.exp(-(scale / 2**SCALE_BITS + LOG_SCALE_MIN))
    centred = symbols - mean / 2**MEAN_BITS
    parts = [math.log(weight) + _logistic_log_mass(centred, inverse / width) for weight, width in MIXTURE]
    return torch.logaddexp(*parts) / -math.log(2)


def distribution_function(x: np.ndarray) -> np.ndarray:
    """P(X <= x) of the distribution at scale 1, for the coder's tables."""
    return sum(weight / (1 + np.exp(-x / width)) for weight, width in MIXTURE)


def _logistic_log_mass(centred: Tensor, inverse: Tensor) -> Tensor:
    """ln of a logistic's mass on centred +- 1/2, stable far out."""
    upper, lower = (centred + 0.5) * inverse, (centred - 0.5) * inverse
    return torch.log(-torch.expm1(-inverse)) - F.softplus(-upper) - F.softplus(lower)


def _round(x: Tensor) -> Tensor:
    return x + (torch.floor(x + 0.5) - x).detach()
