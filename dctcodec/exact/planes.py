"""Exact layers over planes (channels, height, width): networks that are written once and run by NumPy, torch or onnxruntime.

All values are whole numbers. No partial sum of a layer reaches 2^24 (`prove_bound`), so float32 and float64 hold all of them and
the order of summation cannot matter. A network is a function of an `Operations` and of arrays or values; `Arithmetic.program`
makes it a function of arrays. For `kind` "graph" it is traced once into a graph for onnxruntime, else it runs as it is written.

Activations, and what a residual block adds to its stream, fit into bytes. In a graph their layers are products of bytes
(`integer.py`), several times as fast as those of float32. They are rounded to the nearest number, half to even, all else is
rounded down.
"""

import math
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np

from dctcodec.arrays import Array, Place, cast, library, permuted, placed, zeros_like
from dctcodec.errors import ModelError
from dctcodec.exact import integer
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, BRANCH_MIN, EXACT_LIMIT, STREAM_BITS
from dctcodec.exact.graph import FLOAT, Graph, Operand, Size, Value
from dctcodec.exact.integer import Bytes, Raised
from dctcodec.exact.session import Session

Order = slice | np.ndarray
"""Of a layer's outputs."""
MOST_BITS = 12
"""Of what a table is for."""
OUTPUT_LIMIT = 2**21
"""The results of a `Scaled` layer are smaller: what is made of them stays exact."""
_STEP = 2 ** (STREAM_BITS - ACTIVATION_BITS)
"""Units of a stream in one of an activation."""


def prove_bound(weight: np.ndarray, offset: np.ndarray, most: int = ACTIVATION_MAX) -> None:
    """Raise ModelError unless no partial sum of a layer can reach 2^24: weights (outputs, terms), offsets (..., outputs), terms of
    at most `most`."""
    sums = np.abs(np.asarray(weight, np.int64)).sum(1) * most + np.abs(np.asarray(offset, np.int64))
    if (bound := sums.max()) >= EXACT_LIMIT:
        raise ModelError(f"the model's weights break the bound of exact arithmetic ({bound} >= {EXACT_LIMIT}): it is damaged")


def rescaled(whole: Array, bits: float) -> Array:
    """floor(x / 2^bits + 1/2), in place."""
    whole *= 2.0**-bits
    whole += 0.5
    return library(whole).floor(whole, out=whole)


class Operations(Protocol):
    """What networks are made of. Planes are arrays (channels, height, width), or values of a graph. Planes of several images,
    (channels, images, height, width), take all of it but `celled`, `chosen`, `raised`, `painted` and `pooled`. *Activations* are
    planes of 0..127. *Bytes* are planes of -`zero`..255 - `zero`; of them are the methods from `rounded` on."""

    def layer(self, layer: "Layer", activations: Any) -> Any:
        """A 1x1 layer."""

    def raised(self, layer: "Layer", activations: Any, side: int) -> Any:
        """A 1x1 layer whose outputs are squares: `spread` of it."""

    def convolved(self, layer: "Layer", planes: Any) -> Any:
        """A 3x3 layer, zeros outside."""

    def strided(self, layer: "Layer", activations: Any) -> Any:
        """A 3x3 layer at every second position in both directions, from the first, zeros outside."""

    def doubled(self, planes: Any, side: int) -> Any:
        """Every position twice in both directions, cut to `side` x `side`."""

    def celled(self, layer: "Layer", planes: Any, side: int) -> Any:
        """A layer of cells of `side` x `side`, whose terms are ordered by (plane, row, column)."""

    def chosen(self, rows: Array, index: Any) -> Any:
        """A row (channels,) of an array at each position, by its number, (height, width)."""

    def activation(self, stream: Any, bias: Any) -> Any:
        """ReLU of a stream in 1/256 with a bias (channels, 1, 1), in 1/16, rounded to the nearest and limited to 127."""

    def hidden(self, layer: "Layer", stream: Any, bias: Any) -> Any:
        """Activations: a 3x3 layer of the `activation` of a stream with a bias, rounded to the nearest and limited to 0..127."""

    def branch(self, layer: "Layer", activations: Any, bits: int = 0) -> Any:
        """A 3x3 layer, zeros outside, rounded to the nearest, limited to -128..127, and times 2^`bits`."""

    def painted(self, layer: "Layer", activations: Any, side: int) -> Any:
        """`branch` of a layer whose outputs are squares: `spread` of it."""

    def clamp(self, planes: Any, limit: int) -> Any:
        """Limited to +- `limit`."""

    def pooled(self, activations: Any, side: int, gain: int) -> Any:
        """Means of squares of `side` x `side`, times `gain`, rounded, half up, and limited to 127; both powers of 2."""

    def rounded(self, stream: Any, bits: int, zero: int, size: int = 8) -> Any:
        """Bytes: a stream over 2^`bits`, rounded to the nearest and limited. `size`: more than 8 for numbers of so many bits."""

    def looked_up(self, table: "Table", values: Any) -> Any:
        """What a table gives for bytes, or for the numbers that it is for."""

    def byted(self, layer: "Scaled", found: Any, zero: int, size: int = 8, scale: Any = None, offset: Any = None) -> Any:
        """Bytes: a 3x3 layer of what a table gave, zeros outside, rounded and limited. `scale`, `offset`: (outputs, 1, 1), for the
        layer's own."""

    def squares(self, layer: "Scaled", found: Any, side: int) -> Any:
        """A 3x3 layer of what a table gave, zeros outside, whose outputs are squares: `spread` of it."""

    def lifted(self, values: Any, bits: int) -> Any:
        """Bytes times 2^`bits`."""

    def drawn(self, latent: "Latent", stream: Any, noise: Any) -> Any:
        """What a latent adds to a stream. `noise`: (latents, height, width), float32."""


def spread(planes: Array, side: int) -> Array:
    """Each `side`^2 channels as a square: channel (k * side + row) * side + column is row and column of channel k."""
    _, height, width = planes.shape
    squares = permuted(planes.reshape(-1, side, side, height, width), 0, 3, 1, 4, 2)
    return squares.reshape(-1, height * side, width * side)


Network = Callable[..., tuple[Any, ...]]
"""Of an `Operations` and, by name, planes and biases."""


class Arithmetic:
    """How whole numbers are multiplied. `kind`: "float64" (the reference), "float32", or "graph", float32 and bytes by onnxruntime,
    which needs NumPy arrays. `place`: None for NumPy, or a torch.device."""

    def __init__(self, kind: str, place: Place = None):
        self.kind, self.place = kind, place
        self.dtype = "float64" if kind == "float64" else "float32"

    def put(self, values: Array) -> Array:
        """An array at its place, of its dtype."""
        return cast(placed(values, self.place) if isinstance(values, np.ndarray) else values, self.dtype)

    def put_small(self, values: Array) -> Array:
        """`put` of values in -128 .. 127, for the `small` ones of `program`."""
        return cast(values, "int8") if self.kind == "graph" else self.put(values)

    def program(
        self, network: Network, shapes: Mapping[str, tuple[Size, ...]], images: bool = False, small: Collection[str] = ()
    ) -> Callable[..., tuple[Array, ...]]:
        """A network as a function of arrays of these shapes, which `put` has made, but for those that `put_small` makes; arrays
        (height, width) are numbers for `Operations.chosen`. `images`: of arrays (channels, images, height, width), all of them.
        In a graph, outputs are of any kind that holds them."""
        if self.kind == "graph":
            return Traced.program(network, shapes, images, small)
        return lambda **arrays: network(Eager(), **arrays)


def arithmetic_for(place: Place) -> Arithmetic:
    """The fastest arithmetic that is exact at a place."""
    if place is None:
        return Arithmetic("graph")
    return Arithmetic("float32" if place.type == "cpu" else "float64", place)  # matrix units of GPUs may round sums of float32


class Layer:
    """One convolution: (W a + offset) * 2^-shift, W int8, a in +-127, rounded down, or by `nearest` to the nearest number.

    `weight`: int8 (outputs, kernel * kernel * inputs), for 3x3 layers ordered by (row, column, input); `offset`: int32 (outputs,),
    the bias, and a half where the layer is rounded down; `shift`: int32 (outputs,).
    """

    most = ACTIVATION_MAX
    """The largest magnitude of a term."""

    def __init__(self, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray, arithmetic: Arithmetic):
        self._put(weight, offset, np.exp2(-shift.astype(np.float64)), arithmetic)

    def _put(self, weight: np.ndarray, offset: np.ndarray, scale: np.ndarray, arithmetic: Arithmetic) -> None:
        prove_bound(weight, offset, self.most)
        self._by_graph = arithmetic.kind == "graph"
        self.weight = arithmetic.put(weight)
        self.offset, self.scale = (arithmetic.put(values)[:, None] for values in (offset, scale))

    def __call__(self, planes: Array, rows: slice = slice(None)) -> Array:
        """Planes (terms, ...) to (outputs[rows], ...)."""
        sums = self._sums(planes, rows, self.offset[rows])
        sums *= self.scale[rows]
        return library(sums).floor(sums, out=sums).reshape(len(sums), *planes.shape[1:])

    def nearest(self, planes: Array, least: int) -> Array:
        """Planes (terms, ...) to (outputs, ...), but rounded to the nearest number, half to even, and limited to `least` .. 127."""
        sums = self._sums(planes, slice(None), self.offset)
        sums *= self.scale
        return library(sums).round(sums, out=sums).clip(least, ACTIVATION_MAX).reshape(-1, *planes.shape[1:])

    def _sums(self, planes: Array, rows: slice, offset: Array) -> Array:
        """W a + offset, (outputs[rows], positions)."""
        terms = cast(planes, str(self.weight.dtype).removeprefix("torch."))
        terms, weight = terms.reshape(len(planes), math.prod(planes.shape[1:])), self.weight[rows]
        if self._by_graph:
            (sums,) = _product().run({"weight": weight, "terms": np.ascontiguousarray(terms)})
        else:
            sums = weight @ terms
        sums += offset
        return sums


class Scaled(Layer):
    """One convolution: (W a + offset) * scale, W int8, rounded to the nearest number, half to even. The product is that of float32:
    each processor rounds it alike. `most`: the largest magnitude of a term; `scale`: float32 (outputs,)."""

    def __init__(self, weight: np.ndarray, offset: np.ndarray, scale: np.ndarray, most: int, arithmetic: Arithmetic):
        self.most = most
        self._put(weight, offset, scale.astype(np.float32), arithmetic)
        largest = np.abs(weight.astype(np.int64)).sum(1) * most + np.abs(offset.astype(np.int64))
        if not (largest * np.abs(scale)).max() < OUTPUT_LIMIT:  # so put, nan is refused too
            raise ModelError(f"results of a layer could reach {OUTPUT_LIMIT}: the model is damaged")

    def __call__(self, planes: Array, rows: slice = slice(None)) -> Array:
        return self.of(planes, self.scale, self.offset)

    def of(self, planes: Array, scale: Array, offset: Array) -> Array:
        """Planes (terms, ...) to (outputs, ...), with another scale and offset, (outputs, 1) each."""
        sums = cast(self._sums(planes, slice(None), offset), "float32") * cast(scale, "float32")
        sums = library(sums).round(sums, out=sums)
        return cast(sums, str(self.weight.dtype).removeprefix("torch.")).reshape(-1, *planes.shape[1:])


class Table:
    """What each byte becomes: silu of it, as a byte. `values`: uint8 (256,), from that of byte -`zero` on, or of wider numbers
    int16 (2^n,); that of 0 stands for zero. `units`: float32 (2,), of a byte before and after; onnxruntime computes the table
    from them where it gives the same."""

    def __init__(self, values: np.ndarray, units: np.ndarray, zero: int, arithmetic: Arithmetic):
        self.size = len(values).bit_length() - 1
        if not 8 <= self.size <= MOST_BITS or len(values) != 2**self.size or not 0 <= zero < len(values):
            raise ModelError("a table of the model's decoder is not of bytes: it is damaged")
        if self.size == 8 and values.dtype != np.uint8:
            raise ModelError("a table of the model's decoder has other values than bytes: it is damaged")
        shifted = values.astype(np.int32) - int(values[zero])
        self.values, self.units, self.zero, self.most = values, units, zero, int(np.abs(shifted).max())
        self.shifted = arithmetic.put(shifted)


class Latent:
    """A latent of a scale, in float32: z = exp(clip(S x + s, -5, 2)) * noise of a stream x, which adds P z. `sigma`: S,
    (latents, width); `bias`: s, (latents,); `project`: P, (width, latents)."""

    def __init__(self, sigma: np.ndarray, bias: np.ndarray, project: np.ndarray, place: Place):
        values = (sigma / np.float32(2**STREAM_BITS), bias, project * np.float32(2**STREAM_BITS))
        self.weight, self.bias, self.project = (placed(np.ascontiguousarray(one, np.float32), place) for one in values)


@cache
def _product() -> Session:
    """The product of two matrices: NumPy's libraries are not all as fast, or have as many threads as they are told."""
    graph = Graph()
    values = [graph.input(name, "float32", *sizes) for name, sizes in (("weight", ("n", "k")), ("terms", ("k", "m")))]
    graph.output(graph.node("MatMul", *values), "sums", "float32", "n", "m")
    return Session(graph.model())


def stored(tensors: dict[str, np.ndarray], name: str, arithmetic: Arithmetic) -> Layer:
    """The layer of a name among a model's tensors."""
    return Layer(tensors[f"{name}.weight"], tensors[f"{name}.offset"], tensors[f"{name}.shift"], arithmetic)


def stored_branch_bits(tensors: dict[str, np.ndarray], blocks: int) -> list[int]:
    """The `bits` of `Operations.branch` of each residual block. Raises ModelError where a stream could leave the exact range."""
    bits: list[int] = tensors["branch_bits"].tolist()
    if len(bits) != blocks or not all(0 <= one <= STREAM_BITS for one in bits):
        raise ModelError("the model's blocks leave the exact range: it is damaged")
    return bits


class Eager:
    """`Operations` on arrays."""

    def layer(self, layer: Layer, activations: Array) -> Array:
        return layer(activations)

    def raised(self, layer: Layer, activations: Array, side: int) -> Array:
        return spread(layer(activations), side)

    def convolved(self, layer: Layer, planes: Array) -> Array:
        return layer(_patches(planes))

    def strided(self, layer: Layer, activations: Array) -> Array:
        return layer(_patches(activations, 2))

    def doubled(self, planes: Array, side: int) -> Array:
        positions = np.arange(side) // 2
        return planes[..., positions, :][..., positions]

    def celled(self, layer: Layer, planes: Array, side: int) -> Array:
        count, height, width = planes.shape
        cells = permuted(planes.reshape(count, height // side, side, width // side, side), 0, 2, 4, 1, 3)
        return layer(cells.reshape(-1, height // side, width // side))

    def chosen(self, rows: Array, index: Array) -> Array:
        return permuted(rows[index], 2, 0, 1)

    def activation(self, stream: Array, bias: Array) -> Array:
        scaled = (stream + bias) / _STEP
        return library(scaled).round(scaled, out=scaled).clip(0, ACTIVATION_MAX)

    def hidden(self, layer: Layer, stream: Array, bias: Array) -> Array:
        return layer.nearest(_patches(self.activation(stream, bias)), 0)

    def branch(self, layer: Layer, activations: Array, bits: int = 0) -> Array:
        return layer.nearest(_patches(activations), BRANCH_MIN) * 2.0**bits

    def painted(self, layer: Layer, activations: Array, side: int) -> Array:
        return spread(self.branch(layer, activations), side)

    def clamp(self, planes: Array, limit: int) -> Array:
        return planes.clip(-limit, limit)

    def pooled(self, activations: Array, side: int, gain: int) -> Array:
        count, height, width = activations.shape
        sums = activations.reshape(count, height // side, side, width // side, side).sum(4).sum(2)
        return library(sums).floor(sums * (gain / side**2) + 0.5).clip(0, ACTIVATION_MAX)

    def rounded(self, stream: Array, bits: int, zero: int, size: int = 8) -> Array:
        scaled = stream * 2.0**-bits
        return library(scaled).round(scaled, out=scaled).clip(-zero, 2**size - 1 - zero)

    def looked_up(self, table: Table, values: Array) -> Array:
        return table.shifted[cast(values + table.zero, "int64")]

    def byted(self, layer: Scaled, found: Array, zero: int, size: int = 8, scale: Array = None, offset: Array = None) -> Array:
        chosen = layer.scale if scale is None else scale[..., 0], layer.offset if offset is None else offset[..., 0]
        return layer.of(_patches(found), *chosen).clip(-zero, 2**size - 1 - zero)

    def squares(self, layer: Scaled, found: Array, side: int) -> Array:
        return spread(layer(_patches(found)), side)

    def lifted(self, values: Array, bits: int) -> Array:
        return values * 2.0**bits

    def drawn(self, latent: Latent, stream: Array, noise: Array) -> Array:
        count, height, width = stream.shape
        features = cast(stream, "float32").reshape(count, -1)
        xp = library(features)
        sigma = xp.exp((latent.weight @ features + latent.bias[:, None]).clip(-5, 2))
        added = xp.floor(latent.project @ (sigma * noise.reshape(len(noise), -1)) + 0.5)
        return cast(added, str(stream.dtype).removeprefix("torch.")).reshape(-1, height, width)


def _patches(planes: Array, stride: int = 1) -> Array:
    """Planes (channels, ..., height, width) as each of the nine neighbours of a position sees them, zeros outside, one after
    another; or of every `stride`-th position."""
    *others, height, width = planes.shape
    padded = zeros_like(planes, (*others, height + 2, width + 2))
    padded[..., 1:-1, 1:-1] = planes
    starts = [(row, column) for row in range(3) for column in range(3)]
    parts = [padded[..., row : row + height : stride, column : column + width : stride] for row, column in starts]
    return library(planes).concatenate(parts)


class Traced:
    """`Operations` that write a graph. Its values are (images, height, width, channels), of one image where planes are of one:
    products of bytes are fastest so, and squares are spread by copies of whole rows of channels."""

    def __init__(self, graph: Graph):
        self.graph = graph

    @classmethod
    def program(
        cls, network: Network, shapes: Mapping[str, tuple[Size, ...]], images: bool, small: Collection[str]
    ) -> Callable[..., tuple[np.ndarray, ...]]:
        graph, channels = Graph(), 0 if images else -3
        values = {name: _input(graph, name, shape, channels, name in small) for name, shape in shapes.items()}
        made = network(cls(graph), **values)
        for number, value in enumerate(made):
            kind = "uint8" if isinstance(value, Bytes) else "float32"
            graph.output(value, f"output{number}", kind, *(f"{number}{axis}" for axis in "nhwc"))
        session = Session(graph.model())

        def run(**arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            outputs = session.run({name: _with_channels_last(array, channels) for name, array in arrays.items()})
            for number, value in enumerate(made):
                if isinstance(value, Raised):
                    outputs[number] = _lowered(outputs[number])
            return tuple(np.moveaxis(output if images else output[0], -1, 0) for output in outputs)

        return run

    def layer(self, layer: Layer, activations: Value) -> Value:
        return self._product(layer, layer.weight, activations)

    def raised(self, layer: Layer, activations: Value, side: int) -> Value:
        return self._spread(self._product(layer, layer.weight, activations, _by_place(layer, side)), layer, side)

    def convolved(self, layer: Layer, planes: Value) -> Value:
        return self._convolution(layer, planes, 1)

    def strided(self, layer: Layer, activations: Value) -> Value:
        return self._convolution(layer, activations, 2)

    def doubled(self, planes: Value, side: int) -> Value:
        positions = np.arange(side) // 2
        return self.graph.node("Gather", self.graph.node("Gather", planes, positions, axis=1), positions, axis=2)

    def celled(self, layer: Layer, planes: Value, side: int) -> Value:
        # (1, H, W, c) as (1, H, W / side, side c), (H / side, side, W / side, side c), (1, H / side, W / side, side side c)
        wide = self._reshaped(planes, 0, 0, -1, layer.weight.shape[1] // side)
        rows = _like(planes, self.graph.node("Transpose", self._reshaped(wide, -1, side, 0, 0), perm=(0, 2, 1, 3)))
        cells = _like(planes, self.graph.node("Unsqueeze", self._reshaped(rows, 0, 0, -1), np.array([0])))
        weight = layer.weight.reshape(len(layer.weight), -1, side, side).transpose(0, 2, 3, 1).reshape(layer.weight.shape)
        return self._product(layer, weight, cells)

    def chosen(self, rows: np.ndarray, index: Value) -> Value:
        return self.graph.node("Unsqueeze", self.graph.node("Gather", rows, index, axis=0), np.array([0]))

    def activation(self, stream: Value, bias: Value) -> Value:
        if integer.is_exact():
            return integer.activation(stream + bias, _STEP)
        return self._nearest((stream + bias) * (1 / _STEP), 0)

    def hidden(self, layer: Layer, stream: Value, bias: Value) -> Value:
        return self._bytes(layer, self.activation(stream, bias), 0)

    def branch(self, layer: Layer, activations: Value, bits: int = 0) -> Value:
        sums = self._bytes(layer, activations, BRANCH_MIN)
        if isinstance(sums, Raised):
            return self.graph.node("DequantizeLinear", sums, np.float32(2.0**bits), np.uint8(-BRANCH_MIN))
        return sums * 2.0**bits

    def painted(self, layer: Layer, activations: Value, side: int) -> Value:
        return self._spread(self._bytes(layer, activations, BRANCH_MIN, _by_place(layer, side)), layer, side)

    def clamp(self, planes: Value, limit: int) -> Value:
        return self.graph.node("Clip", planes, float(-limit), float(limit))

    def pooled(self, activations: Value, side: int, gain: int) -> Value:
        planes = self.graph.node("Transpose", _floats(activations), perm=(0, 3, 1, 2))
        mean = self.graph.node("AveragePool", planes, kernel_shape=(side, side), strides=(side, side))
        mean = self.graph.node("Transpose", mean, perm=(0, 2, 3, 1))
        return self.graph.node("Clip", self.graph.node("Floor", mean * float(gain) + 0.5), 0.0, float(ACTIVATION_MAX))

    def rounded(self, stream: Value, bits: int, zero: int, size: int = 8) -> Value:
        if size > 8:
            return self._whole(stream * 2.0**-bits, zero, size)
        return self._quantised(stream, np.float32(2.0**bits), zero)

    def looked_up(self, table: Table, values: Value) -> Value:
        if not isinstance(values, Raised):
            return integer.chosen(table.shifted, values + float(table.zero))
        return integer.looked_up(values, table.values, table.units)

    def byted(
        self, layer: Scaled, found: Value, zero: int, size: int = 8, scale: Value | None = None, offset: Value | None = None
    ) -> Value:
        scales = layer.scale[:, 0].astype(np.float32) if scale is None else self._flat(scale)
        offsets = layer.offset[:, 0] if offset is None else self._flat(offset)
        if size == 8 and isinstance(found, Raised) and integer.takes_all_bytes():
            return integer.scaled_convolution(found, _kernel(layer).astype(np.int8), offsets, scales, zero)
        values = self._sums(_kernel(layer), found, offsets) * scales
        return self._whole(values, zero, size) if size > 8 else self._quantised(values, np.float32(1), zero)

    def squares(self, layer: Scaled, found: Value, side: int) -> Value:
        order = _by_place(layer, side)
        sums = self._sums(_kernel(layer)[order], found, layer.offset[order, 0])
        return self._spread(self.graph.node("Round", sums * layer.scale[order, 0]), layer, side)

    def lifted(self, values: Value, bits: int) -> Value:
        if not isinstance(values, Raised):
            return values * 2.0**bits
        return self.graph.node("DequantizeLinear", values, np.float32(2.0**bits), np.uint8(values.zero))

    def drawn(self, latent: Latent, stream: Value, noise: Value) -> Value:
        log_sigma = self.graph.node("MatMul", stream, np.ascontiguousarray(latent.weight.T)) + latent.bias
        sigma = self.graph.node("Exp", self.graph.node("Clip", log_sigma, -5.0, 2.0))
        added = self.graph.node("MatMul", sigma * noise, np.ascontiguousarray(latent.project.T))
        return self.graph.node("Floor", added + 0.5)

    def _quantised(self, values: Value, unit: np.float32, zero: int) -> Raised:
        return integer.raised(self.graph.node("QuantizeLinear", values, unit, np.uint8(zero)), zero)

    def _whole(self, values: Value, zero: int, size: int) -> Value:
        return self.graph.node("Clip", self.graph.node("Round", values), float(-zero), float(2**size - 1 - zero))

    def _flat(self, values: Value) -> Value:
        return self.graph.node("Reshape", values, np.array([-1]))

    def _product(self, layer: Layer, weight: np.ndarray, planes: Value, order: Order = slice(None)) -> Value:
        """A 1x1 layer, its outputs in another order."""
        scale = layer.scale[order, 0]
        if isinstance(layer, Scaled):
            sums = self.graph.node("MatMul", _floats(planes), np.ascontiguousarray(weight[order].T)) + layer.offset[order, 0]
            return self.graph.node("Round", sums * scale)
        weight = np.ascontiguousarray((weight[order] * scale[:, None]).T)
        return self.graph.node("Floor", self.graph.node("MatMul", _floats(planes), weight) + layer.offset[order, 0] * scale)

    def _convolution(self, layer: Layer, planes: Value, stride: int) -> Value:
        return self.graph.node("Floor", self._scaled(layer, slice(None), planes, stride))

    def _sums(self, kernel: np.ndarray, found: Value, offset: Operand) -> Value:
        """A 3x3 layer of what a table gave, before its scale, in float32."""
        first = self.graph.node("Transpose", _floats(found), perm=(0, 3, 1, 2))
        sums = self.graph.node("Conv", first, kernel, pads=(1, 1, 1, 1))
        return self.graph.node("Transpose", sums, perm=(0, 2, 3, 1)) + offset

    def _scaled(self, layer: Layer, order: Order, planes: Value, stride: int = 1) -> Value:
        """A 3x3 layer before it is rounded, in float32."""
        scale = layer.scale[order, 0]
        weight, offset = _kernel(layer)[order] * scale[:, None, None, None], layer.offset[order, 0] * scale
        first = self.graph.node("Transpose", _floats(planes), perm=(0, 3, 1, 2))
        sums = self.graph.node("Conv", first, weight, offset, pads=(1, 1, 1, 1), strides=(stride, stride))
        return self.graph.node("Transpose", sums, perm=(0, 2, 3, 1))

    def _bytes(self, layer: Layer, activations: Value, least: int, order: Order = slice(None)) -> Value:
        """A 3x3 layer, rounded to the nearest and limited to `least` .. 127; outputs in another order."""
        if not isinstance(activations, Bytes):
            return self._nearest(self._scaled(layer, order, activations), least)
        shift = np.rint(-np.log2(layer.scale[order, 0])).astype(np.int64)
        return integer.convolution(activations, _kernel(layer)[order].astype(np.int8), layer.offset[order, 0], shift, least)

    def _nearest(self, values: Value, least: int) -> Value:
        return self.graph.node("Clip", self.graph.node("Round", values), float(least), float(ACTIVATION_MAX))

    def _spread(self, planes: Value, layer: Layer, side: int) -> Value:
        """As `spread`, of a layer's outputs in the order of `_by_place`."""
        # (1, h, w, side side c) as (h, w, side, side c), (h side, 1, w, side c), (h side, 1, w side, c), (1, h side, w side, c)
        squares = self._reshaped(_like(planes, self.graph.node("Squeeze", planes, np.array([0]))), 0, 0, side, -1)
        rows = self._reshaped(_like(planes, self.graph.node("Transpose", squares, perm=(0, 2, 1, 3))), -1, 1, 0, 0)
        return self._reshaped(self._reshaped(rows, 0, 1, -1, len(layer.weight) // side**2), 1, -1, 0, 0)

    def _reshaped(self, planes: Value, *sizes: int) -> Value:
        """0 stands for a size that stays, -1 for what is left."""
        return _like(planes, self.graph.node("Reshape", planes, np.array(sizes)))


def _kernel(layer: Layer) -> np.ndarray:
    """The weights of a 3x3 layer, (outputs, inputs, 3, 3)."""
    return layer.weight.reshape(len(layer.weight), 3, 3, -1).transpose(0, 3, 1, 2)


def _by_place(layer: Layer, side: int) -> np.ndarray:
    """The outputs of a layer of squares, ordered by row, column and channel of these."""
    return np.arange(len(layer.weight)).reshape(-1, side, side).transpose(1, 2, 0).reshape(-1)


def _floats(values: Value) -> Value:
    """Bytes as float32."""
    if isinstance(values, Raised):
        return values.graph.node("DequantizeLinear", values, np.float32(1), np.uint8(values.zero))
    return values.graph.node("Cast", values, to=FLOAT) if isinstance(values, Bytes) else values


def _like(before: Value, value: Value) -> Value:
    """A value of the kind of another."""
    return type(before)(value.graph, value.name)


def _lowered(raised: np.ndarray) -> np.ndarray:
    """uint8 that are 128 too large as int8."""
    return np.bitwise_xor(raised, 128, out=raised).view(np.int8)


def _input(graph: Graph, name: str, shape: tuple[Size, ...], channels: int, small: bool) -> Value:
    """An input of a graph for arrays of a shape, whose channels are at that place."""
    if len(shape) < 3:
        return graph.input(name, "int64", *shape)
    sizes = list(shape)
    sizes.append(sizes.pop(channels))
    value = graph.input(name, "int8" if small else "float32", *([] if channels == 0 else [1]), *sizes)
    return Bytes(graph, value.name) if small else value


def _with_channels_last(array: np.ndarray, channels: int) -> np.ndarray:
    if array.ndim < 3:
        return array
    moved = np.ascontiguousarray(np.moveaxis(array, channels, -1))
    return moved if channels == 0 else moved[None]
