"""The codec.

image -> tiles -> DCT-II -> quantise -> symbols -> prior (exact) + rANS -> .dct
.dct -> rANS + the same prior -> symbols -> decoder (integers at temperature 0, float above it) -> image

Tiles of few colours, such as text, are a patch instead: pixels with a palette, lossless (`flat.py`, `image/patch.py`).

A model's family does the work of each arrow (`family.py`): `dct-bands` codes whole images, all frequencies, at any quality;
`dct-vae` is the paper's model, whose decoder is float at every temperature. DESIGN.md explains the design.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, wraps
from importlib import import_module
from operator import index
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from PIL import Image

from dctcodec import container, flat, installed, proof
from dctcodec.arrays import Place
from dctcodec.device import as_a_guest, device_of, place
from dctcodec.errors import FormatError, ModelError
from dctcodec.family import FAMILIES, TUNES, Family, Parameters
from dctcodec.image import ImageParts, Source, as_parts, patch, put_together
from dctcodec.image.alpha import pack, unpack
from dctcodec.installed import DEFAULT, ModelInfo
from dctcodec.limits import check_pixels
from dctcodec.progress import Tick, no_tick, share_of
from dctcodec.target import Target, meet
from dctcodec.tiles import luma

MAX_TEMPERATURE = 10
CODING_SHARE = 0.9
"""Share of the time of decoding that entropy coding takes."""


P = ParamSpec("P")
R = TypeVar("R")


def _as_a_guest(method: Callable[Concatenate["Codec", P], R]) -> Callable[Concatenate["Codec", P], R]:
    """A method of Codec that works in anybody's process."""

    @wraps(method)
    def guarded(self: "Codec", /, *args: P.args, **options: P.kwargs) -> R:
        with as_a_guest():
            return method(self, *args, **options)

    return guarded


class Codec:
    """A model, loaded. `model`: a name that `dctcodec models` lists; `device`: auto, cpu, cuda, or cuda:1 for the second one;
    cuda needs torch.

    Raises ModelError where the model or the device is not there, torch where it is needed, or the model is computed wrongly here.
    Warns where only its pixels are wrong (`proof.py`).
    """

    def __init__(self, model: str = DEFAULT, device: str = "auto"):
        self.model = installed.find(model)
        self.device = device_of(device)
        self.family = family_of(self.model, place(self.device))
        proof.check(self)

    @property
    def model_id(self) -> int:
        """The identity of the model that files name. Raises ModelError where the model has no prior to code with."""
        if self.model.model_id is None:
            raise ModelError(f"the model {self.model.name} has no prior to code with")
        return self.model.model_id

    def __reduce__(self) -> tuple[type["Codec"], tuple[str, str]]:
        return Codec, (self.model.name, self.device)

    def check(self, effort: int | None, tune: str) -> None:
        """Check the options of a command line before an image is read. Raises ModelError where the model has no search for
        `effort`, or no weights for `tune`."""
        if self.effort(effort) > self.family.most_effort:
            raise ModelError(f"the model {self.model.name} does not support --effort; remove it")
        if tune not in self.family.tunes:
            raise ModelError(f"the model {self.model.name} has no weights for {tune}; remove --tune")

    def effort(self, effort: int | None) -> int:
        """An effort, or for None the model's default."""
        return self.family.effort if effort is None else effort

    @_as_a_guest
    def encode(
        self,
        image: Source,
        quality: float | None = None,
        seed: int = 0,
        effort: int | None = None,
        tune: str = TUNES[0],
        tick: Tick = no_tick,
    ) -> bytes:
        """An image as the bytes of a .dct file.

        `image`: of 1 to 2^27 pixels, what `image.as_parts` takes: a PIL image, a NumPy array, a path, a binary stream, or
        ImageParts, made with other options; `quality`: 1 (smallest) to 100, 50 where it is None, and None for models that have
        one quality; `seed`: 0 to 2^32 - 1, of the noise that a decoder adds at temperatures above 0; `effort`: 0 to 9, how long to
        look for symbols that are worth their bits: 0 hardly does more than round coefficients, 1 (the default) paints the image
        twice and moves symbols (`bands/rounding.py`), 2 and more search (`bands/rdo.py`); of dct-vae models 0 is the default, and
        more is a search; `tune`: the measure, "psnr" or "ms-ssim", for which the image is painted and searched. Raises TypeError
        for anything that is not an image, ValueError for a value out of range, ImageError, FormatError."""
        if not 0 <= index(seed) < 2**32:
            raise ValueError(f"seed {seed} is outside 0..{2**32 - 1}")
        effort = self.effort(effort)
        if not 0 <= effort <= self.family.most_effort:
            raise ValueError(f"effort {effort} is outside 0..{self.family.most_effort} of the model {self.model.name}")
        if tune not in self.family.tunes:
            raise ValueError(f"the model {self.model.name} is not tuned for {tune!r}, only for {', '.join(self.family.tunes)}")
        step16 = self.family.step16(quality)
        parts = as_parts(image)
        pixels = parts.pixels
        container.check_size(*pixels.size)
        stepped = self.family.stepped and tune != TUNES[0]
        parameters = Parameters(step16, pixels.mode == "L", seed, tune, stepped)
        extra, patched = _extra(parts), self._patch(pixels, parameters)
        if patched:
            pixels, extra = patch.rest(pixels, patched), replace(extra, patch=patch.pack(patched))
        payload = self.family.encode(_rgb(pixels), parameters, effort, tick)
        return container.write(self._header(pixels.size, parameters), payload, extra)

    def encode_to(
        self,
        image: Source,
        *,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
        seed: int = 0,
        effort: int | None = None,
        tune: str = TUNES[0],
        tick: Tick = no_tick,
    ) -> bytes:
        """An image as the bytes of a .dct file that meets one target: the best quality of at most `bpp` bits a pixel or `size`
        bytes, metadata included, or the least quality of at least `psnr` dB at temperature 0.

        Warns where the best quality is far below a `bpp` or `size`, or the worst above a `psnr`. Raises TargetError where no
        quality of the model meets the target, ValueError for no target, several targets or nan, and what `encode` raises.
        """
        target = Target.of(bpp, size, psnr)
        return meet(self, as_parts(image), target, {"seed": seed, "effort": effort, "tune": tune}, tick)

    @_as_a_guest
    def decode(
        self,
        data: bytes,
        temperature: float | None = None,
        partial: bool = False,
        bands: int | None = None,
        tick: Tick = no_tick,
        max_pixels: int | None = None,
    ) -> Image.Image:
        """The image of a .dct file, of mode RGB, L, RGBA or LA; profile, EXIF, XMP and dots per inch are in its `info`.

        `temperature`, 0 to 10, scales the noise of the latents that the file does not hold: 0 is the best estimate, above it
        texture is synthesised, the same for the same file; None is the model's default. `partial`: `data` may be a truncated
        file; what is there is decoded, and the checksum of its last chunk cannot be checked. `bands`: decode only so many bands
        of frequencies, coarse to fine (dct-bands has 8, dct-vae 1), None for all. `max_pixels`: larger images are refused; None
        is 2^27, or what there is memory for. Raises FormatError, ModelError, ImageError for an image that is too large, and
        ValueError for a temperature or a number of bands out of range."""
        temperature = self.family.temperature if temperature is None else temperature
        if not 0 <= temperature <= MAX_TEMPERATURE:
            raise ValueError(f"temperature {temperature} is outside 0..{MAX_TEMPERATURE}")
        bands = self.family.bands if bands is None else bands
        if not 1 <= bands <= self.family.bands:
            raise ValueError(f"the model {self.model.name} has bands 1..{self.family.bands}, not {bands}")
        file = container.parse(data, partial)
        check_pixels(*file.header.size, max_pixels)
        header = file.header
        symbols = self._symbols(file, share_of(tick, CODING_SHARE))
        if bands < self.family.bands:
            symbols = self.family.coarse(symbols, bands)
        rgb = self.family.paint(symbols, header.size, _parameters(header), temperature)
        tick(1 - CODING_SHARE)
        pixels = _patched(_pixels(rgb[:, : header.height, : header.width], header.grey), file)
        return put_together(_parts(pixels, file.extra))

    def check_bands(self, bands: int | None) -> None:
        """Raises ModelError where the model has fewer bands of frequencies."""
        if bands and bands > self.family.bands:
            raise ModelError(f"the model {self.model.name} has {self.family.bands} bands, not {bands}: give fewer as --bands")

    @_as_a_guest
    def preview(self, data: bytes, scale: int, partial: bool = False) -> Image.Image:
        """The image of a dct-bands file at 1/`scale` of its size, rounded up: 2, 4, 8, 16 or 32. Only the bands that this needs are
        decoded, and no network paints. `partial` as in `decode`. Raises ValueError for another scale or family, FormatError,
        ModelError, ImageError."""
        if scale not in (2, 4, 8, 16, 32):
            raise ValueError(f"scale {scale} is none of 2, 4, 8, 16, 32")
        file = container.parse(data, partial)
        check_pixels(*file.header.size)
        self._check(file.header)
        header, parameters = file.header, _parameters(file.header)
        rgb = self.family.preview(_words(file), header.size, parameters, scale, file.partial)
        pixels = _patched(_pixels(rgb[:, : -(-header.height // scale), : -(-header.width // scale)], header.grey), file, scale)
        alpha = unpack(file.extra.alpha, header.size).reduce(scale) if file.extra.alpha else None
        return put_together(replace(_parts(pixels, replace(file.extra, alpha=None)), alpha=alpha))

    @_as_a_guest
    def symbols(self, data: bytes, partial: bool = False, tick: Tick = no_tick) -> tuple[container.Header, np.ndarray]:
        """Header and symbols of a file, int32. dct-bands has planes (n, h, w) on the grid of tiles: CHANNELS of symbols, then 4 of
        the partition, and 1 of step indices in files of `--tune ms-ssim`. dct-vae has symbols (tiles, 3, 6, 6). Equal on every
        machine."""
        file = container.parse(data, partial)
        return file.header, self._symbols(file, tick)

    def _symbols(self, file: container.File, tick: Tick) -> np.ndarray:
        self._check(file.header)
        return self.family.decode(_words(file), file.header.size, _parameters(file.header), file.partial, tick)

    def _check(self, header: container.Header) -> None:
        """Raise ModelError, FormatError where a file is not of this model."""
        if header.model_id != self.model.model_id:
            other = installed.find_by_id(header.model_id)
            raise ModelError(f"the file was made with model {other.name}, not {self.model.name}")
        if (header.step16 == 0) != self.family.one_quality:
            raise FormatError(f"the file's quantisation step is {header.step:g}, which its model does not support")
        if header.tuned and len(self.family.tunes) == 1:
            raise FormatError(f"the file needs a decoder that its model {self.model.name} does not have")
        if header.stepped and not self.family.stepped:
            raise FormatError(f"the file has a step for each tile, which its model {self.model.name} does not support")

    @_as_a_guest
    def code_length(self, data: bytes) -> float:
        """Code length of a file's symbols under the exact model, in bits: its size without header, patch and coder overhead."""
        header, symbols = self.symbols(data)
        return self.family.code_length(symbols, _parameters(header))

    @_as_a_guest
    def tile_bits(self, data: bytes) -> np.ndarray | None:
        """Bits of each tile of 32x32 pixels of a file, float64 (h, w), up to the rounding of the coder's tables, those of a patch
        as `flat.spread` has them; None for models of a family that does not tell them apart."""
        header, symbols = self.symbols(data)
        bits, packed = self.family.tile_bits(symbols, _parameters(header)), container.parse(data).extra.patch
        if bits is not None and packed is not None:
            bits += flat.spread(patch.unpack(packed, header.size), 8 * len(packed))
        return bits

    def _patch(self, pixels: Image.Image, parameters: Parameters) -> Image.Image | None:
        """The patch of an image whose tiles cost less with one."""
        weight = self.family.patch_weight(parameters)
        return flat.choose(pixels, lambda tiles: self.family.costs(tiles, parameters), weight) if weight else None

    def _header(self, size: tuple[int, int], parameters: Parameters) -> container.Header:
        tuned = parameters.tune != TUNES[0]
        step16, seed = parameters.step16, parameters.seed
        return container.Header(*size, parameters.grey, step16, self.model_id, seed, tuned, parameters.stepped)


def codec_for(data: bytes, device: str = "auto", partial: bool = False) -> Codec:
    """The codec that a file was made with, or the beginning of one where that is `partial`. Raises FormatError, ModelError."""
    return loaded(installed.find_by_id(container.parse(data, partial).header.model_id).name, device)


@lru_cache(maxsize=2)
def loaded(model: str, device: str) -> Codec:
    """A codec that stays in memory for the next call."""
    return Codec(model, device)


def encode(image: Source, quality: float | None = 50.0, seed: int = 0, effort: int | None = None, tune: str = TUNES[0]) -> bytes:
    """`Codec.encode` with the default model."""
    return loaded(DEFAULT, "auto").encode(image, quality, seed, effort, tune)


def decode(data: bytes, temperature: float | None = None, partial: bool = False, max_pixels: int | None = None) -> Image.Image:
    """`Codec.decode` with the model that the file names."""
    return codec_for(data, partial=partial).decode(data, temperature, partial, max_pixels=max_pixels)


def _parameters(header: container.Header) -> Parameters:
    return Parameters(header.step16, header.grey, header.seed, TUNES[header.tuned], header.stepped)


def _words(file: container.File) -> bytes:
    """A payload, of a truncated one its whole words."""
    return file.payload[: len(file.payload) // 4 * 4] if file.partial else file.payload


def _patched(pixels: Image.Image, file: container.File, scale: int = 1) -> Image.Image:
    """Pixels at 1/`scale` of a file's size with those of its patch."""
    if file.extra.patch is None:
        return pixels
    return patch.paste(patch.unpack(file.extra.patch, file.header.size), pixels, scale)


def _extra(parts: ImageParts) -> container.Extra:
    alpha = pack(parts.alpha) if parts.alpha else None
    return container.Extra(parts.profile, alpha, parts.dpi, parts.exif, parts.xmp, parts.text)


def _parts(pixels: Image.Image, extra: container.Extra) -> ImageParts:
    alpha = unpack(extra.alpha, pixels.size) if extra.alpha else None
    return ImageParts(pixels, alpha, extra.profile, extra.exif, extra.xmp, extra.dpi, extra.text)


def _rgb(image: Image.Image) -> np.ndarray:
    """RGB float32 (3, H, W) in [0, 255] of an RGB or L image."""
    return np.array(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32, order="C")


def _pixels(rgb: np.ndarray, grey: bool) -> Image.Image:
    """8-bit image, RGB or L, of RGB float32 (3, H, W), which is overwritten."""
    planes = luma(rgb)[None] if grey else rgb
    pixels = np.rint(planes.clip(0, 255, out=planes), out=planes).astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))


def family_of(model: ModelInfo, where: Place) -> Family:
    """The loaded networks of a model. Raises ModelError where its family has no codec."""
    target = FAMILIES[model.family].codec
    if target is None:
        raise ModelError(f"the model {model.name} is for evaluation only and has no codec: use it with `dctcodec eval`")
    module, name = target.split(":")
    family: type[Family] = getattr(import_module(module), name)
    return family(model, where)
