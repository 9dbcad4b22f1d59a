"""Colour profiles: sRGB's store nothing, others are kept, and what no .dct file holds is converted."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from dctcodec.errors import DctcodecWarning, ImageError
from dctcodec.image import cicp, icc, read_image, take_apart

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = icc.profile(icc.DISPLAY_P3, icc.SRGB_CURVE)
RED = (230, 60, 60)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DctcodecWarning)
        yield


def image(mode: str = "RGB", colour: object = RED, profile: bytes | None = None) -> Image.Image:
    made = Image.new(mode, (4, 3), colour)
    made.info["icc_profile"] = profile
    return made


def grey_profile(gamma: float) -> bytes:
    """An RGB profile made one of grey: its green curve and its white are all that counts."""
    data = bytearray(icc.profile(icc.SRGB, (gamma,)))
    data[16:20] = b"GRAY"
    return bytes(data.replace(b"gTRC", b"kTRC"))


@pytest.mark.parametrize("profile", [SRGB, icc.profile(icc.SRGB, icc.SRGB_CURVE), None], ids=["Pillow's", "ours", "none"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_srgb_stores_nothing(profile, mode):
    parts = take_apart(image(mode, 0, profile).convert(mode))
    assert parts.profile is None and parts.pixels.mode == ("L" if mode == "L" else "RGB")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_another_profile_is_kept_with_the_values_as_they_are(mode):
    whole = image("RGB").quantize(2) if mode == "P" else image("RGB").convert(mode)
    whole.info["icc_profile"] = P3
    parts = take_apart(whole)
    assert parts.profile == P3 and parts.pixels.getpixel((1, 1)) == RED


def test_to_srgb_converts_instead():
    parts = take_apart(image(profile=P3), to_srgb=True)
    assert parts.profile is None
    assert parts.pixels.getpixel((1, 1)) == pytest.approx((251, 31, 49), abs=2)
    assert take_apart(image(profile=SRGB), to_srgb=True).pixels.getpixel((1, 1)) == RED


def test_grey_with_a_grey_profile():
    assert take_apart(image("L", 100, grey_profile(1.8))).profile == grey_profile(1.8)
    converted = take_apart(image("L", 100, grey_profile(1.0)), to_srgb=True)
    assert (converted.profile, converted.pixels.mode) == (None, "L")
    assert converted.pixels.getpixel((0, 0)) == pytest.approx(168, abs=2)


def test_grey_with_an_rgb_profile_is_converted():
    parts = take_apart(image("L", 100, icc.profile(icc.DISPLAY_P3, (1.0,))))
    assert (parts.profile, parts.pixels.mode) == (None, "L")
    assert parts.pixels.getpixel((0, 0)) == pytest.approx(168, abs=2)


def test_lab_is_converted():
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 3), RED), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    for profile in (None, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()):
        lab.info["icc_profile"] = profile
        assert take_apart(lab).pixels.getpixel((1, 1)) == pytest.approx(RED, abs=3)


def test_cmyk_without_a_profile_is_converted_as_pillow_does():
    cmyk = image("CMYK", (200, 20, 20, 10))
    assert take_apart(cmyk).pixels.getpixel((0, 0)) == cmyk.convert("RGB").getpixel((0, 0))


@pytest.mark.parametrize(
    ("mode", "profile", "words"),
    [
        ("RGB", b"junk", "cannot be read"),
        ("RGB", SRGB[:100], "cannot be read"),
        ("CMYK", SRGB, "for RGB images and this one is CMYK"),
        ("RGB", grey_profile(2), "for L images"),
    ],
)
def test_a_profile_that_does_not_fit_is_left_out_with_a_warning(mode, profile, words):
    with pytest.warns(DctcodecWarning, match=words):
        parts = take_apart(image(mode, 0, profile))
    assert parts.profile is None and parts.pixels.mode == "RGB"


def test_the_profile_of_an_avif_file_comes_before_its_code_points():
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), RED).save(stream, "AVIF", icc_profile=P3, subsampling="4:4:4", quality=100)
    assert b"colrnclx" in stream.getvalue()
    parts = take_apart(read_image(stream))
    assert parts.profile == P3
    assert np.abs(np.asarray(take_apart(read_image(stream), to_srgb=True).pixels, int)[0, 0] - RED).max() > 10


def test_code_points_of_a_heic_file_count():
    heic = image()
    heic.info["nclx"] = cicp.of_heif(image_with({"color_primaries": 12, "transfer_characteristics": 13}))
    assert take_apart(heic).profile == P3
    assert cicp.of_heif(image()) is None
    heic.info["nclx"] = cicp.of_heif(image_with({"color_primaries": 9, "transfer_characteristics": 16}))
    with pytest.raises(ImageError, match="PQ"):
        take_apart(heic)


def test_unspecified_code_points_say_nothing():
    png = image(profile=P3)
    png.info["nclx"] = (2, 2)
    assert take_apart(png).profile == P3


def image_with(nclx: dict) -> Image.Image:
    made = image()
    made.info["nclx_profile"] = nclx
    return made


def test_made_profiles_are_right():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(P3)).profile
    assert profile.xcolor_space.strip() == "RGB"
    assert np.asarray(profile.red_primary[1])[:2] == pytest.approx([0.68, 0.32], abs=0.02)
    linear = icc.profile(icc.BT2020, (1.0,))
    white = take_apart(image("RGB", (255, 255, 255), linear), to_srgb=True).pixels.getpixel((0, 0))
    assert white == pytest.approx((255, 255, 255), abs=1)


@pytest.mark.parametrize("points", [((0, 0), (0, 0), (0, 0), (0.3, 0.3)), ((0.3, 0.3), (0.3, 0.3), (0.3, 0.3), (0.3, 0.3))])
def test_primaries_that_make_no_sense_are_refused(points):
    with pytest.raises(ValueError, match="primaries"):
        icc.profile(icc.Primaries(*points), (2.2,))
