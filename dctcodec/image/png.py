"""PNG files: transparent colours compared at the file's own depth, grey with alpha of 16 bits, colours that are not sRGB's."""

import struct
from typing import IO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from dctcodec.errors import ImageError
from dctcodec.image import cicp

_BITS = {"L;2": 2, "L;4": 4, "L": 8, "RGB": 8}
"""Of a sample in the file."""
_TO_8_BITS = {"L;2": 85, "L;4": 17, "L": 1, "RGB": 1}
"""What Pillow multiplies a sample with on reading."""


def load(image: PngImageFile) -> Image.Image:
    """A PNG file that Pillow has opened, loaded. Raises ImageError for colours that are refused."""
    kind = str(image.tile[0].args)
    _read_cicp(image)
    key = image.info.get("transparency")
    if kind == "RGB;16B" and isinstance(key, tuple):
        return _with_key_of_16_bits(image, key)
    image.load()
    if kind == "LA;16B":
        return image.convert("LA")
    if kind in _BITS and key is not None:
        parts = [(part & 2 ** _BITS[kind] - 1) * _TO_8_BITS[kind] for part in np.atleast_1d(key).tolist()]
        image.info["transparency"] = parts[0] if len(parts) == 1 else tuple(parts)
    return image


def _with_key_of_16_bits(image: PngImageFile, key: tuple[int, ...]) -> Image.Image:
    """RGB of 16 bits as RGBA of 8: Pillow gives the high bytes, and the low ones where it takes the file's samples for
    little-endian."""
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    second = PngImageFile(image.fp)
    second.tile = [tile._replace(args="RGB;16L") for tile in second.tile]
    second.load()
    image.fp.seek(position)
    image.load()
    high, low = np.asarray(image), np.asarray(second)
    wanted = np.array(key)
    transparent = ((high == wanted >> 8) & (low == wanted & 255)).all(-1)
    del image.info["transparency"]
    image.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
    return image


def _read_cicp(image: PngImageFile) -> None:
    assert image.fp is not None
    position = image.fp.tell()
    code_points = _chunk(image.fp, b"cICP")
    image.fp.seek(position)
    if len(code_points) == 4:
        primaries, transfer, matrix, full_range = code_points
        if matrix != 0 or full_range != 1:
            raise ImageError("its colours are not RGB of the full range, as cICP says: convert it to sRGB first")
        cicp.apply(image, primaries, transfer)


def _chunk(file: IO[bytes], wanted: bytes) -> bytes:
    """The data of the first chunk of a kind before those of the pixels, or b""."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == wanted:
            return file.read(length)
        if kind == b"IDAT":
            break
        file.seek(length + 4, 1)
    return b""
