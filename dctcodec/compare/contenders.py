"""The other codecs of a comparison: formats that Pillow writes, with their best or default settings."""

from dataclasses import dataclass, replace

from dctcodec.evaluate.baselines import AVIF_PSNR, JPEG, JPEG_XL, WEBP, Baseline, has_jpeg_xl

QUALITIES = range(101)
"""The scale of quality of every format that Pillow writes."""


@dataclass(frozen=True)
class Contender:
    """A format with its settings. `quick`: the same format with settings that make files of nearly the same size in much less
    time, None where the format itself is quick. A search for a quality asks it first."""

    name: str
    baseline: Baseline
    quick: Baseline | None = None

    @property
    def settings(self) -> str:
        """The options and the libraries, for people."""
        return self.baseline.description


AVIF_BEST = Contender("AVIF, best settings", AVIF_PSNR, replace(AVIF_PSNR, options=AVIF_PSNR.options | {"speed": 6}))
AVIF_DEFAULT = Contender("AVIF, default settings", replace(AVIF_PSNR, name="AVIF", options={}))
FAST = (AVIF_DEFAULT, Contender("WebP", WEBP), Contender("JPEG", JPEG))
"""Those that take a fraction of a second for a megapixel."""


def contenders() -> tuple[Contender, ...]:
    """Every contender that can be measured here, slow ones first; JPEG XL only where its plugin is installed."""
    jpeg_xl = ()
    if has_jpeg_xl():
        import pillow_jxl  # noqa: F401  # importing it adds the format to Pillow

        jpeg_xl = (Contender("JPEG XL", JPEG_XL),)
    return (AVIF_BEST, AVIF_DEFAULT, *jpeg_xl, *FAST[1:])
