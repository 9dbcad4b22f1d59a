"""Products of bytes in graphs: activations as uint8, weights as int8, sums as int32, all exact.

onnxruntime multiplies a sum by a power of 2, limits it and rounds it to the nearest number, half to even, as the exact layers do.

Processors with AVX2 but without VNNI add pairs of products in 16 bits; 2 * 127 * 127 fits. All the same the product is tried on the
largest sums before it is used.
"""

from functools import cache

import numpy as np

from dctcodec.exact.fixed_point import ACTIVATION_MAX, BRANCH_MIN
from dctcodec.exact.graph import CONTRIBUTED, Graph, Value
from dctcodec.exact.session import Session


class Bytes(Value):
    """A value of uint8, or of int8 where it is an input."""


class Raised(Bytes):
    """A value of uint8 that is -BRANCH_MIN too large."""


def activation(values: Value, step: int) -> Bytes:
    """Values in float32 over `step`, a power of 2, rounded to the nearest and limited to 0..127."""
    return _limited(values.graph.node("QuantizeLinear", values, np.float32(step), np.uint8(0)))


def convolution(activations: Bytes, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray, least: int) -> Bytes:
    """(W a + offset) / 2^shift of a 3x3 convolution, rounded to the nearest and limited to `least` .. 127, `Raised` where that
    is BRANCH_MIN. `activations`: (1, height, width, inputs) of at most 127; `weight`: int8 (outputs, inputs, 3, 3); `offset` and
    `shift`: (outputs,); `least`: 0 or BRANCH_MIN."""
    one, scale, zeros = np.float32(1), np.exp2(-shift).astype(np.float32), np.zeros(len(weight), np.int8)
    inputs = (activations, one, np.uint8(0), weight, scale, zeros, one, np.uint8(-least), offset.astype(np.int32))
    result = activations.graph.node(f"{CONTRIBUTED}QLinearConv", *inputs, pads=(1, 1, 1, 1), channels_last=1)
    return Raised(result.graph, result.name) if least == BRANCH_MIN else _limited(result)


@cache
def is_exact() -> bool:
    """Whether this machine's product of bytes is right, tried on operands with the largest sums. It takes some milliseconds."""
    inputs, outputs = 32, 16
    random = np.random.default_rng(0)
    weight = (random.integers(0, 2, (outputs, inputs, 3, 3)) * 254 - 127).astype(np.int8)
    weight[0], weight[1] = ACTIVATION_MAX, -ACTIVATION_MAX
    values = (random.integers(0, 2, (1, 6, 5, inputs)) * ACTIVATION_MAX).astype(np.uint8)
    values[:, :3] = ACTIVATION_MAX
    sums, shift = _sums(values[0], weight), np.arange(outputs) % 8 + 9
    ties = 2 ** (shift - 1) + np.arange(outputs) % 3 - 1
    offset = 32 * 2**shift + ties - sums.reshape(-1, outputs)[7]
    expected = np.rint((sums + offset) / 2**shift)
    try:
        tried = {least: _tried(values, weight, offset, shift, least) for least in (0, BRANCH_MIN)}
    except Exception:  # onnxruntime has exceptions of its own
        return False
    return all(np.array_equal(found, expected.clip(least, ACTIVATION_MAX)) for least, found in tried.items())


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
