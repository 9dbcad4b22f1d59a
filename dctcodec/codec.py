"""The codec.

image -> tiles -> DCT-II -> quantise -> symbols -> prior (exact) + rANS -> .dct
.dct -> rANS + the same prior -> symbols -> hierarchical decoder (float, temperature) -> image

A model's family draws each arrow (`family.py`): `bands` codes whole images, all frequencies, at any quality; `vae` is the
paper's model. DESIGN.md explains the design.
"""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dctcodec import container, image, installed
from dctcodec.device import device_of
from dctcodec.errors import FormatError, ModelError
from dctcodec.family import FAMILIES, TUNES, Family, Parameters
from dctcodec.installed import DEFAULT, ModelInfo
from dctcodec.progress import Tick, no_tick
from dctcodec.target import Target, meet
from dctcodec.tiles import rgb_to_ycbcr

CODING_SHARE = 0.9
"""Share of the time that entropy coding takes: of decoding, and of encoding without effort."""


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

    def __init__(self, model: str = DEFAULT, device: str = "auto"):
        self.model = installed.find(model)
        self.device = device_of(device)
        self.family = _family(self.model, self.device)

    @property
    def model_id(self) -> int:
        """The identity of the model that files name. Raises ModelError where the model has no prior to code with."""
        if self.model.model_id is None:
            raise ModelError(f"the model {self.model.name} has no prior to code with")
        return self.model.model_id

    def check(self, effort: int, tune: str) -> None:
        """Check the options of a command line before an image is read. Raises ModelError where the model has no search for
        `effort`, or no weights for `tune`."""
        if effort > self.family.most_effort:
            raise ModelError(f"the model {self.model.name} has no effort: leave --effort out")
        if tune not in self.family.tunes:
            raise ModelError(f"the model {self.model.name} has no weights for {tune}: leave --tune out")

    @_outside_autocast
    def encode(
        self,
        picture: Image.Image,
        quality: float | None = None,
        seed: int = 0,
        effort: int = 0,
        tune: str = TUNES[0],
        tick: Tick = no_tick,
    ) -> bytes:
        """An image as the bytes of a .dct file.

        `picture`: any PIL image of 1 to 2^27 pixels; `quality`: 1 (smallest) to 100, 50 where it is None, and None for models that
        have one quality; `seed`: 0 to 2^32 - 1, of the noise that a decoder adds at temperatures above 0; `effort`: 0 to 9, or 0
        alone for models without a search, how long to search for symbols of fewer bits (`bands/rdo.py`); `tune`: the measure,
        "psnr" or "ms-ssim", for which the image is painted and searched. Raises ValueError for a value out of range, ImageError,
        FormatError.
        """
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed {seed} is outside 0..{2**32 - 1}")
        if not 0 <= effort <= self.family.most_effort:
            raise ValueError(f"effort {effort} is outside 0..{self.family.most_effort} of the model {self.model.name}")
        if tune not in self.family.tunes:
            raise ValueError(f"the model {self.model.name} is not tuned for {tune!r}, only for {', '.join(self.family.tunes)}")
        picture = image.normalise(picture)
        container.check_size(*picture.size)
        parameters = Parameters(self.family.step16(quality), picture.mode == "L", seed, tune)
        coding = 1 - CODING_SHARE if effort else CODING_SHARE
        symbols = self.family.symbols(_pixels(picture), parameters, effort, lambda share: tick((1 - coding) * share))
        if not effort:
            tick(1 - coding)
        payload = self.family.encode(symbols, parameters, lambda share: tick(coding * share))
        return container.write(self._header(picture.size, parameters), payload)

    def encode_to(
        self,
        picture: Image.Image,
        *,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
        seed: int = 0,
        effort: int = 0,
        tune: str = TUNES[0],
        tick: Tick = no_tick,
    ) -> bytes:
        """An image as the bytes of a .dct file that meets one target: the best quality of at most `bpp` bits a pixel or `size`
        bytes, or the least quality of at least `psnr` dB at temperature 0.

        Warns where the best quality is far below a `bpp` or `size`, or the worst above a `psnr`. Raises TargetError where no
        quality of the model meets the target, ValueError for no target, several targets or nan, and what `encode` raises.
        """
        target = Target.of(bpp, size, psnr)
        return meet(self, image.normalise(picture), target, {"seed": seed, "effort": effort, "tune": tune}, tick)

    @_outside_autocast
    def decode(
        self,
        data: bytes,
        temperature: float | None = None,
        partial: bool = False,
        bands: int | None = None,
        tick: Tick = no_tick,
    ) -> Image.Image:
        """The image of a .dct file, of mode RGB or L.

        `temperature` >= 0 scales the noise of the latents that the file does not hold: 0 is the best estimate, above it texture is
        synthesised, the same for the same file; None is the model's default. `partial`: `data` may be a truncated progressive
        file; what is there is decoded, and its checksum cannot be checked. `bands`: decode only so many bands of frequencies,
        coarse to fine (dct-bands has 8, dct-vae 1), None for all. Raises FormatError, ModelError, and ValueError for a
        temperature that is negative or not finite and a number of bands that the model does not have."""
        temperature = self.family.temperature if temperature is None else temperature
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature {temperature} is not a finite number from 0 up")
        bands = self.family.bands if bands is None else bands
        if not 1 <= bands <= self.family.bands:
            raise ValueError(f"the model {self.model.name} has bands 1..{self.family.bands}, not {bands}")
        header, symbols = self.symbols(data, partial, lambda share: tick(CODING_SHARE * share))
        rgb = self.family.paint(self.family.coarse(symbols, bands), header.size, _parameters(header), temperature)
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
        if (header.step16 == 0) != self.family.one_quality:
            raise FormatError(f"the file's quantisation step is {header.step:g}, which its model does not know")
        if header.tuned and len(self.family.tunes) == 1:
            raise FormatError(f"the file needs a decoder that its model {self.model.name} does not have")
        part = len(payload) < header.payload_length
        if part:
            payload = payload[: len(payload) // 4 * 4]  # whole words
        if self.family.progressive and not header.progressive:
            payload = _reversed(payload)
        return header, self.family.decode(payload, header.size, _parameters(header), part, tick)

    @_outside_autocast
    def code_length(self, data: bytes) -> float:
        """Code length of a file's symbols under the exact model, in bits: its size without header and coder overhead."""
        header, symbols = self.symbols(data)
        return self.family.code_length(symbols, _parameters(header))

    @_outside_autocast
    def tile_bits(self, data: bytes) -> Tensor | None:
        """Bits of each tile of 32x32 pixels of a file, float (h, w), up to the rounding of the coder's tables; None for models of
        a family that does not tell them apart."""
        header, symbols = self.symbols(data)
        return self.family.tile_bits(symbols, _parameters(header))

    def _header(self, size: tuple[int, int], parameters: Parameters) -> container.Header:
        return container.Header(
            *size,
            parameters.grey,
            parameters.step16,
            parameters.seed,
            self.model_id,
            progressive=self.family.progressive,
            tuned=parameters.tune != TUNES[0],
        )


def codec_for(data: bytes, device: str = "auto", partial: bool = False) -> Codec:
    """The codec that a file was made with, or the beginning of one where that is `partial`. Raises FormatError, ModelError."""
    return loaded(installed.find_by_id(container.parse(data, partial)[0].model_id).name, device)


@lru_cache(maxsize=2)
def loaded(model: str = DEFAULT, device: str = "auto") -> Codec:
    """A codec that stays in memory for the next call."""
    return Codec(model, device)


def encode(picture: Image.Image, quality: float = 50.0, seed: int = 0) -> bytes:
    """`Codec.encode` with the default model."""
    return loaded().encode(picture, quality, seed)


def decode(data: bytes, temperature: float | None = None, partial: bool = False) -> Image.Image:
    """`Codec.decode` with the model that the file names."""
    return codec_for(data, partial=partial).decode(data, temperature, partial)


def _parameters(header: container.Header) -> Parameters:
    return Parameters(header.step16, header.grey, header.seed, TUNES[header.tuned])


def _reversed(payload: bytes) -> bytes:
    """A payload in the order of words of files that are not progressive."""
    return b"".join(payload[start : start + 4] for start in range(0, len(payload), 4)[::-1])


def _pixels(picture: Image.Image) -> Tensor:
    """RGB float32 (3, H, W) in [0, 255] of an RGB or L picture."""
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels.permute(2, 0, 1).float()


def _picture(rgb: Tensor, grey: bool) -> Image.Image:
    """8-bit picture of RGB float32 (3, H, W)."""
    planes = rgb_to_ycbcr(rgb)[:1] + 128 if grey else rgb
    pixels = planes.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if grey else pixels)


def _family(model: ModelInfo, device: torch.device) -> Family:
    """The loaded networks of a model. Raises ModelError where its family has no codec."""
    target = FAMILIES[model.family].codec
    if target is None:
        raise ModelError(f"the model {model.name} is for evaluation only and has no codec: use it with `dctcodec eval`")
    module, name = target.split(":")
    family: type[Family] = getattr(import_module(module), name)
    return family(model, device)
