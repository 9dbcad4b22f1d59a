"""Images that are sent to the server: refused by their size before they are decoded, and kept in memory only."""

import io
import warnings
from collections.abc import AsyncIterator

from PIL import Image

from dctcodec.errors import DctcodecError, ImageError
from dctcodec.image import normalise, read_image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is taken: formats whose readers in Pillow tell the size before they decode, and run no other program."""


class TooLarge(DctcodecError):
    """More bytes or pixels than the server takes."""


async def received(stream: AsyncIterator[bytes], limit: int) -> bytes:
    """The body of a request. Raises TooLarge as soon as it has more than `limit` bytes."""
    parts, size = [], 0
    async for part in stream:
        size += len(part)
        if size > limit:
            raise TooLarge(f"the file is too large: the limit is {limit:,} bytes (dctcodec app --max-bytes)")
        parts.append(part)
    return b"".join(parts)


def check(data: bytes, max_pixels: int) -> None:
    """Read the header of an image file. Raises ImageError where it is none, TooLarge where it has more than `max_pixels`."""
    width, height = _header(data)
    if width * height > max_pixels:
        limit = f"the limit is {max_pixels:,} (dctcodec app --max-pixels)"
        raise TooLarge(f"the image of {width}x{height} has {width * height:,} pixels: {limit}")


def decoded(data: bytes, max_pixels: int) -> Image.Image:
    """An image as the codec takes it. Raises what `check` raises, and ImageError for damage."""
    check(data, max_pixels)
    file = io.BytesIO(data)
    file.name = "the file"
    return normalise(read_image(file, max_pixels))


def _header(data: bytes) -> tuple[int, int]:
    """Width and height of an image file."""
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                return image.size
        except Image.DecompressionBombError as error:
            raise TooLarge("the image has more than 178 million pixels: send a smaller one") from error
        except Exception as error:  # Pillow's readers let through anything
            raise ImageError(f"the file is not an image that the app reads: send one of {', '.join(formats)}") from error
