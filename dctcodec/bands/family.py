"""The family of dct-bands: whole images in YCbCr, all frequencies, a masked-diffusion prior, one decoder over all tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dctcodec.bands import blocks
from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.choice import choose
from dctcodec.bands.coder import Tables
from dctcodec.bands.decoder import Decoder, DecoderShape, reconstruct
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.masked import MaskedPrior
from dctcodec.bands.order import BANDS, bands_below
from dctcodec.bands.partition import PartitionCode
from dctcodec.bands.quality import DEFAULT_QUALITY, STEP_UNIT, step_of_quality
from dctcodec.bands.rdo import SymbolOptimiser
from dctcodec.bands.transform import analyse, dequantise, quantise, synthesise_reduced
from dctcodec.errors import ModelError
from dctcodec.exact.layers import arithmetic_for
from dctcodec.family import DECODER, PRIOR, TUNED_DECODER, TUNES, Family, Parameters
from dctcodec.installed import ModelInfo
from dctcodec.modules import built_alike, channels_last
from dctcodec.progress import Tick
from dctcodec.search import ROUNDS
from dctcodec.tiles import TILE, tiles_across, ycbcr_to_rgb


class Bands(Family):
    """Symbols: int32 (CHANNELS, h, w) on the grid of tiles, and of models with kinds of blocks (CHANNELS + 4, h, w), with the
    partition."""

    temperature = 0.0
    one_quality = False
    most_effort = len(ROUNDS) - 1
    bands = len(BANDS)

    def __init__(self, model: ModelInfo, device: torch.device):
        self.device, self.model = device, model
        self.prior, self.decoder = _load(model, device)
        self.kinds = self.prior.network.kinds
        self.tunes = TUNES if (model.path / TUNED_DECODER).exists() else TUNES[:1]

    def step16(self, quality: float | None) -> int:
        return round(step_of_quality(DEFAULT_QUALITY if quality is None else quality) * STEP_UNIT)

    @torch.no_grad()
    def symbols(self, rgb: Tensor, parameters: Parameters, effort: int, tick: Tick) -> Tensor:
        partition = choose(rgb[None], torch.tensor([parameters.step], dtype=torch.float32), self.kinds) if self.kinds else None
        symbols = quantise(analyse(rgb[None], partition), parameters.step)[0].to(torch.int32)
        partition = None if partition is None else partition[0]
        if effort:
            decoder = self._decoder(parameters.tune)
            search = SymbolOptimiser(decoder, self.prior, rgb.to(self.device), parameters, partition)
            symbols = search.optimise(symbols, ROUNDS[effort], tick)
        return blocks.packed(symbols, partition)

    def encode(self, symbols: Tensor, parameters: Parameters, tick: Tick) -> bytes:
        return self.prior.encode(symbols, parameters.step16, parameters.grey, tick)

    def decode(self, payload: bytes, size: tuple[int, int], parameters: Parameters, partial: bool, tick: Tick) -> Tensor:
        width, height = map(tiles_across, size)
        return self.prior.decode(payload, height, width, parameters.step16, parameters.grey, tick, partial)

    @torch.no_grad()
    def preview(self, payload: bytes, size: tuple[int, int], parameters: Parameters, scale: int, partial: bool) -> Tensor:
        side, (width, height) = TILE // scale, map(tiles_across, size)
        bands = bands_below(side)
        symbols = self.prior.decode(payload, height, width, parameters.step16, parameters.grey, partial=partial, bands=bands)
        symbols, partition = blocks.unpacked(symbols)
        coefficients = dequantise(symbols[None].float(), parameters.step)
        planes = synthesise_reduced(coefficients, side, None if partition is None else partition[None])
        return ycbcr_to_rgb(planes)[0]

    def code_length(self, symbols: Tensor, parameters: Parameters) -> float:
        return self.prior.code_length(symbols, parameters.step16, parameters.grey)

    def tile_bits(self, symbols: Tensor, parameters: Parameters) -> Tensor:
        return self.prior.tile_bits(symbols, parameters.step16, parameters.grey)

    def coarse(self, symbols: Tensor, bands: int) -> Tensor:
        coded, partition = blocks.unpacked(symbols.clone())
        coded[BANDS[bands - 1].stop :] = 0
        return blocks.packed(coded, partition)

    def paint(self, symbols: Tensor, size: tuple[int, int], parameters: Parameters, temperature: float) -> Tensor:
        decoder = self._decoder(parameters.tune)
        symbols, partition = blocks.unpacked(symbols.to(self.device))
        return reconstruct(decoder, symbols, parameters.step, temperature, parameters.seed, partition)

    def _decoder(self, tune: str) -> Decoder:
        return self.decoder if tune == TUNES[0] else self._tuned_decoder

    @cached_property
    def _tuned_decoder(self) -> Decoder:
        return _load_decoder(self.model, TUNED_DECODER, self.device)


def _load(model: ModelInfo, device: torch.device) -> tuple[MaskedPrior, Decoder]:
    with _told_as_damage(model):
        integers = load_file(model.path / PRIOR)
        network = ExactPrior(integers, arithmetic_for(device))
        tables = Tables(integers["cumulative"].numpy(), integers["reach"].numpy())
        partition = PartitionCode(integers) if network.kinds else None
        if network.kinds != kinds_of(model.config.get("blocks", ())):
            raise LookupError("its prior has other blocks than its config.json")
    return MaskedPrior(network, tables, partition), _load_decoder(model, DECODER, device)


@torch.inference_mode(False)  # effort needs gradients by way of the weights
def _load_decoder(model: ModelInfo, file: str, device: torch.device) -> Decoder:
    with _told_as_damage(model), built_alike():
        shape = DecoderShape(**{k: tuple(v) for k, v in model.config["decoder"].items()})
        decoder = Decoder(shape, kinds_of(model.config.get("blocks", ())))
        decoder.load_state_dict({k: v.float() for k, v in load_file(model.path / file).items()})
    decoder.requires_grad_(False)
    return channels_last(decoder.eval(), device)


@contextmanager
def _told_as_damage(model: ModelInfo) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, LookupError, RuntimeError) as error:
        raise ModelError(f"the model {model.name} is damaged ({error}): install dctcodec again") from error
