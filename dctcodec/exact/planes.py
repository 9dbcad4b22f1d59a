"""Exact layers over planes (channels, height, width): networks that are written once and run by NumPy, torch or onnxruntime.

All values are whole numbers. No partial sum of a layer reaches 2^24 (`prove_bound`), so float32 and float64 hold all of them and
the order of summation cannot matter. A network is a function of an `Operations` and of arrays or values; `Arithmetic.program`
makes it a function of arrays. For `kind` "graph" it is traced once into a graph for onnxruntime, in float32; else it runs as it is
written.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from dctcodec.arrays import Array, Place, cast, library, permuted, placed, zeros_like
from dctcodec.errors import ModelError
from dctcodec.exact import integer
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, EXACT_LIMIT, STREAM_BITS
from dctcodec.exact.graph import FLOAT, Attribute, Graph, Size, Value
from dctcodec.exact.session import Session

_STEP = 2 ** (STREAM_BITS - ACTIVATION_BITS)
"""Units of a stream in one of an activation."""


def prove_bound(weight: np.ndarray, offset: np.ndarray) -> None:
    """Raise ModelError unless no partial sum of a layer can reach 2^24: weights (outputs, terms), offsets (outputs,)."""
    sums = np.abs(np.asarray(weight, np.int64)).sum(1) * ACTIVATION_MAX + np.abs(np.asarray(offset, np.int64))
    if (bound := sums.max()) >= EXACT_LIMIT:
        raise ModelError(f"the model's weights break the bound of exact arithmetic ({bound} >= {EXACT_LIMIT}): it is damaged")


class Operations(Protocol):
    """What networks are made of. Planes are arrays (channels, height, width), or values of a graph. Planes of several images,
    (channels, images, height, width), take all of it but `celled`, `spread` and `pooled`."""

    def layer(self, layer: "Layer", planes: Any) -> Any:
        """A 1x1 layer."""

    def convolved(self, layer: "Layer", planes: Any) -> Any:
        """A 3x3 layer, zeros outside."""

    def strided(self, layer: "Layer", planes: Any) -> Any:
        """A 3x3 layer at every second position in both directions, from the first, zeros outside."""

    def doubled(self, planes: Any, side: int) -> Any:
        """Every position twice in both directions, cut to `side` x `side`."""

    def celled(self, layer: "Layer", planes: Any, side: int) -> Any:
        """A layer of cells of `side` x `side`, whose terms are ordered by (plane, row, column)."""

    def spread(self, planes: Any, side: int) -> Any:
        """Each `side`^2 channels as a square: channel (k * side + row) * side + column is row and column of channel k."""

    def activation(self, stream: Any, bias: Any) -> Any:
        """ReLU of a stream in 1/256 with a bias (channels, 1, 1), in 1/16, limited to 127."""

    def hidden(self, layer: "Layer", stream: Any, bias: Any) -> Any:
        """`activation` of a 3x3 layer of the `activation` of a stream with a bias."""

    def clamp(self, planes: Any, limit: int) -> Any:
        """Limited to +- `limit`."""

    def pooled(self, planes: Any, side: int, gain: int) -> Any:
        """Means of squares of `side` x `side`, times `gain`, rounded, half up, and limited to 127; both powers of 2."""


Network = Callable[..., tuple[Any, ...]]
"""Of an `Operations` and, by name, planes and biases."""


class Arithmetic:
    """How whole numbers are multiplied. `kind`: "float64" (the reference), "float32", or "graph", float32 by onnxruntime, which
    needs NumPy arrays. `place`: None for NumPy, or a torch.device."""

    def __init__(self, kind: str, place: Place = None):
        self.kind, self.place = kind, place
        self.dtype = "float64" if kind == "float64" else "float32"

    def put(self, values: Array) -> Array:
        """An array at its place, of its dtype."""
        return cast(placed(values, self.place) if isinstance(values, np.ndarray) else values, self.dtype)

    def program(
        self, network: Network, shapes: Mapping[str, tuple[Size, ...]], images: bool = False
    ) -> Callable[..., tuple[Array, ...]]:
        """A network as a function of arrays of these shapes. `images`: of arrays (channels, images, height, width), all of them."""
        if self.kind == "graph":
            return Traced.program(network, shapes, images)
        return lambda **arrays: network(Eager(), **arrays)


def arithmetic_for(place: Place) -> Arithmetic:
    """The fastest arithmetic that is exact at a place."""
    if place is None:
        return Arithmetic("graph")
    return Arithmetic("float32" if place.type == "cpu" else "float64", place)  # matrix units of GPUs may round sums of float32


class Layer:
    """One convolution: out = floor((W a + offset) * 2^-shift), W int8, a in +-127.

    `weight`: int8 (outputs, kernel * kernel * inputs), for 3x3 layers ordered by (row, column, input); `offset`: int32 (outputs,),
    bias and rounding half together; `shift`: int32 (outputs,).
    """

    def __init__(self, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray, arithmetic: Arithmetic):
        prove_bound(weight, offset)
        self.weight = arithmetic.put(weight)
        self.offset = arithmetic.put(offset)[:, None]
        self.scale = arithmetic.put(np.exp2(-shift.astype(np.float64)))[:, None]

    def __call__(self, planes: Array, rows: slice = slice(None)) -> Array:
        """Planes (terms, ...) to (outputs[rows], ...)."""
        sums = self.weight[rows] @ planes.reshape(len(planes), math.prod(planes.shape[1:]))
        sums += self.offset[rows]
        sums *= self.scale[rows]
        return library(sums).floor(sums, out=sums).reshape(-1, *planes.shape[1:])


def stored(tensors: dict[str, np.ndarray], name: str, arithmetic: Arithmetic) -> Layer:
    """The layer of a name among a model's tensors."""
    return Layer(tensors[f"{name}.weight"], tensors[f"{name}.offset"], tensors[f"{name}.shift"], arithmetic)


class Eager:
    """`Operations` on arrays."""

    def layer(self, layer: Layer, planes: Array) -> Array:
        return layer(planes)

    def convolved(self, layer: Layer, planes: Array) -> Array:
        return layer(library(planes).concatenate(_neighbours(planes, 1)))

    def strided(self, layer: Layer, planes: Array) -> Array:
        return layer(library(planes).concatenate(_neighbours(planes, 2)))

    def doubled(self, planes: Array, side: int) -> Array:
        positions = np.arange(side) // 2
        return planes[..., positions, :][..., positions]

    def celled(self, layer: Layer, planes: Array, side: int) -> Array:
        count, height, width = planes.shape
        cells = permuted(planes.reshape(count, height // side, side, width // side, side), 0, 2, 4, 1, 3)
        return layer(cells.reshape(-1, height // side, width // side))

    def spread(self, planes: Array, side: int) -> Array:
        _, height, width = planes.shape
        squares = permuted(planes.reshape(-1, side, side, height, width), 0, 3, 1, 4, 2)
        return squares.reshape(-1, height * side, width * side)

    def activation(self, stream: Array, bias: Array | float) -> Array:
        scaled = library(stream).floor((stream + (bias + _STEP // 2)) / _STEP)
        return scaled.clip(0, ACTIVATION_MAX)

    def hidden(self, layer: Layer, stream: Array, bias: Array) -> Array:
        return self.activation(self.convolved(layer, self.activation(stream, bias)), 0.0)

    def clamp(self, planes: Array, limit: int) -> Array:
        return planes.clip(-limit, limit)

    def pooled(self, planes: Array, side: int, gain: int) -> Array:
        count, height, width = planes.shape
        sums = planes.reshape(count, height // side, side, width // side, side).sum(4).sum(2)
        return library(planes).floor(sums * (gain / side**2) + 0.5).clip(0, ACTIVATION_MAX)


def _neighbours(planes: Array, stride: int) -> list[Array]:
    """Planes (..., height, width) as each of the nine neighbours of a position sees them, zeros outside; or of every `stride`-th
    position."""
    *others, height, width = planes.shape
    padded = zeros_like(planes, (*others, height + 2, width + 2))
    padded[..., 1:-1, 1:-1] = planes
    starts = [(row, column) for row in range(3) for column in range(3)]
    return [padded[..., row : row + height : stride, column : column + width : stride] for row, column in starts]


class Traced:
    """`Operations` that write a graph. Its values are (images, channels, height, width), of one image where planes are of one."""

    def __init__(self, graph: Graph):
        self.graph = graph

    @classmethod
    def program(
        cls, network: Network, shapes: Mapping[str, tuple[Size, ...]], images: bool = False
    ) -> Callable[..., tuple[np.ndarray, ...]]:
        graph = Graph()
        values = {
            name: graph.input(name, "float32", *((shape[1], shape[0], *shape[2:]) if images else (1, *shape)))
            for name, shape in shapes.items()
        }
        for number, value in enumerate(network(cls(graph), **values)):
            graph.output(value, f"output{number}", "float32", *(f"{number}{axis}" for axis in "nchw"))
        session = Session(graph.model())

        def run(**arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            outputs = session.run({name: array.swapaxes(0, 1) if images else array[None] for name, array in arrays.items()})
            return tuple(output.swapaxes(0, 1) if images else output[0] for output in outputs)

        return run

    def layer(self, layer: Layer, planes: Value) -> Value:
        return self._convolution(layer, planes, 1)

    def convolved(self, layer: Layer, planes: Value) -> Value:
        return self._rounded(layer, _kernel(layer), planes, pads=(1, 1, 1, 1))

    def strided(self, layer: Layer, planes: Value) -> Value:
        return self._rounded(layer, _kernel(layer), planes, pads=(1, 1, 1, 1), strides=(2, 2))

    def doubled(self, planes: Value, side: int) -> Value:
        positions = np.arange(side) // 2
        return self.graph.node("Gather", self.graph.node("Gather", planes, positions, axis=2), positions, axis=3)

    def celled(self, layer: Layer, planes: Value, side: int) -> Value:
        return self._convolution(layer, planes, side)

    def spread(self, planes: Value, side: int) -> Value:
        return self.graph.node("DepthToSpace", planes, blocksize=side, mode="CRD")

    def activation(self, stream: Value, bias: Value | float) -> Value:
        scaled = (stream + (bias + _STEP / 2)) * (1 / _STEP)
        return self.graph.node("Clip", self.graph.node("Floor", scaled), 0.0, float(ACTIVATION_MAX))

    def hidden(self, layer: Layer, stream: Value, bias: Value) -> Value:
        integers = _as_bytes(layer) if integer.is_exact() else None
        if integers is None:
            return self.activation(self.convolved(layer, self.activation(stream, bias)), 0.0)
        bytes_ = integer.activation(stream + (bias + _STEP / 2), int(math.log2(_STEP)))
        return self.graph.node("Cast", integer.convolution(bytes_, *integers), to=FLOAT)

    def clamp(self, planes: Value, limit: int) -> Value:
        return self.graph.node("Clip", planes, float(-limit), float(limit))

    def pooled(self, planes: Value, side: int, gain: int) -> Value:
        mean = self.graph.node("AveragePool", planes, kernel_shape=(side, side), strides=(side, side))
        return self.graph.node("Clip", self.graph.node("Floor", mean * float(gain) + 0.5), 0.0, float(ACTIVATION_MAX))

    def _convolution(self, layer: Layer, planes: Value, side: int) -> Value:
        weight = layer.weight.reshape(len(layer.weight), -1, side, side)
        return self._rounded(layer, weight, planes, strides=(side, side))

    def _rounded(self, layer: Layer, weight: np.ndarray, planes: Value, **where: Attribute) -> Value:
        scale = layer.scale[:, 0]
        sums = self.graph.node("Conv", planes, weight * scale[:, None, None, None], layer.offset[:, 0] * scale, **where)
        return self.graph.node("Floor", sums)


def _kernel(layer: Layer) -> np.ndarray:
    """The weights of a 3x3 layer, (outputs, inputs, 3, 3)."""
    return layer.weight.reshape(len(layer.weight), 3, 3, -1).transpose(0, 3, 1, 2)


def _as_bytes(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Weights, offsets and shifts of `integer.convolution` that make activations of a 3x3 layer's sums; None where they leave its
    range."""
    shift = np.rint(-np.log2(layer.scale[:, 0])).astype(np.int64)
    if shift.min() < integer.LEAST_SHIFT - int(math.log2(_STEP)) + 1:
        return None
    offset = layer.offset[:, 0].astype(np.int64) + np.exp2(shift + math.log2(_STEP) - 1).astype(np.int64)
    values = _kernel(layer).astype(np.int8), offset, shift + int(math.log2(_STEP))
    return values if integer.is_in_range(*values) else None
