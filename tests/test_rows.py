"""Networks that go through planes some rows of tiles at a time give what they give at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec.exact import integer, rows
from dctcodec.exact.layers import Layer
from dctcodec.exact.planes import Arithmetic, Operations

WIDTH = 6
SIDES = 8, 4
"""Pixels of a feature at both scales."""
REACH = 1
"""Rows of tiles: two 3x3 layers of 8 pixels and two of 4 take in 24 pixels."""
GRAPH, REFERENCE = Arithmetic("graph"), Arithmetic("float64")


def layer(random: np.random.Generator, outputs: int, terms: int, arithmetic: Arithmetic) -> Layer:
    weight, offset = random.integers(-127, 128, (outputs, terms)), random.integers(-(2**10), 2**10, outputs)
    return Layer(weight.astype(np.int8), offset.astype(np.int32), 8 + np.arange(outputs) % 5, arithmetic)


def two_scales(seed: int, arithmetic: Arithmetic, reach: int | None):
    """A block at the first scale, one at the second one, an image, and means of activations."""
    random = np.random.default_rng(seed)
    received = [layer(random, WIDTH, 3 * side**2, arithmetic) for side in SIDES]
    first, second, last = (layer(random, WIDTH, 9 * WIDTH, arithmetic) for _ in range(3))
    up, paint = layer(random, 4 * WIDTH, WIDTH, arithmetic), layer(random, 3 * SIDES[1] ** 2, 9 * WIDTH, arithmetic)

    def network(run: Operations, image, told, bias):
        image = run.floored(image, 3, 100)
        stream = run.unshuffled(received[0], image, SIDES[0])
        stream = run.sum(stream, run.branch(second, run.hidden(first, stream, bias[0]), 2))
        coarse = run.activation(stream, bias[0])
        fine = run.unshuffled(received[1], image, SIDES[1]) + run.chosen(arithmetic.put(np.eye(WIDTH) * 50), told)
        stream = run.clamp(run.sum(fine, run.shuffled(up, coarse, 2)), 2000)
        stream = run.sum(stream, run.branch(last, run.activation(stream, bias[0])))
        return run.painted(paint, run.activation(stream, bias[0]), SIDES[1]), run.pooled(coarse, 4, 4), stream

    shapes = {"image": (3, "height", "width"), "told": ("down", "across"), "bias": (1, WIDTH, 1, 1)}
    return arithmetic.program(network, shapes, reach=reach)


@pytest.mark.parametrize("of_bytes", [True, False])
@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 2))
def test_rows_of_a_network_are_those_of_the_whole(of_bytes: bool, seed: int, height: int, width: int):
    random = np.random.default_rng(seed)
    inputs = {
        "image": random.integers(-(2**10), 2**10, (3, 32 * height, 32 * width)).astype(np.float32),
        "told": random.integers(0, WIDTH, (8 * height, 8 * width)),
        "bias": random.integers(-(2**9), 2**9, (1, WIDTH, 1, 1)).astype(np.float32),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CACHED", 1)
        if not of_bytes:
            patch.setattr(integer, "is_exact", lambda: False)
        found = two_scales(seed, GRAPH, REACH)(**inputs)
    expected = two_scales(seed, REFERENCE, None)(**inputs)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.array_equal(one, other)
