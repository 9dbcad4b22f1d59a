"""What a family of models is: the interface that `codec.py` calls, and the one registry of families.

A family draws each arrow of the figure in `codec.py`: RGB to symbols, symbols to bytes and back, symbols to RGB.
A new family is a subclass of `Family` and one entry of `FAMILIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from dctcodec.arrays import Place
    from dctcodec.installed import ModelInfo
    from dctcodec.progress import Tick

PRIOR, DECODER, VAE = "prior.safetensors", "decoder.safetensors", "vae.safetensors"
"""Files of weights in a model's folder."""
TUNED_DECODER = "decoder-ms-ssim.safetensors"
"""A second decoder, trained for MS-SSIM and SSIMULACRA2; not every model has one."""
FLOAT_PRIOR = "prior-float.safetensors"
"""The prior's trained network, 8-bit weights and float16: training starts from it, the codec never reads it."""
EXACT = "exact."
"""Names of a decoder's tensors that begin so are made of its others, for the exact form."""
WEIGHTS = {PRIOR, DECODER, VAE, TUNED_DECODER, FLOAT_PRIOR}
"""Every file of weights that a model may have."""
TUNES = ("psnr", "ms-ssim")
"""Measures that an image may be encoded and painted for; the default first."""


@dataclass(frozen=True)
class FamilyInfo:
    """One entry of the registry. `files`: weights that every model of the family has; `one_quality`: its files have no
    quantisation step; `codec`: "module:class" of its `Family`, None for models that are only evaluated."""

    files: tuple[str, ...]
    one_quality: bool
    codec: str | None


FAMILIES = {
    "dct-bands": FamilyInfo((PRIOR, DECODER), one_quality=False, codec="dctcodec.bands.family:Bands"),
    "dct-vae": FamilyInfo((PRIOR, VAE), one_quality=True, codec="dctcodec.vae.family:DctVae"),
    "vae": FamilyInfo((VAE,), one_quality=True, codec=None),
}
"""Every family, by the name in `config.json`. The names are part of the file format of models."""


@dataclass(frozen=True)
class Parameters:
    """How symbols are coded and painted. Encoder and decoder must use the same.

    `step16`: quantisation step in 1/16 pixel levels, 0 for families with one quality; `grey`: only luma is coded;
    `seed`: of noise, 0..2^32-1; `tune`: one of TUNES, the decoder that paints; `stepped`: tiles have steps of their own.
    """

    step16: int = 0
    grey: bool = False
    seed: int = 0
    tune: str = TUNES[0]
    stepped: bool = False

    @property
    def step(self) -> float:
        """Quantisation step, pixel levels."""
        return self.step16 / 16


class Family(ABC):
    """The networks of one model, loaded. What goes in and comes out is NumPy arrays."""

    one_quality: ClassVar[bool]
    """Files have no quantisation step."""
    bands: ClassVar[int]
    """Number of bands of frequencies, coarse to fine; 1 where symbols are sent all at once."""
    temperature: float
    """Default temperature of the decoder."""
    effort: ClassVar[int]
    """The default effort. More is a search, which needs torch."""
    most_effort: int
    """Efforts are 0 to this one: 9, or 0 for models without a search."""
    tunes: tuple[str, ...]
    """Those of TUNES that the model has weights for."""
    stepped = False
    """Tiles may have steps of their own."""
    exact_pixels: ClassVar[bool] = False
    """At temperature 0 a file has the same pixels on every machine."""

    @abstractmethod
    def __init__(self, model: ModelInfo, place: Place):
        """Load a model: to the CPU where `place` is None, else to a torch.device. Raises ModelError where it is damaged."""

    @abstractmethod
    def step16(self, quality: float | None) -> int:
        """The quantisation step of a quality, in 1/16 pixel levels; 0 for one quality. None is the default quality.
        Raises ValueError."""

    @abstractmethod
    def analyse(self, rgb: np.ndarray, parameters: Parameters) -> np.ndarray:
        """int32 symbols of RGB float32 (3, H, W) in [0, 255], as an encoder begins."""

    @abstractmethod
    def encode(self, rgb: np.ndarray, parameters: Parameters, effort: int, tick: Tick) -> bytes:
        """The payload of RGB float32 (3, H, W) in [0, 255]. Raises ModelError where `effort` needs torch and there is none."""

    @abstractmethod
    def decode(self, payload: bytes, size: tuple[int, int], parameters: Parameters, partial: bool, tick: Tick) -> np.ndarray:
        """int32 symbols of a payload, of an image of `size` (width, height) in pixels. Exact. `partial`: the payload is the
        first part of one whose symbols are sent coarse to fine. Raises FormatError."""

    @abstractmethod
    def code_length(self, symbols: np.ndarray, parameters: Parameters) -> float:
        """Bits of symbols under the exact model, without the coder's overhead."""

    @abstractmethod
    def coarse(self, symbols: np.ndarray, bands: int) -> np.ndarray:
        """Symbols of the first `bands` bands, the others as if they had not been sent."""

    @abstractmethod
    def paint(self, symbols: np.ndarray, size: tuple[int, int], parameters: Parameters, temperature: float) -> np.ndarray:
        """RGB float32 (3, at least H, at least W), nominally in [0, 255], of symbols of an image of `size` (width, height)."""

    def preview(self, payload: bytes, size: tuple[int, int], parameters: Parameters, scale: int, partial: bool) -> np.ndarray:
        """RGB as of `paint` at 1/`scale` of the size, of the bands that this needs. Raises ValueError where the family has none."""
        raise ValueError("the model's files have no previews")

    def patch_weight(self, parameters: Parameters) -> float:
        """What a bit a pixel of a patch costs against the squared error, mean over RGB; 0 for families without patches."""
        return 0.0

    def costs(self, tiles: np.ndarray, parameters: Parameters) -> np.ndarray:
        """What each tile of RGB float32 (n, 3, 32, 32) in [0, 255] costs as symbols, about: float32 (n,), the sum over its pixels
        of the squared error, mean over RGB, + the bits by their worth. Raises ValueError for families without patches."""
        raise ValueError("the model's files have no patches")

    def tile_bits(self, symbols: np.ndarray, parameters: Parameters) -> np.ndarray | None:
        """Bits of each tile's symbols, float64 (h, w) on the grid of tiles; None where the family does not tell them apart."""
        return None
