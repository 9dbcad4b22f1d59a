"""Layers of bytes for training: float, with the rounding of `layers.Scaled` and `layers.Table` in the loop.

A value between two layers is a byte in a unit of its own: one for all channels. Units are measured before training (`measured`) and
stay. Rounding changes the mean of a layer's outputs a little, so the biases are corrected for it (`corrected`). Gradients pass
straight through the rounding, but not where a value is limited.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.exact.fixed_point import STREAM_BITS, STREAM_LIMIT, WEIGHT_MAX

FIRST_UNIT = 1 / 16
"""The unit of bytes that were never measured."""
MOST = 255
"""The largest magnitude of what a table gives."""
SHARE = 1e-4
"""Share of the lowest values that may be limited. The highest may not: they are few in most images, and many in some."""
LEAST_INPUT = (-4.0, -16.0)
"""What silu does with less than this matters little: of bytes, and of wider numbers."""
SUM_LIMIT = 15.5e6
"""Bound on the sum of a layer's |weight| * most: what is left to 2^24 is for the bias."""
UNIT = ".unit"
"""Suffix of the units of a layer with integer weights: weight = integer * unit, one unit for each output."""
_SMALLEST = 1e-3


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, unit: Tensor | float, lowest: int, highest: int) -> Tensor:
        whole = torch.round(values / unit)
        ctx.save_for_backward((whole >= lowest) & (whole <= highest))
        return whole.clamp_(lowest, highest).mul_(unit)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None, None


_rounding = ContextVar("rounding", default=True)


@contextmanager
def unrounded() -> Iterator[None]:
    """A context in which nothing is rounded: for gradients along which small changes count."""
    token = _rounding.set(False)
    try:
        yield
    finally:
        _rounding.reset(token)


def rounded(values: Tensor, unit: Tensor | float, lowest: int, highest: int) -> Tensor:
    """The nearest multiples of a unit from `lowest` to `highest`, float32."""
    if not _rounding.get():
        return values.float()
    result: Tensor = _Rounded.apply(values.float(), unit, lowest, highest)
    return result


def on_stream(values: Tensor) -> Tensor:
    """Values as a stream has them, in 1/256."""
    return rounded(values, 2.0**-STREAM_BITS, -STREAM_LIMIT, STREAM_LIMIT)


class Bytes(nn.Module):
    """Values rounded to bytes: `unit` * (byte - `zero`), byte 0..255. `dyadic`: the unit is a power of two; `least`: lower values
    may be limited to this; `middle`: zero stays in the middle; `bits`: more than 8 for wider numbers."""

    unit: Tensor
    zero: Tensor

    def __init__(self, dyadic: bool = False, least: float = -math.inf, middle: bool = False, bits: int = 8):
        super().__init__()
        self.least, self.middle = least, middle
        self.bits, self.most = bits, 2**bits - 1
        self.register_buffer("unit", torch.tensor(FIRST_UNIT * 2 ** (8 - bits)))
        self.register_buffer("zero", torch.tensor(2 ** (bits - 1)))
        self.dyadic, self.lowest = dyadic, -(2 ** (bits - 1))
        self.seen: list[tuple[float, float]] | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.seen is None:
            return rounded(values, self.unit, self.lowest, self.lowest + self.most)
        self.seen.append(_ends(values))
        return values.float()

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self.lowest = -int(self.zero)  # a GPU need not be asked for it later

    @property
    def is_measured(self) -> bool:
        return bool(self.unit != FIRST_UNIT * 2 ** (8 - self.bits))

    def measure(self) -> None:
        """Choose a unit and a zero for all that was seen."""
        low, high = (end(found) for end, found in zip((min, max), zip(*(self.seen or [(0.0, 0.0)]), strict=True), strict=True))
        low, high, self.seen = max(min(low, -_SMALLEST), self.least), max(high, _SMALLEST), None
        if self.middle:
            low, high = min(low, -high), max(high, -low)
        unit = (high - low) / (self.most - 1)
        if self.dyadic:  # a quarter: a unit that is a little too small costs less than one that is nearly twice too large
            unit = 2.0 ** math.ceil(math.log2(unit) - 0.25)
        # what is left on either side, or lacks, is shared
        zero = (self.most + 1) // 2 if self.middle else round((self.most - (low + high) / unit) / 2)
        self.unit.fill_(unit)
        self.zero.fill_(min(max(zero, 1), self.most - 1))
        self.lowest = -int(self.zero)


class Activation(nn.Module):
    """silu, of bytes and as bytes, or of numbers of more bits (before, after). `dyadic`: of the unit before it."""

    def __init__(self, dyadic: bool, bits: tuple[int, int] = (8, 8)):
        super().__init__()
        before, after = bits
        self.before, self.after = Bytes(dyadic, LEAST_INPUT[before > 8], bits=before), Bytes(bits=after)

    def forward(self, values: Tensor) -> Tensor:
        return self.after(F.silu(self.before(values)))


class ByteConv(nn.Conv2d):
    """A convolution whose weights are rounded to bytes, with a unit for each output: chosen at each step of training, and kept
    after it. `most`: the largest magnitude of a term."""

    bias: Tensor
    unit: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, most: int = MOST):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.most = most
        self.register_buffer("unit", torch.empty(outputs))
        self.choose_units()

    def forward(self, values: Tensor) -> Tensor:
        if not _rounding.get():
            return F.conv2d(values, self.weight, self.bias, padding=self.padding)
        if self.training:
            self.choose_units()
        whole = self.whole() * self.unit[:, None, None, None]
        return F.conv2d(values, self.weight + (whole - self.weight).detach(), self.bias, padding=self.padding)

    @torch.no_grad()
    def choose_units(self) -> None:
        """So that the largest weight is 127, if no sum leaves the exact range then."""
        size = self.weight.abs().flatten(1)
        self.unit.copy_(torch.maximum(size.amax(1).clamp_min(1e-12) / WEIGHT_MAX, size.sum(1) * (self.most / SUM_LIMIT)))

    @torch.no_grad()
    def whole(self) -> Tensor:
        """The weights in their units."""
        return torch.round(self.weight / self.unit[:, None, None, None]).clamp(-WEIGHT_MAX, WEIGHT_MAX)


def as_floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of weights that are whole numbers with a unit."""
    floats = dict(tensors)
    for name in tensors:
        layer = name.removesuffix(".weight")
        if layer != name and tensors[name].dtype == torch.int8 and layer + UNIT in tensors:
            floats[name] = tensors[name].float() * tensors[layer + UNIT][:, None, None, None]
    return floats


def _ends(values: Tensor) -> tuple[float, float]:
    """What only SHARE of the values are below, and the largest."""
    flat = values.detach().float().flatten()
    return flat.kthvalue(1 + int(len(flat) * SHARE)).values.item(), flat.max().item()


@contextmanager
def _watching(network: nn.Module) -> Iterator[None]:
    layers = [layer for layer in network.modules() if isinstance(layer, Bytes)]
    for layer in layers:
        layer.seen = []
    yield
    for layer in layers:
        layer.measure()


def measured(network: nn.Module, run: Callable[[], object]) -> None:
    """Choose the units of all bytes of a network from the values that it has, not rounded, while `run` uses it."""
    with _watching(network), torch.no_grad():
        run()


@torch.no_grad()
def corrected(network: nn.Module, run: Callable[[], object]) -> None:
    """Change biases so that the mean of each output of a convolution is what it is where nothing is rounded (Nagel et al. 2019,
    https://arxiv.org/abs/1906.04721, section 4.2), while `run` uses the network once."""
    layers, means = [layer for layer in network.modules() if isinstance(layer, ByteConv)], {}

    def keep(layer: nn.Module, _: Any, outputs: Tensor) -> None:
        means[layer] = _means(outputs)

    def correct(layer: ByteConv, _: Any, outputs: Tensor) -> Tensor:
        missing = means[layer] - _means(outputs)
        layer.bias += missing
        return outputs + missing[:, None, None]

    for rounding, hook in ((unrounded(), keep), (nullcontext(), correct)):
        handles = [layer.register_forward_hook(hook) for layer in layers]
        with rounding:
            run()
        for handle in handles:
            handle.remove()


def _means(outputs: Tensor) -> Tensor:
    """The mean of each channel of planes (n, channels, h, w), float32 (channels,)."""
    return outputs.float().mean((0, 2, 3))
