"""Products of bytes in graphs: activations as uint8, weights as int8, sums as int32, all exact.

onnxruntime multiplies a sum by a number of float32, limits it and rounds it to the nearest number, half to even, as the exact
layers do.

Processors with AVX2 but without VNNI add pairs of products in 16 bits; 2 * 127 * 127 fits, 2 * 255 * 127 does not. So both products
are tried on the largest sums before they are used.
"""

from collections.abc import Sequence
from functools import cache
from typing import Self

import numpy as np

from dctcodec.exact.fixed_point import ACTIVATION_MAX, BRANCH_MIN
from dctcodec.exact.graph import CONTRIBUTED, INT32, Graph, Operand, Value
from dctcodec.exact.session import Session

AROUND = (1, 1, 1, 1)
"""Zeros on all sides of what a 3x3 layer takes: above, left, below, right."""


class Bytes(Value):
    """A value of uint8, or of int8 where it is an input."""


class Raised(Bytes):
    """A value of uint8 that is `zero` too large."""

    def __init__(self, graph: Graph, name: str, zero: int = -BRANCH_MIN):
        super().__init__(graph, name)
        self.zero = zero

    def alike(self, other: Value) -> Self:
        return type(self)(other.graph, other.name, self.zero)


def raised(values: Value, zero: int) -> Raised:
    return Raised(values.graph, values.name, zero)


def looked_up(values: Raised, table: np.ndarray, units: np.ndarray) -> Raised:
    """What a table, uint8 (256,), gives for bytes. `units`: those of a byte before and after a silu that may be this table."""
    graph, zero = values.graph, table[values.zero]
    if _is_silu(table.tobytes(), units.tobytes(), values.zero):
        found = _silu(graph, values, units[0], np.uint8(values.zero), units[1], zero)
    else:
        found = chosen(table, values)
    return raised(found, int(zero))


def chosen(table: np.ndarray, values: Value) -> Value:
    """The entry (n,) of a table at each place, by its number. `Gather` would take four times as long."""
    graph = values.graph
    numbers = graph.node("Reshape", graph.node("Cast", values, to=INT32), np.array([-1]))
    return graph.node("Reshape", graph.node("GatherElements", table, numbers, axis=0), graph.node("Shape", values))


def scaled_convolution(
    found: Raised, weight: np.ndarray, offset: Operand, scale: Operand, zero: int, pads: Sequence[int] = AROUND
) -> Raised:
    """(W a + offset) * scale of a 3x3 convolution, rounded to the nearest and limited to bytes, -`zero` to 255 - `zero`. `found`:
    (1, height, width, inputs); `weight`: int8 (outputs, inputs, 3, 3); `offset` and `scale`: float32 (outputs,); `pads`: as
    AROUND."""
    graph, one = found.graph, np.float32(1)
    offset = graph.node("Cast", offset, to=INT32) if isinstance(offset, Value) else np.asarray(offset).astype(np.int32)
    inputs = (found, one, np.uint8(found.zero), weight, scale, np.zeros(len(weight), np.int8))
    result = graph.node(f"{CONTRIBUTED}QLinearConv", *inputs, one, np.uint8(zero), offset, pads=pads, channels_last=1)
    return raised(result, zero)


def _silu(graph: Graph, values: Value, unit: Operand, zero: Operand, new_unit: Operand, new_zero: Operand) -> Value:
    floats = graph.node("DequantizeLinear", values, unit, zero)
    return graph.node("QuantizeLinear", graph.node(f"{CONTRIBUTED}QuickGelu", floats, alpha=1.0), new_unit, new_zero)


@cache
def _silu_of_bytes() -> Session:
    """The silu of all bytes, in units and with zeros that are inputs."""
    graph = Graph()
    values = graph.constant(np.arange(256, dtype=np.uint8))
    kinds = {"unit": "float32", "zero": "uint8", "new_unit": "float32", "new_zero": "uint8"}
    table = _silu(graph, values, *(graph.input(name, kind) for name, kind in kinds.items()))
    graph.output(table, "table", "uint8", 256)
    return Session(graph.model())


@cache
def _is_silu(table: bytes, units: bytes, zero: int) -> bool:
    """Whether onnxruntime's silu gives a table on this machine."""
    before, after = np.frombuffer(units, np.float32)
    zeros = [np.array(one, np.uint8) for one in (zero, table[zero])]
    inputs = {"unit": np.array(before), "zero": zeros[0], "new_unit": np.array(after), "new_zero": zeros[1]}
    try:
        (found,) = _silu_of_bytes().run(inputs)
    except Exception:  # onnxruntime has exceptions of its own
        return False
    return bool(found.tobytes() == table)


def activation(values: Value, step: int) -> Bytes:
    """Values in float32 over `step`, a power of 2, rounded to the nearest and limited to 0..127."""
    return _limited(values.graph.node("QuantizeLinear", values, np.float32(step), np.uint8(0)))


def convolution(
    activations: Bytes, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray, least: int, pads: Sequence[int] = AROUND
) -> Bytes:
    """(W a + offset) / 2^shift of a 3x3 convolution, rounded to the nearest and limited to `least` .. 127, `Raised` where that
    is BRANCH_MIN. `activations`: (1, height, width, inputs) of at most 127; `weight`: int8 (outputs, inputs, 3, 3); `offset` and
    `shift`: (outputs,); `least`: 0 or BRANCH_MIN; `pads`: as AROUND."""
    one, scale, zeros = np.float32(1), np.exp2(-shift).astype(np.float32), np.zeros(len(weight), np.int8)
    inputs = (activations, one, np.uint8(0), weight, scale, zeros, one, np.uint8(-least), offset.astype(np.int32))
    result = activations.graph.node(f"{CONTRIBUTED}QLinearConv", *inputs, pads=pads, channels_last=1)
    return Raised(result.graph, result.name) if least == BRANCH_MIN else _limited(result)


@cache
def is_exact() -> bool:
    """Whether this machine's product of bytes is right, tried on operands with the largest sums. It takes some milliseconds."""
    weight, values = _largest(ACTIVATION_MAX)
    outputs = len(weight)
    sums, shift = _sums(values[0], weight), np.arange(outputs) % 8 + 9
    ties = 2 ** (shift - 1) + np.arange(outputs) % 3 - 1
    offset = 32 * 2**shift + ties - sums.reshape(-1, outputs)[7]
    expected = np.rint((sums + offset) / 2**shift)
    try:
        tried = {least: _tried(values, weight, offset, shift, least) for least in (0, BRANCH_MIN)}
    except Exception:  # onnxruntime has exceptions of its own
        return False
    return all(np.array_equal(found, expected.clip(least, ACTIVATION_MAX)) for least, found in tried.items())


@cache
def takes_all_bytes() -> bool:
    """The same for terms up to 255, and `scaled_convolution`."""
    weight, values = _largest(255)
    random, zero, middle = np.random.default_rng(1), 12, 100
    sums = _sums(values[0].astype(np.int64) - zero, weight)
    scale = (random.uniform(50, 100, len(weight)) / np.abs(sums).max()).astype(np.float32)
    scale[:4] *= np.array([-1, 1, -1, 2], np.float32)
    offset = random.integers(-2000, 2000, len(weight))
    expected = np.rint((sums + offset).astype(np.float32) * scale).clip(-middle, 255 - middle)
    graph = Graph()
    found = raised(graph.input("values", "uint8", *values.shape), zero)
    offsets, scales = (graph.input(name, "float32", len(weight)) for name in ("offset", "scale"))
    graph.output(scaled_convolution(found, weight, offsets, scales, middle), "result", "uint8", *values.shape[:3], len(weight))
    try:
        (result,) = Session(graph.model()).run({"values": values, "offset": offset.astype(np.float32), "scale": scale})
    except Exception:  # onnxruntime has exceptions of its own
        return False
    return np.array_equal(result[0].astype(np.int64) - middle, expected)


def _largest(most: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (outputs, inputs, 3, 3) and values (1, height, width, inputs) of up to `most` with the largest sums."""
    inputs, outputs = 32, 16
    random = np.random.default_rng(0)
    weight = (random.integers(0, 2, (outputs, inputs, 3, 3)) * 254 - 127).astype(np.int8)
    weight[0], weight[1] = ACTIVATION_MAX, -ACTIVATION_MAX
    values = (random.integers(0, 2, (1, 6, 5, inputs)) * most).astype(np.uint8)
    values[:, :3] = most
    return weight, values


def _tried(values: np.ndarray, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray, least: int) -> np.ndarray:
    """`convolution` by this machine, with `least` added."""
    graph = Graph()
    activations = graph.input("values", "uint8", *values.shape)
    result = convolution(Bytes(graph, activations.name), weight, offset, shift, least)
    graph.output(result, "result", "uint8", *values.shape[:3], len(weight))
    (found,) = Session(graph.model()).run({"values": values})
    lowered: np.ndarray = found[0].astype(np.int64) + least
    return lowered


def _sums(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The sums of a 3x3 convolution of (h, w, inputs), int64 (h, w, outputs)."""
    height, width, _ = values.shape
    padded = np.pad(values.astype(np.int64), ((1, 1), (1, 1), (0, 0)))
    parts = [
        np.einsum("oi,hwi->hwo", weight[..., row, column].astype(np.int64), padded[row : row + height, column : column + width])
        for row in range(3)
        for column in range(3)
    ]
    return np.sum(parts, 0)


def _limited(values: Value) -> Bytes:
    limited = values.graph.node("Clip", values, np.uint8(0), np.uint8(ACTIVATION_MAX))
    return Bytes(limited.graph, limited.name)
