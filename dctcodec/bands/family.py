"""The family of dct-bands: whole images in YCbCr, all frequencies, a masked-diffusion prior, one decoder over all tiles."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file

from dctcodec.arrays import Array, Place, placed, to_numpy
from dctcodec.bands import blocks, masking, rounding
from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.choice import SLOPE, choose, costs
from dctcodec.bands.coder import Tables
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.masked import MaskedPrior
from dctcodec.bands.order import BANDS, CHANNELS, bands_below
from dctcodec.bands.painter import Painter
from dctcodec.bands.partition import PartitionCode
from dctcodec.bands.quality import DEFAULT_QUALITY, STEP_UNIT, step_of_quality
from dctcodec.bands.transform import analyse, dequantise, quantise, synthesise_reduced
from dctcodec.bands.trellis import Draft
from dctcodec.device import needing_torch
from dctcodec.exact.planes import arithmetic_for
from dctcodec.family import DECODER, EXACT, PRIOR, TUNED_DECODER, TUNES, Family, Parameters
from dctcodec.installed import ModelInfo, told_as_damage
from dctcodec.progress import Tick, no_tick, share_of
from dctcodec.search import ROUNDS
from dctcodec.tiles import STRIP, TILE, in_strips, joined, scaled, tiles_across, ycbcr_to_rgb

if TYPE_CHECKING:
    from dctcodec.bands.decoder import Decoder
    from dctcodec.bands.rdo import SymbolOptimiser


CODING_SHARES = (1.0, 0.5, 0.1)
"""Share of the time of encoding that entropy coding takes, at efforts 0, 1 and above."""
CHOSEN = 256
"""Tiles whose symbols are chosen together, about."""
COARSE = 130.0
"""The step from which bits of patches count more, so that the worst qualities give the smallest files."""
_DECODERS = dict(zip(TUNES, (DECODER, TUNED_DECODER), strict=True))


class Bands(Family):
    """Symbols: int32 (CHANNELS, h, w) on the grid of tiles, and of models with kinds of blocks (CHANNELS + 4, h, w), with the
    partition, or (CHANNELS + 5, h, w), with that and the steps of tiles."""

    temperature = 0.0
    one_quality = False
    effort = 1
    most_effort = len(ROUNDS) - 1
    bands = len(BANDS)
    exact_pixels = True

    def __init__(self, model: ModelInfo, place: Place):
        self.place, self.model = place, model
        self.prior = _load_prior(model, place)
        self._painters: dict[str, Painter] = {}
        self._torch_decoders: dict[str, Decoder] = {}
        self.kinds = self.prior.network.kinds
        self.stepped = bool(self.kinds)
        self.tunes = TUNES if (model.path / TUNED_DECODER).exists() else TUNES[:1]

    def step16(self, quality: float | None) -> int:
        return round(step_of_quality(DEFAULT_QUALITY if quality is None else quality) * STEP_UNIT)

    def analyse(self, rgb: np.ndarray, parameters: Parameters) -> np.ndarray:
        draft, partition = self._rounded(rgb, parameters, self._index(self._seen(rgb, parameters), parameters))
        return blocks.packed(draft.symbols, partition)

    def encode(self, rgb: np.ndarray, parameters: Parameters, effort: int, tick: Tick) -> bytes:
        coding = CODING_SHARES[min(effort, len(CODING_SHARES) - 1)]
        seen = self._seen(rgb, parameters)
        draft, partition = self._rounded(rgb, parameters, self._index(seen, parameters))
        if effort:
            if isinstance(seen, np.ndarray):
                seen = masking.weights(seen, draft.slope, draft.curvature)
            moved = no_tick if effort > self.effort else share_of(tick, 1 - coding)
            draft = self._moved(draft, partition, rgb, parameters, seen, moved)
            if effort > self.effort:
                search = self._search(rgb, parameters, partition, seen)
                symbols = draft.symbols + self._moves(draft, parameters)
                draft = search.optimise(symbols, ROUNDS[effort], share_of(tick, 1 - coding))
        del rgb  # for the memory
        return self.prior.encode(draft, partition, parameters.step16, parameters.grey, share_of(tick, coding))

    def _seen(self, rgb: np.ndarray, parameters: Parameters) -> np.ndarray | float:
        """Weights of the squared error of each symbol, up to a factor."""
        return 1.0 if parameters.tune == TUNES[0] else masking.seen(rgb)

    def _index(self, seen: np.ndarray | float, parameters: Parameters) -> np.ndarray | None:
        """The step index of each tile, int64 (h, w), where tiles have steps of their own."""
        return masking.step_index(seen, parameters.step) if parameters.stepped and isinstance(seen, np.ndarray) else None

    def _moved(
        self,
        draft: Draft,
        partition: np.ndarray | None,
        rgb: np.ndarray,
        parameters: Parameters,
        seen: np.ndarray | float,
        tick: Tick,
    ) -> Draft:
        """A draft after rounds of moves, but for those of the last round: they are made where it is coded, or searched. `seen`:
        weights of the squared error of each symbol."""
        draft = draft._replace(curvature=draft.curvature * seen)
        for left in reversed(range(rounding.ROUNDS)):
            slope = self._slopes(draft.symbols, partition, rgb, parameters)
            slope *= seen
            draft = draft._replace(slope=slope)
            if left:
                draft = draft._replace(symbols=draft.symbols + self._moves(draft, parameters))
            tick(1 / rounding.ROUNDS)
        return draft._replace(curvature=rounding.SETTLING_CURVATURE * draft.curvature)

    def _rounded(self, rgb: np.ndarray, parameters: Parameters, index: np.ndarray | None) -> tuple[Draft, np.ndarray | None]:
        """The symbols of effort 0, and the partition where there are kinds of blocks. `index`: of the tiles' steps."""
        steps = np.array([parameters.step], np.float32)

        def work(_: slice, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            pixels, of_tiles = rgb[None, :, scaled(rows, TILE)], None if index is None else index[None, rows]
            told = None if of_tiles is None else placed(of_tiles, self.place)
            return self._quantised(placed(pixels, self.place), placed(steps, self.place), told)

        size = [tiles_across(side) for side in rgb.shape[1:]]
        symbols, slope, chosen = zip(*in_strips(work, size, 0, self.place, CHOSEN), strict=True)
        weight = rounding.BITS_WEIGHT * parameters.step**2
        partition = joined(chosen) if self.kinds else None
        curvature = rounding.curvatures(steps, None, partition if partition is None else partition[None])[0]
        return Draft(joined(symbols), joined(slope), curvature, weight), partition

    def _quantised(self, rgb: Array, step: Array, index: Array | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Symbols int32 of an image (1, 3, H, W), their slopes, and its partition where there are kinds of blocks."""
        chosen = choose(rgb, step, self.kinds, index) if self.kinds else None
        coefficients = analyse(rgb, chosen)
        symbols = quantise(coefficients, step[:, None, None, None], chosen)
        slope = rounding.slopes_of_rounding(symbols, coefficients, step, chosen)
        whole = to_numpy(symbols[0]).astype(np.int32)
        return whole, to_numpy(slope[0]), None if chosen is None else to_numpy(chosen[0])

    def _slopes(self, symbols: np.ndarray, partition: np.ndarray | None, rgb: np.ndarray, parameters: Parameters) -> np.ndarray:
        """`rounding.slopes` of a painted image, float32 as the symbols. Those for MS-SSIM are of the first decoder's image, too."""
        height, width = rgb.shape[1:]
        painted = self.paint(blocks.packed(symbols, partition), (width, height), replace(parameters, tune=TUNES[0]), 0.0)

        def work(_: slice, rows: slice) -> np.ndarray:
            pixels = scaled(rows, TILE)
            error, original = np.zeros_like(painted[:, pixels]), rgb[:, pixels]
            error[:, : original.shape[1], :width] = painted[:, pixels][:, : original.shape[1], :width] - original
            told = None if partition is None else partition[None, :, rows]
            return rounding.slopes(error[None], np.array([parameters.step], np.float32), told)[0]

        return joined(in_strips(work, symbols.shape[1:], 0, None, CHOSEN))

    def _moves(self, draft: Draft, parameters: Parameters) -> np.ndarray:
        """One round of moves, int32 as the symbols."""
        step, curvature = np.array([parameters.step], np.float32), np.broadcast_to(draft.curvature, draft.slope.shape)

        def work(inner: slice, outer: slice) -> np.ndarray:
            symbols = draft.symbols[None, :, outer].astype(np.float32)
            slope, curved = draft.slope[None, :, outer], curvature[None, :, outer]
            return rounding.moves(symbols, slope, curved, step)[0, :, inner].astype(np.int32)

        found = joined(in_strips(work, draft.symbols.shape[1:], 1, None))
        if parameters.grey:
            found[[channel.plane > 0 for channel in CHANNELS]] = 0
        return found

    def _search(
        self, rgb: np.ndarray, parameters: Parameters, partition: np.ndarray | None, seen: np.ndarray | float
    ) -> "SymbolOptimiser":
        with needing_torch("--effort above 1"):
            from dctcodec.bands.rdo import SymbolOptimiser
        return SymbolOptimiser(self.torch_decoder(parameters.tune), self.prior, rgb, parameters, partition, seen)

    def patch_weight(self, parameters: Parameters) -> float:
        return parameters.step**2 / SLOPE * max(1.0, parameters.step / COARSE) ** 2 if self.kinds else 0.0

    def costs(self, tiles: np.ndarray, parameters: Parameters) -> np.ndarray:
        def work(some: slice) -> np.ndarray:
            steps = np.full(len(tiles[some]), parameters.step, np.float32)
            return to_numpy(costs(placed(tiles[some], self.place), placed(steps, self.place), self.kinds))[:, 0, 0]

        return np.concatenate([work(slice(start, start + STRIP)) for start in range(0, len(tiles), STRIP)])

    def decode(self, payload: bytes, size: tuple[int, int], parameters: Parameters, partial: bool, tick: Tick) -> np.ndarray:
        width, height = map(tiles_across, size)
        step16, grey, stepped = parameters.step16, parameters.grey, parameters.stepped
        return self.prior.decode(payload, height, width, step16, grey, tick, partial, stepped=stepped)

    def preview(self, payload: bytes, size: tuple[int, int], parameters: Parameters, scale: int, partial: bool) -> np.ndarray:
        side, (width, height) = TILE // scale, map(tiles_across, size)
        bands = bands_below(side)
        step16, grey, stepped = parameters.step16, parameters.grey, parameters.stepped
        symbols = self.prior.decode(payload, height, width, step16, grey, partial=partial, bands=bands, stepped=stepped)
        symbols, partition = blocks.unpacked(symbols)
        told = None if partition is None else partition[None]
        coefficients = dequantise(symbols[None].astype(np.float32), np.float32(parameters.step), told)
        planes = synthesise_reduced(coefficients, side, told)
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
        return self._painter(parameters.tune).paint(coded, parameters.step16, temperature, parameters.seed, partition)

    def _painter(self, tune: str) -> Painter:
        if tune not in self._painters:
            with told_as_damage(self.model):
                self._painters[tune] = Painter(load_file(self.model.path / _DECODERS[tune]), self.kinds, arithmetic_for(self.place))
        return self._painters[tune]

    def torch_decoder(self, tune: str) -> "Decoder":
        """The decoder as a network of torch."""
        from dctcodec.bands.decoder import loaded

        if tune not in self._torch_decoders:
            with told_as_damage(self.model):
                tensors = load_file(self.model.path / _DECODERS[tune])
                weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(EXACT)}
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
