"""The forecast of `forecast.py` in exact integer arithmetic.

Its inverse and forward DCT are products with whole numbers too, in float64: a basis of 2^9 is shipped with the model, and so
are the steps of the frequencies, in 2^-4, and their inverses, in 2^-12; symbols are limited to +-2^11, so no partial sum can
reach 2^53.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from dctcodec.arrays import Array, cast, library, permuted, placed, zeros, zeros_like
from dctcodec.bands import blocks, units
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.bands.steps import FACTOR_BITS, whole_factors
from dctcodec.bands.transform import STEP_BITS
from dctcodec.bands.units import COARSE, FINE, IMAGE_GAIN, MEAN_BITS, PAINT_GAIN, POOL_GAIN
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, STREAM_BITS, STREAM_LIMIT
from dctcodec.exact.layers import Layer, rescaled, stored, stored_branch_bits
from dctcodec.exact.planes import Arithmetic, Operations
from dctcodec.tiles import TILE, from_tiles, in_large_strips, joined, over_rows, over_tiles, scaled, to_tiles

BASIS_BITS = 9
"""The shipped basis is round(2^9 of the orthonormal DCT's)."""
INVERSE_BITS = 12
"""The shipped inverse of a frequency's relative step is round(2^12 / it)."""
KNOWN_LIMIT = 2**11
"""Symbols beyond this are taken as this."""
TOLD_LIMIT = int(units.TOLD_LIMIT * 2**STREAM_BITS)
"""What a partition adds to a stream, or each of two such things, is limited to this."""
SMALLER_SIDES = (1, 2, 4, 8, 16)
"""Of the DCTs, shipped like that of 32, that those of blocks are made of."""
FRACTION_BITS = 4
"""More of symbols times steps, where they go through the DCTs of DCs."""


class ExactForecast:
    """The forecast's network. `tensors` as `export.to_integers` makes them, names that begin with `forecast.`."""

    def __init__(self, tensors: dict[str, np.ndarray], arithmetic: Arithmetic):
        self._arithmetic, self._place = arithmetic, arithmetic.place
        tensors = {name.removeprefix("forecast."): t for name, t in tensors.items() if name.startswith("forecast.")}
        self._coarse, self._fine, self._up, self._paint, self._pool = (
            stored(tensors, name, arithmetic) for name in ("coarse", "fine", "up", "paint", "pool")
        )
        layers = sum(name.startswith("first.") and name.endswith(".weight") for name in tensors)
        self._blocks = [tuple(stored(tensors, f"{part}.{n}", arithmetic) for part in ("first", "second")) for n in range(layers)]
        self._coarse_blocks = int(tensors["coarse_blocks"])
        self._branch_bits = stored_branch_bits(tensors, layers)
        # rows of tiles on either side that the forecast of a tile depends on: two 3x3 layers a block, and what paints
        reach = 2 * self._coarse_blocks * COARSE + (2 * (layers - self._coarse_blocks) + 1) * FINE
        self._reach = -(-reach // TILE)
        self._bias, self._step_bias = (arithmetic.put(tensors[name]) for name in ("reveal_bias", "step_bias"))
        self._basis = placed(tensors["basis"].astype(np.float64), self._place)
        self._step, self._inverse = (
            placed(tensors[name].astype(np.float64)[:, None, None], self._place) for name in ("step", "step_inverse")
        )
        self._kinds: list[int] = tensors["partition.kinds"].tolist() if "partition.kinds" in tensors else []
        shapes: dict[str, tuple[int | str, ...]] = {"image": (3, "height", "width"), "bias": (*self._bias.shape[1:], 1, 1)}
        if self._kinds:
            names = {COARSE: "coarse", FINE: "fine"}
            told = {pixels: stored(tensors, f"partition.{name}", arithmetic) for pixels, name in names.items()}
            self._told = {pixels: self._told_by_kind(layer, blocks.QUADRANT // pixels) for pixels, layer in told.items()}
            bases = {size: tensors[f"partition.basis.{size}"].astype(np.float64) for size in SMALLER_SIDES}
            bases[TILE] = tensors["basis"].astype(np.float64)
            self._matrices = blocks.matrices_of(bases.__getitem__, _settled, self._place)
            shapes |= {f"told{pixels}": (f"down{pixels}", f"across{pixels}") for pixels in (COARSE, FINE)}
        self._run = arithmetic.program(self._network, shapes, small=["image"], reach=self._reach)

    def __call__(self, symbols: np.ndarray, band: int, step_row: int, partition: np.ndarray | None = None) -> tuple[Array, Array]:
        """What the symbols (CHANNELS, h, w), int32, of the bands before `band` say of it: int32 (n, h, w) each, to be added to
        means in 1/16 symbols and to scale indices of its n channels. `partition`: int64 (4 or 5, h, w), where there are kinds
        of blocks."""

        def work(inner: slice, outer: slice) -> tuple[Array, Array]:
            kinds = None if partition is None else partition[:, outer]
            means, scales = self._forecast(symbols[:, outer], band, step_row, kinds)
            return means[:, inner], scales[:, inner]

        means, scales = zip(*in_large_strips(work, symbols.shape[1:], self._reach, self._place), strict=True)
        return joined(means), joined(scales)

    def _forecast(self, symbols: np.ndarray, band: int, step_row: int, partition: np.ndarray | None) -> tuple[Array, Array]:
        kinds = None if partition is None else placed(partition, self._place)
        known = placed(symbols[: BANDS[band].start].clip(-KNOWN_LIMIT, KNOWN_LIMIT), self._place)
        bias = (self._bias[band] + self._step_bias[step_row])[..., None, None]
        told = {} if kinds is None else {f"told{pixels}": self._places_told(kinds, pixels) for pixels in (COARSE, FINE)}
        image = self._image(known, kinds, self._factors(partition))
        painted, *pooled = self._run(image=image, bias=bias, **told)
        scales = self._pool(library(known).concatenate(pooled), BANDS[band])
        return self._coefficients(painted, band, kinds, self._factors(partition)), cast(scales, "int32")

    def _told_by_kind(self, layer: Layer, side: int) -> Array:
        """What a partition adds to the stream at each place of a quadrant, `side` x `side`: (kinds * side^2, width), by kind, row
        and column."""
        kinds = np.eye(len(self._kinds))[1:] * 2.0**ACTIVATION_BITS
        added = layer(self._arithmetic.put(kinds)).clip(-TOLD_LIMIT, TOLD_LIMIT)
        return permuted(added.reshape(-1, side**2, len(self._kinds)), 2, 1, 0).reshape(len(self._kinds) * side**2, -1)

    def _places_told(self, kinds: Array, pixels: int) -> Array:
        """The rows of `_told_by_kind` at a scale of so many pixels a feature, int64."""
        quadrants = blocks.quadrant_map(kinds)
        numbers = sum((quadrants == kind) * number for number, kind in enumerate(self._kinds))
        return blocks.rows_by_place(numbers, blocks.QUADRANT // pixels)

    def _network(self, run: Operations, image: Any, bias: Any, **told: Any) -> tuple[Any, Any, Any]:
        """What is painted, (3, 32 h, 32 w), and the mean activations of both scales, (width, h, w) each."""
        stream = run.clamp(self._received(run, image, told, COARSE), STREAM_LIMIT)
        for number in range(self._coarse_blocks):
            stream = self._block(run, number, stream, bias)
        coarse = run.activation(stream, bias[len(self._blocks)])
        stream = run.sum(self._received(run, image, told, FINE), run.shuffled(self._up, coarse, COARSE // FINE))
        stream = run.clamp(stream, STREAM_LIMIT)
        for number in range(self._coarse_blocks, len(self._blocks)):
            stream = self._block(run, number, stream, bias)
        fine = run.activation(stream, bias[len(self._blocks) + 1])
        painted = run.painted(self._paint, fine, FINE)
        return painted, run.pooled(coarse, TILE // COARSE, POOL_GAIN), run.pooled(fine, TILE // FINE, POOL_GAIN)

    def _received(self, run: Operations, image: Any, told: dict[str, Any], pixels: int) -> Any:
        """What the image, and the blocks, add to the stream of a scale of so many pixels a feature."""
        stream = run.unshuffled(self._coarse if pixels == COARSE else self._fine, image, pixels)
        return stream + run.chosen(self._told[pixels], told[f"told{pixels}"]) if told else stream

    def _block(self, run: Operations, number: int, stream: Any, bias: Any) -> Any:
        first, second = self._blocks[number]
        return run.sum(stream, run.branch(second, run.hidden(first, stream, bias[number]), self._branch_bits[number]))

    def _factors(self, partition: np.ndarray | None) -> Array | None:
        """Those of the tiles' steps, float64 (h, w), in 2^-FACTOR_BITS."""
        factors = whole_factors(partition)
        return None if factors is None else placed(factors.astype(np.float64), self._place)

    def _image(self, known: Array, kinds: Array | None, factors: Array | None) -> Array:
        """The inverse DCT of the symbols of the first channels (n, h, w), in 1/16 of IMAGE_GAIN steps: (3, 32 h, 32 w). `kinds`:
        the partition; `factors`: of the tiles' steps, (h, w)."""
        count, h, w = known.shape
        bits = 2 * BASIS_BITS + STEP_BITS - ACTIVATION_BITS - math.log2(IMAGE_GAIN)
        if kinds is not None:
            values = known * self._step[:count]
            if factors is not None:
                values = rescaled(values * factors, FACTOR_BITS)
            flat = values.reshape(count, -1).T
            tiles = self._blocks_pixels(flat, slice(0, count), blocks.of_tiles(kinds), bits)
            return from_tiles(tiles.reshape(1, h, w, 3, TILE, TILE))[0]
        values = known * self._step[:count]
        return over_rows(lambda rows: self._whole_pixels(values[:, rows], bits), h, w, self._place)

    def _whole_pixels(self, values: Array, bits: float) -> Array:
        """The same of whole tiles, symbols times steps (n, h, w)."""
        count, h, w = values.shape
        side, (plane, u, v) = _places(0, count)
        matrices = zeros((3, h, side, w, side), "float64", self._place)
        matrices[plane, :, u, :, v] = values
        across = (matrices.reshape(-1, side) @ self._basis[:side]).reshape(3 * h, side, w * TILE)
        pixels = rescaled(self._basis[:side].T @ across, bits).clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        return self._arithmetic.put_small(pixels).reshape(3, h * TILE, w * TILE)

    def _blocks_pixels(self, values: Array, known: slice, kinds: Array, bits: float) -> Array:
        """The same of tiles of blocks, symbols times steps (tiles, n): (tiles, 3, TILE, TILE)."""
        side, (plane, u, v) = _places(known.start, known.stop, blocks.SMALLEST_SIDE)

        def work(part: slice) -> Array:
            matrices = zeros_like(values, (len(values[part]), 3, side, side))
            matrices[:, plane, u, v] = values[part] * 2**FRACTION_BITS
            tiles = rescaled(blocks.inverse(matrices, kinds[part], self._matrices), FRACTION_BITS + bits)
            return self._arithmetic.put_small(tiles.clip(-ACTIVATION_MAX, ACTIVATION_MAX))

        return over_tiles(work, len(values), self._place)

    def _coefficients(self, painted: Array, band: int, kinds: Array | None, factors: Array | None) -> Array:
        """The DCT of what is painted, (3, 32 h, 32 w): a band's channels, in 1/16 symbols, int32 (n, h, w). `kinds` and `factors`:
        as for `_image`."""
        h, w = (length // TILE for length in painted.shape[1:])
        if kinds is None:
            chosen = over_rows(lambda rows: self._whole_coefficients(painted[:, scaled(rows, TILE)], band), h, w, self._place)
        else:
            chosen = self._blocks_coefficients(painted, band, blocks.of_tiles(kinds)).T.reshape(-1, h, w)
        shift = 2 * BASIS_BITS + INVERSE_BITS + ACTIVATION_BITS - MEAN_BITS - math.log2(PAINT_GAIN)
        chosen = chosen * self._inverse[BANDS[band]]
        if factors is None:
            return cast(rescaled(chosen, shift), "int32")
        finer = rescaled(chosen, shift - FACTOR_BITS)
        return cast(library(finer).floor(finer / factors + 0.5), "int32")

    def _whole_coefficients(self, painted: Array, band: int) -> Array:
        """The DCT of whole tiles, in 2^(-2 BASIS_BITS): (n, h, w)."""
        h, w = (length // TILE for length in painted.shape[1:])
        side, (plane, u, v) = _places(BANDS[band].start, BANDS[band].stop)
        basis = self._basis[:side]
        # at most 127 * 32 * 2^7: exact in float32
        down = self._arithmetic.put(basis) @ self._arithmetic.put(painted).reshape(3 * h, TILE, w * TILE)
        matrices = cast(down.reshape(-1, TILE), "float64") @ basis.T
        return matrices.reshape(3, h, side, w, side)[plane, :, u, :, v]

    def _blocks_coefficients(self, painted: Array, band: int, kinds: Array) -> Array:
        """The DCT of tiles of blocks, in 2^(-2 BASIS_BITS): (tiles, n)."""
        side, (plane, u, v) = _places(BANDS[band].start, BANDS[band].stop, blocks.SMALLEST_SIDE)
        tiles = to_tiles(painted[None]).reshape(-1, 3, TILE, TILE)

        def work(part: slice) -> Array:
            return blocks.forward(cast(tiles[part], "float64"), kinds[part], self._matrices, side)[:, plane, u, v]

        return over_tiles(work, len(tiles), self._place)


@cache
def _places(start: int, stop: int, even_from: int | None = None) -> tuple[int, tuple[list[int], list[int], list[int]]]:
    """The side of the smallest square matrix of frequencies that holds the channels from `start` to `stop`, even and no less than
    `even_from` where that is given, and the plane, row and column of each."""
    chosen = CHANNELS[start:stop]
    side = 1 + max(max(channel.u, channel.v) for channel in chosen)
    if even_from:
        side = max(side + side % 2, even_from)
    return side, ([c.plane for c in chosen], [c.u for c in chosen], [c.v for c in chosen])


def _settled(product: Array) -> Array:
    """A product with two of the integer matrices, in the unit that it was in before."""
    return rescaled(product, 2 * BASIS_BITS)
