"""`planes.Operations` on arrays of NumPy or torch."""

import numpy as np

from dctcodec.arrays import Array, cast, copied, library, permuted, zeros_like
from dctcodec.exact.fixed_point import ACTIVATION_MAX, BRANCH_MIN, STEP
from dctcodec.exact.layers import Latent, Layer, Scaled, Table, rescaled


class Eager:
    """`Operations` on arrays."""

    def layer(self, layer: Layer, activations: Array) -> Array:
        return layer(activations)

    def shuffled(self, layer: Layer, activations: Array, side: int) -> Array:
        return pixel_shuffle(layer(activations), side)

    def convolved(self, layer: Layer, planes: Array) -> Array:
        return layer(_patches(planes))

    def strided(self, layer: Layer, activations: Array) -> Array:
        return layer(_patches(activations, 2))

    def upsampled(self, planes: Array, side: int) -> Array:
        positions = np.arange(side) // 2
        return planes[..., positions, :][..., positions]

    def unshuffled(self, layer: Layer, planes: Array, side: int) -> Array:
        count, height, width = planes.shape
        cells = permuted(planes.reshape(count, height // side, side, width // side, side), 0, 2, 4, 1, 3)
        return layer(cells.reshape(-1, height // side, width // side))

    def chosen(self, rows: Array, index: Array) -> Array:
        return permuted(rows[index], 2, 0, 1)

    def activation(self, stream: Array, bias: Array) -> Array:
        scaled = (stream + bias) / STEP
        return library(scaled).round(scaled, out=scaled).clip(0, ACTIVATION_MAX)

    def hidden(self, layer: Layer, stream: Array, bias: Array) -> Array:
        return layer.nearest(_patches(self.activation(stream, bias)), 0)

    def branch(self, layer: Layer, activations: Array, bits: int = 0) -> Array:
        return layer.nearest(_patches(activations), BRANCH_MIN) * 2.0**bits

    def painted(self, layer: Layer, activations: Array, side: int) -> Array:
        return pixel_shuffle(self.branch(layer, activations), side)

    def sum(self, ahead: Array, behind: Array) -> Array:
        return ahead + behind

    def clamp(self, planes: Array, limit: int) -> Array:
        return planes.clip(-limit, limit)

    def floored(self, planes: Array, bits: int, limit: int) -> Array:
        return self.clamp(rescaled(copied(planes), bits), limit)

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

    def scaled_shuffled(self, layer: Scaled, found: Array, side: int) -> Array:
        return pixel_shuffle(layer(_patches(found)), side)

    def lifted(self, values: Array, bits: int) -> Array:
        return values * 2.0**bits

    def drawn(self, latent: Latent, stream: Array, noise: Array) -> Array:
        count, height, width = stream.shape
        features = cast(stream, "float32").reshape(count, -1)
        xp = library(features)
        sigma = xp.exp((latent.weight @ features + latent.bias[:, None]).clip(-5, 2))
        added = xp.floor(latent.project @ (sigma * noise.reshape(len(noise), -1)) + 0.5)
        return cast(added, str(stream.dtype).removeprefix("torch.")).reshape(-1, height, width)


def pixel_shuffle(planes: Array, side: int) -> Array:
    """Each `side`^2 channels as a square: channel (k * side + row) * side + column is row and column of channel k."""
    _, height, width = planes.shape
    squares = permuted(planes.reshape(-1, side, side, height, width), 0, 3, 1, 4, 2)
    return squares.reshape(-1, height * side, width * side)


def _patches(planes: Array, stride: int = 1) -> Array:
    """Planes (channels, ..., height, width) as each of the nine neighbours of a position sees them, zeros outside, one after
    another; or of every `stride`-th position."""
    *others, height, width = planes.shape
    padded = zeros_like(planes, (*others, height + 2, width + 2))
    padded[..., 1:-1, 1:-1] = planes
    starts = [(row, column) for row in range(3) for column in range(3)]
    parts = [padded[..., row : row + height : stride, column : column + width : stride] for row, column in starts]
    return library(planes).concatenate(parts)
