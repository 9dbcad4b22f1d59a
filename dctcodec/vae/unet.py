"""The diffusion prior's U-Net as it is trained: float tensors with the quantisation of its exact form in the loop.

Table 6 of the paper gives the size; integers can run this form (see `exact/quantised.py`): residual blocks of two 3x3
convolutions with clipped ReLUs, no normalisation, no attention. Frequencies are not translation invariant, so every layer adds a
map of biases for the step and another for the position.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.exact.quantised import ExactConv, activation
from dctcodec.modules import ModuleList

TIME_WAVES = 8
"""Cosines over the steps that the layers share in training, beside a free table: neighbouring steps are alike."""


class Biases(nn.Module):
    """Biases of every layer: one for each step and channel, one for each channel and position.

    `sides`: height and width of each layer's input. Call with steps int64 (B,) in 0 .. steps - 1 and a layer's number."""

    cosines: Tensor

    def __init__(self, steps: int, width: int, sides: list[int]):
        super().__init__()
        self.waves = nn.Parameter(torch.randn(TIME_WAVES, len(sides), width) * 0.2)
        self.table = nn.Parameter(torch.zeros(steps, len(sides), width))
        self.maps = nn.ParameterList(torch.randn(width, side, side) * 0.1 for side in sides)
        phase = (torch.arange(steps)[:, None] + 0.5) / steps * torch.arange(TIME_WAVES) * math.pi
        self.register_buffer("cosines", torch.cos(phase) / (1 + torch.arange(TIME_WAVES)), persistent=False)

    def of_steps(self) -> Tensor:
        """(steps, layers, width)."""
        return self.table + torch.einsum("tk,klw->tlw", self.cosines, self.waves)

    def forward(self, step: Tensor) -> Iterator[Tensor]:
        """Layer by layer (B, width, side, side)."""
        chosen = self.of_steps()[step]
        for layer, position in enumerate(self.maps):
            yield chosen[:, layer, :, None, None] + position


class Residual(nn.Module):
    """stream + second(act(first(act(stream + bias))))."""

    def __init__(self, width: int):
        super().__init__()
        self.first = ExactConv(width, width, 3)
        self.second = ExactConv(width, width, 3, gain=0.2)

    def forward(self, stream: Tensor, bias: Tensor) -> Tensor:
        return stream + self.second(activation(self.first(activation(stream + bias))))


class UNet(nn.Module):
    """features (B, inputs, size, size) in 1/16, step int64 (B,) from 0 -> (B, outputs, size, size)."""

    def __init__(self, inputs: int, outputs: int, size: int, steps: int, width: int, scales: int, blocks: int):
        super().__init__()
        sides = scale_sides(size, scales)
        self.input = ExactConv(inputs, width, 3)
        self.enter = ModuleList(_stack(width, blocks) for _ in sides)
        self.down = ModuleList(ExactConv(width, width, 3) for _ in sides[1:])
        self.leave = ModuleList(_stack(width, blocks) for _ in sides[1:])
        self.head = ExactConv(width, outputs, 1, gain=0.0)
        self.biases = Biases(steps, width, layer_sides(sides, blocks))

    def forward(self, features: Tensor, step: Tensor) -> Tensor:
        bias = self.biases(step)
        stream = self.input(features).float()
        skips: list[Tensor] = []
        for scale, stack in enumerate(self.enter):
            if scale:
                skips.append(stream)
                stream = strided(self.down[scale - 1], activation(stream + next(bias))).float()
            for block in stack:
                stream = block(stream, next(bias))
        for stack in self.leave:
            stream = skips[-1] + enlarge(stream, skips.pop().shape[-1])
            for block in stack:
                stream = block(stream, next(bias))
        return self.head(activation(stream + next(bias)))


def scale_sides(size: int, scales: int) -> list[int]:
    """Side of the grid at each scale, halved and rounded up."""
    return [-(-size // 2**scale) for scale in range(scales)]


def layer_sides(sides: list[int], blocks: int) -> list[int]:
    """Side of each layer that takes a bias, in the order of the forward pass."""
    enter = [side for scale, side in enumerate(sides) for side in [*sides[scale - 1 : scale], *[side] * blocks]]
    leave = [side for side in reversed(sides[:-1]) for _ in range(blocks)]
    return [*enter, *leave, sides[0]]


def strided(conv: ExactConv, x: Tensor) -> Tensor:
    """A 3x3 convolution at every second position, from the first."""
    weight = conv.rounded().reshape(-1, x.shape[1], 3, 3)
    return F.conv2d(x, weight, stride=2, padding=1) + conv.bias[:, None, None]


def enlarge(x: Tensor, side: int) -> Tensor:
    """Every position twice in both directions, cut to (B, n, side, side)."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :side, :side]


def _stack(width: int, blocks: int) -> ModuleList[Residual]:
    return ModuleList(Residual(width) for _ in range(blocks))
