"""An image as of a screen: text on one colour, and beside it a photograph, of waves."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def page(width: int, height: int, photograph: int = 34) -> Image.Image:
    """Text on the left, and waves, with some noise, in the last `photograph` columns: mode "RGB"."""
    image = Image.new("RGB", (width, height), (250, 248, 240))
    lines = "\n".join("The quick brown fox jumps over the lazy dog. " * 4 for _ in range(height // 12 + 1))
    ImageDraw.Draw(image).multiline_text((3, 2), lines, fill=(20, 30, 90), font=ImageFont.load_default(10))
    rows, columns = np.mgrid[:height, :photograph]
    waves = 128 + 60 * np.sin(columns / 7)[..., None] * np.cos(rows[..., None] / (9, 11, 13))
    noise = np.random.default_rng(0).normal(0, 4, waves.shape)
    image.paste(Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)), (width - photograph, 0))
    return image
