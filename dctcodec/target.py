"""The quality that meets a target: a file of at most so many bits, or a picture of at least so many decibels, by bisection."""

import math
import warnings
from bisect import bisect_left, bisect_right

from PIL import Image

from dctcodec import image
from dctcodec.bands.quality import BEST, WORST
from dctcodec.codec import Codec
from dctcodec.errors import DctcodecWarning, TargetError
from dctcodec.installed import TUNES
from dctcodec.metrics import psnr
from dctcodec.progress import Tick, no_tick

STEPS = 10
"""Qualities tried between one and the next: a tenth is worth 0.3 % of a file."""


def encode_to(
    codec: Codec,
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
    """A picture as the bytes of a .dct file that meets one target, of the best quality that does, or for `psnr` the least.

    `bpp`: bits of the file over pixels, at most; `size`: bytes of the file, at most; `psnr`: dB of the picture that it decodes
    to at temperature 0, at least. Warns where the best quality is far below a `bpp` or `size`, or the worst above a `psnr`.
    Raises TargetError where no quality of the model meets the target, ValueError for none, several or one that is no number, and
    what `Codec.encode` raises.
    """
    given = [value for value in (bpp, size, psnr) if value is not None]
    if len(given) != 1 or math.isnan(given[0]):
        raise ValueError("give one target: bpp, size or psnr")
    if codec.scheme.one_quality:
        raise TargetError(f"the model {codec.model.name} has one quality, so it meets no target")
    trials = _Trials(codec, image.normalise(picture), {"seed": seed, "effort": effort, "tune": tune}, tick)
    if psnr is not None:
        return _at_least(trials, psnr)
    pixels = picture.width * picture.height
    if size is not None:
        return _at_most(trials, size, "bytes", 1)
    return _at_most(trials, bpp, "bits a pixel", 8 / pixels)


class _Trials:
    """Encodings of a picture by the number of their quality, each made once."""

    def __init__(self, codec: Codec, picture: Image.Image, settings: dict[str, int | str], tick: Tick):
        self.codec, self.picture, self.settings, self.tick = codec, picture, settings, tick
        self.count = (BEST - WORST) * STEPS + 1
        self.files: dict[int, bytes] = {}

    def file(self, number: int) -> bytes:
        if number not in self.files:
            self.files[number] = self.codec.encode(self.picture, WORST + number / STEPS, **self.settings)
            self.tick(1 / self.count.bit_length())
        return self.files[number]

    def psnr(self, number: int) -> float:
        return psnr(self.picture, self.codec.decode(self.file(number), temperature=0))


def _at_most(trials: _Trials, limit: float, unit: str, scale: float) -> bytes:
    form = ".0f" if scale == 1 else ".4g"

    def figure(number: int) -> float:
        return scale * len(trials.file(number))

    number = bisect_right(range(trials.count), limit, key=figure) - 1
    if number < 0:
        raise TargetError(f"{limit:{form}} {unit} is out of reach: quality {WORST} takes {figure(0):{form}}")
    if number == trials.count - 1 and figure(number) < 0.99 * limit:
        warnings.warn(f"quality {BEST} takes only {figure(number):{form}} {unit}", DctcodecWarning, stacklevel=3)
    return trials.file(number)


def _at_least(trials: _Trials, limit: float) -> bytes:
    number = bisect_left(range(trials.count), limit, key=trials.psnr)
    if number == trials.count:
        raise TargetError(f"{limit:g} dB is out of reach: quality {BEST} reaches {trials.psnr(number - 1):.2f}")
    if number == 0 and trials.psnr(0) > limit + 0.1:
        warnings.warn(f"quality {WORST} reaches {trials.psnr(0):.2f} dB", DctcodecWarning, stacklevel=3)
    return trials.file(number)
