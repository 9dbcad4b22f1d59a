"""An image taken apart into what a .dct file holds, and put together again."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dctcodec.errors import DctcodecError, DctcodecWarning, ImageError, warn
from dctcodec.image import alpha as transparency
from dctcodec.image import colour, metadata
from dctcodec.image.levels import DEEP_MODES, from_array, to_8_bits
from dctcodec.image.reading import load, read_image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright."""
_SIDEWAYS = (5, 6, 7, 8)
STRIPS = ("all", "gps")


@dataclass(frozen=True)
class ImageParts:
    """What a .dct file holds of an image. `pixels`: mode "RGB" or "L", upright; `alpha`: mode "L", None where all is opaque;
    `profile`: ICC, None for sRGB; `exif`: a TIFF structure; `xmp`: a packet; `dpi`: dots per inch, horizontal and
    vertical; `text`: a note of the encoder's, which `dctcodec info` shows."""

    pixels: Image.Image
    alpha: Image.Image | None = None
    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: str | None = None


Source = Image.Image | NDArray[Any] | str | Path | BinaryIO | ImageParts
"""What an image may be given as."""


def as_parts(source: Source) -> ImageParts:
    """Parts of a PIL image, of a NumPy array (`levels.from_array` says which), of an image file's path (`-` for stdin), or of a
    binary stream of one; parts stay as they are. Raises TypeError for anything else, ImageError."""
    if isinstance(source, ImageParts):
        return source
    if isinstance(source, Image.Image):
        return take_apart(source)
    if isinstance(source, np.ndarray):
        return take_apart(from_array(source))
    if isinstance(source, str | Path) or hasattr(source, "read"):
        return take_apart(read_image(source))
    raise TypeError(f"{type(source).__name__} is no image: give a PIL image, a NumPy array, a path or a binary stream")


def take_apart(image: Image.Image, background: str | None = None, to_srgb: bool = False, strip: str | None = None) -> ImageParts:
    """Any PIL image of at least one pixel as what a .dct file holds of it.

    EXIF orientation, or XMP's where EXIF has none, is applied. 16-bit and floating-point grey become 8 bits as `levels.py` says.
    `background`: a colour as CSS names it, or #rrggbb, on which transparency is flattened; else it is kept. `to_srgb`: convert the
    colours to sRGB instead of keeping their profile. `strip`: "all" leaves EXIF and XMP out, "gps" positions. Raises ImageError
    for an image without pixels, that does not load or has values out of range, ValueError for a background that is no colour.
    """
    if 0 in image.size:
        raise ImageError("the image has no pixels")
    if strip not in (None, *STRIPS):
        raise ValueError(f"strip is {strip!r}: use one of {', '.join(STRIPS)}")
    if background:
        ImageColor.getrgb(background)
    image = load(image)
    try:
        return _taken_apart(image, background, to_srgb, strip)
    except (DctcodecError, DctcodecWarning, MemoryError):
        raise
    except Exception as error:  # Pillow's conversions let through anything
        raise ImageError(f"the image is damaged ({error})") from error


def _taken_apart(image: Image.Image, background: str | None, to_srgb: bool, strip: str | None) -> ImageParts:
    profile = colour.profile_of(image)
    turn = _orientation(image)
    parts = _metadata(image, strip if turn is not None else "all")
    if image.mode in DEEP_MODES:
        image = to_8_bits(image)
    colours, alpha = transparency.split(image)
    pixels, profile = colour.settle(colours, profile, to_srgb)
    if alpha and background:
        pixels, alpha = transparency.flatten(pixels, alpha, background), None
    elif alpha:
        pixels = transparency.smooth(pixels, alpha)
    if turn in _TURNS:
        pixels, alpha = pixels.transpose(_TURNS[turn]), alpha and alpha.transpose(_TURNS[turn])
    pixels.info = {}
    dpi = parts.dpi[::-1] if parts.dpi and turn in _SIDEWAYS else parts.dpi
    return replace(parts, pixels=pixels, alpha=alpha, profile=profile, dpi=dpi)


def put_together(parts: ImageParts) -> Image.Image:
    """The image of its parts, "RGB", "L", "RGBA" or "LA"; profile, EXIF, XMP and dots per inch are in its `info`, as Pillow has
    them."""
    image = parts.pixels
    if parts.alpha:
        image = image.copy()
        image.putalpha(parts.alpha)
    found = {"icc_profile": parts.profile, "xmp": parts.xmp, "dpi": parts.dpi}
    found["exif"] = metadata.for_pillow(parts.exif) if parts.exif else None
    image.info = {name: value for name, value in found.items() if value is not None}
    return image


def normalise(image: Image.Image) -> Image.Image:
    """An image for measuring and training: mode "L" where it was grey, else "RGB"; upright, 8 bits, flattened on white with a
    warning. Raises ImageError; see `take_apart`."""
    parts = take_apart(image, strip="all")
    if parts.alpha is None:
        return parts.pixels
    warn("alpha channel flattened on white")
    return transparency.flatten(parts.pixels, parts.alpha, "white")


def _metadata(image: Image.Image, strip: str | None) -> ImageParts:
    """Parts with EXIF, XMP and dots per inch alone."""
    dpi = metadata.dpi_of(image)
    if strip == "all":
        return ImageParts(image, dpi=dpi)
    exif, xmp = metadata.exif_of(image), metadata.xmp_of(image)
    if strip == "gps":
        exif = metadata.exif_without_positions(exif) if exif else None
        xmp = metadata.xmp_without_positions(xmp) if xmp else None
    return ImageParts(image, exif=exif, xmp=xmp, dpi=dpi)


def _orientation(image: Image.Image) -> int | None:
    """1 to 8, None where the EXIF data cannot be read."""
    try:
        return int(image.getexif().get(metadata.ORIENTATION, 1))
    except Exception:  # anything can come of damaged ones
        warn("the EXIF data cannot be read; the image is taken as upright, without its EXIF and XMP")
        return None
