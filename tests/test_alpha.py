"""Transparency is kept bit for bit, and what it hides costs little."""

import io

import numpy as np
import pytest
from PIL import Image

from dctcodec.errors import FormatError
from dctcodec.image import alpha, take_apart


def mask(width: int, height: int, seed: int = 0) -> Image.Image:
    """Discs, a gradient and noise, by turns."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    levels = [
        255 * ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < height * width / 9),
        255 * columns // max(width - 1, 1),
        random.integers(0, 256, (height, width)),
        random.choice([0, 128, 255], (height, width)),
        np.zeros((height, width)),
    ][seed % 5]
    return Image.fromarray(levels.astype(np.uint8))


@pytest.mark.parametrize("seed", range(50))
def test_alpha_comes_back_bit_for_bit(seed):
    random = np.random.default_rng(seed)
    size = tuple(random.integers(1, 90, 2).tolist())
    one = mask(*size, seed)
    back = alpha.unpack(alpha.pack(one), size)
    assert back.mode == "L" and np.array_equal(back, one)


def test_alpha_longer_than_webp_has_comes_back():
    one = mask(16400, 2, 3)
    packed = alpha.pack(one)
    assert packed.startswith(b"\x89PNG") and np.array_equal(alpha.unpack(packed, one.size), one)


OPAQUE = {"RGBA": (5, 5, 5, 255), "LA": (5, 255), "RGBa": (5, 5, 5, 255), "La": (5, 255), "PA": (0, 255)}


@pytest.mark.parametrize("mode", OPAQUE)
def test_opaque_alpha_is_not_kept(mode):
    assert take_apart(Image.new(mode, (3, 3), OPAQUE[mode])).alpha is None


@pytest.mark.parametrize(("mode", "pixels"), [("RGBA", "RGB"), ("LA", "L")])
def test_alpha_is_kept_beside_the_colours(mode, pixels):
    whole = Image.new(mode, (40, 30), 120)
    whole.putalpha(mask(40, 30, 1))
    parts = take_apart(whole)
    assert parts.pixels.mode == pixels and np.array_equal(parts.alpha, mask(40, 30, 1))
    shown = np.asarray(mask(40, 30, 1)) > 0
    assert np.array_equal(np.asarray(parts.pixels)[shown], np.asarray(whole.convert(pixels))[shown])


def test_the_transparent_colour_of_a_palette_is_kept():
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 0
    parts = take_apart(image)
    assert np.asarray(parts.alpha).tolist() == [[0, 255]] and parts.pixels.getpixel((1, 0)) == (200, 0, 0)


def test_hidden_colours_become_smooth_ones():
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (64, 64, 4), np.uint8)
    levels[..., 3] = 0
    levels[20:30, 20:30] = (200, 60, 60, 255)
    pixels = np.asarray(take_apart(Image.fromarray(levels)).pixels)
    assert (pixels == (200, 60, 60)).all()
    assert (np.asarray(take_apart(Image.new("LA", (5, 7), (33, 0))).pixels) == 128).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (31, 17)])
def test_any_size_may_be_hidden(size):
    whole = Image.new("RGBA", size, (10, 20, 30, 0))
    whole.putpixel((0, 0), (10, 20, 30, 255))
    assert np.asarray(take_apart(whole).pixels).reshape(-1, 3).tolist() == [[10, 20, 30]] * (size[0] * size[1])


@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("#000000", 0), ("rgb(80, 80, 80)", 80)])
def test_a_background_flattens(background, expected):
    for mode in ("RGBA", "LA"):
        parts = take_apart(Image.new(mode, (2, 2), 0), background=background)
        assert parts.alpha is None and np.unique(parts.pixels).tolist() == [expected]


def test_a_background_that_is_no_colour_is_refused():
    with pytest.raises(ValueError, match="dctcodec"):
        take_apart(Image.new("RGBA", (2, 2)), background="dctcodec")


def other(name: str, size: tuple[int, int], mode: str = "L", **options) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, name, **options)
    return stream.getvalue()


GOOD = alpha.pack(mask(40, 30))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        GOOD[:30],
        GOOD[:24],
        other("JPEG", (40, 30)),
        other("PNG", (40, 31)),
        other("PNG", (40, 30), "RGB"),
        other("WEBP", (40, 30), "RGB"),
        other("WEBP", (41, 30), "RGB", lossless=True),
        b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f\xff\xff\xff\x0f" + bytes(99),
        GOOD[:21] + bytes(4) + GOOD[25:],
    ],
)
def test_what_is_not_alpha_of_this_size_is_refused(packed):
    with pytest.raises(FormatError, match="alpha chunk"):
        alpha.unpack(packed, (40, 30))
