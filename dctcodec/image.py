"""Pictures in and out: what Pillow reads becomes 8-bit RGB or grey, upright and opaque; decoded ones are written."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from dctcodec.errors import DctcodecWarning, ImageError, OutputError
from dctcodec.files import MAX_INPUT_BYTES, STANDARD_STREAM, open_input, reason, write_output

_ORIENTATION_TAG = 0x0112
_BITS_TAG = 258
"""Of a TIFF, bits of a sample."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each EXIF orientation upright."""
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_FORMATS = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
}
"""Pillow's format and options for each ending that a decoded picture may be given."""


def read_image(source: str | Path | BinaryIO) -> Image.Image:
    """The first frame of a picture file, fully loaded, in whatever mode Pillow gives it.

    `source`: a path, `-` for stdin, or a binary stream. Raises ImageError, one sentence with the name, where it is
    missing, not a picture, damaged or above Pillow's limit of pixels. Warns where there are further frames.
    """
    if not isinstance(source, str | Path):
        return _read_stream(source, str(getattr(source, "name", "the picture")))
    try:
        with open_input(source) as file:
            return _read_stream(file, str(source))
    except OSError as error:
        raise ImageError(f"cannot read {source}: {reason(error)}") from error


def normalise(image: Image.Image) -> Image.Image:
    """The picture as the codec takes it: mode "L" where it was grey, else "RGB"; upright, 8 bits, opaque.

    EXIF orientation is applied. 16-bit grey is scaled, 0..65535 to 0..255, a TIFF's of 12 bits from 0..4095; floats are taken
    with white at 1, 255 or 65535, the first that is no less than all of them, and a warning says which. Transparency is
    flattened on white with a warning. Metadata stay behind: what has been applied is not applied again. Raises ImageError for
    a picture without pixels, with values outside those ranges, or that does not load.
    """
    if 0 in image.size:
        raise ImageError("the picture has no pixels")
    with _reading("the picture"):
        image.load()
    white = 4095 if getattr(image, "tag_v2", {}).get(_BITS_TAG) == (12,) else 65535
    image = _upright(image)
    if image.mode in _DEEP_MODES:
        image = _eight_bits(image, white)
    if image.has_transparency_data:
        image = _flatten(image)
    plain = image.copy() if image.mode in ("L", "RGB") else image.convert(_opaque_mode(image))
    plain.info = {}
    return plain


def check_ending(destination: str | Path) -> None:
    """Raise OutputError where the ending of `destination` names no picture format; `-` is PNG."""
    _format(destination)


def write_image(image: Image.Image, destination: str | Path) -> None:
    """Write a picture of mode "RGB" or "L" to a file in the format of its ending, or as PNG to stdout for `-`.

    All formats but JPEG (quality 95) and AVIF (quality 90) are lossless. Raises OutputError; see `files.write_output`.
    """
    name, options = _format(destination)
    encoded = BytesIO()
    try:
        image.save(encoded, name, **options)
    except KeyError as error:
        raise OutputError(f"cannot write {destination}: Pillow was built without {name} here; use another ending") from error
    except (OSError, ValueError, RuntimeError, SyntaxError) as error:
        width, height = image.size
        raise OutputError(f"cannot write {destination}: {name} cannot hold a picture of {width}x{height}") from error
    write_output(destination, encoded.getvalue())


def _format(destination: str | Path) -> tuple[str, dict]:
    if str(destination) == STANDARD_STREAM:
        return _FORMATS[".png"]
    ending = Path(destination).suffix.lower()
    if ending not in _FORMATS:
        problem = f"unknown picture ending {ending!r}" if ending else "the name has no ending"
        raise OutputError(f"cannot write {destination}: {problem}; use one of {', '.join(_FORMATS)}")
    return _FORMATS[ending]


def _read_stream(stream: BinaryIO, name: str) -> Image.Image:
    if not stream.seekable():
        stream = BytesIO(stream.read(MAX_INPUT_BYTES + 1))
        if stream.getbuffer().nbytes > MAX_INPUT_BYTES:
            raise ImageError(f"cannot read {name}: it is larger than {MAX_INPUT_BYTES >> 20} MiB")
    if not stream.read(1):
        raise ImageError(f"cannot read {name}: the file is empty")
    stream.seek(0)
    with _reading(name):
        image = Image.open(stream)
        more = _has_more_frames(image)
        image.load()
    if more:
        _warn(f"{name} has more than one frame; the first is taken")
    return image


def _has_more_frames(image: Image.Image) -> bool:
    """Whether a picture file has frames after the first, as far as can be told. (To count them, Pillow reads all of a TIFF's, in a
    time that grows with their square.)"""
    if image.format in ("MPO", "PSD"):  # a camera's previews of the first; layers of it
        return False
    try:
        return getattr(image, "is_animated", False)
    except Exception:  # damage further on in the file
        image.seek(0)
        return False


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what Pillow raises for bad files into an ImageError; its readers let through anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"cannot read {name}: the file is not a picture that Pillow can read") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise ImageError(f"cannot read {name}: the picture is too large, the limit is {limit}") from error
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ImageError(f"cannot read {name}: the picture is damaged ({lines[0]})") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged EXIF data, anything can come of it
        _warn("the EXIF data cannot be read; the picture is taken as upright")
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Grey of 12 to 32 bits a pixel to "L", or to "LA" where one value is declared transparent."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        white = _white_of_floats(values)
        levels = np.floor(values * (255 / white) + 0.5)
    else:
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("the picture has values outside 0 to 65535; scale them first")
        levels = (values.astype(np.int32) * 255 + white // 2) // white
    grey = Image.fromarray(levels.astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _white_of_floats(values: np.ndarray) -> int:
    lowest, highest = values.min(), values.max()
    for white in (1, 255, 65535):
        if lowest >= 0 and highest <= white:
            _warn(f"floating-point picture taken with white at {white}")
            return white
    raise ImageError("the picture has values outside 0 to 65535; scale them first")


def _flatten(image: Image.Image) -> Image.Image:
    mode = _opaque_mode(image)
    layered = image.convert("LA" if mode == "L" else "RGBA")
    alpha = layered.getchannel("A")
    flat = Image.new(mode, image.size, "white")
    flat.paste(layered.convert(mode), mask=alpha)
    if alpha.getextrema()[0] < 255:
        _warn("alpha channel flattened on white; .dct files have no transparency")
    return flat


def _opaque_mode(image: Image.Image) -> str:
    return "L" if image.mode in _GREY_MODES else "RGB"


def _warn(message: str) -> None:
    warnings.warn(message, DctcodecWarning, stacklevel=4)
