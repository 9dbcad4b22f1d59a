"""Exact layers over planes (channels, height, width): networks that are written once and run by NumPy, torch or onnxruntime.

All values are whole numbers. No partial sum of a layer reaches 2^24 (`layers.prove_bound`), so float32 and float64 hold all of
them and the order of summation cannot matter. A network is a function of an `Operations` and of arrays or values;
`Arithmetic.program` makes it a function of arrays. For `kind` "graph" it is traced once into a graph for onnxruntime
(`traced.py`), else it runs as it is written (`eager.py`).

Activations, and what a residual block adds to its stream, fit into bytes. In a graph their layers are products of bytes
(`integer.py`), several times as fast as those of float32. They are rounded to the nearest number, half to even, all else is
rounded down.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import numpy as np

from dctcodec.arrays import Array, Place, cast, placed
from dctcodec.exact.eager import Eager
from dctcodec.exact.graph import Size
from dctcodec.exact.layers import Latent, Layer, Scaled, Table
from dctcodec.exact.traced import Traced


class Operations(Protocol):
    """What networks are made of. Planes are arrays (channels, height, width), or values of a graph. Planes of several images,
    (channels, images, height, width), take all of it but `unshuffled`, `chosen`, `shuffled`, `painted` and `pooled`. *Activations*
    are planes of 0..127. *Bytes* are planes of -`zero`..255 - `zero`; of them are the methods from `rounded` on."""

    def layer(self, layer: Layer, activations: Any) -> Any:
        """A 1x1 layer."""

    def shuffled(self, layer: Layer, activations: Any, side: int) -> Any:
        """A 1x1 layer, then `eager.pixel_shuffle`."""

    def convolved(self, layer: Layer, planes: Any) -> Any:
        """A 3x3 layer, zeros outside."""

    def strided(self, layer: Layer, activations: Any) -> Any:
        """A 3x3 layer at every second position in both directions, from the first, zeros outside."""

    def upsampled(self, planes: Any, side: int) -> Any:
        """Every position twice in both directions, cut to `side` x `side`."""

    def unshuffled(self, layer: Layer, planes: Any, side: int) -> Any:
        """A pixel unshuffle: cells of `side` x `side`, ordered by (plane, row, column), become planes. Then a 1x1 layer."""

    def chosen(self, rows: Array, index: Any) -> Any:
        """A row (channels,) of an array at each position, by its number, (height, width)."""

    def activation(self, stream: Any, bias: Any) -> Any:
        """ReLU of a stream in 1/256 with a bias (channels, 1, 1), in 1/16, rounded to the nearest and limited to 127."""

    def hidden(self, layer: Layer, stream: Any, bias: Any) -> Any:
        """Activations: a 3x3 layer of the `activation` of a stream with a bias, rounded to the nearest and limited to 0..127."""

    def branch(self, layer: Layer, activations: Any, bits: int = 0) -> Any:
        """A 3x3 layer, zeros outside, rounded to the nearest, limited to -128..127, and times 2^`bits`."""

    def painted(self, layer: Layer, activations: Any, side: int) -> Any:
        """`branch` of a layer, then `eager.pixel_shuffle`."""

    def sum(self, ahead: Any, behind: Any) -> Any:
        """The sum of planes. `behind` has gone through 3x3 layers since `ahead`."""

    def clamp(self, planes: Any, limit: int) -> Any:
        """Limited to +- `limit`."""

    def floored(self, planes: Any, bits: int, limit: int) -> Any:
        """Planes over 2^`bits`, rounded, half up, and limited to +- `limit`."""

    def pooled(self, activations: Any, side: int, gain: int) -> Any:
        """Means of squares of `side` x `side`, times `gain`, rounded, half up, and limited to 127; both powers of 2."""

    def rounded(self, stream: Any, bits: int, zero: int, size: int = 8) -> Any:
        """Bytes: a stream over 2^`bits`, rounded to the nearest and limited. `size`: more than 8 for numbers of so many bits."""

    def looked_up(self, table: Table, values: Any) -> Any:
        """What a table gives for bytes, or for the numbers that it is for."""

    def byted(self, layer: Scaled, found: Any, zero: int, size: int = 8, scale: Any = None, offset: Any = None) -> Any:
        """Bytes: a 3x3 layer of what a table gave, zeros outside, rounded and limited. `scale`, `offset`: (outputs, 1, 1), for the
        layer's own."""

    def scaled_shuffled(self, layer: Scaled, found: Any, side: int) -> Any:
        """A 3x3 layer of what a table gave, zeros outside, then `eager.pixel_shuffle`."""

    def lifted(self, values: Any, bits: int) -> Any:
        """Bytes times 2^`bits`."""

    def drawn(self, latent: Latent, stream: Any, noise: Any) -> Any:
        """What a latent adds to a stream. `noise`: (latents, height, width), float32."""


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
        self,
        network: Network,
        shapes: Mapping[str, tuple[Size, ...]],
        images: bool = False,
        small: Collection[str] = (),
        reach: int | None = None,
    ) -> Callable[..., tuple[Array, ...]]:
        """A network as a function of arrays of these shapes, which `put` has made, but for those that `put_small` makes; arrays
        (height, width) are numbers for `Operations.chosen`. `images`: of arrays (channels, images, height, width), all of them.
        `reach`: how many rows of tiles an output depends on below it, at most, where a graph may do some rows after others
        (`rows.py`). The largest planes are then of pixels. Such a network has no `strided` and no `upsampled`, and adds planes
        with different numbers of 3x3 layers behind them by `sum` alone. Outputs of a graph are of any kind that holds them."""
        if self.kind == "graph":
            return Traced.program(network, shapes, images, small, reach)
        return lambda **arrays: network(Eager(), **arrays)


def arithmetic_for(place: Place) -> Arithmetic:
    """The fastest arithmetic that is exact at a place."""
    if place is None:
        return Arithmetic("graph")
    return Arithmetic("float32" if place.type == "cpu" else "float64", place)  # matrix units of GPUs may round sums of float32
