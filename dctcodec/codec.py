"""The codec, as in DESIGN section 1.

image -> YCbCr -> 32x32 tiles -> DCT-II -> quantise -> symbols -> prior (exact) + rANS -> .dct
.dct -> rANS + the same prior -> symbols -> hierarchical decoder (float, temperature) -> image
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dctcodec import container, context, image, models
from dctcodec.coder import Tables
from dctcodec.context import rgb_to_ycbcr
from dctcodec.decoder import Decoder, DecoderShape, reconstruct
from dctcodec.errors import ModelError
from dctcodec.prior.exact import ExactPrior, arithmetic_for
from dctcodec.prior.masked import MaskedPrior
from dctcodec.quality import STEP_UNIT, step_of_quality
from dctcodec.schedule import REVEALS

Tick = Callable[[], object]
"""Called STAGES times while a picture is encoded or decoded, for a progress bar."""
STAGES = len(REVEALS) + 1


def _no_tick() -> None:
    pass


class Codec:
    """A model, loaded. `model`: a name that `dctcodec models` lists; `device`: auto, cpu or cuda.

    Raises ModelError where the model or the device is not there.
    """

    def __init__(self, model: str = models.DEFAULT, device: str = "auto"):
        self.model = models.find(model)
        self.device = _device(device)
        self.prior, self.decoder = _load(self.model, self.device)

    def encode(self, picture: Image.Image, quality: float = 50.0, seed: int = 0, tick: Tick = _no_tick) -> bytes:
        """A picture as the bytes of a .dct file.

        `picture`: any PIL image of 1 to 2^27 pixels; `quality`: 1 (smallest) to 100; `seed`: 0 to 2^32 - 1, of the noise that a
        decoder adds at temperatures above 0. Raises ValueError for a quality or seed out of range, ImageError, FormatError.
        """
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed {seed} is outside 0..{2**32 - 1}")
        picture = image.normalise(picture)
        step16 = round(step_of_quality(quality) * STEP_UNIT)
        header = container.Header(*picture.size, picture.mode == "L", step16, seed, self.model.model_id)
        container.check_size(*picture.size)
        symbols = self._symbols(_pixels(picture), header)
        tick()
        return container.write(header, self.prior.encode(symbols, step16, header.grey, tick))

    def decode(self, data: bytes, temperature: float = 0.0, tick: Tick = _no_tick) -> Image.Image:
        """The picture of a .dct file, RGB or L. `temperature` >= 0 scales the noise of the latents that the file does not hold:
        0 is the best estimate, above it texture is drawn, the same for the same file. Raises FormatError, ModelError, and
        ValueError for a temperature that is negative or not finite."""
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature {temperature} is not a finite number from 0 up")
        header, symbols = self.symbols(data, tick)
        rgb = reconstruct(self.decoder, symbols.to(self.device), header.step, temperature, header.seed)
        tick()
        return _picture(rgb[:, : header.height, : header.width], header.grey)

    def symbols(self, data: bytes, tick: Tick = _no_tick) -> tuple[container.Header, Tensor]:
        """Header and symbols of a file, int32 (CHANNELS, h, w) on the CPU: the part of decoding that is exact."""
        header, payload = container.parse(data)
        if header.model_id != self.model.model_id:
            other = models.find_by_id(header.model_id)
            raise ModelError(f"the file was made with model {other.name}, not {self.model.name}")
        height, width = context.tiles_across(header.height), context.tiles_across(header.width)
        return header, self.prior.decode(payload, height, width, header.step16, header.grey, tick)

    def ideal_bits(self, data: bytes) -> float:
        """Code length of a file's symbols under the exact model, in bits: its size but for header and coder overhead."""
        header, symbols = self.symbols(data)
        return self.prior.nll(symbols, header.step16, header.grey)

    @torch.inference_mode()
    def _symbols(self, rgb: Tensor, header: container.Header) -> Tensor:
        coefficients = context.analyse(rgb[None])
        return context.quantise(coefficients, header.step)[0].to(torch.int32)


def codec_for(data: bytes, device: str = "auto") -> Codec:
    """The codec that a file was made with. Raises FormatError, ModelError."""
    return loaded(models.find_by_id(container.parse(data)[0].model_id).name, device)


@lru_cache(maxsize=2)
def loaded(model: str = models.DEFAULT, device: str = "auto") -> Codec:
    """A codec that stays in memory for the next call."""
    return Codec(model, device)


def encode(picture: Image.Image, quality: float = 50.0, seed: int = 0) -> bytes:
    """`Codec.encode` with the default model."""
    return loaded().encode(picture, quality, seed)


def decode(data: bytes, temperature: float = 0.0) -> Image.Image:
    """`Codec.decode` with the model that the file names."""
    return codec_for(data).decode(data, temperature)


def _pixels(picture: Image.Image) -> Tensor:
    """RGB float32 (3, H, W) in [0, 255] of an RGB or L picture."""
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels.permute(2, 0, 1).float()


def _picture(rgb: Tensor, grey: bool) -> Image.Image:
    """8-bit picture of RGB float32 (3, H, W)."""
    planes = rgb_to_ycbcr(rgb)[:1] + 128 if grey else rgb
    pixels = planes.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if grey else pixels)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here: use --device cpu")
    return torch.device(name)


def _load(model: models.ModelInfo, device: torch.device) -> tuple[MaskedPrior, Decoder]:
    try:
        integers = load_file(model.path / models.PRIOR)
        weights = load_file(model.path / models.DECODER)
        network = ExactPrior(integers, arithmetic_for(device))
        tables = Tables(integers["cumulative"].numpy(), integers["reach"].numpy())
        decoder = Decoder(DecoderShape(**{k: tuple(v) for k, v in model.decoder.items()}))
        decoder.load_state_dict({k: v.float() for k, v in weights.items()})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(f"the model {model.name} is damaged ({error}): install dctcodec again") from error
    return MaskedPrior(network, tables), decoder.eval().to(device, memory_format=torch.channels_last)
