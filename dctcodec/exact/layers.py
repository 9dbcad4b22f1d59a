"""Layers of exact networks: convolutions with whole weights, tables and latents. `planes.py` says why their results are exact."""

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dctcodec.arrays import Array, Place, cast, library, placed
from dctcodec.errors import ModelError
from dctcodec.exact.fixed_point import ACTIVATION_MAX, EXACT_LIMIT, STREAM_BITS
from dctcodec.exact.graph import Graph
from dctcodec.exact.session import Session

if TYPE_CHECKING:
    from dctcodec.exact.planes import Arithmetic

MOST_BITS = 12
"""Of what a table is for."""
OUTPUT_LIMIT = 2**21
"""The results of a `Scaled` layer are smaller: what is made of them stays exact."""


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


class Layer:
    """One convolution: (W a + offset) * 2^-shift, W int8, a in +-127, rounded down, or by `nearest` to the nearest number.

    `weight`: int8 (outputs, kernel * kernel * inputs), for 3x3 layers ordered by (row, column, input); `offset`: int32 (outputs,),
    the bias, and a half where the layer is rounded down; `shift`: int32 (outputs,).
    """

    most = ACTIVATION_MAX
    """The largest magnitude of a term."""

    def __init__(self, weight: np.ndarray, offset: np.ndarray, shift: np.ndarray, arithmetic: "Arithmetic"):
        self._put(weight, offset, np.exp2(-shift.astype(np.float64)), arithmetic)

    def _put(self, weight: np.ndarray, offset: np.ndarray, scale: np.ndarray, arithmetic: "Arithmetic") -> None:
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

    def __init__(self, weight: np.ndarray, offset: np.ndarray, scale: np.ndarray, most: int, arithmetic: "Arithmetic"):
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

    def __init__(self, values: np.ndarray, units: np.ndarray, zero: int, arithmetic: "Arithmetic"):
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


def stored(tensors: dict[str, np.ndarray], name: str, arithmetic: "Arithmetic") -> Layer:
    """The layer of a name among a model's tensors."""
    return Layer(tensors[f"{name}.weight"], tensors[f"{name}.offset"], tensors[f"{name}.shift"], arithmetic)


def stored_branch_bits(tensors: dict[str, np.ndarray], blocks: int) -> list[int]:
    """The `bits` of `Operations.branch` of each residual block. Raises ModelError where a stream could leave the exact range."""
    bits: list[int] = tensors["branch_bits"].tolist()
    if len(bits) != blocks or not all(0 <= one <= STREAM_BITS for one in bits):
        raise ModelError("the model's blocks leave the exact range: it is damaged")
    return bits
