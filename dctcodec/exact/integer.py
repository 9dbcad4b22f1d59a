"""Products of bytes in graphs: activations as uint8, weights as int8, sums as int32, all exact.

onnxruntime rounds to the nearest number, half to even, while the exact layers round down. Twice the result is asked for, which fits
in a byte as activations are at most 127: with t = round((s - 2^(k - 2)) / 2^(k - 1)), half of t, rounded down, is s / 2^k, rounded
down, for every whole number s. (Only where s / 2^(k - 1) is whole do two values tie; then the even one is right.)

Processors with AVX2 but without VNNI add pairs of products in 16 bits; 2 * 127 * 127 fits. All the same the product is tried on the
largest sums before it is used.
"""

from functools import cache

import numpy as np

from dctcodec.exact.fixed_point import ACTIVATION_MAX, EXACT_LIMIT
from dctcodec.exact.graph import Graph, Value
from dctcodec.exact.session import Session

LEAST_SHIFT = 2
"""k is at least this."""


def activation(values: Value, shift: int) -> Value:
    """floor(v / 2^shift) of whole numbers in float32, limited to 0..127, as uint8."""
    lowered = values - float(2 ** (shift - 2))
    doubled = lowered.graph.node("QuantizeLinear", lowered, np.float32(2 ** (shift - 1)), np.uint8(0))
    return _half(doubled)


def convolution(activations: Value, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray) -> Value:
    """floor((W a + offset) / 2^shift) of a 3x3 convolution, limited to 0..127, as uint8. `activations`: uint8 of at most 127;
    `weight`: int8 (outputs, inputs, 3, 3); `offset` and `shift`: (outputs,), `is_in_range` with the weights."""
    one, zero = np.float32(1), np.uint8(0)
    scale, zeros = np.exp2(1.0 - shift).astype(np.float32), np.zeros(len(weight), np.int8)
    lowered = _lowered(offset, shift).astype(np.int32)
    doubled = activations.graph.node(
        "QLinearConv", activations, one, zero, weight, scale, zeros, one, zero, lowered, pads=(1, 1, 1, 1)
    )
    return _half(doubled)


def is_in_range(weight: np.ndarray, offset: np.ndarray, shift: np.ndarray) -> bool:
    """Whether every sum is exact in float32, through which it is scaled."""
    sums = np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * ACTIVATION_MAX + np.abs(_lowered(offset, shift))
    return bool(shift.min() >= LEAST_SHIFT and sums.max() < EXACT_LIMIT)


@cache
def is_exact() -> bool:
    """Whether this machine's product of bytes is right, tried on operands with the largest sums. It takes some milliseconds."""
    inputs, outputs = 32, 16
    random = np.random.default_rng(0)
    weight = (random.integers(0, 2, (outputs, inputs, 3, 3)) * 254 - 127).astype(np.int8)
    weight[0], weight[1] = ACTIVATION_MAX, -ACTIVATION_MAX
    values = (random.integers(0, 2, (1, inputs, 6, 5)) * ACTIVATION_MAX).astype(np.uint8)
    values[..., :3] = ACTIVATION_MAX
    sums = _sums(values[0], weight)
    shift = np.arange(outputs) % 8 + 9
    offset = 64 * 2**shift - sums.reshape(outputs, -1)[:, 7] + np.arange(outputs) % 3 - 1  # near ties
    graph = Graph()
    result = convolution(graph.input("values", "uint8", *values.shape), weight, offset, shift)
    graph.output(result, "result", "uint8", 1, outputs, 6, 5)
    try:
        (found,) = Session(graph.model()).run({"values": values})
    except Exception:  # onnxruntime has exceptions of its own
        return False
    expected = (sums + offset[:, None, None]) >> shift[:, None, None]
    return bool(np.array_equal(found[0], expected.clip(0, ACTIVATION_MAX)))


def _sums(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The sums of a 3x3 convolution of (inputs, h, w), int64."""
    _, height, width = values.shape
    padded = np.pad(values.astype(np.int64), ((0, 0), (1, 1), (1, 1)))
    parts = [
        np.einsum("oi,ihw->ohw", weight[..., row, column].astype(np.int64), padded[:, row : row + height, column : column + width])
        for row in range(3)
        for column in range(3)
    ]
    return np.sum(parts, 0)


def _lowered(offset: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Offsets as onnxruntime's rounding needs them, int64."""
    lowered: np.ndarray = offset - np.exp2(shift - LEAST_SHIFT).astype(np.int64)
    return lowered


def _half(values: Value) -> Value:
    """Half of uint8, rounded down."""
    return values.graph.node("BitShift", values, np.uint8(1), direction="RIGHT")
