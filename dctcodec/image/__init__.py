"""Images in and out: what Pillow reads is taken apart into what a .dct file holds, and what it held is put together and written."""

from dctcodec.image.parts import ImageParts, Source, as_parts, normalise, put_together, take_apart
from dctcodec.image.reading import read_image
from dctcodec.image.writing import check_ending, has_image_ending, image_bytes, write_image

__all__ = [
    "ImageParts",
    "Source",
    "as_parts",
    "check_ending",
    "has_image_ending",
    "image_bytes",
    "normalise",
    "put_together",
    "read_image",
    "take_apart",
    "write_image",
]
