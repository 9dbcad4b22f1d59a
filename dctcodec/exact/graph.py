"""Graphs for onnxruntime, written as ONNX without the package `onnx`: nodes, constants, and the few messages of its format.

`Graph` collects nodes; `Graph.model` gives the bytes that `onnxruntime.InferenceSession` loads. ONNX is a protocol buffer: each
field is a key (number * 8 + kind) and a value, a varint (kind 0), four bytes (5), or bytes with their length (2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

OPSET, IR_VERSION = 17, 8
"""Of 2022: every onnxruntime since 1.12 reads them."""
CONTRIBUTED = "com.microsoft:"
"""The domain of operators that only onnxruntime has."""
FLOAT, INT32 = 1, 6
"""The numbers of float32 and int32."""
_TYPES = {"float32": FLOAT, "uint8": 2, "int8": 3, "int32": INT32, "int64": 7, "bool": 9, "float64": 11}
Attribute = int | float | str | Sequence[int]
Size = int | str
"""Of a dimension: a number, or a name where it differs between calls."""


class Value:
    """A result in a graph. Sums and products with values, arrays and numbers are nodes; numbers are float32."""

    def __init__(self, graph: Graph, name: str):
        self.graph, self.name = graph, name

    def alike(self, other: Value) -> Self:
        """Another value as one of this kind."""
        return type(self)(other.graph, other.name)

    def __add__(self, other: Operand) -> Value:
        return self.graph.node("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.node("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.node("Mul", self, other)

    def __getitem__(self, number: int) -> Value:
        """The number-th item of the second dimension, as the first dimension has one item."""
        return self.graph.node("Gather", self, np.int64(number), axis=1)


Operand = Value | np.ndarray | np.generic | float


class Graph:
    """A graph that is being written."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0
        self._domains = {"": OPSET}

    def input(self, name: str, kind: str, *sizes: Size) -> Value:
        """An input of a NumPy dtype's name."""
        self._inputs.append(_value_info(name, kind, sizes))
        return Value(self, name)

    def output(self, value: Value, name: str, kind: str, *sizes: Size) -> None:
        """Name a value as an output."""
        self._nodes.append(_node("Identity", [value.name], [name], "", {}))
        self._outputs.append(_value_info(name, kind, sizes))

    def constant(self, values: np.ndarray) -> Value:
        name = self._new()
        self._constants.append(_tensor(name, values))
        return Value(self, name)

    def node(self, operator: str, *inputs: Operand | None, **attributes: Attribute) -> Value:
        """The first result of an operator, of onnxruntime's own where `CONTRIBUTED` is its first part. None stands for an optional
        input that is left out."""
        domain, _, operator = operator.rpartition(":")
        result = self._new()
        self._domains.setdefault(domain, 1)
        names = ["" if one is None else self._operand(one).name for one in inputs]
        self._nodes.append(_node(operator, names, [result], domain, attributes))
        return Value(self, result)

    def model(self) -> bytes:
        """The graph as an ONNX file."""
        fields = [(1, self._nodes), (5, self._constants), (11, self._inputs), (12, self._outputs)]
        graph = b"".join(_bytes(field, message) for field, messages in fields for message in messages) + _bytes(2, b"dctcodec")
        domains = (_bytes(1, name.encode()) + _varint(2, version) for name, version in self._domains.items())
        return _varint(1, IR_VERSION) + _bytes(7, graph) + b"".join(_bytes(8, domain) for domain in domains)

    def _operand(self, operand: Operand) -> Value:
        if isinstance(operand, Value):
            return operand
        return self.constant(
            np.asarray(operand) if isinstance(operand, np.ndarray | np.generic) else np.asarray(operand, np.float32)
        )

    def _new(self) -> str:
        self._count += 1
        return f"v{self._count}"


def _node(operator: str, inputs: Iterable[str], outputs: Iterable[str], domain: str, attributes: dict[str, Attribute]) -> bytes:
    names = b"".join(_bytes(1, name.encode()) for name in inputs) + b"".join(_bytes(2, name.encode()) for name in outputs)
    kinds = b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
    # each has a name: onnxruntime 1.19 makes names of its own from those, and wants them to differ
    name = _bytes(3, "-".join(outputs).encode())
    return names + name + _bytes(4, operator.encode()) + kinds + _bytes(7, domain.encode())


def _attribute(name: str, value: Attribute) -> bytes:
    start = _bytes(1, name.encode())
    if isinstance(value, float):
        return start + b"\x15" + struct.pack("<f", value) + _varint(20, 1)
    if isinstance(value, int):
        return start + _varint(3, value) + _varint(20, 2)
    if isinstance(value, str):
        return start + _bytes(4, value.encode()) + _varint(20, 3)
    return start + b"".join(_varint(8, one) for one in value) + _varint(20, 7)


def _tensor(name: str, values: np.ndarray) -> bytes:
    sizes = b"".join(_varint(1, size) for size in values.shape)
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return sizes + _varint(2, _TYPES[values.dtype.name]) + _bytes(8, name.encode()) + _bytes(9, data)


def _value_info(name: str, kind: str, sizes: Sequence[Size]) -> bytes:
    dimensions = (_varint(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in sizes)
    shape = b"".join(_bytes(1, dimension) for dimension in dimensions)
    tensor = _varint(1, _TYPES[kind]) + _bytes(2, shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _bytes(field: int, data: bytes) -> bytes:
    return _plain(field << 3 | 2) + _plain(len(data)) + data


def _varint(field: int, value: int) -> bytes:
    return _plain(field << 3) + _plain(value)


def _plain(value: int) -> bytes:
    value &= 2**64 - 1
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
