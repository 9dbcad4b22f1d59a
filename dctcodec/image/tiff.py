"""TIFF files: the full image where the first is a thumbnail, planes of 16 bits, what is white."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from dctcodec.errors import ImageError
from dctcodec.limits import check_pixels

_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _PLANAR, _SUB_DIRECTORIES = 254, 258, 262, 284, 330
_REDUCED, _MASK = 1, 4
"""Bits of a subfile's type: a thumbnail or a transparency mask is not the image."""
_MAX_DIRECTORIES = 256


def load(image: TiffImageFile, max_pixels: int | None = None) -> TiffImageFile:
    """A TIFF file that Pillow has opened, loaded: of several images the first that is no thumbnail. `max_pixels`: see
    `limits.check_pixels`. Raises ImageError where it is too large, Pillow would read it wrongly, or cannot read it."""
    if _tag(image, _SUBFILE_TYPE, 0) & (_REDUCED | _MASK):
        image = _full_image(image)
        check_pixels(*image.size, max_pixels)
    if _tag(image, _PLANAR, 1) == 2 and 16 in bits(image) and any(tile[0] == "raw" for tile in image.tile):
        _take_planes_of_16_bits(image)
    image.load()
    return image


def bits(image: Image.Image) -> tuple[int, ...]:
    """Bits of each sample, none for what is no TIFF file."""
    found = _tag(image, _BITS, ())
    return found if isinstance(found, tuple) else (found,)


def is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white in a grey TIFF file. Pillow undoes that up to 8 bits."""
    return bool(_tag(image, _PHOTOMETRIC, 1) == 0)


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(number, default)


def _take_planes_of_16_bits(image: TiffImageFile) -> None:
    arguments: list[Any] = [tile.args for tile in image.tile]
    order = "B" if image.tag_v2.prefix == b"MM" else "L"
    if image.mode != "RGB" or any(stride for _, stride, _ in arguments):
        raise ImageError(
            f"Pillow cannot read an uncompressed TIFF file of separate planes of 16 bits in {image.mode}: "
            "save it with deflate compression, or with its planes interleaved"
        )
    layouts = [(f"{layer};16{order}", *rest) for layer, *rest in arguments]
    image.tile = [tile._replace(args=layout) for tile, layout in zip(image.tile, layouts, strict=True)]


def _full_image(image: TiffImageFile) -> TiffImageFile:
    assert image.fp is not None
    image.fp.seek(0)
    data = bytearray(image.fp.read())
    position = next(_positions_of_full_images(bytes(data)), None)
    if position is None:
        raise ImageError("the file holds nothing but a thumbnail: use the one that it was made from")
    if 43 in data[2:4]:  # BigTIFF
        struct.pack_into(">Q" if data[:2] == b"MM" else "<Q", data, 8, position)
    else:
        struct.pack_into(">I" if data[:2] == b"MM" else "<I", data, 4, position)
    try:
        return TiffImageFile(BytesIO(data))
    except SyntaxError as error:
        raise ImageError(
            "only its thumbnail can be read; the full image is of a kind that Pillow cannot read, as a camera's raw data are: "
            "develop it to a TIFF or JPEG file first"
        ) from error


def _positions_of_full_images(data: bytes) -> Iterator[int]:
    """Where the directories of images are that are neither thumbnail nor mask, each before those below it. Stops at damage."""
    file = BytesIO(data)
    header = data[:16] if 43 in data[2:4] else data[:8]
    waiting, seen = [ImageFileDirectory_v2(header).next], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        position = waiting.pop(0)
        if position in seen or not 0 < position < len(data):
            continue
        seen.add(position)
        directory = ImageFileDirectory_v2(header)
        try:
            file.seek(position)
            directory.load(file)
            below = directory.get(_SUB_DIRECTORIES, ())
            kind = directory.get(_SUBFILE_TYPE, 0)
        except Exception:  # Pillow's reader lets through anything
            return
        if not kind & (_REDUCED | _MASK):
            yield position
        waiting = [*(below if isinstance(below, tuple) else (below,)), directory.next, *waiting]
