"""The codec, as in DESIGN section 1.

image -> tiles -> DCT-II -> quantise -> symbols -> prior (exact) + rANS -> .dct
.dct -> rANS + the same prior -> symbols -> hierarchical decoder (float, temperature) -> image

A model's family says how each arrow is drawn: `bands` (whole pictures, all frequencies, any quality) or `vae.scheme` (the paper's).
"""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dctcodec import container, image, installed
from dctcodec.device import device_of
from dctcodec.errors import FormatError, ModelError
from dctcodec.progress import Tick, no_tick
from dctcodec.tiles import rgb_to_ycbcr

CODING_SHARE = 0.9
"""The share of the work that is entropy coding; without effort, in an encoder."""
_SCHEMES = {"dct-bands": "dctcodec.bands.family:Bands", "dct-vae": "dctcodec.vae.family:DctVae"}
"""Where the scheme of each family is; a family that is not here has no codec."""


class Family(Protocol):
    """What a family of models does between a picture's pixels and a file's payload. Made with a ModelInfo and a torch.device."""

    temperature: float
    """At which pictures are painted where the user does not say."""
    one_quality: bool
    """Files have no quantisation step."""
    progressive: bool
    """The beginning of a file's payload decodes to a coarser picture."""
    most_effort: int
    """Efforts are 0 to that: 9, or 0 for contexts without code lengths."""
    latents: int
    """Symbols are told in so many parts, coarse to fine."""
    tunes: tuple[str, ...]
    """Those of models.TUNES that there are weights for."""

    def step16(self, quality: float | None) -> int:
        """The quantisation step for the header, in 1/16; 0 where the model has one quality. Raises ValueError."""

    def symbols(self, rgb: Tensor, header: container.Header, effort: int, tick: Tick) -> Tensor:
        """int32 symbols on the CPU of RGB float32 (3, H, W) in [0, 255]; where there is `effort`, `tick` is told of it."""

    def encode(self, symbols: Tensor, header: container.Header, tick: Tick) -> bytes:
        """The payload of symbols. Exact."""

    def decode(self, payload: bytes, header: container.Header, tick: Tick) -> Tensor:
        """The symbols of a payload, which may be shorter than the header says where the file is progressive. Exact. Raises
        FormatError."""

    def code_length(self, symbols: Tensor, header: container.Header) -> float:
        """Bits that the exact model says symbols cost, without the coder's overhead."""

    def coarse(self, symbols: Tensor, latents: int) -> Tensor:
        """Symbols of the first `latents` parts, the others as if they had not been sent."""

    def paint(self, symbols: Tensor, header: container.Header, temperature: float) -> Tensor:
        """RGB float32 (3, at least H, at least W), nominally in [0, 255]."""


def _outside_autocast(method: Callable) -> Callable:
    """A method of Codec as without the caller's autocast, whose bfloat16 sums would not be exact."""

    @wraps(method)
    def exact(self: "Codec", *args: Any, **options: Any) -> Any:
        with torch.autocast("cpu", enabled=False), torch.autocast(self.device.type, enabled=False):
            return method(self, *args, **options)

    return exact


class Codec:
    """A model, loaded. `model`: a name that `dctcodec models` lists; `device`: auto, cpu or cuda.

    Raises ModelError where the model or the device is not there.
    """

    def __init__(self, model: str = installed.DEFAULT, device: str = "auto"):
        self.model = installed.find(model)
        self.device = device_of(device)
        self.scheme = _scheme(self.model, self.device)

    def check(self, effort: int, tune: str) -> None:
        """Raises ModelError where the model knows no effort, or has no weights for a measure: `encode` of a command's options."""
        if effort > self.scheme.most_effort:
            raise ModelError(f"the model {self.model.name} knows no effort: leave --effort out")
        if tune not in self.scheme.tunes:
            raise ModelError(f"the model {self.model.name} has no weights for {tune}: leave --tune out")

    @_outside_autocast
    def encode(
        self,
        picture: Image.Image,
        quality: float | None = None,
        seed: int = 0,
        effort: int = 0,
        tune: str = installed.TUNES[0],
        tick: Tick = no_tick,
    ) -> bytes:
        """A picture as the bytes of a .dct file.

        `picture`: any PIL image of 1 to 2^27 pixels; `quality`: 1 (smallest) to 100, 50 where it is None, and None for models that
        have one quality; `seed`: 0 to 2^32 - 1, of the noise that a decoder adds at temperatures above 0; `effort`: 0 to 9, or 0
        alone for models that know none, how long to search for symbols of fewer bits (`refine.py`); `tune`: the measure, "psnr" or
        "ms-ssim", for which the picture is painted and effort searches. Raises ValueError for what is out of range, ImageError,
        FormatError.
        """
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed {seed} is outside 0..{2**32 - 1}")
        if not 0 <= effort <= self.scheme.most_effort:
            raise ValueError(f"effort {effort} is outside 0..{self.scheme.most_effort} of the model {self.model.name}")
        if tune not in self.scheme.tunes:
            raise ValueError(f"the model {self.model.name} is not tuned for {tune!r}, only for {', '.join(self.scheme.tunes)}")
        picture = image.normalise(picture)
        step16 = self.scheme.step16(quality)
        grey, progressive = picture.mode == "L", self.scheme.progressive
        tuned = tune != installed.TUNES[0]
        header = container.Header(*picture.size, grey, step16, seed, self.model.model_id, progressive=progressive, tuned=tuned)
        container.check_size(*picture.size)
        coding = 1 - CODING_SHARE if effort else CODING_SHARE
        symbols = self.scheme.symbols(_pixels(picture), header, effort, lambda share: tick((1 - coding) * share))
        if not effort:
            tick(1 - coding)
        return container.write(header, self.scheme.encode(symbols, header, lambda share: tick(coding * share)))

    @_outside_autocast
    def decode(
        self,
        data: bytes,
        temperature: float | None = None,
        partial: bool = False,
        latents: int | None = None,
        tick: Tick = no_tick,
    ) -> Image.Image:
        """The picture of a .dct file, RGB or L. `temperature` >= 0 scales the noise of the latents that the file does not hold:
        0 is the best estimate, above it texture is drawn, the same for the same file; None takes the model's default.
        `partial`: where `data` is the beginning of a progressive file, decode what is there, which cannot be checked for damage.
        `latents`: paint from the first so many of the scheme's latents (dct-bands: bands of frequencies, 8; dct-vae: the context
        alone, 1), None from all. Raises FormatError, ModelError, and ValueError for a temperature that is negative or not finite
        and a number of latents that the model does not have."""
        temperature = self.scheme.temperature if temperature is None else temperature
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature {temperature} is not a finite number from 0 up")
        latents = self.scheme.latents if latents is None else latents
        if not 1 <= latents <= self.scheme.latents:
            raise ValueError(f"the model {self.model.name} has latents 1..{self.scheme.latents}, not {latents}")
        header, symbols = self.symbols(data, partial, lambda share: tick(CODING_SHARE * share))
        rgb = self.scheme.paint(self.scheme.coarse(symbols, latents), header, temperature)
        tick(1 - CODING_SHARE)
        return _picture(rgb[:, : header.height, : header.width], header.grey)

    @_outside_autocast
    def symbols(self, data: bytes, partial: bool = False, tick: Tick = no_tick) -> tuple[container.Header, Tensor]:
        """Header and symbols of a file, int32 on the CPU: the part of decoding that is exact. dct-bands has symbols
        (CHANNELS, h, w) on the grid of tiles, dct-vae (tiles, 3, 6, 6)."""
        header, payload = container.parse(data, partial)
        if header.model_id != self.model.model_id:
            other = installed.find_by_id(header.model_id)
            raise ModelError(f"the file was made with model {other.name}, not {self.model.name}")
        if (header.step16 == 0) != self.scheme.one_quality:
            raise FormatError(f"the file's quantisation step is {header.step:g}, which its model does not know")
        if header.tuned and len(self.scheme.tunes) == 1:
            raise FormatError(f"the file is to be painted by weights that its model {self.model.name} does not have")
        return header, self.scheme.decode(payload, header, tick)

    @_outside_autocast
    def ideal_bits(self, data: bytes) -> float:
        """Code length of a file's symbols under the exact model, in bits: its size but for header and coder overhead."""
        header, symbols = self.symbols(data)
        return self.scheme.code_length(symbols, header)


def codec_for(data: bytes, device: str = "auto", partial: bool = False) -> Codec:
    """The codec that a file was made with, or the beginning of one where that is `partial`. Raises FormatError, ModelError."""
    return loaded(installed.find_by_id(container.parse(data, partial)[0].model_id).name, device)


@lru_cache(maxsize=2)
def loaded(model: str = installed.DEFAULT, device: str = "auto") -> Codec:
    """A codec that stays in memory for the next call."""
    return Codec(model, device)


def encode(picture: Image.Image, quality: float = 50.0, seed: int = 0) -> bytes:
    """`Codec.encode` with the default model."""
    return loaded().encode(picture, quality, seed)


def decode(data: bytes, temperature: float | None = None, partial: bool = False) -> Image.Image:
    """`Codec.decode` with the model that the file names."""
    return codec_for(data, partial=partial).decode(data, temperature, partial)


def _pixels(picture: Image.Image) -> Tensor:
    """RGB float32 (3, H, W) in [0, 255] of an RGB or L picture."""
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels.permute(2, 0, 1).float()


def _picture(rgb: Tensor, grey: bool) -> Image.Image:
    """8-bit picture of RGB float32 (3, H, W)."""
    planes = rgb_to_ycbcr(rgb)[:1] + 128 if grey else rgb
    pixels = planes.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if grey else pixels)


def _scheme(model: installed.ModelInfo, device: torch.device) -> Family:
    if model.family not in _SCHEMES:
        raise ModelError(f"the model {model.name} has no prior to code with, so it makes no files: use it with `dctcodec eval`")
    module, name = _SCHEMES[model.family].split(":")
    return getattr(import_module(module), name)(model, device)
