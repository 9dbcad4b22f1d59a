"""The codecs that everybody has, as Pillow writes them: what dctcodec is measured against."""

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from PIL import Image, features

from dctcodec.errors import DctcodecError, ImageError

with suppress(ImportError):
    import pillow_jxl  # noqa: F401  # adds JPEG XL to Pillow

JXL_PACKAGE = "pillow-jxl-plugin"


@dataclass(frozen=True)
class Baseline:
    """A Pillow format with its options, and the qualities that cover 0.08 to 0.8 bpp on held-out photographs, as far as the
    format can. `library`: returns the names and versions of the libraries that encode and decode."""

    name: str
    format: str
    options: dict[str, Any]
    qualities: tuple[int, ...]
    library: Callable[[], str]

    @property
    def description(self) -> str:
        """The options and the libraries, for people."""
        return f"Pillow, {', '.join(_as_text(self.options))}; {self.library()}"

    @property
    def encoder(self) -> dict[str, Any]:
        """What decides the bytes of a file besides the image and the quality; it can be stored as JSON."""
        return {"format": self.format, "options": self.options, "library": self.library()}

    def check(self) -> None:
        """Raises DctcodecError where this Pillow has no such encoder or does not know one of the options."""
        try:
            self.encode(Image.new("RGB", (16, 16)), self.qualities[0])
        except (ImageError, KeyError) as error:
            raise DctcodecError(f"Pillow cannot write {self.name} here ({error}): pip install --upgrade pillow") from error

    def encode(self, image: Image.Image, quality: float | None) -> bytes:
        """The whole file of an RGB or grey image. `quality`: the format's own scale, 0..100, as an integer; None for Pillow's
        default. Raises ImageError for an image that is too large for the format."""
        buffer = io.BytesIO()
        options = self.options if quality is None else self.options | {"quality": int(quality)}
        try:
            image.save(buffer, self.format, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"{self.name} cannot hold an image of {image.width}x{image.height} ({error})") from error
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """The image in RGB."""
        return Image.open(io.BytesIO(data)).convert("RGB")

    def code_length(self, data: bytes) -> None:
        """None: these formats have no model whose code length could be told apart from the file's."""


def _as_text(options: dict[str, Any]) -> list[str]:
    flat = {name: value for name, value in options.items() if not isinstance(value, dict)}
    nested = [value for value in options.values() if isinstance(value, dict)]
    return [f"{name}={value}" for part in [flat, *nested] for name, value in part.items()]


def _libavif() -> str:
    from PIL import _avif  # no public name tells the version of the encoder behind libavif

    return f"libavif {features.version('avif')}, {_avif.codec_versions()}"


def _libjpeg() -> str:
    turbo = features.version_feature("libjpeg_turbo")
    return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"


def _libwebp() -> str:
    return f"libwebp {features.version('webp')}"


def _libjxl() -> str:
    return f"{JXL_PACKAGE} {version(JXL_PACKAGE)}"


def _avif(name: str, tune: str) -> Baseline:
    """AVIF at its best: full chroma, speed 1. One thread, because the number of threads changes the file."""
    options = {"subsampling": "4:4:4", "speed": 1, "max_threads": 1, "advanced": {"tune": tune}}
    return Baseline(name, "AVIF", options, (0, 5, 12, 20, 30, 40, 50, 62, 75), _libavif)


JPEG = Baseline("JPEG", "JPEG", {"optimize": True, "subsampling": "4:2:0"}, (1, 5, 10, 15, 20, 30, 45, 65, 82), _libjpeg)
WEBP = Baseline("WebP", "WEBP", {"method": 6}, (0, 1, 5, 10, 20, 40, 60, 75, 85), _libwebp)
AVIF_PSNR = _avif("AVIF-PSNR", "psnr")
AVIF_IQ = _avif("AVIF-IQ", "iq")
JPEG_XL = Baseline("JPEG XL", "JXL", {"effort": 7, "num_threads": 0}, (0, 5, 10, 20, 30, 45, 60, 75, 88), _libjxl)
BASELINES = (JPEG, WEBP, AVIF_PSNR, AVIF_IQ, JPEG_XL)


def has_jpeg_xl() -> bool:
    """Whether the plugin for JPEG XL is installed."""
    return "JXL" in Image.SAVE


def available() -> tuple[Baseline, ...]:
    """The baselines that can be measured here: all, or all but JPEG XL where its plugin is not installed.

    Raises DctcodecError where Pillow's own encoders are missing or do not know an option."""
    baselines = BASELINES if has_jpeg_xl() else BASELINES[:-1]
    for baseline in baselines:
        baseline.check()
    return baselines
