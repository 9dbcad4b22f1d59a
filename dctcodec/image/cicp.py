"""Colours named by the code points of ITU-T H.273, as PNG's cICP and AVIF's nclx do."""

from PIL import Image

from dctcodec.errors import ImageError
from dctcodec.image import icc

_UNSPECIFIED = 2
_PRIMARIES = {1: icc.SRGB, _UNSPECIFIED: icc.SRGB, 9: icc.BT2020, 12: icc.DISPLAY_P3}
_CURVES_OF_SRGB = (1, 2, 6, 13, 14, 15)
"""Transfer functions that are shown as sRGB's."""
_REFUSED = {16: "PQ", 18: "HLG"}


def apply(image: Image.Image, primaries: int, transfer: int) -> None:
    """Give an image the profile that code points stand for, none where that is sRGB. They come before a profile of the file's
    own, unless they say nothing. Raises ImageError for those that have none."""
    if primaries == transfer == _UNSPECIFIED:
        return
    if transfer in _REFUSED:
        kind = f"{_REFUSED[transfer]} (high dynamic range)"
        raise ImageError(f"its colours are {kind}, which 8 bits cannot hold: convert it to sRGB or Display P3 first")
    if transfer not in _CURVES_OF_SRGB or primaries not in _PRIMARIES:
        points = f"primaries {primaries}, transfer {transfer}"
        raise ImageError(f"its colours ({points}) are not supported: convert it to sRGB or Display P3 first")
    image.info["icc_profile"] = None if _PRIMARIES[primaries] == icc.SRGB else icc.profile(_PRIMARIES[primaries], icc.SRGB_CURVE)


def of_avif(head: bytes) -> tuple[int, int] | None:
    """Primaries and transfer function that the beginning of an AVIF file names (its nclx box)."""
    position = head.find(b"colrnclx")
    if position < 0 or len(head) < position + 12:
        return None
    return int.from_bytes(head[position + 8 : position + 10], "big"), int.from_bytes(head[position + 10 : position + 12], "big")


def of_heif(image: Image.Image) -> tuple[int, int] | None:
    """The same of an image that pillow-heif has opened."""
    found = image.info.get("nclx_profile")
    if not isinstance(found, dict):
        return None
    primaries, transfer = (int(found.get(key, _UNSPECIFIED)) for key in ("color_primaries", "transfer_characteristics"))
    return primaries, transfer
