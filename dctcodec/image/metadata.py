"""EXIF, XMP and dots per inch: what an image brings with it, upright and, where it is wished, without positions."""

import math
import re
import struct
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from PIL import ExifTags, Image

from dctcodec.errors import warn

ORIENTATION = 0x0112
_GPS = 0x8825
_EXIF_START = b"Exif\0\0"
DESCRIBING_TAGS = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749),
    *(0x8298, 0x8769, 0x8825, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
)
"""Of a TIFF file's own tags those that describe the image, not how it is stored."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[0-9]")
_EXIF_IN_XMP = ("http://ns.adobe.com/exif/1.0/", "http://cipa.jp/exif/1.0/")
"""The namespaces of EXIF properties."""
_LONG = 4
_SIZES: dict[int, int] = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value of each type."""


def exif_of(image: Image.Image) -> bytes | None:
    """EXIF data of an image, as a TIFF structure, with the orientation that has been applied reset. Warns where they are
    damaged."""
    try:
        data = _exif_bytes(image)
        return _edited(data) if data else None
    except Exception:  # damaged, anything can come of it
        warn("the EXIF data cannot be read; they are left out")
        return None


def xmp_of(image: Image.Image) -> bytes | None:
    """The XMP packet of an image, with the orientation that has been applied reset."""
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not found:
        return None
    data = found.encode() if isinstance(found, str) else bytes(found)
    return _XMP_ORIENTATION.sub(rb"\g<1>1", data)


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Dots per inch, horizontal and vertical."""
    found = image.info.get("dpi")
    try:
        across, down = map(float, found or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    sensible = all(math.isfinite(number) and 1 < number < 1e6 for number in (across, down))
    return (across, down) if sensible else None


def exif_without_positions(exif: bytes) -> bytes | None:
    """EXIF data without GPS tags; none where they cannot be read."""
    try:
        return _edited(exif, without_positions=True)
    except (struct.error, ValueError):
        warn("the EXIF data cannot be read; they are left out")
        return None


def xmp_without_positions(xmp: bytes) -> bytes | None:
    """An XMP packet without GPS properties; none where it is no XML, or has a document type."""
    packet = xmp if b"\0" in xmp[:4] else xmp.rstrip(b"\0")  # UTF-16 has zeros of its own
    try:
        document = minidom.parseString(packet)
        if document.doctype:
            raise ValueError("XMP has no document type")
        positions = [node for element in document.getElementsByTagName("*") for node in _positions(element)]
        for node in positions:
            if isinstance(node, minidom.Attr) and node.ownerElement:
                node.ownerElement.removeAttributeNode(node)
            else:
                node.parentNode.removeChild(node)
        return "".join(node.toxml() for node in document.childNodes).encode() if positions else xmp
    except (ExpatError, ValueError, LookupError, RecursionError):
        warn("the XMP cannot be read; it is left out")
        return None


def _positions(element: minidom.Element) -> list[Any]:
    """Of an element of XMP and its attributes those that are GPS properties."""
    nodes = [element, *element.attributes.values()]
    return [node for node in nodes if node.namespaceURI in _EXIF_IN_XMP and (node.localName or "").startswith("GPS")]


def for_pillow(exif: bytes) -> bytes:
    """EXIF data as Pillow keeps them in `info`."""
    return _EXIF_START + exif


def _exif_bytes(image: Image.Image) -> bytes | None:
    if found := image.info.get("exif"):
        return bytes(found).removeprefix(_EXIF_START)
    if found := image.info.get("Raw profile type exif"):
        return bytes.fromhex("".join(found.split("\n")[3:])).removeprefix(_EXIF_START)
    if hasattr(image, "tag_v2"):
        return _of_tiff(image)
    return None


def _of_tiff(image: Image.Image) -> bytes | None:
    found, kept = image.getexif(), Image.Exif()
    for tag in DESCRIBING_TAGS:
        if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if below := found.get_ifd(tag):
                kept[tag] = dict(below)
        elif tag in found:
            kept[tag] = found[tag]
    return kept.tobytes().removeprefix(_EXIF_START) if len(kept) else None


def _edited(data: bytes, without_positions: bool = False) -> bytes:
    """EXIF data with orientation 1 and, where it is wished, no GPS tags. All else stays where it
    is, since thumbnails and makers' notes count from the start. Raises ValueError, struct.error for what has not the structure."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        raise ValueError("no TIFF structure")
    edited = _Structure(bytearray(data))
    first = edited.number("I", 4)
    for entry in edited.entries(first):
        tag = edited.number("H", entry)
        if tag == ORIENTATION:
            edited.put("I" if edited.number("H", entry + 2) == _LONG else "H", entry + 8, 1)
        elif tag == _GPS and without_positions:
            edited.erase_directory(edited.number("I", entry + 8))
    if without_positions:
        edited.erase_entries(first, _GPS)
    return bytes(edited.data)


class _Structure:
    """A TIFF structure that is edited in place. Raises struct.error outside it."""

    def __init__(self, data: bytearray):
        self.data = data
        self.order = ">" if data[:2] == b"MM" else "<"

    def number(self, form: str, position: int) -> int:
        found: int
        (found,) = struct.unpack_from(self.order + form, self.data, position)
        return found

    def put(self, form: str, position: int, value: int) -> None:
        struct.pack_into(self.order + form, self.data, position, value)

    def entries(self, directory: int) -> range:
        """Positions of a directory's entries."""
        return range(directory + 2, directory + 2 + 12 * self.number("H", directory), 12)

    def erase_directory(self, directory: int) -> None:
        """All entries and what they point to, as zeros; no entry is left."""
        for entry in self.entries(directory):
            size = _SIZES.get(self.number("H", entry + 2), 1) * self.number("I", entry + 4)
            if size > 4:
                self._erase(self.number("I", entry + 8), size)
            self._erase(entry, 12)
        self.put("H", directory, 0)

    def erase_entries(self, directory: int, tag: int) -> None:
        """Take all entries of a tag out; those behind them and the position of the next directory move up."""
        entries = self.entries(directory)
        kept = [self.data[entry : entry + 12] for entry in entries if self.number("H", entry) != tag]
        moved = b"".join(kept) + self.data[entries.stop : entries.stop + 4]
        self.data[entries.start : entries.stop + 4] = moved.ljust(12 * len(entries) + 4, b"\0")
        self.put("H", directory, len(kept))

    def _erase(self, position: int, size: int) -> None:
        size = max(0, min(size, len(self.data) - position))
        self.data[position : position + size] = bytes(size)
