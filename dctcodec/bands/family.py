"""The family of dct-bands: whole pictures in YCbCr, all frequencies, a masked-diffusion prior, one decoder over all tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dctcodec import installed, tiles
from dctcodec.bands import transform
from dctcodec.bands.coder import Tables
from dctcodec.bands.decoder import Decoder, DecoderShape, reconstruct
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.masked import MaskedPrior
from dctcodec.bands.order import BANDS
from dctcodec.bands.quality import DEFAULT_QUALITY, STEP_UNIT, step_of_quality
from dctcodec.bands.rdo import SymbolOptimiser
from dctcodec.container import Header
from dctcodec.errors import ModelError
from dctcodec.exact.layers import arithmetic_for
from dctcodec.progress import Tick
from dctcodec.search import ROUNDS


class Bands:
    """`codec.Scheme` of the family. Symbols: int32 (CHANNELS, h, w) on the grid of tiles."""

    temperature = 0.0
    one_quality = False
    progressive = True
    most_effort = len(ROUNDS) - 1
    latents = len(BANDS)

    def __init__(self, model: installed.ModelInfo, device: torch.device):
        self.device, self.model = device, model
        self.prior, self.decoder = _load(model, device)
        self.tunes = installed.TUNES if (model.path / installed.TUNED_DECODER).exists() else installed.TUNES[:1]

    def step16(self, quality: float | None) -> int:
        return round(step_of_quality(DEFAULT_QUALITY if quality is None else quality) * STEP_UNIT)

    @torch.no_grad()
    def symbols(self, rgb: Tensor, header: Header, effort: int, tick: Tick) -> Tensor:
        symbols = transform.quantise(transform.analyse(rgb[None]), header.step)[0].to(torch.int32)
        if effort == 0:
            return symbols
        refiner = SymbolOptimiser(self._decoder(header), self.prior, rgb.to(self.device), header.step16, header.grey, header.tuned)
        return refiner.refine(symbols, ROUNDS[effort], tick)

    def encode(self, symbols: Tensor, header: Header, tick: Tick) -> bytes:
        return self.prior.encode(symbols, header.step16, header.grey, tick)

    def decode(self, payload: bytes, header: Header, tick: Tick) -> Tensor:
        height, width = tiles.tiles_across(header.height), tiles.tiles_across(header.width)
        partial = len(payload) < header.payload_length
        if partial:
            payload = payload[: len(payload) // 4 * 4]  # whole words
        if not header.progressive:
            payload = _reversed(payload)
        return self.prior.decode(payload, height, width, header.step16, header.grey, tick, partial)

    def code_length(self, symbols: Tensor, header: Header) -> float:
        return self.prior.nll(symbols, header.step16, header.grey)

    def coarse(self, symbols: Tensor, latents: int) -> Tensor:
        symbols = symbols.clone()
        symbols[BANDS[latents - 1].stop :] = 0
        return symbols

    def paint(self, symbols: Tensor, header: Header, temperature: float) -> Tensor:
        return reconstruct(self._decoder(header), symbols.to(self.device), header.step, temperature, header.seed)

    def _decoder(self, header: Header) -> Decoder:
        return self._tuned_decoder if header.tuned else self.decoder

    @cached_property
    def _tuned_decoder(self) -> Decoder:
        return _load_decoder(self.model, installed.TUNED_DECODER, self.device)


def _reversed(payload: bytes) -> bytes:
    """The order of words in files from before they were progressive."""
    return b"".join(payload[start : start + 4] for start in range(0, len(payload), 4)[::-1])


def _load(model: installed.ModelInfo, device: torch.device) -> tuple[MaskedPrior, Decoder]:
    with _told_as_damage(model):
        integers = load_file(model.path / installed.PRIOR)
        network = ExactPrior(integers, arithmetic_for(device))
        tables = Tables(integers["cumulative"].numpy(), integers["reach"].numpy())
    return MaskedPrior(network, tables), _load_decoder(model, installed.DECODER, device)


@torch.inference_mode(False)  # effort needs gradients by way of the weights
def _load_decoder(model: installed.ModelInfo, file: str, device: torch.device) -> Decoder:
    with _told_as_damage(model):
        decoder = Decoder(DecoderShape(**{k: tuple(v) for k, v in model.config["decoder"].items()}))
        decoder.load_state_dict({k: v.float() for k, v in load_file(model.path / file).items()})
    decoder.requires_grad_(False)
    return decoder.eval().to(device, memory_format=torch.channels_last)


@contextmanager
def _told_as_damage(model: installed.ModelInfo) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, LookupError, RuntimeError) as error:
        raise ModelError(f"the model {model.name} is damaged ({error}): install dctcodec again") from error
