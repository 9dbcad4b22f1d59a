"""Transparency: kept lossless beside the coded colours, whose hidden part is filled with smooth ones."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dctcodec.image import lossless
from dctcodec.image.colour import GREY_MODES


def split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours of an image as they are beside transparency, and its alpha, "L", None where all of it is opaque."""
    if not image.has_transparency_data:
        return image, None
    mode = "L" if image.mode in GREY_MODES else "RGB"
    layered = image.convert("LA" if mode == "L" else "RGBA")
    alpha = layered.getchannel("A")
    colours = layered.convert(mode)
    colours.info = image.info
    return colours, alpha if alpha.histogram()[255] < alpha.width * alpha.height else None


def flatten(colours: Image.Image, alpha: Image.Image, background: str) -> Image.Image:
    """An image over a background, a colour as CSS names it or #rrggbb. Raises ValueError for others."""
    flat = Image.new("RGB", colours.size, ImageColor.getrgb(background)[:3]).convert(colours.mode)
    flat.paste(colours, mask=alpha)
    return flat


def smooth(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """The colours with those under full transparency, which nobody sees, filled from what is visible around them."""
    visible = np.asarray(alpha) > 0
    if visible.all():
        return colours
    levels = np.asarray(colours)
    filled = _filled(levels.reshape(*visible.shape, -1).astype(np.float32), visible.astype(np.float32)).round().astype(np.uint8)
    return Image.fromarray(np.where(visible[..., None], levels.reshape(filled.shape), filled).reshape(levels.shape))


def _filled(levels: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levels (H, W, C) where they have weight (H, W), 0 or 1; elsewhere those of the half-size image of their means, and so on."""
    if weight.all() or max(weight.shape) == 1:
        return np.where(weight[..., None] > 0, levels, np.float32(128))
    height, width = weight.shape
    padded = np.pad(levels * weight[..., None], ((0, height % 2), (0, width % 2), (0, 0)))
    sums = padded.reshape((height + 1) // 2, 2, (width + 1) // 2, 2, -1).sum((1, 3))
    counts = np.pad(weight, ((0, height % 2), (0, width % 2)))
    counts = counts.reshape((height + 1) // 2, 2, (width + 1) // 2, 2).sum((1, 3))
    half = _filled(sums / np.maximum(counts, 1)[..., None], (counts > 0).astype(np.float32))
    size = (2 * half.shape[1], 2 * half.shape[0])
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in np.moveaxis(half, -1, 0)]
    doubled = np.stack([np.asarray(plane) for plane in planes], -1)[:height, :width]
    return np.where(weight[..., None] > 0, levels, doubled)


def pack(alpha: Image.Image) -> bytes:
    """Alpha, "L", as bytes."""
    return lossless.pack(alpha)


def unpack(packed: bytes, size: tuple[int, int]) -> Image.Image:
    """Inverse of `pack`. Raises FormatError for what is not an image of this size, before it is decoded."""
    return lossless.unpack(packed, size, "L", "alpha")
