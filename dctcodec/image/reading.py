"""Image files: opened by Pillow, with what it reads wrong mended or refused."""

import re
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from dctcodec.errors import ImageError, warn
from dctcodec.files import MAX_INPUT_BYTES, STANDARD_STREAM, open_input, reason
from dctcodec.image import cicp, jpeg, png, tiff
from dctcodec.limits import check_pixels

_HEAD = 1 << 16
"""Bytes at the start of a file that tell its kind."""


class _Plugin(NamedTuple):
    """What reads a kind of files that Pillow does not. `start`: how they begin."""

    kind: str
    package: str
    module: str
    start: re.Pattern[bytes]

    def register(self) -> None:
        module = import_module(self.module)
        getattr(module, "register_heif_opener", lambda: None)()


_PLUGINS = (
    _Plugin("HEIC", "pillow-heif", "pillow_heif", re.compile(rb"....ftyp(?:hei[csmx]|hev[cmsx]|mif1|msf1)", re.DOTALL)),
    _Plugin("JPEG XL", "pillow-jxl-plugin", "pillow_jxl", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")),
)


def read_image(source: str | Path | BinaryIO, max_pixels: int | None = None) -> Image.Image:
    """The first frame of an image file, fully loaded, in whatever mode Pillow gives it.

    `source`: a path, `-` for stdin, or a binary stream. `max_pixels`: see `limits.check_pixels`. Raises ImageError, one sentence
    with the name, where it is missing, not an image, damaged, too large or of a kind that Pillow would read wrongly. Warns where
    there are further frames.
    """
    if not isinstance(source, str | Path):
        return _read_stream(source, str(getattr(source, "name", "the image")), max_pixels)
    try:
        with open_input(source) as file:
            return _read_stream(file, str(source), max_pixels)
    except OSError as error:
        raise ImageError(f"cannot read {source}: {reason(error)}") from error


def load(image: Image.Image, name: str = "the image", max_pixels: int | None = None) -> Image.Image:
    """An opened image loaded, with what Pillow reads wrong mended. `max_pixels`: see `limits.check_pixels`. Raises ImageError."""
    try:
        if not getattr(image, "tile", None):  # loaded already, or made in memory
            image.load()
        elif isinstance(image, PngImageFile):
            image = png.load(image)
        elif isinstance(image, TiffImageFile):
            image = tiff.load(image, max_pixels)
        elif isinstance(image, JpegImageFile):
            image = jpeg.load(image)
        else:
            image.load()
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # Pillow's readers let through anything
        raise _explained(error, name) from error
    return image


def _read_stream(stream: BinaryIO, name: str, max_pixels: int | None) -> Image.Image:
    if name == STANDARD_STREAM or not stream.seekable():  # on Windows a pipe may claim to be
        stream = BytesIO(stream.read(MAX_INPUT_BYTES + 1))
        if stream.getbuffer().nbytes > MAX_INPUT_BYTES:
            raise ImageError(f"cannot read {name}: it is larger than {MAX_INPUT_BYTES >> 20} MiB")
    stream.seek(0)
    if not stream.read(1):
        raise ImageError(f"cannot read {name}: the file is empty")
    stream.seek(0)
    try:
        image = _open(stream)
        check_pixels(*image.size, max_pixels)
        more = _has_more_frames(image)
        image = load(image, name, max_pixels)
        if isinstance(image, TiffImageFile):  # perhaps another than the first, which was a thumbnail
            more = image.is_animated
    except ImageError as error:
        raise ImageError(f"cannot read {name}: {str(error).removeprefix(f'cannot read {name}: ')}") from error
    if more:
        warn(f"{name} has more than one frame; the first is taken")
    return image


def _open(stream: BinaryIO) -> Image.Image:
    head = stream.read(_HEAD)
    stream.seek(0)
    plugin = next((plugin for plugin in _PLUGINS if plugin.start.match(head)), None)
    try:
        if plugin and find_spec(plugin.module):
            plugin.register()
        image = Image.open(stream)
    except UnidentifiedImageError as error:
        if plugin:
            raise ImageError(f"the file is {plugin.kind}: pip install {plugin.package} to read it") from error
        raise ImageError("the file is not an image that Pillow can read") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers let through anything
        raise _explained(error) from error
    if "icc_profile" not in image.info and (points := cicp.of_avif(head) if image.format == "AVIF" else cicp.of_heif(image)):
        image.info["nclx"] = points
    return image


def _has_more_frames(image: Image.Image) -> bool:
    """Whether an image file has frames after the first, as far as can be told. (To count them, Pillow reads all of a TIFF's, in a
    time that grows with their square.)"""
    if image.format in ("MPO", "PSD"):  # a camera's previews of the first; layers of it
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage further on in the file
        image.seek(0)
        return False


def _explained(error: Exception, name: str | None = None) -> ImageError:
    start = f"cannot read {name}: " if name else ""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{start}the image is too large: Pillow's limit is {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels")
    lines = str(error).splitlines() or [type(error).__name__]
    return ImageError(f"{start}the image is damaged ({lines[0]})")
