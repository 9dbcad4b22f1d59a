"""Colour profiles: sRGB's is not kept, another RGB or grey one is; CMYK and Lab are converted through theirs."""

import struct
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from dctcodec.errors import warn
from dctcodec.image import cicp, icc

GREY_MODES = ("1", "L", "LA", "La")
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""The mode of images that a profile of each colour space is for."""
_NEAR = 2
"""Levels by which colours may differ that count as the same."""
_SRGB_GAMMA = (0.43, 0.48)
"""PNG's gAMA of sRGB is 0.45455."""


def settle(image: Image.Image, profile: bytes | None, to_srgb: bool) -> tuple[Image.Image, bytes | None]:
    """An image of any mode without transparency as "RGB" or "L", with the profile that goes with it: None for sRGB.

    `to_srgb`: convert through the profile (relative colorimetric, with black-point compensation) instead of keeping it. CMYK and
    Lab always are. Warns of a profile that cannot be read or does not fit.
    """
    grey = image.mode in GREY_MODES
    own = image.mode if image.mode in ("CMYK", "LAB") else "L" if grey else "RGB"
    space = _space(profile) if profile else None
    if profile and space is None:
        warn("the colour profile cannot be read; it is left out")
    if profile is None or space is None:
        return image.convert("L" if grey else "RGB"), None
    plain = image.convert("L" if grey else "RGB")
    if space == "RGB" and own == "L":
        return plain if _is_srgb(profile, space) else _to_srgb(plain.convert("RGB"), profile).convert("L"), None
    if space != own:
        warn(f"the colour profile is for {space} images and this one is {own}; it is left out")
        return plain, None
    if own in ("CMYK", "LAB"):
        return _to_srgb(image, profile), None
    if _is_srgb(profile, space):
        return plain, None
    return (_to_srgb(plain, profile), None) if to_srgb else (plain, profile)


def profile_of(image: Image.Image) -> bytes | None:
    """The profile of an opened image: its own, or one that stands for what a PNG file says of gamma and primaries instead. Raises
    ImageError for colours that are refused."""
    info = image.info
    if "nclx" in info:
        cicp.apply(image, *info["nclx"])
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    if "gamma" in info and "srgb" not in info and "icc_profile" not in info:
        return _of_gamma(image)
    return None


def _of_gamma(image: Image.Image) -> bytes | None:
    """Of a PNG file's gAMA and cHRM."""
    gamma, points = image.info["gamma"], image.info.get("chromaticity")
    primaries = icc.SRGB
    if points:
        white, red, green, blue = zip(points[::2], points[1::2], strict=True)
        primaries = icc.Primaries(red, green, blue, white)
    like_srgb = _SRGB_GAMMA[0] <= gamma <= _SRGB_GAMMA[1]
    if like_srgb and np.allclose(primaries, icc.SRGB, atol=0.005):
        return None
    try:
        return icc.profile(primaries, icc.SRGB_CURVE if like_srgb else (1 / gamma,))
    except (ValueError, ArithmeticError, struct.error):
        warn("the file's gamma and primaries make no sense; they are left out")
        return None


@lru_cache(maxsize=8)
def _space(profile: bytes) -> str | None:
    """The mode that a profile is for, None where it cannot be read."""
    try:
        space: str = ImageCms.ImageCmsProfile(BytesIO(profile)).profile.xcolor_space.strip()
        return _SPACES.get(space, space)
    except (OSError, ImageCms.PyCMSError, ValueError):
        return None


@lru_cache(maxsize=8)
def _is_srgb(profile: bytes, mode: str) -> bool:
    """Whether colours are the same, within two levels, with and without a profile."""
    axis = np.arange(0, 256, 15, dtype=np.uint8)
    colours = axis[None] if mode == "L" else np.stack(np.meshgrid(axis, axis, axis), -1).reshape(1, -1, 3)
    image = Image.fromarray(colours)
    shown = _to_srgb(image, profile)
    return bool(np.abs(np.asarray(shown, np.int16) - np.asarray(image, np.int16)).max() <= _NEAR)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """ "L" stays "L"; all else becomes "RGB". A profile that cannot be applied is left out with a warning."""
    mode = "L" if image.mode == "L" else "RGB"
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return (ImageCms.applyTransform(image, transform) or image).convert(mode)
    except (OSError, ImageCms.PyCMSError, ValueError):
        warn("the colour profile cannot be applied; it is left out")
        return image.convert(mode)
