"""A patch: pixels of an image that are kept beside its symbols as they are, such as those of text.

It is an image "RGBA", as large as the image. Its alpha is 255 where its colours take the place of painted ones, else 0.
"""

import numpy as np
from PIL import Image

from dctcodec.errors import FormatError
from dctcodec.image import lossless
from dctcodec.image.alpha import smooth


def pack(patch: Image.Image) -> bytes:
    """A patch as bytes. Its sides are at most `lossless.WEBP_SIDE`."""
    return lossless.pack(patch)


def unpack(packed: bytes, size: tuple[int, int]) -> Image.Image:
    """Inverse of `pack`. Raises FormatError for what is no patch of an image of this size."""
    patch = lossless.unpack(packed, size, "RGBA", "patch")
    counts = patch.getchannel("A").histogram()
    if counts[0] + counts[255] < size[0] * size[1]:
        raise FormatError("the patch chunk is transparent in part: the file is damaged")
    return patch


def paste(patch: Image.Image, pixels: Image.Image, scale: int = 1) -> Image.Image:
    """Pixels, "RGB" or "L", with those of a patch. `scale`: that of the pixels, 1 / `scale` of the patch's size, rounded up."""
    if scale > 1:
        patch = patch.convert("RGBa").reduce(scale).convert("RGBA")
    colours = patch.convert("RGB") if pixels.mode == "RGB" else patch.getchannel("G")
    return Image.composite(colours, pixels, patch.getchannel("A"))


def rest(pixels: Image.Image, patch: Image.Image) -> Image.Image:
    """The pixels that are left to symbols: those under a patch are filled from the others around them."""
    uncovered = Image.fromarray(255 - np.asarray(patch.getchannel("A")))
    return smooth(pixels, uncovered)
