"""One image through every codec, at equal size or equal PSNR."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from dctcodec import container
from dctcodec.bands.quality import BEST, WORST, quality_of_step
from dctcodec.codec import Codec
from dctcodec.compare import MATCHES
from dctcodec.compare.contenders import Contender
from dctcodec.compare.search import Search
from dctcodec.compare.version import Figures, Version, measured
from dctcodec.family import TUNES
from dctcodec.threads import limited

RATES = (0.5, 1.5)
"""Further points of a rate-distortion curve, as multiples of the size of the file that is compared."""
RATES_OF_SLOW = (0.5,)
"""The same of a contender that takes seconds an image: smaller files take it less time."""
OCTAVE = 22.0
"""Qualities of dctcodec that double a file, about."""
EQUAL = 0.005
"""Files that miss the goal by less than this share, or pixels by less than so many dB, count as equal to it."""


@dataclass(frozen=True)
class Settings:
    """How an image is encoded. `quality`: dctcodec's, or None for the default or a `target`, the arguments of `Codec.encode_to`;
    `tunes`: a version of dctcodec for each, the first sets the goal; `match`: "size" or "psnr"; `curves`: measure the other codecs
    and dctcodec at further qualities."""

    quality: float | None = None
    target: Mapping[str, Any] | None = None
    effort: int | None = None
    tunes: tuple[str, ...] = TUNES[:1]
    match: str = MATCHES[0]
    curves: bool = True

    def steps(self, contenders: Sequence[Contender]) -> int:
        """How often `compare` calls `tick` for one image."""
        points = len(RATES) + sum(len(_rates(self, contender)) for contender in contenders) if self.curves else 0
        return len(self.tunes) + len(contenders) + points


@dataclass(frozen=True)
class Comparison:
    """An image, normalised, and its versions: dctcodec's first."""

    name: str
    original: Image.Image
    versions: tuple[Version, ...]


def compare(
    name: str,
    original: Image.Image,
    codec: Codec,
    contenders: Sequence[Contender],
    settings: Settings,
    tick: Callable[[], object] = lambda: None,
) -> Comparison:
    """Every version of a normalised image. dctcodec runs alone, with all threads; after it the codecs run in one thread
    each, as many at a time as there are cores. Raises what `Codec.encode`, `Codec.encode_to` and `Baseline.encode` raise."""
    ours = [our_version(original, codec, settings, tune, tick) for tune in settings.tunes[:1]]
    ours += [_our_other(original, codec, settings, tune, ours[0], tick) for tune in settings.tunes[1:]]
    with limited(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = pool.submit(_with_bits_and_points, original, codec, settings, ours, tick)
        jobs = [pool.submit(version, original, contender, ours[0].figures, settings, tick) for contender in contenders]
        return Comparison(name, original, (*whole.result(), *(job.result() for job in jobs)))


def our_version(original: Image.Image, codec: Codec, settings: Settings, tune: str, tick: Callable[[], object]) -> Version:
    """The image as dctcodec gives it back, at the quality or the target of the settings."""
    options: dict[str, Any] = {"effort": settings.effort, "tune": tune}
    start = time.perf_counter()
    if settings.target:
        data = codec.encode_to(original, **settings.target, **options)
    else:
        data = codec.encode(original, settings.quality, **options)
    done = _as_version(original, codec, data, codec.effort(settings.effort), time.perf_counter() - start)
    tick()
    return done


def _our_other(
    original: Image.Image, codec: Codec, settings: Settings, tune: str, first: Version, tick: Callable[[], object]
) -> Version:
    """dctcodec tuned otherwise, at the goal that the first version sets."""
    goal = {"size": first.figures.bytes} if settings.match == "size" else {"psnr": first.figures.psnr}
    return our_version(original, codec, replace(settings, quality=None, target=goal), tune, tick)


def _as_version(original: Image.Image, codec: Codec, data: bytes, effort: int, seconds: float) -> Version:
    header = container.parse(data).header
    tune = TUNES[header.tuned]
    quality = round(quality_of_step(header.step), 1) if header.step16 else None
    image, figures = measured(original, data, codec.decode, quality, seconds)
    return Version(
        "dctcodec" if tune == TUNES[0] else f"dctcodec, {tune}",
        f"model {codec.model.name}, effort {effort}, tuned for {tune}",
        data,
        image,
        figures,
        points=(figures,),
    )


def _with_bits_and_points(
    original: Image.Image, codec: Codec, settings: Settings, ours: Sequence[Version], tick: Callable[[], object]
) -> list[Version]:
    """dctcodec's versions with the bits of their tiles, the first with its curve. A codec works in one thread at a time."""
    first, *others = [with_bits(version, codec) for version in ours]
    return [replace(first, points=_our_points(original, codec, settings, first, tick)), *others]


def with_bits(version: Version, codec: Codec) -> Version:
    """A version of dctcodec with the bits of its tiles, where its model tells them apart."""
    bits = codec.tile_bits(version.data)
    return version if bits is None else replace(version, tile_bits=bits)


def _our_points(
    original: Image.Image, codec: Codec, settings: Settings, first: Version, tick: Callable[[], object]
) -> tuple[Figures, ...]:
    """Points of dctcodec's curve, in order of bits per pixel."""
    quality, points = first.figures.quality, [first.figures]
    for rate in RATES if settings.curves else ():
        if quality is not None:
            other = min(max(quality + OCTAVE * math.log2(rate), WORST), BEST)
            points.append(_point(original, codec, other, settings.effort, settings.tunes[0]))
        tick()
    return _in_order(points)


def _point(original: Image.Image, codec: Codec, quality: float, effort: int | None, tune: str) -> Figures:
    start = time.perf_counter()
    data = codec.encode(original, quality, effort=effort, tune=tune)
    return measured(original, data, codec.decode, quality, time.perf_counter() - start)[1]


def version(
    original: Image.Image,
    contender: Contender,
    goal: Figures,
    settings: Settings,
    tick: Callable[[], object] = lambda: None,
) -> Version:
    """The image as a contender gives it back at a goal: from its best file of at most that many bytes, or, to match the PSNR, from
    its smallest file of at least that PSNR; where there is none, from the nearest."""
    search = Search(contender, original)
    quality = search.of_size(goal.bytes) if settings.match == "size" else search.of_psnr(goal.psnr)
    data, image, figures = _measured(search, quality)
    points = [figures]
    tick()
    for rate in _rates(settings, contender):
        points.append(_measured(search, search.near_size(goal.bytes * rate))[2])
        tick()
    note = _note(figures, goal, settings.match)
    return Version(contender.name, contender.settings, data, image, figures, note, _in_order(points))


def _rates(settings: Settings, contender: Contender) -> tuple[float, ...]:
    """The further points of a contender's curve."""
    if not settings.curves:
        return ()
    return RATES_OF_SLOW if contender.quick else RATES


def _measured(search: Search, quality: int) -> tuple[bytes, Image.Image, Figures]:
    data = search.file(quality)
    return data, *measured(search.image, data, search.contender.baseline.decode, quality, search.seconds[quality])


def _note(figures: Figures, goal: Figures, match: str) -> str:
    """What a reader must know of a version that misses its goal."""
    if match == "size" and figures.bytes > goal.bytes * (1 + EQUAL):
        return "larger: this is its smallest file"
    if match == "psnr" and figures.psnr < goal.psnr - EQUAL:
        return "lower PSNR: this is its best quality"
    return ""


def _in_order(points: Sequence[Figures]) -> tuple[Figures, ...]:
    """The points by bits per pixel, each once."""
    return tuple(sorted({point.bytes: point for point in reversed(points)}.values(), key=lambda point: point.bpp))
