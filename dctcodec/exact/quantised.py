"""Layers for training: float, with the rounding of their exact form in the loop.

Fixed point: activations are 7-bit, in 1/16; weights 8-bit with a power-of-two scale for each output channel, chosen so that
every sum of a layer stays below 2^23.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, BRANCH_MIN, STREAM_BITS, SUM_LIMIT, WEIGHT_MAX


def weight_exponent(weight: Tensor) -> Tensor:
    """Largest e for each row of (out, n) such that weight * 2^e keeps |w| <= 127 and sum |w| * 127 <= 2^23."""
    peak = weight.abs().amax(1).clamp_min(1e-8)
    total = weight.abs().sum(1).clamp_min(1e-8)
    # half a unit of rounding a weight is allowed for in the sum
    allowed = SUM_LIMIT / ACTIVATION_MAX - weight.shape[1] / 2
    room = torch.minimum(WEIGHT_MAX / peak, allowed / total)
    return torch.floor(torch.log2(room)).clamp(0, 14)


class ExactConv(nn.Module):
    """Convolution whose weights are rounded as in the exact form; gradients pass straight through the rounding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = 1.0):
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.randn(outputs, inputs * kernel**2) * gain * (2 / (inputs * kernel**2)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def rounded(self, rows: slice = slice(None)) -> Tensor:
        """The weights of some of the outputs, (n, terms)."""
        weight = self.weight[rows]
        scale = torch.exp2(-weight_exponent(weight.detach()))
        zero = torch.zeros_like(scale)  # whole numbers would be checked, and a GPU waited for
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -WEIGHT_MAX, WEIGHT_MAX)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.rounded().reshape(-1, x.shape[1], self.kernel, self.kernel)
        return F.conv2d(x, weight, padding=self.kernel // 2) + self.bias[:, None, None]


def activation(stream: Tensor) -> Tensor:
    """ReLU on the grid of 1/16, clipped at 127/16."""
    return on_grid(stream, 0)


def on_grid(values: Tensor, lowest: int = -ACTIVATION_MAX) -> Tensor:
    """Values on the grid of 1/16, clipped to [`lowest`, 127] / 16."""
    if not torch.is_grad_enabled():  # the same values, six times as fast
        return (values.float() * 2**ACTIVATION_BITS).round_().clamp_(lowest, ACTIVATION_MAX).div_(2**ACTIVATION_BITS)
    return torch.fake_quantize_per_tensor_affine(values.float(), 2.0**-ACTIVATION_BITS, 0, lowest, ACTIVATION_MAX)


def branch(values: Tensor, bits: int) -> Tensor:
    """What a residual block adds to a stream: a byte in units of 2^`bits` / 256."""
    return torch.fake_quantize_per_tensor_affine(values.float(), 2.0 ** (bits - STREAM_BITS), 0, BRANCH_MIN, ACTIVATION_MAX)


def nearest(x: Tensor) -> Tensor:
    """The nearest whole numbers; gradients pass straight through."""
    return x + (torch.floor(x + 0.5) - x).detach()


class Conditioning(nn.Module):
    """Biases for each of `count` reveals (or bands) and for each step: (B,) index and (B,) ln step to (B, layers, width, 1, 1).
    Where tiles have steps of their own: (B,) and (B, h, w) to (B, layers, width, h, w)."""

    def __init__(self, count: int, layers: int, width: int, hidden: int = 64):
        super().__init__()
        self.layers, self.width = layers, width
        self.reveal = nn.Parameter(torch.randn(count, layers * width) * 0.1)
        self.step_in = nn.Linear(1, hidden)
        self.step_out = nn.Linear(hidden, layers * width)

    def of_step(self, log_step: Tensor) -> Tensor:
        centred = (log_step - math.log(50.0))[..., None] * 2
        return self.step_out(torch.sin(self.step_in(centred)))

    def forward(self, reveal: Tensor, log_step: Tensor) -> Tensor:
        log_steps = log_step.reshape(len(reveal), *(log_step.shape[1:] or (1, 1)))
        total = self.reveal[reveal][:, None, None] + self.of_step(log_steps)
        return total.unflatten(-1, (self.layers, -1)).permute(0, 3, 4, 1, 2)
