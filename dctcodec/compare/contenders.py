"""The other codecs of a comparison: formats that Pillow writes, with their best or default settings."""

from dataclasses import dataclass, replace

from dctcodec.evaluate.baselines import AVIF_PSNR, JPEG, JPEG_XL, WEBP, Baseline, has_jpeg_xl

QUALITIES = range(101)
"""The scale of quality of every format that Pillow writes."""


@dataclass(frozen=True)
class Contender:
    """A format with its options. `quick`: the same format with settings that make files of nearly the same size in much less
    time, None where the format itself is quick. A search for a quality asks it first."""

    name: str
    baseline: Baseline
    quick: Baseline | None = None

    @property
    def settings(self) -> str:
        """The options, for people."""
        options = {key: value for key, value in self.baseline.options.items() if not key.endswith("_threads")}
        options |= options.pop("advanced", {})
        return ", ".join(key if value is True else f"{key} {value}" for key, value in options.items()) or "Pillow's defaults"

    @property
    def library(self) -> str:
        """The libraries that encode and decode, with their versions."""
        return self.baseline.library()


AVIF_BEST = Contender("AVIF, best settings", AVIF_PSNR, replace(AVIF_PSNR, options=AVIF_PSNR.options | {"speed": 6}))
AVIF_DEFAULT = Contender("AVIF, default settings", replace(AVIF_PSNR, name="AVIF", options={}))
FAST = (AVIF_DEFAULT, Contender("WebP", WEBP), Contender("JPEG", JPEG))
"""Those that take a fraction of a second for a megapixel."""


def contenders() -> tuple[Contender, ...]:
    """Every contender that can be measured here, the slow one first; JPEG XL only where its plugin is installed.

    Raises DctcodecError where this Pillow lacks an encoder."""
    jpeg_xl = (Contender("JPEG XL", JPEG_XL),) if has_jpeg_xl() else ()
    all_of_them = (AVIF_BEST, AVIF_DEFAULT, *jpeg_xl, *FAST[1:])
    for contender in all_of_them:
        contender.baseline.check()
    return all_of_them
