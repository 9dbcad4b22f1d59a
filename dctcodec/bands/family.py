"""The family of dct-bands: whole images in YCbCr, all frequencies, a masked-diffusion prior, one decoder over all tiles."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file

from dctcodec.arrays import Array, Place, placed, to_numpy
from dctcodec.bands import blocks, rounding
from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.choice import choose
from dctcodec.bands.coder import Tables
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.masked import MaskedPrior
from dctcodec.bands.order import BANDS, CHANNELS, bands_below
from dctcodec.bands.painter import Painter
from dctcodec.bands.partition import PartitionCode
from dctcodec.bands.quality import DEFAULT_QUALITY, STEP_UNIT, step_of_quality
from dctcodec.bands.transform import analyse, dequantise, quantise, synthesise_reduced
from dctcodec.device import needing_torch
from dctcodec.exact.planes import arithmetic_for
from dctcodec.family import DECODER, PRIOR, TUNED_DECODER, TUNES, Family, Parameters
from dctcodec.installed import ModelInfo, told_as_damage
from dctcodec.progress import Tick
from dctcodec.search import ROUNDS
from dctcodec.tiles import TILE, in_strips, joined, scaled, tiles_across, ycbcr_to_rgb

if TYPE_CHECKING:
    from dctcodec.bands.decoder import Decoder


_DECODERS = dict(zip(TUNES, (DECODER, TUNED_DECODER), strict=True))


class Bands(Family):
    """Symbols: int32 (CHANNELS, h, w) on the grid of tiles, and of models with kinds of blocks (CHANNELS + 4, h, w), with the
    partition."""

    temperature = 0.0
    one_quality = False
    effort = 1
    most_effort = len(ROUNDS) - 1
    bands = len(BANDS)

    def __init__(self, model: ModelInfo, place: Place):
        self.place, self.model = place, model
        self.prior = _load_prior(model, place)
        self._painters: dict[str, Painter] = {}
        self._torch_decoders: dict[str, Decoder] = {}
        self.kinds = self.prior.network.kinds
        self.tunes = TUNES if (model.path / TUNED_DECODER).exists() else TUNES[:1]

    def step16(self, quality: float | None) -> int:
        return round(step_of_quality(DEFAULT_QUALITY if quality is None else quality) * STEP_UNIT)

    def symbols(self, rgb: np.ndarray, parameters: Parameters, effort: int, tick: Tick) -> np.ndarray:
        step = parameters.step

        def work(_: slice, rows: slice) -> tuple[Array, Array]:
            return self._quantised(placed(rgb[None, :, scaled(rows, TILE)], self.place), step)

        size = [tiles_across(side) for side in rgb.shape[1:]]
        quantised, chosen = zip(*in_strips(work, size, 0, self.place), strict=True)
        symbols, partition = joined(quantised), joined(chosen) if self.kinds else None
        searching = effort > self.effort
        for _ in range(rounding.ROUNDS if effort else 0):
            symbols = symbols + self._moves(symbols, partition, rgb, parameters)
            if not searching:
                tick(1 / rounding.ROUNDS)
        if searching:
            symbols = self._searched(symbols, partition, rgb, parameters, ROUNDS[effort], tick)
        return blocks.packed(symbols, partition)

    def _quantised(self, rgb: Array, step: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Symbols int32 of an image (1, 3, H, W), and its partition where there are kinds of blocks."""
        steps = placed(np.array([step], np.float32), self.place)
        chosen = choose(rgb, steps, self.kinds) if self.kinds else None
        symbols = to_numpy(quantise(analyse(rgb, chosen), step)[0]).astype(np.int32)
        return symbols, None if chosen is None else to_numpy(chosen[0])

    def _moves(self, symbols: np.ndarray, partition: np.ndarray | None, rgb: np.ndarray, parameters: Parameters) -> np.ndarray:
        """One round of moves (`rounding.py`), int32 as the symbols. Those for MS-SSIM are of the first decoder's image, too."""
        height, width = rgb.shape[1:]
        painted = self.paint(blocks.packed(symbols, partition), (width, height), replace(parameters, tune=TUNES[0]), 0.0)

        def work(inner: slice, outer: slice) -> np.ndarray:
            pixels = scaled(outer, TILE)
            error, original = np.zeros_like(painted[:, pixels]), rgb[:, pixels]
            rows = original.shape[1]
            error[:, :rows, :width] = painted[:, pixels][:, :rows, :width] - original
            told = None if partition is None else partition[None, :, outer]
            coded, step = symbols[None, :, outer].astype(np.float32), np.array([parameters.step], np.float32)
            return rounding.moves(coded, error[None], step, told)[0, :, inner].astype(np.int32)

        found = joined(in_strips(work, symbols.shape[1:], 1, None))
        if parameters.grey:
            found[[channel.plane > 0 for channel in CHANNELS]] = 0
        return found

    def _searched(
        self, symbols: np.ndarray, partition: np.ndarray | None, rgb: np.ndarray, parameters: Parameters, rounds: int, tick: Tick
    ) -> np.ndarray:
        with needing_torch("--effort above 1"):
            from dctcodec.bands.rdo import SymbolOptimiser
        decoder = self.torch_decoder(parameters.tune)
        return SymbolOptimiser(decoder, self.prior, rgb, parameters, partition).optimise(symbols, rounds, tick)

    def encode(self, symbols: np.ndarray, parameters: Parameters, tick: Tick) -> bytes:
        return self.prior.encode(symbols, parameters.step16, parameters.grey, tick)

    def decode(self, payload: bytes, size: tuple[int, int], parameters: Parameters, partial: bool, tick: Tick) -> np.ndarray:
        width, height = map(tiles_across, size)
        return self.prior.decode(payload, height, width, parameters.step16, parameters.grey, tick, partial)

    def preview(self, payload: bytes, size: tuple[int, int], parameters: Parameters, scale: int, partial: bool) -> np.ndarray:
        side, (width, height) = TILE // scale, map(tiles_across, size)
        bands = bands_below(side)
        symbols = self.prior.decode(payload, height, width, parameters.step16, parameters.grey, partial=partial, bands=bands)
        symbols, partition = blocks.unpacked(symbols)
        coefficients = dequantise(symbols[None].astype(np.float32), np.float32(parameters.step))
        planes = synthesise_reduced(coefficients, side, None if partition is None else partition[None])
        return ycbcr_to_rgb(planes)[0]

    def code_length(self, symbols: np.ndarray, parameters: Parameters) -> float:
        return self.prior.code_length(symbols, parameters.step16, parameters.grey)

    def tile_bits(self, symbols: np.ndarray, parameters: Parameters) -> np.ndarray:
        return self.prior.tile_bits(symbols, parameters.step16, parameters.grey)

    def coarse(self, symbols: np.ndarray, bands: int) -> np.ndarray:
        coded, partition = blocks.unpacked(symbols.copy())
        coded[BANDS[bands - 1].stop :] = 0
        return blocks.packed(coded, partition)

    def paint(self, symbols: np.ndarray, size: tuple[int, int], parameters: Parameters, temperature: float) -> np.ndarray:
        coded, partition = blocks.unpacked(symbols)
        if self.place is None:
            return self._painter(parameters.tune).paint(coded, parameters.step, temperature, parameters.seed, partition)
        from dctcodec.bands.decoder import painted

        return painted(self.torch_decoder(parameters.tune), coded, parameters.step, temperature, parameters.seed, partition)

    def _painter(self, tune: str) -> Painter:
        if tune not in self._painters:
            with told_as_damage(self.model):
                self._painters[tune] = Painter(load_file(self.model.path / _DECODERS[tune]), self.kinds)
        return self._painters[tune]

    def torch_decoder(self, tune: str) -> "Decoder":
        """The decoder as a network of torch."""
        from dctcodec.bands.decoder import loaded

        if tune not in self._torch_decoders:
            with told_as_damage(self.model):
                weights = load_file(self.model.path / _DECODERS[tune])
                self._torch_decoders[tune] = loaded(self.model.config["decoder"], self.kinds, weights, self.place)
        return self._torch_decoders[tune]


def _load_prior(model: ModelInfo, place: Place) -> MaskedPrior:
    with told_as_damage(model):
        integers = load_file(model.path / PRIOR)
        network = ExactPrior(integers, arithmetic_for(place))
        tables = Tables(integers["cumulative"], integers["reach"])
        partition = PartitionCode(integers) if network.kinds else None
        if network.kinds != kinds_of(model.config.get("blocks", ())):
            raise LookupError("its prior has other blocks than its config.json")
    return MaskedPrior(network, tables, partition)
