"""Pixels kept lossless inside a .dct file: a WebP file, or a PNG file where a side is longer than WebP has."""

from io import BytesIO

from PIL import Image

from dctcodec.errors import FormatError

WEBP_SIDE = 16383
"""The longest that WebP has."""
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
_PNG_LAYOUT = b"\x08\0"
"""8 bits, grey."""


def pack(image: Image.Image) -> bytes:
    """An image, "L" or "RGBA", as a file. "RGBA" has to fit into WebP."""
    packed = BytesIO()
    if image.mode == "L" and max(image.size) > WEBP_SIDE:
        image.save(packed, "PNG", optimize=True)
    else:
        image = image.convert("RGB") if image.mode == "L" else image
        image.save(packed, "WEBP", lossless=True, quality=100, method=4)
    return packed.getvalue()


def unpack(packed: bytes, size: tuple[int, int], mode: str, name: str) -> Image.Image:
    """Inverse of `pack`, for the chunk of a name. Raises FormatError for what is no image of this size, before it is decoded."""
    kind, found = _size(packed, mode)
    if found != size:
        raise FormatError(f"the {name} chunk is not of the image's size: the file is damaged")
    try:
        with Image.open(BytesIO(packed), formats=[kind]) as image:
            if image.size != size:
                raise FormatError(f"the {name} chunk is not of the image's size: the file is damaged")
            return image.convert(mode)
    except (FormatError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers let through anything
        raise FormatError(f"the {name} chunk cannot be decoded: the file is damaged") from error


def _size(packed: bytes, mode: str) -> tuple[str, tuple[int, int] | None]:
    """Format and size of a WebP file that holds nothing but lossless pixels, or of a PNG file; no size for others."""
    if len(packed) >= 25 and packed[:4] == b"RIFF" and packed[8:16] == b"WEBPVP8L" and packed[20] == 0x2F:
        bits = int.from_bytes(packed[21:25], "little")
        return "WEBP", ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if len(packed) >= 26 and packed.startswith(_PNG) and mode == "L" and packed[24:26] == _PNG_LAYOUT:
        return "PNG", (int.from_bytes(packed[16:20], "big"), int.from_bytes(packed[20:24], "big"))
    return "", None
