"""Images inside a page: lossless, and so small a part of them that the page stays within its limit."""

import base64
import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from PIL import Image

WEBP_MAX_SIDE = 16383
METHOD = 4
"""Of WebP: seven tenths of the time of the smallest files, 0.5 % larger."""
MARGIN = 0.95
"""Of the part that should fit, so that a second try is rarely needed."""


@dataclass(frozen=True)
class Region:
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow's crop takes them."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def shrunk(self, factor: float) -> "Region":
        """A part about the same centre with sides of `factor` times the length."""
        width, height = max(1, int(self.width * factor)), max(1, int(self.height * factor))
        return Region(self.left + (self.width - width) // 2, self.top + (self.height - height) // 2, width, height)


def embedded(images: Sequence[Image.Image], region: Region, limit: int, method: int = METHOD) -> tuple[Region, list[str]]:
    """The same region of images of one size as data URLs, and the region itself: smaller where the URLs would have more than
    `limit` characters in all."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while True:
            urls = list(pool.map(data_url, [image.crop(region.box) for image in images], repeat(method)))
            total = sum(map(len, urls))
            if total <= limit or region.width * region.height == 1:
                return region, urls
            region = region.shrunk(MARGIN * math.sqrt(limit / total))


def data_url(image: Image.Image, method: int = METHOD) -> str:
    """An image as a lossless WebP, or PNG where it is too long for WebP, in a data URL. `method`: 0 (quick) to 6."""
    buffer = io.BytesIO()
    if max(image.size) <= WEBP_MAX_SIDE:
        image.convert("RGB").save(buffer, "WEBP", lossless=True, method=method, quality=25)
        kind = "webp"
    else:
        image.save(buffer, "PNG")
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
