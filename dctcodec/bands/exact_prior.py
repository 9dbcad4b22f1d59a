"""The prior's network in exact integer arithmetic (see `exact/planes.py`)."""

import math
from typing import Any

import numpy as np

from dctcodec.arrays import Array, cast, library, permuted, placed, zeros_like
from dctcodec.bands import blocks
from dctcodec.bands.exact_forecast import TOLD_LIMIT, ExactForecast
from dctcodec.bands.order import PARTS, REVEALS
from dctcodec.bands.steps import FACTOR_BITS, whole_factors
from dctcodec.bands.units import FEATURES, FIRST_BAND, INPUT_CHANNELS, LINEAR_GAIN, MEAN_LIMIT, SCALES, checkerboard, sent_before
from dctcodec.errors import ModelError
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, STREAM_LIMIT
from dctcodec.exact.layers import Layer, stored, stored_branch_bits
from dctcodec.exact.planes import Arithmetic, Operations
from dctcodec.tiles import in_strips, joined


class ExactPrior:
    """The network over one image's tile grid. `tensors` as `export.to_integers` makes them. Where it has kinds of blocks, each
    method takes the image's `partition`, int64 (4 or 5, h, w), else None."""

    def __init__(self, tensors: dict[str, np.ndarray], arithmetic: Arithmetic):
        self.arithmetic = arithmetic
        self.blocks = sum(name.startswith("first.") and name.endswith(".weight") for name in tensors)
        self._inputs = [self._input_layer(tensors, reveal) for reveal in range(len(REVEALS))]
        self._head = stored(tensors, "head", arithmetic)
        known = sent_before()
        self.kinds: tuple[int, ...] = tuple(tensors["partition.kinds"].tolist()) if "partition.kinds" in tensors else ()
        names = ["skip", *(f"partition.skips.{n}" for n in range(len(self.kinds[1:])))]
        self._skips = [[self._skip_layers(tensors, names, part, known[part[0]]) for part in band] for band in PARTS]
        if self.kinds:
            self._planes = stored(tensors, "partition.planes", arithmetic)
            self._split = [self._split_layer(tensors, reveal) for reveal in range(len(REVEALS))]
        self._first = [stored(tensors, f"first.{n}", arithmetic) for n in range(self.blocks)]
        self._second = [stored(tensors, f"second.{n}", arithmetic) for n in range(self.blocks)]
        self._branch_bits = stored_branch_bits(tensors, self.blocks)
        self._scale_offset = int(tensors["scale_offset"])
        self._reveal_bias, self._step_bias = (arithmetic.put(tensors[name]) for name in ("reveal_bias", "step_bias"))
        self._step_bounds = tensors["step_bounds"]
        self._asinh = placed(tensors["asinh"], arithmetic.place)
        self._forecast = ExactForecast(tensors, arithmetic) if "forecast.basis" in tensors else None
        shapes = {"stream": (len(self._first[0].weight), "height", "width"), "bias": (*self._step_bias.shape[1:], "down", "across")}
        self._run = arithmetic.program(self._network, shapes)

    def _input_layer(self, tensors: dict[str, np.ndarray], reveal: int) -> Layer:
        """The input layer without its terms that are zero before a reveal."""
        weight, count = tensors["input.weight"], _channels_known(reveal)
        if weight.shape[1] != FEATURES * INPUT_CHANNELS + 1:
            raise ModelError("the prior's input has the wrong number of terms: the model is damaged or from another version")
        starts = range(0, FEATURES * INPUT_CHANNELS, INPUT_CHANNELS)
        terms = [*(term for start in starts for term in range(start, start + count)), FEATURES * INPUT_CHANNELS]
        return Layer(weight[:, terms], tensors["input.offset"], tensors["input.shift"], self.arithmetic)

    def _skip_layers(
        self, tensors: dict[str, np.ndarray], names: list[str], part: tuple[int, ...], known: np.ndarray
    ) -> tuple[np.ndarray, list[Layer]]:
        """The channels known before a part, and its rows of each kind's skip without the terms of others."""
        rows, terms = list(part), known.nonzero()[0]
        layers = []
        for name in names:
            weight, offset, shift = (tensors[f"{name}.{one}"][rows] for one in ("weight", "offset", "shift"))
            layers.append(Layer(weight[:, terms], offset, shift, self.arithmetic))
        return terms, layers

    def _split_layer(self, tensors: dict[str, np.ndarray], reveal: int) -> Layer:
        """What magnitudes add in split tiles, without the terms that are zero before a reveal."""
        weight, offset, shift = (tensors[f"partition.split.{name}"] for name in ("weight", "offset", "shift"))
        return Layer(weight[:, : _channels_known(reveal)], offset, shift, self.arithmetic)

    def forecast(
        self, symbols: np.ndarray, band: int, step16: int, partition: np.ndarray | None = None
    ) -> tuple[Array, Array] | None:
        """What the painted symbols of the bands before a band say of it, for `means`; None if that is nothing."""
        if self._forecast is None or band < FIRST_BAND:
            return None
        return self._forecast(symbols, band, self._step_row(step16), partition)

    def means(
        self,
        symbols: np.ndarray,
        reveal: int,
        step16: int,
        forecast: tuple[Array, Array] | None = None,
        partition: np.ndarray | None = None,
    ) -> tuple[Array, Array]:
        """Means of a reveal's symbols, and scale indices still without what `scales` adds, given the symbols of the reveals before.

        `symbols`: int32 (CHANNELS, h, w), those not yet revealed are ignored; `step16`: the step in 1/16; `forecast`: that of the
        reveal's band. Returns (mean in 1/16 symbols, scale index for `scales`), int32 (n, h, w) each, n channels of the reveal.
        """
        now, shape = REVEALS[reveal], symbols.shape[1:]
        place = self.arithmetic.place
        bias = self._reveal_bias[reveal][..., None, None] + self._step_biases(step16, partition)

        def received(_: slice, rows: slice) -> Array:
            return self._received(symbols[:, rows], reveal, _rows(partition, rows))

        (features,) = self._run(stream=joined(in_strips(received, shape, 0, place)), bias=bias)

        def headed(_: slice, rows: slice) -> Array:
            return cast(self._head(features[:, rows], slice(2 * now.start, 2 * now.stop)), "int32")

        raw = joined(in_strips(headed, shape, 0, place))
        mean, scale = raw.reshape(2, now.stop - now.start, *shape)
        scale = scale + self._scale_offset
        if forecast is not None:
            mean, scale = mean + forecast[0], scale + forecast[1]
        return mean.clip(-MEAN_LIMIT, MEAN_LIMIT), scale

    def _network(self, run: Operations, stream: Any, bias: Any) -> tuple[Any]:
        """From the stream after the input to the activations before the head, (width, h, w) both."""
        for number, (first, second) in enumerate(zip(self._first, self._second, strict=True)):
            stream = stream + run.branch(second, run.hidden(first, stream, bias[number]), self._branch_bits[number])
        return (run.activation(stream, bias[self.blocks]),)

    def _received(self, symbols: np.ndarray, reveal: int, partition: np.ndarray | None) -> Array:
        """The stream after the input, (width, h, w)."""
        features = self._features(symbols, reveal)
        stream = self._inputs[reveal](features)
        if partition is not None:
            stream = stream + self._told(features, reveal, placed(partition, self.arithmetic.place))
        return stream.clip(-STREAM_LIMIT, STREAM_LIMIT)

    def _told(self, features: Array, reveal: int, partition: Array) -> Array:
        """What the kinds of a partition add to the stream, (width, h, w)."""
        known = _channels_known(reveal)
        split = features[2 * known : 3 * known] * (partition[0] >= blocks.LARGE)
        planes = library(features).concatenate([partition[: blocks.QUADRANTS] == kind for kind in self.kinds[1:]])
        added = self._split[reveal](split).clip(-TOLD_LIMIT, TOLD_LIMIT)
        return added + self._planes(self.arithmetic.put(planes) * 2**ACTIVATION_BITS).clip(-TOLD_LIMIT, TOLD_LIMIT)

    def scales(self, symbols: np.ndarray, band: int, part: int, scale: Array, partition: np.ndarray | None = None) -> Array:
        """The scale indices that a part of a band is coded with, int32 (n, h, w), given the symbols of each tile before it, and
        those that `means` gave of the part's channels, (n, h, w)."""

        def work(_: slice, rows: slice) -> Array:
            return self._scales(symbols[:, rows], band, part, scale[:, rows], _rows(partition, rows))

        return joined(in_strips(work, scale.shape[1:], 0, self.arithmetic.place))

    def _scales(self, symbols: np.ndarray, band: int, part: int, scale: Array, partition: np.ndarray | None) -> Array:
        (terms, layers), tiles = self._skips[band][part], math.prod(scale.shape[1:])
        magnitude = self.arithmetic.put(self._magnitude(placed(symbols[terms], self.arithmetic.place))).reshape(len(terms), tiles)
        if partition is None:
            more = layers[0](magnitude)
        else:
            quadrants = blocks.quadrant_of_channels(None)[list(PARTS[band][part])]
            kinds = placed(partition[quadrants], self.arithmetic.place).reshape(len(quadrants), tiles)
            more = zeros_like(magnitude, kinds.shape)
            for kind, layer in zip(self.kinds, layers, strict=True):
                mine = kinds == kind
                (some,) = library(mine).where(mine.any(0))
                more[:, some] += layer(magnitude[:, some]) * mine[:, some]
        return (scale + cast(more, "int32").reshape(scale.shape)).clip(0, SCALES - 1)

    def _step_row(self, step16: int) -> int:
        return int(np.searchsorted(self._step_bounds, step16))

    def _step_biases(self, step16: int, partition: np.ndarray | None) -> Array:
        """Those of the image's step, (layers, width, 1, 1), or of its tiles' own, (layers, width, h, w)."""
        factors = whole_factors(partition)
        if factors is None:
            return self._step_bias[self._step_row(step16)][..., None, None]
        rows = np.searchsorted(self._step_bounds, step16 * factors + 2 ** (FACTOR_BITS - 1) >> FACTOR_BITS)
        return permuted(self._step_bias[placed(rows, self.arithmetic.place)], 2, 3, 0, 1)

    def _features(self, symbols: np.ndarray, reveal: int) -> Array:
        """(FEATURES * n + 1, h, w), as `prior.symbol_features` in units of 1/16, of the n channels known before a reveal."""
        now, board = REVEALS[reveal], checkerboard(*symbols.shape[1:])
        known = symbols[: _channels_known(reveal)]
        if now.parity == 1:
            known = np.concatenate([known[: now.start], known[now.start :] * (board == 0)]).astype(np.int32)
        parity, known = (placed(values, self.arithmetic.place) for values in ((board[None] * 2 - 1) << ACTIVATION_BITS, known))
        linear = (known * LINEAR_GAIN).clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        magnitude, xp = self._magnitude(known), library(known)
        return xp.concatenate([self.arithmetic.put(one) for one in (linear, magnitude * xp.sign(known), magnitude, parity)])

    def _magnitude(self, symbols: Array) -> Array:
        """round(16 asinh(|symbol|)), at most 127, int32."""
        return self._asinh[abs(symbols).clip(0, len(self._asinh) - 1)]


def _rows(partition: np.ndarray | None, rows: slice) -> np.ndarray | None:
    return None if partition is None else partition[:, rows]


def _channels_known(reveal: int) -> int:
    """Channels below this one have been revealed, on some tiles at least, before `reveal`."""
    now = REVEALS[reveal]
    return now.stop if now.parity == 1 else now.start
