"""The product of bytes by onnxruntime, and what is done where a machine's is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec.exact import integer, planes
from dctcodec.exact.graph import Graph
from dctcodec.exact.planes import Arithmetic, Eager, Layer, Operations
from dctcodec.exact.session import Session

CHANNELS = 6


def network(layer: Layer):
    def run(operations: Operations, stream, bias):
        return (operations.hidden(layer, stream, bias[0]),)

    return run


def made(layer: Layer):
    return Arithmetic("graph").program(network(layer), {"stream": (CHANNELS, "h", "w"), "bias": (1, CHANNELS, 1, 1)})


def values(random: np.random.Generator, shift: np.ndarray) -> tuple[np.ndarray, ...]:
    weight = random.integers(-127, 128, (len(shift), 9 * CHANNELS)).astype(np.int8)
    offset = random.integers(-(2**18), 2**18, len(shift)).astype(np.int32)
    return weight, offset, shift.astype(np.int32)


@given(st.integers(0, 10**6), st.integers(-3, 9))
def test_hidden_layers_are_those_of_whole_numbers(seed: int, least: int):
    random = np.random.default_rng(seed)
    layer = Layer(*values(random, least + np.arange(8) % 5), Arithmetic("graph"))
    stream = random.integers(-(2**12), 2**12, (CHANNELS, 5, 4)).astype(np.float32)
    bias = random.integers(-(2**10), 2**10, (1, CHANNELS, 1, 1)).astype(np.float32)
    (found,) = made(layer)(stream=stream, bias=bias)
    assert np.array_equal(found, Eager().hidden(layer, stream, bias[0]))


def test_every_sum_near_a_tie_is_rounded_down():
    sums, shift = np.arange(-40, 2200), 4
    graph = Graph()
    graph.output(integer.activation(graph.input("sums", "float32", len(sums)), shift), "bytes", "uint8", len(sums))
    (found,) = Session(graph.model()).run({"sums": sums.astype(np.float32)})
    assert np.array_equal(found, (sums >> shift).clip(0, 127))


def test_a_machine_whose_product_is_wrong_multiplies_in_float32(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    layer = Layer(*values(random, np.full(8, 4)), Arithmetic("graph"))
    stream, bias = np.full((CHANNELS, 3, 3), 500, np.float32), np.zeros((1, CHANNELS, 1, 1), np.float32)
    expected = made(layer)(stream=stream, bias=bias)
    half = integer._half
    monkeypatch.setattr(integer, "_half", lambda values: half(half(values)))
    integer.is_exact.cache_clear()
    assert not integer.is_exact()
    try:
        assert np.array_equal(made(layer)(stream=stream, bias=bias), expected)
    finally:
        monkeypatch.undo()
        integer.is_exact.cache_clear()
    assert integer.is_exact()


def test_layers_out_of_the_range_of_bytes_are_multiplied_in_float32():
    random = np.random.default_rng(0)
    weight, offset, shift = values(random, np.full(8, 20))
    offset[:] = 2**24 - 1 - 127 * abs(weight.astype(int)).sum(1).max()
    layer = Layer(weight, offset, shift, Arithmetic("graph"))
    assert planes._as_bytes(layer) is None
    stream, bias = np.full((CHANNELS, 3, 3), 2000, np.float32), np.zeros((1, CHANNELS, 1, 1), np.float32)
    assert np.array_equal(made(layer)(stream=stream, bias=bias)[0], Eager().hidden(layer, stream, bias[0]))
