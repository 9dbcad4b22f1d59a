"""The quality that meets a target, by bisection: a file of at most so many bits, or an image of at least so many decibels."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dctcodec.bands.quality import BEST, WORST
from dctcodec.errors import TargetError, warn
from dctcodec.image import ImageParts
from dctcodec.metrics import psnr
from dctcodec.progress import Tick

if TYPE_CHECKING:
    from dctcodec.codec import Codec

STEPS = 10
"""Qualities tried between one and the next: a tenth is worth 0.3 % of a file."""


@dataclass(frozen=True)
class Target:
    """`kind`: "bpp" or "size", at most `value`, or "psnr", at least `value`."""

    kind: str
    value: float

    @classmethod
    def of(cls, bpp: float | None, size: int | None, psnr: float | None) -> "Target":
        """The one target that is not None. Raises ValueError for none, several, or nan."""
        given = {kind: value for kind, value in {"bpp": bpp, "size": size, "psnr": psnr}.items() if value is not None}
        if len(given) != 1 or any(math.isnan(value) for value in given.values()):
            raise ValueError("give one target: bpp, size or psnr")
        return cls(*next(iter(given.items())))


def meet(codec: "Codec", image: ImageParts, target: Target, settings: dict[str, Any], tick: Tick) -> bytes:
    """The file of an image that meets a target; see `Codec.encode_to`. `settings`: of `Codec.encode`."""
    if codec.family.one_quality:
        raise TargetError(f"the model {codec.model.name} has one quality, so it cannot meet a target: give none")
    trials = _Trials(codec, image, settings, tick)
    if target.kind == "psnr":
        return _at_least(trials, target.value)
    if target.kind == "size":
        return _at_most(trials, target.value, "bytes", 1)
    return _at_most(trials, target.value, "bits a pixel", 8 / (image.pixels.width * image.pixels.height))


class _Trials:
    """Encodings of an image by the number of their quality, each made once."""

    def __init__(self, codec: "Codec", image: ImageParts, settings: dict[str, Any], tick: Tick):
        self.codec, self.image, self.settings, self.tick = codec, image, settings, tick
        self.count = (BEST - WORST) * STEPS + 1
        self.files: dict[int, bytes] = {}

    def file(self, number: int) -> bytes:
        if number not in self.files:
            self.files[number] = self.codec.encode(self.image, WORST + number / STEPS, **self.settings)
            self.tick(1 / self.count.bit_length())
        return self.files[number]

    def psnr(self, number: int) -> float:
        pixels = self.image.pixels
        return psnr(pixels, self.codec.decode(self.file(number), temperature=0).convert(pixels.mode))


def _at_most(trials: _Trials, limit: float, unit: str, scale: float) -> bytes:
    form = ".0f" if scale == 1 else ".4g"

    def figure(number: int) -> float:
        return scale * len(trials.file(number))

    number = bisect_right(range(trials.count), limit, key=figure) - 1
    if number < 0:
        raise TargetError(f"{limit:{form}} {unit} is out of reach: quality {WORST} takes {figure(0):{form}}; give more")
    if number == trials.count - 1 and figure(number) < 0.99 * limit:
        warn(f"quality {BEST} takes only {figure(number):{form}} {unit}")
    return trials.file(number)


def _at_least(trials: _Trials, limit: float) -> bytes:
    number = bisect_left(range(trials.count), limit, key=trials.psnr)
    if number == trials.count:
        raise TargetError(f"{limit:g} dB is out of reach: quality {BEST} reaches {trials.psnr(number - 1):.2f}; give less")
    if number == 0 and trials.psnr(0) > limit + 0.1:
        warn(f"quality {WORST} reaches {trials.psnr(0):.2f} dB")
    return trials.file(number)
