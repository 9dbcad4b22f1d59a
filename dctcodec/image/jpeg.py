"""JPEG files that end too early. Pillow fills what is missing with grey where the end marker is there, and refuses a file that
lacks that marker alone."""

import re
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from dctcodec.errors import ImageError, warn
from dctcodec.files import MAX_INPUT_BYTES

_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_PROGRESSIVE = 0xC2
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""After the coded data of a scan: neither a byte 255 of theirs nor a restart."""
_FILLER = bytes(np.random.Generator(np.random.PCG64(1)).integers(0, 255, 4096, np.uint8))
"""What a decoder takes for coded data where it needs more than the file has."""
_MISSING = (127, 128)
"""Levels of samples that the decoder had no data for."""


def load(image: JpegImageFile) -> JpegImageFile:
    """A JPEG file that Pillow has opened, loaded. Raises ImageError where coded data are missing; warns where nothing but the end
    marker is."""
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read(MAX_INPUT_BYTES)
    image.fp.seek(position)
    end, progressive = _end_of_data(data)
    if end is None:  # nothing that can be judged
        image.load()
        return image
    complete = data[end : end + 2] == _END
    if not complete:
        image = JpegImageFile(BytesIO(data[:end] + _END))
    image.load()
    if (progressive or not complete or _ends_in_grey(image)) and _needs_more(data[:end]):
        raise ImageError("the image is damaged (its data end before the last pixel)")
    if not complete:
        warn("the JPEG file lacks its end marker, nothing else; it was decoded")
    return image


def _end_of_data(data: bytes) -> tuple[int | None, bool]:
    """Where the coded data of the first image end, None where there are none, and whether it is progressive."""
    position, end, progressive = 2, None, False
    while position + 4 <= len(data) and data[position] == 255:
        marker = data[position + 1]
        if marker == _END[1]:
            break
        if marker == 255:  # filling
            position += 1
            continue
        progressive |= marker == _PROGRESSIVE
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _START_OF_SCAN:
            found = _NEXT_MARKER.search(data, position)
            position = end = found.start() if found else len(data.rstrip(b"\xff"))
    return end, progressive


def _ends_in_grey(image: Image.Image) -> bool:
    corner = np.asarray(image)[-1:, -8:]
    return bool(np.isin(corner, _MISSING).all())


def _needs_more(data: bytes) -> bool:
    """Whether what follows the data changes the image: then they do not suffice for all of it."""
    bare, filled = (JpegImageFile(BytesIO(data + more + _END)) for more in (b"", _FILLER))
    try:
        return not np.array_equal(np.asarray(bare), np.asarray(filled))
    except OSError:  # Pillow stops at what is not whole
        return True
