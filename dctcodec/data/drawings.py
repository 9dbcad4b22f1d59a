"""Images drawn by code, as of a screen: areas, lines, gradients, patterns and text.

Photographs have hardly any of these, and what a network never saw it paints badly.
"""

import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZES = (8, 9, 10, 11, 12, 13, 14, 16, 18, 24, 32, 48)
"""Of letters, pixels."""
PERIODS = (1, 1, 2, 3, 4, 8)
"""Pixels of a stripe or a check; noise has a grain of one."""
LETTERS = string.ascii_letters + string.digits + ".,:;-+()/%" + 12 * " "
PLAIN = ((0, 0, 0), (255, 255, 255), (60, 60, 60))
"""Colours that screens have most of."""

Box = tuple[int, int, int, int]


def drawings(count: int, side: int, seed: int = 0) -> list[np.ndarray]:
    """`count` images, uint8 (side, side, 3), the same for a seed under one version of Pillow and NumPy."""
    random = np.random.default_rng(seed)
    return [_drawing(random, side) for _ in range(count)]


def _drawing(random: np.random.Generator, side: int) -> np.ndarray:
    image = Image.new("RGB", (side, side), _colour(random, low=200) if random.random() < 0.6 else _colour(random))
    for _ in range(random.integers(2, 11)):
        kind = random.choice(4, p=[0.5, 0.2, 0.15, 0.15])
        (_area, _line, _gradient, _pattern)[kind](random, image, _box(random, side))
    for _ in range(random.integers(1, 6)):
        _text(random, image)
    return np.asarray(image)


def _area(random: np.random.Generator, image: Image.Image, box: Box) -> None:
    draw = ImageDraw.Draw(image)
    shape = draw.rectangle if random.random() < 0.7 else draw.ellipse
    shape(box, fill=_colour(random), outline=_colour(random), width=int(random.integers(0, 4)))


def _line(random: np.random.Generator, image: Image.Image, box: Box) -> None:
    ImageDraw.Draw(image).line(box, fill=_colour(random), width=int(random.integers(1, 5)))


def _gradient(random: np.random.Generator, image: Image.Image, box: Box) -> None:
    rows, columns = _grid(box)
    share = (rows * random.uniform(0, 1) / len(rows) + columns * random.uniform(0, 1) / columns.shape[1]) / 2
    _blend(random, image, box, share)


def _pattern(random: np.random.Generator, image: Image.Image, box: Box) -> None:
    rows, columns = (place // random.choice(PERIODS) for place in _grid(box))
    noise = random.integers(0, 2, rows.shape)
    shares = (rows % 2, columns % 2, (rows + columns) % 2, noise)
    _blend(random, image, box, shares[random.integers(len(shares))])


def _text(random: np.random.Generator, image: Image.Image) -> None:
    size, colour = int(random.choice(SIZES)), _colour(random)
    left, top = int(random.integers(-20, image.width * 2 // 3)), int(random.integers(0, image.height))
    lines = ("".join(random.choice(list(LETTERS), random.integers(5, 60))) for _ in range(random.integers(1, 13)))
    ImageDraw.Draw(image).multiline_text((left, top), "\n".join(lines), fill=colour, font=ImageFont.load_default(size))


def _blend(random: np.random.Generator, image: Image.Image, box: Box, share: np.ndarray) -> None:
    """Fill a box between two colours, of which each pixel has a share in [0, 1]."""
    first, second = (np.array(_colour(random), float) for _ in range(2))
    pixels = first + (second - first) * share[..., None]
    image.paste(Image.fromarray(pixels.round().astype(np.uint8)), box[:2])


def _grid(box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel of a box."""
    rows, columns = np.indices((box[3] - box[1], box[2] - box[0]))
    return rows, columns


def _box(random: np.random.Generator, side: int) -> Box:
    """Left, top, right, bottom."""
    (left, top), (right, bottom) = np.sort(random.integers(0, side, (2, 2)), axis=0).tolist()
    return left, top, right + 1, bottom + 1


def _colour(random: np.random.Generator, low: int = 0) -> tuple[int, int, int]:
    if low == 0 and random.random() < 0.4:
        return PLAIN[random.integers(len(PLAIN))]
    red, green, blue = random.integers(low, 256, 3).tolist()
    return red, green, blue
