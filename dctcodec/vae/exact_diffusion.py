"""The diffusion prior in exact integer arithmetic: the same distributions on every machine (see `exact/layers.py`).

y_t is a whole number n_t of cells of its grid, y_0 a symbol. Everything here maps whole numbers to whole numbers: means in 1/64
cell by integer multiplication, addition and shift, scales as indices of a table. `export.py` makes the tensors.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from dctcodec.errors import ModelError
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, EXACT_LIMIT, STREAM_BITS, STREAM_LIMIT
from dctcodec.exact.layers import Arithmetic, patches, stored

PHASE_BITS = 6
"""A mean is kept to 1/64 cell or bin. Deviations are a cell or less, and each of 2 T roundings costs: 1/16 took 1 % more bits."""
TABLE_SHIFT = 16
"""Fraction bits of the tables that give means and features."""
CELL_LIMIT = 2**15 - 1
"""Bound on |n_t|, proved from the tables of the forward chain."""
MEAN_LIMIT = CELL_LIMIT << PHASE_BITS
FEATURE_STEP = 16
"""Features are standardised values in 1/256, cut into a coarse part (1/16) and a fine one."""
_HALF = 2 ** (STREAM_BITS - ACTIVATION_BITS - 1)
CHUNK = 32
"""Tiles that go through the network together: their patches stay in the processor's cache."""


class ExactDiffusion:
    """Means and scales of both chains, for a batch of tiles. `tensors`: from `export.to_integers`."""

    def __init__(self, tensors: dict[str, Tensor], arithmetic: Arithmetic):
        self.channels, self.size, self.bits, self.steps, self.scales = (int(value) for value in tensors["shape"])
        self._network = ExactUNet(tensors, self.channels, self.size, arithmetic)
        parts = ("feature_gain", "feature_offset", "mean_gain", "mean_offset", "mean_step", "scale_base")
        self._tables = {name: tensors[name].to(arithmetic.device, torch.int64) for name in parts}
        if any(table.shape != (self.steps, self.coefficients) for table in self._tables.values()):
            raise ModelError("the model's tables do not fit together: it is damaged")
        _prove_tables(self._tables)
        self._forward = list(zip(tensors["forward_gain"].tolist(), tensors["forward_offset"].tolist(), strict=True))
        self.forward_scales: list[int] = tensors["forward_scale"].tolist()
        self.last_scale = int(tensors["last_scale"])
        self.device = arithmetic.device

    @property
    def coefficients(self) -> int:
        """Coefficients of a tile."""
        return self.channels * self.size**2

    def forward_mean(self, before: Tensor, t: int) -> Tensor:
        """Mean of y_t given y_{t-1} = `before` (n, coefficients), in 1/64 cell of y_t's grid. int64."""
        gain, offset = self._forward[t - 1]
        return (before.long() * gain + offset) >> TABLE_SHIFT

    def prove_forward(self, reach: list[int]) -> None:
        """Raise ModelError unless |n_t| <= CELL_LIMIT wherever y_t lies within `reach`[t - 1] cells of its mean."""
        bound = 2**self.bits - 1
        for (gain, offset), cells in zip(self._forward, reach, strict=True):
            bound = ((abs(gain) * bound + abs(offset)) >> (TABLE_SHIFT + PHASE_BITS)) + 2 + cells
            if bound > CELL_LIMIT:
                raise ModelError("the forward chain of the model leaves the exact range: it is damaged")

    def reverse(self, y: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """p(y_{t-1} | y_t = `y`), y int (n, coefficients): mean in 1/64 cell of y_{t-1}'s grid and scale
        index, int64 each. A cell of y_0 is a bin."""
        parts = [self._reverse(part, t) for part in y.to(self.device, torch.int64).split(CHUNK)]
        mean, scale = (torch.cat(column) for column in zip(*parts, strict=True))
        return mean, scale

    def _reverse(self, y: Tensor, t: int) -> tuple[Tensor, Tensor]:
        row = {name: table[t - 1] for name, table in self._tables.items()}
        standard = (y * row["feature_gain"] + row["feature_offset"]) >> TABLE_SHIFT
        shift, log = self._network(self._features(standard), t).long().unbind(1)
        mean = (y * row["mean_gain"] + row["mean_offset"] + row["mean_step"] * shift) >> TABLE_SHIFT
        return mean.clamp(-MEAN_LIMIT, MEAN_LIMIT), (row["scale_base"] + log).clamp(0, self.scales - 1)

    def _features(self, standard: Tensor) -> Tensor:
        """Standardised values (n, coefficients) in 1/256 to the network's input (n, positions, 3 channels) in 1/16."""
        coarse = ((standard + FEATURE_STEP // 2) // FEATURE_STEP).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        fine = (standard - coarse * FEATURE_STEP).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        far = ((standard + FEATURE_STEP * 4) // (FEATURE_STEP * 8)).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        return torch.stack([coarse, fine, far], 1).reshape(len(standard), 3 * self.channels, -1).transpose(1, 2)


class ExactUNet:
    """`unet.UNet` on whole numbers: inputs in 1/16, the residual stream in 1/256."""

    def __init__(self, tensors: dict[str, Tensor], channels: int, size: int, arithmetic: Arithmetic):
        self.channels, self.size, self._arithmetic = channels, size, arithmetic
        # narrow layers are a small part of the work, in odd sizes: not worth proving int8 kernels for
        plain = Arithmetic("float32", arithmetic.device) if arithmetic.kind == "int8" else arithmetic
        names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
        self._layers = {name: stored(tensors, name, plain if name in ("input", "head") else arithmetic) for name in names}
        self._blocks = sum(name.startswith("enter.0.") and name.endswith(".first") for name in names)
        self._downs = sum(name.startswith("down.") for name in names)
        maps = [tensors[f"map.{number}"] for number in range(sum(name.startswith("map.") for name in tensors))]
        map_of = [table.to(arithmetic.device, arithmetic.dtype) for table in maps]
        _prove_biases(tensors["time_bias"], maps)
        times = tensors["time_bias"].to(arithmetic.device, arithmetic.dtype)
        # for each layer (steps, positions, width), the half of the activation's rounding included
        self._biases = [times[:, layer, None] + position + _HALF for layer, position in enumerate(map_of)]

    def __call__(self, features: Tensor, t: int) -> Tensor:
        """(n, positions, inputs) to shifts in 1/256 and logarithms in scale steps, (n, 2, coefficients)."""
        count, biases = len(features), iter([table[t - 1] for table in self._biases])
        inputs = features.to(self._layers["input"].arithmetic.operand)
        stream, skips, side = self._layers["input"](_around(inputs, self.size)).reshape(count, self.size**2, -1), [], self.size
        for scale in range(self._downs + 1):
            if scale:
                skips.append((stream, side))
                sums = self._layers[f"down.{scale - 1}"](_around(self._act(stream, next(biases)), side, stride=2))
                stream, side = sums.reshape(count, -1, sums.shape[1]), -(-side // 2)
            stream = self._stack(f"enter.{scale}", stream, side, biases)
        for number in range(self._downs):
            (skip, outer), inner = skips.pop(), side
            stream, side = (skip + _enlarge(stream, inner, outer)).clamp(-STREAM_LIMIT, STREAM_LIMIT), outer
            stream = self._stack(f"leave.{number}", stream, side, biases)
        raw = self._layers["head"](self._act(stream, next(biases)).flatten(0, 1))
        return raw.reshape(count, side**2, 2, self.channels).permute(0, 2, 3, 1).flatten(2)

    def _stack(self, name: str, stream: Tensor, side: int, biases: Iterator[Tensor]) -> Tensor:
        for block in range(self._blocks):
            hidden = self._layers[f"{name}.{block}.first"](_around(self._act(stream, next(biases)), side))
            update = self._layers[f"{name}.{block}.second"](_around(self._act(hidden.reshape(stream.shape), _HALF), side))
            stream = update.reshape(stream.shape).add_(stream).clamp_(-STREAM_LIMIT, STREAM_LIMIT)
        return stream

    def _act(self, stream: Tensor, bias: Tensor | int) -> Tensor:
        """Clipped ReLU of stream plus bias, in 1/16; the bias includes the rounding's half."""
        total = (stream + bias).mul_(2.0 ** (ACTIVATION_BITS - STREAM_BITS))
        return total.floor_().clamp_(0, ACTIVATION_MAX).to(self._arithmetic.operand)


def _around(x: Tensor, side: int, stride: int = 1) -> Tensor:
    """The patches of tiles (n, side^2, c)."""
    return patches(x.reshape(len(x), side, side, -1), stride)


def _enlarge(x: Tensor, inner: int, outer: int) -> Tensor:
    """Every position twice in both directions, cut to a side of `outer`: (n, inner^2, c) to (n, outer^2, c)."""
    grid = x.reshape(len(x), inner, inner, -1).repeat_interleave(2, 1).repeat_interleave(2, 2)
    return grid[:, :outer, :outer].reshape(len(x), outer**2, -1)


def _prove_tables(tables: dict[str, Tensor]) -> None:
    # n_t is below 2^17 even in damaged files, the network's outputs are below 2^24
    sizes = (("feature_gain", 17), ("mean_gain", 17), ("mean_step", 24), ("feature_offset", 0), ("mean_offset", 0))
    if any(int(tables[name].abs().max()) >= 2 ** (60 - bits) for name, bits in sizes):
        raise ModelError("the model's tables leave the exact range: it is damaged")


def _prove_biases(times: Tensor, maps: list[Tensor]) -> None:
    largest = times.long().abs().amax((0, 2)) + torch.stack([table.long().abs().max() for table in maps])
    if int(largest.max()) + STREAM_LIMIT >= EXACT_LIMIT // 2:
        raise ModelError("the model's biases leave the exact range: it is damaged")
