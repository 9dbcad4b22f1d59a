"""`planes.Operations` that write a graph for onnxruntime."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import numpy as np

from dctcodec.exact import integer
from dctcodec.exact.fixed_point import ACTIVATION_MAX, BRANCH_MIN, STEP
from dctcodec.exact.graph import FLOAT, Graph, Operand, Size, Value
from dctcodec.exact.integer import Bytes, Raised, raised
from dctcodec.exact.layers import Latent, Layer, Scaled, Table
from dctcodec.exact.rows import Arrays, ByRows, Run
from dctcodec.exact.session import Session

Planes = TypeVar("Planes", bound=Value)
Order = slice | np.ndarray
"""Of a layer's outputs."""
_END = np.array([2**31 - 1])
"""Of a slice that goes to the last row."""
_FEW = 4
"""So many channels are copied faster one by one than all together."""


class Traced:
    """`Operations` that write a graph. Its values are (images, height, width, channels), of one image where planes are of one:
    products of bytes are fastest so, and squares are spread by copies of whole rows of channels."""

    def __init__(self, graph: Graph, begins: bool = True, ends: bool = True):
        """`begins`, `ends`: whether planes begin at the top of the whole planes, and end at the bottom (`rows.py`)."""
        self.graph, self._begins, self._ends = graph, begins, ends
        self._above = self._kept = 0  # planes of which rows come from the run before, and go to the next
        self._pads = (int(begins), 1, int(ends), 1)

    @classmethod
    def program(
        cls,
        network: Callable[..., tuple[Any, ...]],
        shapes: Mapping[str, tuple[Size, ...]],
        images: bool,
        small: Collection[str],
        reach: int | None,
    ) -> Callable[..., tuple[np.ndarray, ...]]:
        channels = 0 if images else -3

        def run_of(begins: bool, ends: bool) -> Run:
            graph = Graph()
            operations = cls(graph, begins, ends)
            values = {name: _input(graph, name, shape, channels, name in small) for name, shape in shapes.items()}
            made = network(operations, **values)
            for number, value in enumerate(made):
                graph.output(value, f"output{number}", _kind(value), *(f"{number}{axis}" for axis in "nhwc"))
            session = Session(graph.model())

            def run(arrays: Arrays, kept: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
                inputs = {name: _with_channels_last(array, channels) for name, array in arrays.items()}
                outputs = session.run(inputs | {f"above{number}": rows for number, rows in enumerate(kept)})
                kept, outputs = outputs[: -len(made)], outputs[-len(made) :]
                pairs = zip(outputs, made, strict=True)
                return [_lowered(output) if isinstance(value, Raised) else output for output, value in pairs], kept

            return run

        program = ByRows(run_of, [name for name, shape in shapes.items() if isinstance(shape[-2], str)], reach)
        return lambda **arrays: tuple(np.moveaxis(output if images else output[0], -1, 0) for output in program(arrays))

    def layer(self, layer: Layer, activations: Value) -> Value:
        return self._product(layer, layer.weight, activations)

    def shuffled(self, layer: Layer, activations: Value, side: int) -> Value:
        return self._pixel_shuffled(self._product(layer, layer.weight, activations, _by_place(layer, side)), layer, side)

    def convolved(self, layer: Layer, planes: Value) -> Value:
        return self._convolution(layer, planes, 1)

    def strided(self, layer: Layer, activations: Value) -> Value:
        assert self._begins and self._ends
        return self._convolution(layer, activations, 2)

    def upsampled(self, planes: Value, side: int) -> Value:
        assert self._begins and self._ends
        positions = np.arange(side) // 2
        return self.graph.node("Gather", self.graph.node("Gather", planes, positions, axis=1), positions, axis=2)

    def unshuffled(self, layer: Layer, planes: Value, side: int) -> Value:
        # (1, H, W, c) as (1, H, W / side, side c), (H / side, side, W / side, side c), (1, H / side, W / side, side side c)
        wide = self._reshaped(planes, 0, 0, -1, layer.weight.shape[1] // side)
        rows = planes.alike(self.graph.node("Transpose", self._reshaped(wide, -1, side, 0, 0), perm=(0, 2, 1, 3)))
        cells = planes.alike(self.graph.node("Unsqueeze", self._reshaped(rows, 0, 0, -1), np.array([0])))
        weight = layer.weight.reshape(len(layer.weight), -1, side, side).transpose(0, 2, 3, 1).reshape(layer.weight.shape)
        return self._product(layer, weight, cells)

    def chosen(self, rows: np.ndarray, index: Value) -> Value:
        return self.graph.node("Unsqueeze", self.graph.node("Gather", rows, index, axis=0), np.array([0]))

    def activation(self, stream: Value, bias: Value) -> Value:
        if integer.is_exact():
            return integer.activation(stream + bias, STEP)
        return self._nearest((stream + bias) * (1 / STEP), 0)

    def hidden(self, layer: Layer, stream: Value, bias: Value) -> Value:
        return self._bytes(layer, self.activation(stream, bias), 0)

    def branch(self, layer: Layer, activations: Value, bits: int = 0) -> Value:
        sums = self._bytes(layer, activations, BRANCH_MIN)
        if isinstance(sums, Raised):
            return self.graph.node("DequantizeLinear", sums, np.float32(2.0**bits), np.uint8(-BRANCH_MIN))
        return sums * 2.0**bits

    def painted(self, layer: Layer, activations: Value, side: int) -> Value:
        return self._pixel_shuffled(self._bytes(layer, activations, BRANCH_MIN, _by_place(layer, side)), layer, side)

    def sum(self, ahead: Value, behind: Value) -> Value:
        return self._waiting(ahead, behind) + behind

    def clamp(self, planes: Value, limit: int) -> Value:
        return self.graph.node("Clip", planes, float(-limit), float(limit))

    def floored(self, planes: Value, bits: int, limit: int) -> Value:
        return self.clamp(self.graph.node("Floor", planes * 2.0**-bits + 0.5), limit)

    def pooled(self, activations: Value, side: int, gain: int) -> Value:
        extended = self._extended(activations)
        if not self._ends:
            whole = self.graph.node("Mul", self.graph.node("Div", self._rows(extended), np.array([side])), np.array([side]))
            extended = self._divided(extended, whole)
        planes = self.graph.node("Transpose", _floats(extended), perm=(0, 3, 1, 2))
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
            found = self._with_neighbours(found)
            return integer.scaled_convolution(found, _kernel(layer).astype(np.int8), offsets, scales, zero, self._pads)
        values = self._sums(_kernel(layer), found, offsets) * scales
        return self._whole(values, zero, size) if size > 8 else self._quantised(values, np.float32(1), zero)

    def scaled_shuffled(self, layer: Scaled, found: Value, side: int) -> Value:
        order = _by_place(layer, side)
        sums = self._sums(_kernel(layer)[order], found, layer.offset[order, 0])
        return self._pixel_shuffled(self.graph.node("Round", sums * layer.scale[order, 0]), layer, side)

    def lifted(self, values: Value, bits: int) -> Value:
        if not isinstance(values, Raised):
            return values * 2.0**bits
        return self.graph.node("DequantizeLinear", values, np.float32(2.0**bits), np.uint8(values.zero))

    def drawn(self, latent: Latent, stream: Value, noise: Value) -> Value:
        log_sigma = self.graph.node("MatMul", stream, np.ascontiguousarray(latent.weight.T)) + latent.bias
        sigma = self.graph.node("Exp", self.graph.node("Clip", log_sigma, -5.0, 2.0))
        noise = self._waiting(noise, stream)
        added = self.graph.node("MatMul", sigma * noise, np.ascontiguousarray(latent.project.T))
        return self.graph.node("Floor", added + 0.5)

    def _quantised(self, values: Value, unit: np.float32, zero: int) -> Raised:
        return raised(self.graph.node("QuantizeLinear", values, unit, np.uint8(zero)), zero)

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
        first = self.graph.node("Transpose", _floats(self._with_neighbours(found)), perm=(0, 3, 1, 2))
        sums = self.graph.node("Conv", first, kernel, pads=self._pads)
        return self.graph.node("Transpose", sums, perm=(0, 2, 3, 1)) + offset

    def _scaled(self, layer: Layer, order: Order, planes: Value, stride: int = 1) -> Value:
        """A 3x3 layer before it is rounded, in float32."""
        scale = layer.scale[order, 0]
        weight, offset = _kernel(layer)[order] * scale[:, None, None, None], layer.offset[order, 0] * scale
        first = self.graph.node("Transpose", _floats(self._with_neighbours(planes)), perm=(0, 3, 1, 2))
        sums = self.graph.node("Conv", first, weight, offset, pads=self._pads, strides=(stride, stride))
        return self.graph.node("Transpose", sums, perm=(0, 2, 3, 1))

    def _bytes(self, layer: Layer, activations: Value, least: int, order: Order = slice(None)) -> Value:
        """A 3x3 layer, rounded to the nearest and limited to `least` .. 127; outputs in another order."""
        if not isinstance(activations, Bytes):
            return self._nearest(self._scaled(layer, order, activations), least)
        shift = np.rint(-np.log2(layer.scale[order, 0])).astype(np.int64)
        weight, around = _kernel(layer)[order].astype(np.int8), self._with_neighbours(activations)
        return integer.convolution(around, weight, layer.offset[order, 0], shift, least, self._pads)

    def _with_neighbours(self, planes: Planes) -> Planes:
        """What a 3x3 layer takes, with the two rows above that it kept."""
        extended = self._extended(planes)
        if not self._ends:
            self._keep(extended, np.array([-2]))
        return extended

    def _waiting(self, ahead: Planes, behind: Value) -> Planes:
        """The rows of planes that others have, too."""
        extended = self._extended(ahead)
        return extended if self._ends else self._divided(extended, self._rows(behind))

    def _extended(self, planes: Planes) -> Planes:
        """Planes below the rows that the run before kept of them."""
        if self._begins:
            return planes
        name = f"above{self._above}"
        above = self.graph.input(name, _kind(planes), *(f"{name}{axis}" for axis in "nhwc"))
        self._above += 1
        return planes.alike(self.graph.node("Concat", above, planes, axis=1))

    def _divided(self, planes: Planes, rows: Value) -> Planes:
        """So many rows of planes; the others are kept for the next run."""
        self._keep(planes, rows)
        return planes.alike(self.graph.node("Slice", planes, np.array([0]), rows, np.array([1])))

    def _keep(self, planes: Value, start: Operand) -> None:
        """Keep the rows of planes from `start` on."""
        rows = self.graph.node("Slice", planes, start, _END, np.array([1]))
        name = f"kept{self._kept}"
        self.graph.output(rows, name, _kind(planes), *(f"{name}{axis}" for axis in "nhwc"))
        self._kept += 1

    def _rows(self, planes: Value) -> Value:
        """How many there are, int64 (1,)."""
        return self.graph.node("Shape", planes, start=1, end=2)

    def _nearest(self, values: Value, least: int) -> Value:
        return self.graph.node("Clip", self.graph.node("Round", values), float(least), float(ACTIVATION_MAX))

    def _pixel_shuffled(self, planes: Value, layer: Layer, side: int) -> Value:
        """As `pixel_shuffle`, of a layer's outputs in the order of `_by_place`."""
        # (1, h, w, side side c) as (h, w, side, side c), (h side, 1, w, side c), (h side, 1, w side, c), (1, h side, w side, c)
        squares = self._reshaped(planes.alike(self.graph.node("Squeeze", planes, np.array([0]))), 0, 0, side, -1)
        rows = self._reshaped(planes.alike(self.graph.node("Transpose", squares, perm=(0, 2, 1, 3))), -1, 1, 0, 0)
        return self._reshaped(self._reshaped(rows, 0, 1, -1, len(layer.weight) // side**2), 1, -1, 0, 0)

    def _reshaped(self, planes: Value, *sizes: int) -> Value:
        """0 stands for a size that stays, -1 for what is left."""
        return planes.alike(self.graph.node("Reshape", planes, np.array(sizes)))


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


def _kind(value: Value) -> str:
    """The dtype of what a layer gives."""
    return "uint8" if isinstance(value, Bytes) else "float32"


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
    moved = np.moveaxis(array, channels, -1)
    if moved.shape[-1] > _FEW:
        last = np.ascontiguousarray(moved)
    else:
        last = np.empty(moved.shape, moved.dtype)
        for channel in range(moved.shape[-1]):
            last[..., channel] = moved[..., channel]
    return last if channels == 0 else last[None]
