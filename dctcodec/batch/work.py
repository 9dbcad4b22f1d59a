"""The heart of a batch: pure functions from the bytes of one file to the bytes of another.

Each is a frozen dataclass of settings that is called with bytes, so it travels to other processes and machines. Engines only
call it; the same settings and bytes give the same result everywhere.
"""

import math
import posixpath
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from PIL import Image

from dctcodec.batch.manifest import DECODED, ENCODED
from dctcodec.encoding import Encoding
from dctcodec.errors import FormatError, ImageError
from dctcodec.limits import MAX_PIXELS

if TYPE_CHECKING:
    from dctcodec.codec import Codec
    from dctcodec.image import ImageParts

ENDING = ".dct"
"""Of encoded files."""
_PLUGINS = {".heic", ".heif", ".hif", ".jxl"}
"""Endings of images that Pillow reads with another package."""
_NO_IMAGES = {"BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow knows by name only."""


@dataclass(frozen=True)
class Result:
    """`data`: bytes of the output file; `facts`: columns of the manifest."""

    data: bytes
    facts: dict[str, Any]


class Work(Protocol):
    """Settings that turn the bytes of a file into the bytes of another."""

    @property
    def ending(self) -> str:
        """Of the outputs' names."""

    @property
    def verb(self) -> str:
        """The status of the manifest's rows."""

    def prepare(self) -> None:
        """Load what every file needs. Raises DctcodecError for settings that no file can be done with."""

    def accepts(self, name: str) -> bool:
        """Whether a file of this name is an input."""

    def __call__(self, data: bytes, name: str) -> Result:
        """`name` is for messages. Raises DctcodecError."""

    def facts(self, data: bytes) -> dict[str, Any]:
        """Columns of the manifest that an output tells."""

    def check(self, data: bytes) -> None:
        """Raise DctcodecError where `data` is no whole output."""


@dataclass(frozen=True)
class Encode:
    """Image files to .dct files. `measure`: also decode, for the PSNR."""

    encoding: Encoding = Encoding()
    device: str = "cpu"
    measure: bool = False
    ending: ClassVar[str] = ENDING
    verb: ClassVar[str] = ENCODED

    def prepare(self) -> None:
        self._codec().check(self.encoding.effort, self.encoding.tune)

    def accepts(self, name: str) -> bool:
        return is_image(name)

    def __call__(self, data: bytes, name: str) -> Result:
        from dctcodec import metrics

        parts = self.original(data, name)
        encoded = self.encoding.encode(self._codec(), parts)
        facts: dict[str, Any] = {"width": parts.pixels.width, "height": parts.pixels.height, "model": self.encoding.model}
        if self.measure:
            facts["psnr"] = _finite(metrics.psnr(parts.pixels, self._codec().decode(encoded, 0).convert(parts.pixels.mode)))
        return Result(encoded, facts)

    def original(self, data: bytes, name: str) -> "ImageParts":
        """What is encoded of an image file. Raises ImageError."""
        return self.encoding.parts(_read(data, name, self.encoding.max_pixels))

    def _codec(self) -> "Codec":
        from dctcodec.codec import loaded

        return loaded(self.encoding.model, self.device)

    def facts(self, data: bytes) -> dict[str, Any]:
        return file_facts(data)

    def check(self, data: bytes) -> None:
        file_facts(data)


@dataclass(frozen=True)
class Decode:
    """.dct files to image files in the format of `ending`. The settings are those of `Codec.decode`; `model`: paint with
    another model of the same prior."""

    ending: str = ".png"
    model: str | None = None
    device: str = "cpu"
    temperature: float | None = None
    bands: int | None = None
    max_pixels: int | None = None
    verb: ClassVar[str] = DECODED

    def prepare(self) -> None:
        from dctcodec.codec import loaded
        from dctcodec.device import device_of

        device_of(self.device)
        if self.model:
            loaded(self.model, self.device)

    def accepts(self, name: str) -> bool:
        return _ending(name) == ENDING

    def __call__(self, data: bytes, name: str) -> Result:
        from dctcodec.codec import codec_for, loaded
        from dctcodec.image import image_bytes

        codec = loaded(self.model, self.device) if self.model else codec_for(data, self.device)
        codec.check_bands(self.bands)
        image = codec.decode(data, self.temperature, bands=self.bands, max_pixels=self.max_pixels or MAX_PIXELS)
        facts = {"width": image.width, "height": image.height, "model": codec.model.name}
        return Result(image_bytes(image, f"output{self.ending}"), facts)

    def facts(self, data: bytes) -> dict[str, Any]:
        try:
            with Image.open(BytesIO(data)) as image:
                return {"width": image.width, "height": image.height}
        except Exception as error:  # Pillow's readers let through anything
            raise ImageError("the output is there, but is no image: remove it, or use --overwrite") from error

    def check(self, data: bytes) -> None:
        _read(data, "the output")


@dataclass(frozen=True)
class Verify:
    """Whether a .dct file is whole and near the image that it was made from: its checksum, its size in pixels and a PSNR of at
    least `min_psnr` dB. `background` and `to_srgb` are those that it was encoded with."""

    device: str = "cpu"
    background: str | None = None
    to_srgb: bool = False
    min_psnr: float = 20.0

    def __call__(self, source: bytes, encoded: bytes, name: str) -> dict[str, Any]:
        """Facts for the manifest. Raises DctcodecError where the file fails."""
        from dctcodec import metrics
        from dctcodec.codec import codec_for
        from dctcodec.image import normalise, put_together, take_apart

        decoded = normalise(codec_for(encoded, self.device).decode(encoded, 0, max_pixels=MAX_PIXELS))
        parts = take_apart(_read(source, name, MAX_PIXELS), self.background, self.to_srgb, strip="all")
        image = normalise(put_together(parts))
        if decoded.size != image.size:
            sizes = f"{decoded.width}x{decoded.height} pixels, its source {image.width}x{image.height}"
            raise FormatError(f"the .dct file has {sizes}")
        psnr = metrics.psnr(image, decoded)
        if not psnr >= self.min_psnr:
            raise FormatError(f"the .dct file has {psnr:.2f} dB, less than --min-psnr {self.min_psnr:g}")
        return file_facts(encoded) | {"psnr": _finite(psnr)}


def is_image(name: str) -> bool:
    """Whether a file's ending is that of an image that Pillow reads, also with the packages for HEIC and JPEG XL."""
    return _ending(name) in _image_endings()


def file_facts(data: bytes) -> dict[str, Any]:
    """What the header of a .dct file tells for the manifest. Raises FormatError where the file is not whole."""
    from dctcodec.container import parse
    from dctcodec.installed import find_by_id

    header = parse(data).header
    return {"width": header.width, "height": header.height, "model": find_by_id(header.model_id).name}


@cache
def _image_endings() -> set[str]:
    Image.init()
    return {ending for ending, name in Image.EXTENSION.items() if name in Image.OPEN and name not in _NO_IMAGES} | _PLUGINS


def _ending(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _read(data: bytes, name: str, max_pixels: int | None = None) -> Image.Image:
    """The image in a file's bytes, by the name that messages give it. Raises ImageError.

    Free memory is not looked at, for the result must not depend on it: where there is too little, the worker dies, and the image
    is done again alone."""
    from dctcodec.image import read_image

    stream = BytesIO(data)
    stream.name = name
    return read_image(stream, max_pixels or MAX_PIXELS)


def _finite(psnr: float) -> float | None:
    """JSON knows no infinity."""
    return round(psnr, 4) if math.isfinite(psnr) else None
