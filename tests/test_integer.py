"""The product of bytes by onnxruntime, and what is done where a machine's is wrong."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec.exact import integer
from dctcodec.exact.eager import Eager
from dctcodec.exact.graph import Graph, Value
from dctcodec.exact.layers import Layer, Scaled, Table
from dctcodec.exact.planes import Arithmetic, Operations
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


# --- bytes of both signs, and tables


def table(before: float, after: float, zero: int, arithmetic: Arithmetic, first: int = 128) -> Table:
    values = (np.arange(256) - first) * before
    silu = (np.rint(values / (1 + np.exp(-values)) / after) + zero).clip(0, 255)
    return Table(silu.astype(np.uint8), np.array([before, after], np.float32), first, arithmetic)


def scaled(random: np.random.Generator, outputs: int, inputs: int, arithmetic: Arithmetic) -> Scaled:
    weight = random.integers(-127, 128, (outputs, 9 * inputs)).astype(np.int8)
    offset, scale = random.integers(-(2**17), 2**17, outputs), random.uniform(-1e-2, 1e-2, outputs)
    return Scaled(weight, offset.astype(np.int32), scale.astype(np.float32), 255, arithmetic)


def of_bytes(seed: int, arithmetic: Arithmetic):
    """A residual block of bytes, and squares of it."""
    random = np.random.default_rng(seed)
    before = [(random.uniform(0.01, 0.2), random.uniform(0.01, 0.1)) for _ in range(2)]
    tables = [table(*units, zero, arithmetic, first) for units, zero, first in zip(before, (9, 40), (200, 77), strict=True)]
    layers = [scaled(random, *sizes, arithmetic) for sizes in ((8, CHANNELS), (CHANNELS, 8), (8, CHANNELS))]

    def run(operations: Operations, stream, scale, offset):
        found = operations.looked_up(tables[0], operations.rounded(stream, 5, tables[0].zero))
        hidden = operations.byted(layers[0], found, tables[1].zero, 8, scale[0], offset[0])
        added = operations.byted(layers[1], operations.looked_up(tables[1], hidden), 128)
        stream = stream + operations.lifted(added, 3)
        found = operations.looked_up(tables[0], operations.rounded(stream, 4, tables[0].zero))
        return added, stream, operations.scaled_shuffled(layers[2], found, 2)

    shapes = {"stream": (CHANNELS, "h", "w"), "scale": (1, 8, 1, 1), "offset": (1, 8, 1, 1)}
    return arithmetic.program(run, shapes)


@pytest.mark.parametrize("exact", [True, False])
@given(seed=st.integers(0, 10**6))
def test_blocks_of_bytes_are_the_same_bits(exact: bool, seed: int):
    random = np.random.default_rng(seed)
    stream = random.integers(-(2**13), 2**13, (CHANNELS, 5, 4)).astype(np.float32)
    scale = random.uniform(-0.01, 0.01, (1, 8, 1, 1)).astype(np.float32)
    offset = random.integers(-(2**18), 2**18, (1, 8, 1, 1)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        if not exact:
            patch.setattr(integer, "takes_all_bytes", lambda: False)
            patch.setattr(integer, "_is_silu", lambda *_: False)
        found = of_bytes(seed, Arithmetic("graph"))(stream=stream, scale=scale, offset=offset)
    reference = Arithmetic("float64")
    expected = of_bytes(seed, reference)(
        **{name: reference.put(values) for name, values in {"stream": stream, "scale": scale, "offset": offset}.items()}
    )
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_processors_that_multiply_bytes_do_so():
    """Where it should work, it is used: a mistake in the trial itself would only make it slow."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists() or "vnni" not in facts.read_text():
        pytest.skip("this processor has no products of four bytes")
    assert integer.is_exact() and integer.takes_all_bytes()


def test_silu_is_known_from_its_table():
    made = table(0.05, 0.03, 12, Arithmetic("graph"))
    other = made.values.copy()
    other[200] += 1
    assert integer._is_silu(made.values.tobytes(), made.units.tobytes(), 128)
    assert not integer._is_silu(other.tobytes(), made.units.tobytes(), 128)
    assert not integer._is_silu(made.values.tobytes(), made.units.tobytes(), 127)
