"""One codec on a set of images: bits, distortion and time of every image at every quality, and their means."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from PIL import Image

from dctcodec import metrics
from dctcodec.codec import Codec
from dctcodec.evaluate.machine import digest
from dctcodec.image import normalise, read_image

CODE = Path(__file__).resolve().parent.parent
"""The package."""


class Measurable(Protocol):
    """Anything that can be measured: `dctcodec.codec.Codec` and the baselines."""

    def encode(self, image: Image.Image, quality: float | None) -> bytes: ...

    def decode(self, data: bytes) -> Image.Image: ...

    def code_length(self, data: bytes) -> float | None: ...


@dataclass(frozen=True)
class Setting:
    """A codec with options of its encoder."""

    codec: Codec
    effort: int
    tune: str

    @property
    def identity(self) -> dict[str, Any]:
        """Everything besides images and qualities that the rows depend on, as JSON."""
        return {
            "model": self.codec.model.name,
            "effort": self.effort,
            "tune": self.tune,
            "device": self.codec.device.partition(":")[0],
            "torch": torch.__version__,
            "sha256": {"model": digest(self.codec.model.path), "code": digest(CODE)},
        }

    def encode(self, image: Image.Image, quality: float | None) -> bytes:
        return self.codec.encode(image, quality, effort=self.effort, tune=self.tune)

    def decode(self, data: bytes) -> Image.Image:
        return self.codec.decode(data)

    def code_length(self, data: bytes) -> float:
        return self.codec.code_length(data)


@dataclass(frozen=True)
class Row:
    """One image at one quality, or the means of many; None where a figure does not exist."""

    image: str
    quality: float | None  # None for a model that has one
    bpp: float  # 8 * bytes of the file / pixels
    code_length_bpp: float | None  # the model's code length of the symbols, in bits / pixels
    psnr: float  # dB
    ms_ssim: float | None  # 0..1
    ssimulacra2: float | None  # at most 100
    encode_seconds: float
    decode_seconds: float


Known = Mapping[tuple[str, float | None], Row]
"""Rows by image's name and quality."""


def stored_row(stored: Mapping[str, Any]) -> Row:
    """A row as the JSON of a run has it; the PSNR of equal images is null there, as JSON has no infinity.

    Raises TypeError or KeyError where it is no row."""
    return Row(**{**stored, "psnr": math.inf if stored["psnr"] is None else stored["psnr"]})


def measure(
    codec: Measurable,
    paths: Sequence[Path],
    qualities: Iterable[float | None],
    tick: Callable[[], object] = lambda: None,
    known: Known = MappingProxyType({}),
) -> list[Row]:
    """A row for every quality and image, in that order; `tick` is called after each. `known`: rows by image's name and quality
    that are taken as they are. Raises ImageError."""
    rows = []
    for quality in qualities:
        for path in paths:
            row = known.get((path.name, quality))
            rows.append(row or measure_one(codec, normalise(read_image(path)), quality, path.name))
            tick()
    return rows


def measure_one(codec: Measurable, image: Image.Image, quality: float | None, name: str) -> Row:
    """Encode and decode once. Times are wall-clock, from pixels in memory to bytes in memory and back."""
    start = time.perf_counter()
    data = codec.encode(image, quality)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    pixels = image.width * image.height
    bits = codec.code_length(data)
    return Row(
        image=name,
        quality=quality,
        bpp=8 * len(data) / pixels,
        code_length_bpp=None if bits is None else bits / pixels,
        psnr=metrics.psnr(image, decoded),
        ms_ssim=metrics.ms_ssim(image, decoded),
        ssimulacra2=metrics.ssimulacra2(image, decoded),
        encode_seconds=encoded - start,
        decode_seconds=end - encoded,
    )


def means(rows: Sequence[Row]) -> list[Row]:
    """The mean over the images for each quality, in the rows' order; None where an image lacks the figure."""
    qualities = dict.fromkeys(row.quality for row in rows)
    return [_mean([row for row in rows if row.quality == quality]) for quality in qualities]


def _mean(rows: Sequence[Row]) -> Row:
    return Row(
        image="mean",
        quality=rows[0].quality,
        bpp=_average([row.bpp for row in rows]),
        code_length_bpp=_average_or_none([row.code_length_bpp for row in rows]),
        psnr=_average([row.psnr for row in rows]),
        ms_ssim=_average_or_none([row.ms_ssim for row in rows]),
        ssimulacra2=_average_or_none([row.ssimulacra2 for row in rows]),
        encode_seconds=_average([row.encode_seconds for row in rows]),
        decode_seconds=_average([row.decode_seconds for row in rows]),
    )


def _average_or_none(values: Sequence[float | None]) -> float | None:
    """The mean of some figures, None where one of them does not exist."""
    known = [value for value in values if value is not None]
    return _average(known) if len(known) == len(values) else None


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
