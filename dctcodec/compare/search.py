"""The quality at which a contender's file has a given size or a given PSNR, by bisection: both nearly grow with the quality."""

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cache

from PIL import Image

from dctcodec import metrics
from dctcodec.compare.contenders import QUALITIES, Contender
from dctcodec.evaluate.baselines import Baseline

ATTEMPTS = 3
"""How often the figures of a quick encoder are corrected by those of the slow one."""

Figure = Callable[[int], float]
"""What grows with the quality, 0..100: the logarithm of a file's size, or the PSNR of what it decodes to."""


class Search:
    """Encodings of one image by one contender, each made once. `seconds`: what each took, by quality. Raises ImageError where the
    format cannot hold the image."""

    def __init__(self, contender: Contender, image: Image.Image):
        self.contender = contender
        self.image = image.copy()  # Pillow keeps the options of a save in the image, and searches run in several threads
        self.seconds: dict[int, float] = {}
        self._files: dict[int, bytes] = {}
        self._real, self._quick = self._figures(lambda baseline, data: math.log(len(data)))

    def file(self, quality: int) -> bytes:
        """The file of a quality, 0..100."""
        if quality not in self._files:
            start = time.perf_counter()
            self._files[quality] = self.contender.baseline.encode(self.image, quality)
            self.seconds[quality] = time.perf_counter() - start
        return self._files[quality]

    def of_size(self, size: int) -> int:
        """The best quality whose file has at most `size` bytes; 0 where every file is larger."""
        limit = math.log(size)
        quality = _guided(self._real, self._quick, limit, _at_most)
        while quality and self._real(quality) > limit:
            quality = _next(self._quick, quality, -1)
        return quality

    def near_size(self, size: float) -> int:
        """A quality whose file has about `size` bytes: what the quick encoder alone says."""
        return _at_most(self._quick, math.log(size))

    def of_psnr(self, psnr: float) -> int:
        """The least quality that reaches `psnr` in dB; 100 where none does."""
        real, quick = self._figures(lambda baseline, data: metrics.psnr(self.image, baseline.decode(data)))
        quality = _guided(real, quick, psnr, _at_least)
        while quality < QUALITIES[-1] and real(quality) < psnr:
            quality = _next(quick, quality, 1)
        return quality

    def _figures(self, figure: Callable[[Baseline, bytes], float]) -> tuple[Figure, Figure]:
        """A figure by quality, as the contender's encoder and as its quick one have it."""
        baseline, faster = self.contender.baseline, self.contender.quick
        real = cache(lambda quality: figure(baseline, self.file(quality)))
        if faster is None:
            return real, real
        return real, cache(lambda quality: figure(faster, faster.encode(self.image, quality)))


def _guided(real: Figure, quick: Figure, limit: float, pick: Callable[[Figure, float], int]) -> int:
    """The quality that `pick` takes by the quick figures, moved by as much as the real one differs where it was picked."""
    quality = pick(quick, limit)
    if real is quick:
        return quality
    for _ in range(ATTEMPTS - 1):
        picked = pick(quick, limit - real(quality) + quick(quality))
        if picked == quality:
            break
        quality = picked
    return quality


def _at_most(figure: Figure, limit: float) -> int:
    return max(bisect_right(QUALITIES, limit, key=figure) - 1, QUALITIES[0])


def _at_least(figure: Figure, limit: float) -> int:
    return min(bisect_left(QUALITIES, limit, key=figure), QUALITIES[-1])


def _next(figure: Figure, quality: int, step: int) -> int:
    """The nearest quality below (-1) or above (1) whose figure differs: formats have fewer steps than their scale."""
    start = figure(quality)
    while quality + step in QUALITIES and figure(quality) == start:
        quality += step
    return quality
