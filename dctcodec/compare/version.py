"""What a codec makes of an image, with what was measured of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dctcodec import metrics
from dctcodec.evaluate.figures import as_json


@dataclass(frozen=True)
class Figures:
    """Of one file. `quality`: on the codec's own scale; `bpp`: bits of the file over pixels; `psnr`: dB, infinite for equal images;
    `ms_ssim`: 0..1, and `ssimulacra2`: at most 100, None where the image is too small for the measure; seconds are wall-clock."""

    quality: float | None
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    ssimulacra2: float | None
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class Version:
    """An image as one codec gives it back. `note`: what a reader must know, such as that the goal was out of reach;
    `points`: figures at several qualities, its own among them; `tile_bits`: float (h, w), bits of each tile of 32x32 pixels, None
    where the codec does not tell."""

    name: str
    settings: str
    data: bytes
    image: Image.Image
    figures: Figures
    note: str = ""
    points: tuple[Figures, ...] = ()
    tile_bits: np.ndarray | None = field(default=None, compare=False)


def measured(
    original: Image.Image,
    data: bytes,
    decode: Callable[[bytes], Image.Image],
    quality: float | None,
    encode_seconds: float,
    perceptual: bool = True,
) -> tuple[Image.Image, Figures]:
    """A file decoded once, and its figures. Without `perceptual` the slow ones, MS-SSIM and SSIMULACRA2, are None."""
    start = time.perf_counter()
    decoded = decode(data)
    decode_seconds = time.perf_counter() - start
    return decoded, Figures(
        quality=quality,
        bytes=len(data),
        bpp=8 * len(data) / (original.width * original.height),
        psnr=metrics.psnr(original, decoded),
        ms_ssim=metrics.ms_ssim(original, decoded) if perceptual else None,
        ssimulacra2=metrics.ssimulacra2(original, decoded) if perceptual else None,
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
    )


def row_as_json(figures: object) -> dict[str, float | None]:
    """Figures, or a row of a bench run, as JSON holds them."""
    return {key: as_json(value) for key, value in vars(figures).items()}
