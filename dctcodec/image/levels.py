"""Samples of more than 8 bits as 8, and NumPy arrays as images.

A whole number v of 0..w becomes floor((255 v + floor(w / 2)) / w), a float v of 0..1 floor(255 v + 1/2).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dctcodec.errors import ImageError, warn
from dctcodec.image import tiff

DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_MODES_OF_ARRAYS = {2: "L", 3: "RGB", 4: "RGBA"}
_CLIPPED = 0.01
"""The share of a float image's values that may lie outside 0..1."""


def to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 12 to 32 bits a pixel as "L", or as "LA" where one value is declared transparent.

    White is 65535, in a TIFF file of 12 bits 4095, of floats 1; where such a file says that 0 is white, its values are inverted.
    Raises ImageError for values outside 0..65535; of floats for NaN, for infinity, and where more than a hundredth lies outside
    0..1; the others are clipped with a warning.
    """
    white = 4095 if tiff.bits(image) == (12,) else 65535
    values = np.asarray(image)
    levels = _of_floats(values) if values.dtype.kind == "f" else _of_whole_numbers(values, white)
    grey = Image.fromarray(255 - levels if tiff.is_inverted(image) else levels)
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def from_array(array: NDArray[Any]) -> Image.Image:
    """An image of a NumPy array (H, W), (H, W, 3) or (H, W, 4), of uint8, of uint16, or of floats in [0, 1]. Raises TypeError for
    other shapes and dtypes, ImageError for values outside."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    channels = array.shape[2] if array.ndim == 3 else 2
    if array.ndim not in (2, 3) or channels not in _MODES_OF_ARRAYS or (array.ndim == 3 and channels == 2):
        raise TypeError(f"an array of shape {array.shape} is no image: give (H, W), (H, W, 3) or (H, W, 4)")
    if array.dtype == np.uint8:
        levels = array
    elif array.dtype == np.uint16:
        levels = _of_whole_numbers(array, 65535)
    elif array.dtype.kind == "f":
        levels = _of_floats(array)
    else:
        raise TypeError(f"an array of {array.dtype} is no image: give uint8, uint16, or floats in [0, 1]")
    return Image.fromarray(np.ascontiguousarray(levels))


def _of_whole_numbers(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ImageError("the image has values outside 0 to 65535: scale them first")
    if values.max(initial=0) > white:
        raise ImageError(f"the image has values above {white}: scale them first")
    return ((values.astype(np.int32) * 255 + white // 2) // white).astype(np.uint8)


def _of_floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    if np.isnan(values).any():
        raise ImageError("the image has values that are NaN: replace them first")
    outside = np.count_nonzero((values < 0) | (values > 1))
    if outside > _CLIPPED * values.size:
        limits = f"from {values.min():g} to {values.max():g}"
        raise ImageError(f"a floating-point image is to have values from 0 to 1, this one has them {limits}: scale them first")
    if outside:
        warn(f"{outside} values of the floating-point image are outside 0 to 1 and were clipped")
    return np.floor(values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
