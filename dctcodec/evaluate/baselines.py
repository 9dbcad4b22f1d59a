"""The codecs that everybody has, as Pillow writes them: what dctcodec is measured against."""

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dctcodec.errors import ImageError


@dataclass(frozen=True)
class Baseline:
    """A Pillow format with its options and the qualities that cover about 0.08 to 0.6 bpp on Kodak."""

    name: str
    description: str
    format: str
    options: dict[str, Any]
    qualities: tuple[int, ...]

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """The whole file of an RGB or grey picture. `quality`: the format's own scale, 0..100, as an integer. Raises ImageError for
        a picture that is too large for the format."""
        buffer = io.BytesIO()
        try:
            image.save(buffer, self.format, quality=int(quality), **self.options)
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"{self.name} cannot hold a picture of {image.width}x{image.height} ({error})") from error
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """The picture in RGB."""
        return Image.open(io.BytesIO(data)).convert("RGB")

    def code_length(self, data: bytes) -> None:
        """None: these formats have no model whose code length could be told apart from the file's."""


JPEG = Baseline("JPEG", "Pillow, optimize, 4:2:0", "JPEG", {"optimize": True}, (1, 5, 10, 15, 20, 30, 40))
WEBP = Baseline("WebP", "Pillow, method 6", "WEBP", {"method": 6}, (0, 1, 5, 10, 20, 40))
AVIF = Baseline("AVIF", "Pillow, speed 4", "AVIF", {"speed": 4}, (5, 10, 20, 30, 40, 50))
BASELINES = (JPEG, WEBP, AVIF)
