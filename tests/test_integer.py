"""The product of bytes by onnxruntime, and what is done where a machine's is wrong."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec.exact import integer
from dctcodec.exact.graph import Graph, Value
from dctcodec.exact.planes import Arithmetic, Eager, Layer, Operations
from dctcodec.exact.session import Session

CHANNELS = 6


def network(first: Layer, second: Layer, bits: int):
    def run(operations: Operations, stream, bias):
        hidden = operations.hidden(first, stream, bias[0])
        return hidden, stream + operations.branch(second, hidden, bits), operations.painted(second, hidden, 1)

    return run


def made(*layers: Layer, bits: int = 3):
    shapes = {"stream": (CHANNELS, "h", "w"), "bias": (1, CHANNELS, 1, 1)}
    return Arithmetic("graph").program(network(*layers, bits), shapes)


def layer(random: np.random.Generator, outputs: int, terms: int, shift: int, largest: int = 2**18) -> Layer:
    weight = random.integers(-127, 128, (outputs, 9 * terms)).astype(np.int8)
    offset = random.integers(-largest, largest, outputs).astype(np.int32)
    return Layer(weight, offset, (shift + np.arange(outputs) % 5).astype(np.int32), Arithmetic("graph"))


def of_shift(layer: Layer, shift: int) -> Layer:
    """The first outputs of a layer, as many as a stream has channels."""
    return Layer(layer.weight[:CHANNELS], layer.offset[:CHANNELS, 0], np.full(CHANNELS, shift), Arithmetic("graph"))


def equal(layers: tuple[Layer, Layer], stream: np.ndarray, bias: np.ndarray, bits: int = 3) -> bool:
    expected = network(*layers, bits)(Eager(), stream, bias)
    found = made(*layers, bits=bits)(stream=stream, bias=bias)
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@given(st.integers(0, 10**6), st.integers(-3, 12), st.integers(0, 8))
def test_layers_of_bytes_are_those_of_whole_numbers(seed: int, least: int, bits: int):
    random = np.random.default_rng(seed)
    layers = layer(random, 8, CHANNELS, least), of_shift(layer(random, CHANNELS, 8, least), least)
    stream = random.integers(-(2**12), 2**12, (CHANNELS, 5, 4)).astype(np.float32)
    bias = random.integers(-(2**10), 2**10, (1, CHANNELS, 1, 1)).astype(np.float32)
    assert equal(layers, stream, bias, bits)


def test_a_sum_between_two_numbers_becomes_the_even_one():
    sums = np.arange(-40, 2200)
    graph = Graph()
    graph.output(integer.activation(graph.input("sums", "float32", len(sums)), 16), "bytes", "uint8", len(sums))
    (found,) = Session(graph.model()).run({"sums": sums.astype(np.float32)})
    assert np.array_equal(found, np.rint(sums / 16).clip(0, 127))
    assert found[list(sums).index(8)] == 0 and found[list(sums).index(24)] == 2


@pytest.fixture
def a_wrong_product(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    limited = integer._limited

    def halved(values: Value) -> integer.Bytes:
        return limited(values.graph.node("BitShift", values, np.uint8(1), direction="RIGHT"))

    monkeypatch.setattr(integer, "_limited", halved)
    integer.is_exact.cache_clear()
    yield
    monkeypatch.undo()
    integer.is_exact.cache_clear()
    assert integer.is_exact()


def test_a_machine_whose_product_is_wrong_multiplies_in_float32(a_wrong_product: None):
    assert not integer.is_exact()
    random = np.random.default_rng(0)
    layers = layer(random, 8, CHANNELS, 4), of_shift(layer(random, CHANNELS, 8, 6), 8)
    assert equal(layers, np.full((CHANNELS, 3, 3), 500, np.float32), np.zeros((1, CHANNELS, 1, 1), np.float32))


def test_the_largest_offsets_are_exact():
    random = np.random.default_rng(0)
    layers = layer(random, 8, CHANNELS, 20), layer(random, CHANNELS, 8, 6)
    weight = layers[0].weight.astype(np.int8)
    offset = np.full(8, 2**24 - 1 - 127 * abs(weight.astype(int)).sum(1).max())
    first = Layer(weight, offset, np.full(8, 20), Arithmetic("graph"))
    assert equal((first, layers[1]), np.full((CHANNELS, 3, 3), 2000, np.float32), np.zeros((1, CHANNELS, 1, 1), np.float32))
