"""One image through the codec as the page asks, and then through the others."""

import base64
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from PIL import Image

from dctcodec import container, metrics
from dctcodec.app.uploads import decoded
from dctcodec.bands.quality import BEST, WORST, quality_of_step
from dctcodec.codec import Codec
from dctcodec.compare.comparison import Comparison, Settings, version, with_bits
from dctcodec.compare.contenders import FAST
from dctcodec.compare.document import image_document
from dctcodec.compare.embed import Region
from dctcodec.compare.version import Version, measured
from dctcodec.errors import DctcodecError
from dctcodec.family import TUNES
from dctcodec.progress import share_of

PAGE_LIMIT = 48_000_000
"""Characters of the images of one answer; of larger ones the middle is shown."""
METHOD = 0
"""Of WebP: the quickest lossless one."""

Send = Callable[[dict[str, Any]], object]
"""Sends an event to the page. It may raise, to end the job."""


@dataclass(frozen=True)
class Wishes:
    """What the controls of the page say. None: the model's default. `others`: compare with the other codecs."""

    quality: float | None = None
    effort: int | None = None
    tune: str = TUNES[0]
    bands: int | None = None
    temperature: float | None = None
    others: bool = True

    @classmethod
    def of(cls, query: Mapping[str, str], codec: Codec) -> "Wishes":
        """The wishes in a request's query. Raises DctcodecError, a sentence, for what the model cannot do."""
        family = codec.family
        quality = None if family.one_quality else _number(query, "quality", WORST, BEST)
        effort, bands = _whole(query, "effort", 0, family.most_effort), _whole(query, "bands", 1, family.bands)
        temperature = _number(query, "temperature", 0, 2)
        tune = query.get("tune", TUNES[0])
        if tune not in family.tunes:
            raise DctcodecError(f"tune must be one of {', '.join(family.tunes)}")
        return cls(quality, effort, tune, bands, temperature, query.get("others", "1") == "1")


def _number(query: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    try:
        number = float(query[name]) if name in query else None
    except ValueError:
        number = math.nan
    if number is not None and not low <= number <= high:
        raise DctcodecError(f"{name} must be a number from {low:g} to {high:g}")
    return number


def _whole(query: Mapping[str, str], name: str, low: float, high: float) -> int | None:
    number = _number(query, name, low, high)
    return None if number is None else int(number)


def work(data: bytes, wishes: Wishes, codec: Codec, max_pixels: int, send: Send) -> None:
    """Send what becomes of an uploaded image: events with a "share" of the work done, two with an "image" as `image_document` makes
    it, at first dctcodec's alone, and one with the file in base64, "file". Raises ImageError and what `Codec.encode` raises."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        original = decoded(data, max_pixels)
    send({"warnings": [str(warning.message) for warning in told]})
    ours = _ours(original, wishes, codec, _progress(send))
    send({"file": base64.b64encode(ours.data).decode()})
    send(_image(original, [ours]))
    figures = replace(
        ours.figures, ms_ssim=metrics.ms_ssim(original, ours.image), ssimulacra2=metrics.ssimulacra2(original, ours.image)
    )
    ours = with_bits(replace(ours, figures=figures), codec)
    others = []
    for contender in FAST if wishes.others else ():
        send({"doing": contender.name})
        others.append(version(original, contender, figures, Settings(curves=False)))
    send(_image(original, [ours, *others]) | {"whole": True})


def _ours(original: Image.Image, wishes: Wishes, codec: Codec, tick: Callable[[float], object]) -> Version:
    start = time.perf_counter()
    half = share_of(tick, 0.5)
    data = codec.encode(original, wishes.quality, effort=wishes.effort, tune=wishes.tune, tick=half)
    seconds = time.perf_counter() - start
    header = container.parse(data).header
    quality = round(quality_of_step(header.step), 1) if header.step16 else None
    decode = partial(codec.decode, temperature=wishes.temperature, bands=wishes.bands, tick=half)
    image, figures = measured(original, data, decode, quality, seconds, perceptual=False)
    return Version("dctcodec", _described(wishes, codec), data, image, figures)


def _described(wishes: Wishes, codec: Codec) -> str:
    parts = [f"model {codec.model.name}, effort {codec.effort(wishes.effort)}, tuned for {wishes.tune}"]
    if wishes.bands is not None and wishes.bands < codec.family.bands:
        parts.append(f"{wishes.bands} of {codec.family.bands} bands")
    if wishes.temperature:
        parts.append(f"temperature {wishes.temperature:g}")
    return ", ".join(parts)


def _progress(send: Send) -> Callable[[float], None]:
    """A tick that sends the share of the work done so far."""
    done = 0.0

    def tick(share: float) -> None:
        nonlocal done
        done += share
        send({"share": round(done, 3)})

    return tick


def _image(original: Image.Image, versions: list[Version]) -> dict[str, Any]:
    region = Region(0, 0, *original.size)
    return {"image": image_document(Comparison("", original, tuple(versions)), region, PAGE_LIMIT, METHOD)}
