"""The .dct file, version 2: a header and typed chunks. `FORMAT.md` describes it."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dctcodec.errors import FormatError
from dctcodec.limits import MAX_PIXELS

MAGIC = b"DCT\x89"
VERSION = 2
MAX_DPI = 1e6
"""Dots per inch are below this."""
MAX_METADATA = 2**24
"""Bytes that a profile, EXIF, XMP or a text has at most."""
_HEADER = struct.Struct("<4sBBIHHH")
_CHUNK = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_SEED = struct.Struct("<I")
_DPI = struct.Struct("<ff")
HEADER_BYTES = _HEADER.size + _CRC.size
CHUNK_BYTES = _CHUNK.size + _CRC.size
"""What a chunk has beside its data."""
_GREY, _TUNED, _STEPPED = 1, 2, 4
_LAST, _ANCILLARY = 0x80, 0x20
"""Bits of a chunk's kind: the last of the file; a reader that does not know it skips it."""
CHUNKS = {
    ord("N"): "seed",
    ord("P"): "patch",
    ord("S"): "symbols",
    ord("C"): "profile",
    ord("A"): "alpha",
    ord("d"): "dpi",
    ord("e"): "exif",
    ord("x"): "xmp",
    ord("t"): "text",
}
"""Every kind that there is, in the order of a file."""
_KINDS = {name: kind for kind, name in CHUNKS.items()}
_ORDER = list(CHUNKS)


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `width`, `height`: pixels, 1..65535; `step16`: quantisation step in 1/16 pixel levels,
    1..65535, or 0 where the model has one quality; `model_id`: first 32 bits of the SHA-256 of the prior's weights; `seed`: of
    the noise at temperatures above 0; `tuned`: painted by the decoder trained for MS-SSIM; `stepped`: tiles have steps of their
    own."""

    width: int
    height: int
    grey: bool
    step16: int
    model_id: int
    seed: int = 0
    tuned: bool = False
    stepped: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def step(self) -> float:
        """Quantisation step, pixel levels."""
        return self.step16 / 16


@dataclass(frozen=True)
class Extra:
    """What a file holds beside symbols, None where it does not. `profile`: ICC; `alpha`: as `image.alpha.pack` makes it; `dpi`:
    dots per inch, horizontal and vertical; `exif`: a TIFF structure; `xmp`: a packet; `text`: of the encoder; `patch`: as
    `image.patch.pack` makes it."""

    profile: bytes | None = None
    alpha: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    text: str | None = None
    patch: bytes | None = None


@dataclass(frozen=True)
class File:
    """A file, or the beginning of one. `payload`: coded symbols, as many as are there; `payload_length`: bytes of all of them, 0
    where the file ends before it says; `partial`: symbols are missing; `truncated`: something is, perhaps behind the symbols."""

    header: Header
    payload: bytes
    payload_length: int
    extra: Extra = Extra()
    partial: bool = False
    truncated: bool = False


class Chunk(NamedTuple):
    """A chunk as it stands in a file. `kind`: its byte without the mark of the last one; `length`: bytes of its data, as it says;
    `data`: those that are there; `crc`: None where it is not there."""

    kind: int
    last: bool
    length: int
    data: bytes
    crc: int | None

    @property
    def name(self) -> str:
        """What it holds, or its letter where this dctcodec does not know it."""
        return CHUNKS.get(self.kind, repr(chr(self.kind)))


def write(header: Header, payload: bytes, extra: Extra = Extra()) -> bytes:
    """A whole file. Raises FormatError where the image or its metadata are too large for the format."""
    check_size(header.width, header.height)
    flags = _GREY * header.grey | _TUNED * header.tuned | _STEPPED * header.stepped
    head = _HEADER.pack(MAGIC, VERSION, flags, header.model_id, header.width, header.height, header.step16)
    chunks = {
        "seed": _SEED.pack(header.seed) if header.seed else None,
        "patch": extra.patch,
        "symbols": payload,
        "profile": _deflated(extra.profile),
        "alpha": extra.alpha,
        "dpi": _DPI.pack(*extra.dpi) if extra.dpi else None,
        "exif": _deflated(extra.exif),
        "xmp": _deflated(extra.xmp),
        "text": _deflated(extra.text.encode()) if extra.text else None,
    }
    present = [(_KINDS[name], data) for name, data in chunks.items() if data is not None]
    file = head + _CRC.pack(zlib.crc32(head))
    for number, (kind, data) in enumerate(present, 1):
        framed = _CHUNK.pack(kind | _LAST * (number == len(present)), len(data)) + data
        file += framed + _CRC.pack(zlib.crc32(framed))
    return file


def parse(data: bytes, partial: bool = False) -> File:
    """What a file holds. Raises FormatError, before anything is allocated, for all that `write` did not make, but for chunks that
    are marked as ancillary and unknown, which are skipped.

    `partial`: take the beginning of a file too, of its symbols only where the model sends them coarse to fine; what is whole is
    checked, the incomplete chunk cannot be."""
    header = read_header(data)
    found, cut, whole = _collect(data)
    missing = "symbols" not in found
    if whole and missing:
        raise FormatError("the file has no symbols: it is damaged")
    payload = found.get("symbols", b"")
    length = len(payload)
    if missing and cut and cut.name == "symbols":
        payload, length = cut.data, cut.length
    if not whole:
        _check_truncated(payload, length, missing, partial, progressive=header.step16 > 0)
    seed = _unpacked(_SEED, "seed", found)
    if seed:
        header = replace(header, seed=int(seed[0]))
    return File(header, payload, length, _extra(found), missing, not whole)


def _collect(data: bytes) -> tuple[dict[str, bytes], Chunk | None, bool]:
    """Data of the whole chunks of known kinds, the chunk that is cut off, and whether the last one is there."""
    found: dict[str, bytes] = {}
    position, whole = -1, False
    for chunk in chunks_of(data):
        if chunk.crc is None:
            return found, chunk, False
        _check_sum(chunk)
        whole = chunk.last
        if chunk.kind not in CHUNKS:
            if not chunk.kind & _ANCILLARY:
                raise FormatError(
                    f"the file has a chunk {chunk.name} that this version of dctcodec does not support: upgrade dctcodec"
                )
            continue
        if _ORDER.index(chunk.kind) <= position:
            raise FormatError(f"the {chunk.name} chunk is out of place: the file is damaged")
        position = _ORDER.index(chunk.kind)
        found[chunk.name] = chunk.data
    return found, None, whole


def chunks_of(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file, the last one perhaps incomplete, unchecked. Raises FormatError for bytes after the last one."""
    position, last = HEADER_BYTES, False
    while not last and position + _CHUNK.size <= len(data):
        kind, length = _CHUNK.unpack_from(data, position)
        start, end = position + _CHUNK.size, position + _CHUNK.size + length
        last, position = bool(kind & _LAST), end + _CRC.size
        crc = _CRC.unpack_from(data, end)[0] if position <= len(data) else None
        yield Chunk(kind & ~_LAST, last, length, data[start:end], crc)
    if last and position < len(data):
        raise FormatError(f"{len(data) - position} bytes follow the end of the file: it is damaged")


def check_size(width: int, height: int) -> None:
    """Raise FormatError for an image that the format cannot hold."""
    if not (1 <= width <= 65535 and 1 <= height <= 65535 and width * height <= MAX_PIXELS):
        limits = f"sides 1 to 65535, {MAX_PIXELS} pixels in all"
        raise FormatError(f"an image of {width}x{height} pixels does not fit the format: {limits}")


def read_header(data: bytes) -> Header:
    """The header alone, without the seed. Raises FormatError, TypeError for what is no bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"the bytes of a .dct file are wanted, not {type(data).__name__}: give Path(name).read_bytes()")
    if not data:
        raise FormatError("the file is empty")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise FormatError("this is not a .dct file")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        version = data[len(MAGIC)]
        raise FormatError(
            f"the file has format version {version}, this dctcodec reads version {VERSION}: use the one that wrote it"
        )
    if len(data) < HEADER_BYTES:
        raise FormatError(f"the file is truncated: it ends inside the header, after {len(data)} bytes")
    if zlib.crc32(data[: _HEADER.size]) != _CRC.unpack_from(data, _HEADER.size)[0]:
        raise FormatError("the checksum of the header does not match: the file is damaged")
    _, _, flags, model_id, width, height, step16 = _HEADER.unpack_from(data)
    if flags & ~(_GREY | _TUNED | _STEPPED):
        raise FormatError(
            f"the file uses features (flags {flags:#04x}) that this version of dctcodec does not support: upgrade dctcodec"
        )
    check_size(width, height)
    known = {"tuned": bool(flags & _TUNED), "stepped": bool(flags & _STEPPED)}
    return Header(width, height, bool(flags & _GREY), step16, model_id, **known)


def _check_sum(chunk: Chunk) -> None:
    framed = _CHUNK.pack(chunk.kind | _LAST * chunk.last, chunk.length) + chunk.data
    if zlib.crc32(framed) != chunk.crc:
        raise FormatError(f"the checksum of the {chunk.name} chunk does not match: the file is damaged")


def _check_truncated(payload: bytes, length: int, missing: bool, partial: bool, progressive: bool) -> None:
    """Raise FormatError where the beginning of a file is not to be decoded, or cannot be."""
    decodable = progressive or not missing
    if partial and decodable:
        return
    there = f"{len(payload)} of {length} bytes of symbols are there" if length else "its symbols are missing"
    what = there if missing else "chunks after the symbols are missing"
    hint = "--partial decodes what is there" if decodable else "this kind cannot be decoded in part"
    raise FormatError(f"the file is truncated: {what}; {hint}")


def _extra(found: dict[str, bytes]) -> Extra:
    inflated = {name: _inflated(name, found[name]) for name in ("profile", "exif", "xmp", "text") if name in found}
    text = inflated.pop("text").decode("utf-8", "replace") if "text" in inflated else None
    dpi = _unpacked(_DPI, "dpi", found)
    if dpi and not all(0 < number < MAX_DPI for number in dpi):
        raise FormatError(f"the dpi chunk holds no numbers between 0 and {MAX_DPI:,.0f}: the file is damaged")
    return Extra(alpha=found.get("alpha"), dpi=dpi, text=text, patch=found.get("patch"), **inflated)


def _unpacked(layout: struct.Struct, name: str, found: dict[str, bytes]) -> tuple[Any, ...] | None:
    if name not in found:
        return None
    if len(found[name]) != layout.size:
        raise FormatError(f"the {name} chunk has {len(found[name])} bytes, not {layout.size}: the file is damaged")
    return layout.unpack(found[name])


def _deflated(data: bytes | None) -> bytes | None:
    if not data:
        return None
    if len(data) > MAX_METADATA:
        raise FormatError(f"metadata of {len(data)} bytes are outside the format: {MAX_METADATA} bytes at most; leave them out")
    return zlib.compress(data, 9)


def _inflated(name: str, data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, MAX_METADATA + 1)
    except zlib.error as error:
        raise FormatError(f"the {name} chunk is not a zlib stream: the file is damaged") from error
    if len(inflated) > MAX_METADATA or not stream.eof or stream.unused_data:
        raise FormatError(f"the {name} chunk is not one zlib stream of at most {MAX_METADATA} bytes: the file is damaged")
    return inflated
