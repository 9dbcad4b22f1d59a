"""How an image is encoded: the options of every command that encodes, as one value."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dctcodec.family import TUNES
from dctcodec.installed import DEFAULT
from dctcodec.progress import Tick, no_tick

if TYPE_CHECKING:
    from PIL import Image

    from dctcodec.codec import Codec
    from dctcodec.image import ImageParts


@dataclass(frozen=True)
class Encoding:
    """`target`: bpp, size or psnr with its value, for `Codec.encode_to`; `background`, `to_srgb`, `strip`: of `image.take_apart`;
    `note`: a text for the file; `max_pixels`: larger images are refused; the rest is of `Codec.encode`."""

    model: str = DEFAULT
    quality: float | None = None
    target: tuple[str, Any] | None = None
    effort: int | None = None
    tune: str = TUNES[0]
    seed: int = 0
    background: str | None = None
    to_srgb: bool = False
    strip: str | None = None
    note: str | None = None
    max_pixels: int | None = None

    def parts(self, image: "Image.Image") -> "ImageParts":
        """What the file holds of an image. Raises ImageError."""
        from dctcodec.image import take_apart

        return replace(take_apart(image, self.background, self.to_srgb, self.strip), text=self.note)

    def encode(self, codec: "Codec", parts: "ImageParts", tick: Tick = no_tick) -> bytes:
        """The file of an image's parts. Raises what `Codec.encode` and `Codec.encode_to` raise."""
        options: dict[str, Any] = {"seed": self.seed, "effort": self.effort, "tune": self.tune, "tick": tick}
        data: bytes
        if self.target:
            data = codec.encode_to(parts, **options, **dict([self.target]))
        else:
            data = codec.encode(parts, self.quality, **options)
        return data
