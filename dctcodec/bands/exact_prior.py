"""The prior's network in exact integer arithmetic (see `exact/layers.py`)."""

import torch
from torch import Tensor

from dctcodec.bands import blocks
from dctcodec.bands.exact_forecast import TOLD_LIMIT, ExactForecast
from dctcodec.bands.forecast import FIRST_BAND
from dctcodec.bands.order import PARTS, REVEALS
from dctcodec.bands.prior import FEATURES, INPUT_CHANNELS, LINEAR_GAIN, MEAN_LIMIT, SCALES, checkerboard, sent_before
from dctcodec.errors import ModelError
from dctcodec.exact.layers import STREAM_LIMIT, Arithmetic, Layer, activation, patches, stored
from dctcodec.exact.quantised import ACTIVATION_BITS, ACTIVATION_MAX
from dctcodec.tiles import strips_of


class ExactPrior:
    """The network over one image's tile grid. `tensors` as `export.to_integers` makes them. Where it has kinds of blocks, each
    method takes the image's `partition`, int64 (4, h, w), else None."""

    def __init__(self, tensors: dict[str, Tensor], arithmetic: Arithmetic):
        self.arithmetic = arithmetic
        self.blocks = sum(name.startswith("first.") and name.endswith(".weight") for name in tensors)
        # the 1x1 layers are a small part of the work, in many sizes: not worth proving int8 kernels for
        self._plain = Arithmetic("float32", arithmetic.device) if arithmetic.kind == "int8" else arithmetic
        self._inputs = [self._input_layer(tensors, reveal) for reveal in range(len(REVEALS))]
        self._head = stored(tensors, "head", self._plain)
        known = sent_before().bool()
        self.kinds = tuple(tensors["partition.kinds"].tolist()) if "partition.kinds" in tensors else ()
        names = ["skip", *(f"partition.skips.{n}" for n in range(len(self.kinds[1:])))]
        self._skips = [[self._skip_layers(tensors, names, part, known[part[0]]) for part in band] for band in PARTS]
        if self.kinds:
            self._planes = stored(tensors, "partition.planes", self._plain)
            self._split = [self._split_layer(tensors, reveal) for reveal in range(len(REVEALS))]
        self._quadrants = blocks.quadrant_of_channels().to(arithmetic.device)
        self._first = [stored(tensors, f"first.{n}", arithmetic) for n in range(self.blocks)]
        self._second = [stored(tensors, f"second.{n}", arithmetic) for n in range(self.blocks)]
        self._scale_offset = int(tensors["scale_offset"])
        self._reveal_bias = tensors["reveal_bias"].to(arithmetic.device, arithmetic.dtype)
        self._step_bias = tensors["step_bias"].to(arithmetic.device, arithmetic.dtype)
        self._step_bounds = tensors["step_bounds"]
        self._asinh = tensors["asinh"].to(arithmetic.device)
        self._forecast = ExactForecast(tensors, arithmetic) if "forecast.basis" in tensors else None

    def _input_layer(self, tensors: dict[str, Tensor], reveal: int) -> Layer:
        """The input layer without its terms that are zero before a reveal."""
        weight, count = tensors["input.weight"], _channels_known(reveal)
        if weight.shape[1] != FEATURES * INPUT_CHANNELS + 1:
            raise ModelError("the prior's input has the wrong number of terms: the model is damaged or from another version")
        starts = range(0, FEATURES * INPUT_CHANNELS, INPUT_CHANNELS)
        terms = [*(term for start in starts for term in range(start, start + count)), FEATURES * INPUT_CHANNELS]
        return Layer(weight[:, terms], tensors["input.offset"], tensors["input.shift"], self._plain)

    def _skip_layers(
        self, tensors: dict[str, Tensor], names: list[str], part: tuple[int, ...], known: Tensor
    ) -> tuple[Tensor, list[Layer]]:
        """The channels known before a part, and its rows of each kind's skip without the terms of others."""
        rows, terms = list(part), known.nonzero()[:, 0]
        layers = []
        for name in names:
            weight, offset, shift = (tensors[f"{name}.{one}"][rows] for one in ("weight", "offset", "shift"))
            layers.append(Layer(weight[:, terms], offset, shift, self._plain))
        return terms, layers

    def _split_layer(self, tensors: dict[str, Tensor], reveal: int) -> Layer:
        """What magnitudes add in split tiles, without the terms that are zero before a reveal."""
        weight, offset, shift = (tensors[f"partition.split.{name}"] for name in ("weight", "offset", "shift"))
        return Layer(weight[:, : _channels_known(reveal)], offset, shift, self._plain)

    def forecast(self, symbols: Tensor, band: int, step16: int, partition: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
        """What the painted symbols of the bands before a band say of it, for `means`; None if that is nothing."""
        if self._forecast is None or band < FIRST_BAND:
            return None
        return self._forecast(symbols, band, self._step_row(step16), partition)

    def means(
        self,
        symbols: Tensor,
        reveal: int,
        step16: int,
        forecast: tuple[Tensor, Tensor] | None = None,
        partition: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Means of a reveal's symbols, and scale indices still without what `scales` adds, given the symbols of the reveals before.

        `symbols`: int32 (CHANNELS, h, w), those not yet revealed are ignored; `step16`: the step in 1/16; `forecast`: that of the
        reveal's band. Returns (mean in 1/16 symbols, scale index for `scales`), int32 (n, h, w) each, n channels of the reveal.
        """
        now, (height, width) = REVEALS[reveal], symbols.shape[1:]
        bias = self._reveal_bias[reveal] + self._step_bias[self._step_row(step16)]
        strips = strips_of((height, width), 0)  # for the memory
        stream = torch.cat([self._received(symbols[:, rows], reveal, _rows(partition, rows)) for _, rows in strips])
        for block, (first, second) in enumerate(zip(self._first, self._second, strict=True)):
            hidden = first(self._patches(activation(stream, bias[block]), height, width))
            stream = (stream + second(self._patches(activation(hidden), height, width))).clamp(-STREAM_LIMIT, STREAM_LIMIT)
        raw = self._head(activation(stream, bias[-1]), slice(2 * now.start, 2 * now.stop)).T
        mean, scale = raw.to(torch.int32).reshape(2, now.stop - now.start, height, width)
        scale = scale + self._scale_offset
        if forecast is not None:
            mean, scale = mean + forecast[0], scale + forecast[1]
        return mean.clamp(-MEAN_LIMIT, MEAN_LIMIT), scale

    def _received(self, symbols: Tensor, reveal: int, partition: Tensor | None) -> Tensor:
        """The stream after the input, (positions, width)."""
        features = self._features(symbols, reveal)
        stream = self._inputs[reveal](features)
        if partition is None:
            return stream
        return stream + self._told(features, reveal, partition.to(self.arithmetic.device).flatten(1))

    def _told(self, features: Tensor, reveal: int, partition: Tensor) -> Tensor:
        """What a partition (4, positions) adds to the stream, (positions, width)."""
        known = _channels_known(reveal)
        split = features[:, 2 * known : 3 * known] * (partition[0] >= blocks.LARGE)[:, None]
        planes = torch.stack([partition == kind for kind in self.kinds[1:]]).flatten(0, 1).T * 2**ACTIVATION_BITS
        added = self._split[reveal](split).clamp(-TOLD_LIMIT, TOLD_LIMIT)
        return added + self._planes(planes).clamp(-TOLD_LIMIT, TOLD_LIMIT)

    def scales(self, symbols: Tensor, band: int, part: int, scale: Tensor, partition: Tensor | None = None) -> Tensor:
        """The scale indices that a part of a band is coded with, int32 (n, h, w), given the symbols of each tile before it, and
        those that `means` gave of the part's channels, (n, h, w)."""
        strips = strips_of(scale.shape[1:], 0)  # for the memory
        parts = [self._scales(symbols[:, rows], band, part, scale[:, rows], _rows(partition, rows)) for _, rows in strips]
        return torch.cat(parts, 1)

    def _scales(self, symbols: Tensor, band: int, part: int, scale: Tensor, partition: Tensor | None) -> Tensor:
        terms, layers = self._skips[band][part]
        magnitude = self._magnitude(symbols[terms].to(self.arithmetic.device)).flatten(1).T
        more = layers[0](magnitude).T.reshape(scale.shape)
        if partition is not None:
            kinds = partition.to(self.arithmetic.device)[self._quadrants[list(PARTS[band][part])]]
            for kind, layer in zip(self.kinds[1:], layers[1:], strict=True):
                more = torch.where(kinds == kind, layer(magnitude).T.reshape(scale.shape), more)
        return (scale + more.to(torch.int32)).clamp(0, SCALES - 1)

    def _step_row(self, step16: int) -> int:
        return int(torch.bucketize(step16, self._step_bounds))

    def _patches(self, activations: Tensor, height: int, width: int) -> Tensor:
        return patches(activations.to(self.arithmetic.operand).reshape(1, height, width, -1))

    def _features(self, symbols: Tensor, reveal: int) -> Tensor:
        """(positions, FEATURES * n + 1), as `network.symbol_features` in units of 1/16, of the n channels known before a reveal."""
        _, height, width = symbols.shape
        now, board = REVEALS[reveal], checkerboard(height, width, self.arithmetic.device)
        known = symbols[: _channels_known(reveal)].to(self.arithmetic.device)
        if now.parity == 1:
            known = torch.cat([known[: now.start], known[now.start :] * (board == 0)])
        linear = (known * LINEAR_GAIN).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        magnitude = self._magnitude(known)
        parity = (board[None] * 2 - 1) << ACTIVATION_BITS
        return torch.cat([linear, magnitude * known.sign(), magnitude, parity.to(torch.int32)]).flatten(1).T

    def _magnitude(self, symbols: Tensor) -> Tensor:
        """round(16 asinh(|symbol|)), at most 127, int32."""
        return self._asinh[symbols.abs().clamp_max(len(self._asinh) - 1)]


def _rows(partition: Tensor | None, rows: slice) -> Tensor | None:
    return None if partition is None else partition[:, rows]


def _channels_known(reveal: int) -> int:
    """Channels below this one have been revealed, on some tiles at least, before `reveal`."""
    now = REVEALS[reveal]
    return now.stop if now.parity == 1 else now.start
