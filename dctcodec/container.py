"""The .dct file, version 1: a fixed header and the coded symbols. `FORMAT.md` describes it."""

import struct
import zlib
from dataclasses import dataclass

from dctcodec.errors import FormatError

MAGIC = b"DCT\x89"
VERSION = 1
MAX_PIXELS = 2**27
"""Pictures of more pixels are refused, by the writer and by the reader."""
_LAYOUT = struct.Struct("<4sBBIHHHII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _LAYOUT.size + _CRC.size
_GREY, _ONE_QUALITY, _PROGRESSIVE, _TUNED = 1, 2, 4, 8


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `width`, `height`: pixels, 1..65535; `step16`: quantisation step in 1/16 pixel levels, 1..65535,
    or 0 where the model has one quality;
    `model_id`: first 32 bits of the SHA-256 of the prior's weights; `seed`: of the noise at temperatures above 0;
    `payload_length`: bytes of coded symbols; `progressive`: a prefix of them decodes to a coarser picture;
    `tuned`: painted by the decoder trained for MS-SSIM."""

    width: int
    height: int
    grey: bool
    step16: int
    seed: int
    model_id: int
    payload_length: int = 0
    progressive: bool = False
    tuned: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.width, self.height

    @property
    def step(self) -> float:
        """Quantisation step, pixel levels."""
        return self.step16 / 16


def write(header: Header, payload: bytes) -> bytes:
    """A whole file. Raises FormatError where the picture is too large for the format."""
    check_size(header.width, header.height)
    flags = _GREY * header.grey | _ONE_QUALITY * (header.step16 == 0) | _PROGRESSIVE * header.progressive | _TUNED * header.tuned
    head = _LAYOUT.pack(
        MAGIC, VERSION, flags, header.model_id, header.width, header.height, header.step16, header.seed, len(payload)
    )
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def parse(data: bytes, partial: bool = False) -> tuple[Header, bytes]:
    """Header and coded symbols of a file. Raises FormatError, before anything is allocated, for all that `write` did not make.

    `partial`: take the beginning of a progressive file too, with as many symbols as are there; its checksum cannot be checked."""
    if not data:
        raise FormatError("the file is empty")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise FormatError("this is not a .dct file")
    if len(data) < HEADER_BYTES:
        raise FormatError(f"the file is truncated: it ends inside the header, after {len(data)} bytes")
    _, version, flags, model_id, width, height, step16, seed, length = _LAYOUT.unpack_from(data)
    if version != VERSION:
        raise FormatError(f"the file has format version {version}, this dctcodec reads version {VERSION}: a newer one may help")
    payload = data[HEADER_BYTES:]
    truncated = len(payload) < length
    if truncated and not (partial and flags & _PROGRESSIVE):
        hint = "--partial decodes what is there" if flags & _PROGRESSIVE else "this kind cannot be decoded in part"
        raise FormatError(f"the file is truncated: {len(payload)} of {length} bytes of symbols are there; {hint}")
    if len(payload) > length:
        raise FormatError(f"{len(payload) - length} bytes follow the end of the file: it is damaged")
    if not truncated and zlib.crc32(payload, zlib.crc32(data[: _LAYOUT.size])) != _CRC.unpack_from(data, _LAYOUT.size)[0]:
        raise FormatError("the checksum does not match: the file is damaged")
    if flags & ~(_GREY | _ONE_QUALITY | _PROGRESSIVE | _TUNED) or flags & _ONE_QUALITY and flags & (_PROGRESSIVE | _TUNED):
        raise FormatError(f"the file uses features (flags {flags:#04x}) that this dctcodec does not know")
    check_size(width, height)
    if (step16 == 0) != bool(flags & _ONE_QUALITY):
        raise FormatError(f"the file's quantisation step is {step16 / 16:g}, which its flags do not allow")
    grey, progressive, tuned = (bool(flags & flag) for flag in (_GREY, _PROGRESSIVE, _TUNED))
    return Header(width, height, grey, step16, seed, model_id, length, progressive, tuned), payload


def check_size(width: int, height: int) -> None:
    if not (1 <= width <= 65535 and 1 <= height <= 65535 and width * height <= MAX_PIXELS):
        limits = f"sides 1 to 65535, {MAX_PIXELS} pixels in all"
        raise FormatError(f"a picture of {width}x{height} pixels is outside the format: {limits}")


__all__ = ["HEADER_BYTES", "MAGIC", "MAX_PIXELS", "VERSION", "Header", "check_size", "parse", "write"]
