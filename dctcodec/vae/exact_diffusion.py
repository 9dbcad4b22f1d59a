"""The diffusion prior in exact integer arithmetic: the same distributions on every machine (see `exact/planes.py`).

y_t is a whole number n_t of cells of its grid, y_0 a symbol. Everything here maps whole numbers to whole numbers: means in 1/64
cell by integer multiplication, addition and shift, scales as indices of a table. `export.py` makes the tensors.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dctcodec.arrays import to_numpy
from dctcodec.errors import ModelError
from dctcodec.exact.fixed_point import ACTIVATION_MAX, EXACT_LIMIT, STREAM_LIMIT
from dctcodec.exact.layers import stored
from dctcodec.exact.planes import Arithmetic, Operations

PHASE_BITS = 6
"""A mean is kept to 1/64 cell or bin. Deviations are a cell or less, and each of 2 T roundings costs: 1/16 took 1 % more bits."""
TABLE_SHIFT = 16
"""Fraction bits of the tables that give means and features."""
CELL_LIMIT = 2**15 - 1
"""Bound on |n_t|, proved from the tables of the forward chain."""
MEAN_LIMIT = CELL_LIMIT << PHASE_BITS
FEATURE_STEP = 16
"""Features are standardised values in 1/256, cut into a coarse part (1/16) and a fine one."""
CHUNK = 32
"""Tiles that go through the network together: they stay in the processor's cache."""


class ExactDiffusion:
    """Means and scales of both chains, for a batch of tiles. `tensors`: from `export.to_integers`."""

    def __init__(self, tensors: dict[str, np.ndarray], arithmetic: Arithmetic):
        self.channels, self.size, self.bits, self.steps, self.scales = (int(value) for value in tensors["shape"])
        self._network = ExactUNet(tensors, self.channels, self.size, arithmetic)
        parts = ("feature_gain", "feature_offset", "mean_gain", "mean_offset", "mean_step", "scale_base")
        self._tables = {name: tensors[name].astype(np.int64) for name in parts}
        if any(table.shape != (self.steps, self.coefficients) for table in self._tables.values()):
            raise ModelError("the model's tables do not fit together: it is damaged")
        _prove_tables(self._tables)
        self._forward = list(zip(tensors["forward_gain"].tolist(), tensors["forward_offset"].tolist(), strict=True))
        self.forward_scales: list[int] = tensors["forward_scale"].tolist()
        self.last_scale = int(tensors["last_scale"])

    @property
    def coefficients(self) -> int:
        """Coefficients of a tile."""
        return self.channels * self.size**2

    def forward_mean(self, before: np.ndarray, t: int) -> np.ndarray:
        """Mean of y_t given y_{t-1} = `before`, int64, in 1/64 cell of y_t's grid. int64 of the same shape."""
        gain, offset = self._forward[t - 1]
        return (before * gain + offset) >> TABLE_SHIFT

    def prove_forward(self, reach: list[int]) -> None:
        """Raise ModelError unless |n_t| <= CELL_LIMIT wherever y_t lies within `reach`[t - 1] cells of its mean."""
        bound = 2**self.bits - 1
        for (gain, offset), cells in zip(self._forward, reach, strict=True):
            bound = ((abs(gain) * bound + abs(offset)) >> (TABLE_SHIFT + PHASE_BITS)) + 2 + cells
            if bound > CELL_LIMIT:
                raise ModelError("the forward chain of the model leaves the exact range: it is damaged")

    def reverse(self, y: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        """p(y_{t-1} | y_t = `y`), y int64 (n, coefficients): mean in 1/64 cell of y_{t-1}'s grid and scale
        index, int64 (n, coefficients) each. A cell of y_0 is a bin."""
        parts = [self._reverse(y[start : start + CHUNK], t) for start in range(0, len(y), CHUNK)]
        mean, scale = (np.concatenate(column) for column in zip(*parts, strict=True))
        return mean, scale

    def _reverse(self, y: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        row = {name: table[t - 1] for name, table in self._tables.items()}
        standard = (y * row["feature_gain"] + row["feature_offset"]) >> TABLE_SHIFT
        shift, log = self._network(self._features(standard), t)
        mean = (y * row["mean_gain"] + row["mean_offset"] + row["mean_step"] * self._flat(shift)) >> TABLE_SHIFT
        return mean.clip(-MEAN_LIMIT, MEAN_LIMIT), (row["scale_base"] + self._flat(log)).clip(0, self.scales - 1)

    def _features(self, standard: np.ndarray) -> np.ndarray:
        """Standardised values (n, coefficients) in 1/256 to the network's input (3 channels, n, size, size) in 1/16."""
        coarse = ((standard + FEATURE_STEP // 2) // FEATURE_STEP).clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        fine = (standard - coarse * FEATURE_STEP).clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        far = ((standard + FEATURE_STEP * 4) // (FEATURE_STEP * 8)).clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        parts = np.stack([coarse, fine, far]).reshape(3, len(standard), self.channels, self.size, self.size)
        return parts.swapaxes(1, 2).reshape(3 * self.channels, len(standard), self.size, self.size)

    def _flat(self, planes: np.ndarray) -> np.ndarray:
        """(channels, n, size, size) as int64 (n, coefficients)."""
        return planes.swapaxes(0, 1).reshape(-1, self.coefficients).astype(np.int64)


class ExactUNet:
    """`unet.UNet` on whole numbers: inputs in 1/16, the residual stream in 1/256."""

    def __init__(self, tensors: dict[str, np.ndarray], channels: int, size: int, arithmetic: Arithmetic):
        self._channels, self._arithmetic = channels, arithmetic
        names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
        self._layers = {name: stored(tensors, name, arithmetic) for name in names}
        self._blocks = sum(name.startswith("enter.0.") and name.endswith(".first") for name in names)
        self._sides = [size]
        for _ in range(sum(name.startswith("down.") for name in names)):
            self._sides.append(-(-self._sides[-1] // 2))
        maps = [tensors[f"map.{number}"] for number in range(sum(name.startswith("map.") for name in tensors))]
        _prove_biases(tensors["time_bias"], maps)
        self._times = arithmetic.put(tensors["time_bias"])[..., None, None, None]
        # (width, 1, side, side) of each layer that takes a bias
        self._maps = [arithmetic.put(values.T.reshape(values.shape[1], 1, *_square(len(values)))) for values in maps]
        shapes: dict[str, tuple[int | str, ...]] = {"features": (3 * channels, "images", size, size)}
        shapes |= {f"bias{number}": tuple(values.shape) for number, values in enumerate(self._maps)}
        self._run = arithmetic.program(self._network, shapes, images=True)

    def __call__(self, features: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, n, size, size) to shifts in 1/256 and logarithms in scale steps, whole numbers (channels, n, size, size)."""
        biases = {f"bias{number}": self._times[t - 1, number] + values for number, values in enumerate(self._maps)}
        (raw,) = self._run(features=self._arithmetic.put(features), **biases)
        outputs = to_numpy(raw)
        return outputs[: self._channels], outputs[self._channels :]

    def _network(self, run: Operations, features: Any, **biases: Any) -> tuple[Any]:
        bias = iter(biases.values())
        stream, skips = run.convolved(self._layers["input"], features), []
        for scale in range(len(self._sides)):
            if scale:
                skips.append(stream)
                stream = run.strided(self._layers[f"down.{scale - 1}"], run.activation(stream, next(bias)))
            stream = self._stack(run, f"enter.{scale}", stream, bias)
        for number, side in enumerate(reversed(self._sides[:-1])):
            stream = run.clamp(skips.pop() + run.upsampled(stream, side), STREAM_LIMIT)
            stream = self._stack(run, f"leave.{number}", stream, bias)
        return (run.layer(self._layers["head"], run.activation(stream, next(bias))),)

    def _stack(self, run: Operations, name: str, stream: Any, bias: Iterator[Any]) -> Any:
        for block in range(self._blocks):
            first, second = (self._layers[f"{name}.{block}.{part}"] for part in ("first", "second"))
            stream = run.clamp(stream + run.convolved(second, run.hidden(first, stream, next(bias))), STREAM_LIMIT)
        return stream


def _square(positions: int) -> tuple[int, int]:
    """Height and width of a square grid."""
    side = math.isqrt(positions)
    return side, side


def _prove_tables(tables: dict[str, np.ndarray]) -> None:
    # n_t is below 2^17 even in damaged files, the network's outputs are below 2^24
    sizes = (("feature_gain", 17), ("mean_gain", 17), ("mean_step", 24), ("feature_offset", 0), ("mean_offset", 0))
    if any(int(np.abs(tables[name]).max()) >= 2 ** (60 - bits) for name, bits in sizes):
        raise ModelError("the model's tables leave the exact range: it is damaged")


def _prove_biases(times: np.ndarray, maps: list[np.ndarray]) -> None:
    largest = np.abs(times.astype(np.int64)).max((0, 2)) + np.array([np.abs(values.astype(np.int64)).max() for values in maps])
    if int(largest.max()) + STREAM_LIMIT >= EXACT_LIMIT // 2:
        raise ModelError("the model's biases leave the exact range: it is damaged")
