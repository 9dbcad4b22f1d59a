"""What goes in comes back: colours, transparency, metadata, through files and through the command line."""

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_cli import assert_one_error
from test_cli import dctcodec as command
from test_metadata import XMP, exif, flat

import dctcodec
from dctcodec import container
from dctcodec.errors import DctcodecWarning, FormatError, ImageError
from dctcodec.image import ImageParts, icc, take_apart, write_image
from dctcodec.image.alpha import pack
from dctcodec.image.levels import from_array

P3 = icc.profile(icc.DISPLAY_P3, icc.SRGB_CURVE)


@pytest.fixture(scope="module")
def whole(make_picture) -> Image.Image:
    """Small, with everything that an image may have."""
    image = make_picture(40, 30)
    image.putalpha(Image.linear_gradient("L").resize((40, 30)))
    image.info = {"icc_profile": P3, "exif": exif(6).tobytes(), "xmp": XMP, "dpi": (300.0, 200.0)}
    return image


@pytest.fixture(scope="module")
def data(codec, whole) -> bytes:
    return codec.encode(whole)


def test_everything_comes_back(codec, whole, data):
    back = codec.decode(data)
    turned = whole.transpose(Image.Transpose.ROTATE_270)
    assert (back.mode, back.size) == ("RGBA", (30, 40))
    assert np.array_equal(back.getchannel("A"), turned.getchannel("A"))
    assert back.info["icc_profile"] == P3 and back.info["dpi"] == (200, 300)
    assert flat(back.getexif()) == flat(exif()) | {274: 1}
    assert back.info["xmp"] == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    parts = take_apart(back)
    assert container.parse(codec.encode(parts)).extra == container.parse(data).extra


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_it_comes_back_from_the_files_that_are_written(codec, data, ending, tmp_path):
    back = codec.decode(data)
    write_image(back, tmp_path / f"a{ending}")
    again = take_apart(Image.open(tmp_path / f"a{ending}"))
    assert np.array_equal(again.alpha, back.getchannel("A")) and again.profile == P3
    assert np.array_equal(
        np.asarray(again.pixels)[np.asarray(again.alpha) > 0], np.asarray(back.convert("RGB"))[np.asarray(again.alpha) > 0]
    )


@pytest.mark.parametrize(("mode", "back"), [("L", "L"), ("LA", "LA"), ("P", "RGB"), ("CMYK", "RGB"), ("RGBA", "RGBA")])
def test_modes(codec, make_picture, mode, back):
    image = make_picture(33, 20).convert(mode)
    if "A" in mode:
        image.putalpha(77)
    assert codec.decode(codec.encode(image)).mode == back


def test_an_srgb_image_has_an_overhead_of_29_bytes(codec, make_picture):
    image = make_picture(33, 20)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = codec.encode(image)
    assert len(data) - len(container.parse(data).payload) == 29


def test_red_of_display_p3_survives(codec):
    image = Image.new("RGB", (64, 48), (230, 60, 60))
    image.info["icc_profile"] = P3
    back = codec.decode(codec.encode(image, quality=90))
    srgb = ImageCms.createProfile("sRGB")

    def shown(image: Image.Image) -> np.ndarray:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        return np.asarray(ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB"), int)

    assert np.percentile(np.abs(shown(back) - shown(image)), 99.5) <= 4  # single pixels may be further off


def test_hidden_noise_costs_little(codec, make_picture):
    image = make_picture(192, 192)
    noisy = np.dstack([np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8), np.zeros((192, 192), np.uint8)])
    noisy[:96] = np.dstack([np.asarray(image)[:96], np.full((96, 192), 255)])
    hidden = ImageParts(Image.fromarray(np.ascontiguousarray(noisy[..., :3])))
    assert len(codec.encode(Image.fromarray(noisy))) < 0.3 * len(codec.encode(hidden))


@pytest.mark.parametrize(
    ("array", "first"),
    [
        (np.full((20, 30), 200, np.uint8), 200),
        (np.full((20, 30), 200 * 257, np.uint16), 200),
        (np.full((20, 30, 3), 200 / 255, np.float32), 200),
        (np.full((20, 30, 4), 0.8, np.float64), 204),
        (np.full((20, 30, 3), 128, np.uint16), 0),
        (np.full((20, 30, 3), 129, np.uint16), 1),
    ],
)
def test_arrays_are_images(codec, array, first):
    parts = take_apart(from_array(array))
    assert np.asarray(parts.pixels).flat[0] == first
    back = codec.decode(codec.encode(array, 95))
    assert back.size == (30, 20) and back.mode == ("L" if array.ndim == 2 else "RGBA" if array.shape[2] == 4 else "RGB")


@pytest.mark.parametrize(
    "what",
    [
        None,
        b"bytes",
        7,
        [[1, 2]],
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 2), np.uint8),
    ],
    ids=repr,
)
def test_all_else_is_a_type_error(codec, what):
    with pytest.raises(TypeError, match="is no image"):
        codec.encode(what)


@pytest.mark.parametrize("value", [-1.0, 2.0, np.nan])
def test_floats_out_of_range_are_refused(codec, value):
    with pytest.raises(ImageError):
        codec.encode(np.full((4, 4, 3), value))


def test_paths_and_streams_are_images(codec, make_picture, tmp_path):
    make_picture(40, 30).save(tmp_path / "a.png")
    expected = codec.encode(make_picture(40, 30))
    assert codec.encode(tmp_path / "a.png") == codec.encode(str(tmp_path / "a.png")) == expected
    assert codec.encode(io.BytesIO((tmp_path / "a.png").read_bytes())) == expected
    assert codec.encode(ImageParts(make_picture(40, 30))) == expected


def test_a_target_counts_what_is_beside_the_symbols(codec, whole):
    image = whole.crop((0, 0, 20, 20))
    image.info = whole.info
    limit = len(codec.encode(image, 30))
    assert len(codec.encode_to(image, size=limit)) <= limit


def test_alpha_of_another_size_is_refused(codec, data):
    file = container.parse(data)
    extra = container.Extra(alpha=pack(Image.new("L", (9, 9))))
    with pytest.raises(FormatError, match="alpha chunk"):
        codec.decode(container.write(file.header, file.payload, extra))


def test_a_truncated_file_gives_what_is_there(codec, data):
    start = data.index(container.parse(data).payload) + len(container.parse(data).payload) + 4
    opaque = codec.decode(data[:start], partial=True)
    assert (opaque.mode, opaque.info) == ("RGB", {})
    assert np.array_equal(opaque, codec.decode(data).convert("RGB"))


# The command line


@pytest.fixture
def png(whole, tmp_path) -> Path:
    write_image(whole, tmp_path / "whole.png")
    return tmp_path / "whole.png"


def parsed(path: Path) -> container.File:
    return container.parse(path.read_bytes())


def test_the_command_line_keeps_everything(png, tmp_path):
    assert command("encode", png, "-o", tmp_path / "a.dct").output == ""
    facts = json.loads(command("info", tmp_path / "a.dct", "--json").stdout)
    assert list(facts["chunks"]) == ["symbols", "profile", "alpha", "dpi", "exif", "xmp"] and not facts["truncated"]
    assert sum(facts["chunks"].values()) + facts["header_bytes"] == facts["bytes"]
    assert command("decode", tmp_path / "a.dct", "-o", tmp_path / "b.png").output == ""
    back = Image.open(tmp_path / "b.png")
    assert (back.mode, back.size, back.info["icc_profile"]) == ("RGBA", (30, 40), P3)


def test_options_leave_things_out(png, tmp_path):
    out = tmp_path / "a.dct"
    assert command("encode", png, "-o", out, "--strip", "--background", "#ff0000", "--to-srgb").output == ""
    extra = parsed(out).extra
    assert (extra.alpha, extra.profile, extra.exif, extra.xmp) == (None, None, None, None) and extra.dpi
    assert command("encode", png, "-o", out, "--strip=gps", "--note", "--quality", 40).output == ""
    assert b"GPS" not in parsed(out).extra.xmp
    assert parsed(out).extra.text == f"dctcodec {dctcodec.__version__} --quality 40.0 --strip gps"
    assert "--quality 40.0" in command("info", out).stdout


def test_wrong_options_are_one_line(png, tmp_path):
    assert_one_error(command("encode", png, "-o", tmp_path / "a.dct", "--background", "nonsense"), 2, "--background", "nonsense")
    assert_one_error(command("encode", png, "-o", tmp_path / "a.dct", "--strip=exif"), 2, "--strip")
    assert_one_error(command("encode", png, "-o", tmp_path / "a.dct", "--max-pixels", 1199), 1, "whole.png", "the limit is 1199")


def test_decode_has_a_limit_of_pixels(data, tmp_path):
    (tmp_path / "a.dct").write_bytes(data)
    assert_one_error(command("decode", tmp_path / "a.dct", "-o", tmp_path / "a.png", "--max-pixels", 1199), 1, "a.dct", "1199")
    assert command("decode", tmp_path / "a.dct", "-o", tmp_path / "a.jpg", "--max-pixels", 1200).exit_code == 0
    assert Image.open(tmp_path / "a.jpg").info["icc_profile"] == P3


def test_info_reads_several_files_and_truncated_ones(data, tmp_path):
    (tmp_path / "a.dct").write_bytes(data)
    (tmp_path / "b.dct").write_bytes(data[:60])
    (tmp_path / "c.dct").write_bytes(b"junk")
    result = command("info", *(tmp_path / f"{name}.dct" for name in "abc"), "--json")
    whole, part = json.loads(result.stdout)
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and "c.dct" in result.stderr
    length = len(container.parse(data).payload)
    assert (part["width"], part["truncated"], part["chunks"]) == (30, True, {"symbols": f"35 of {length}"})
    assert not whole["truncated"]
    text = command("info", tmp_path / "a.dct", tmp_path / "b.dct").stdout
    assert f"symbols 35 of {length}" in text and text.count("model id") == 2


def test_a_file_truncated_behind_its_symbols_is_decoded_with_a_warning(data, tmp_path):
    (tmp_path / "a.dct").write_bytes(data[:-3])
    result = command("decode", tmp_path / "a.dct", "-o", tmp_path / "a.png", "--partial")
    assert result.exit_code == 0 and "metadata may be missing" in result.stderr


def test_no_warning_where_nothing_is_lost(codec, whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DctcodecWarning)
        codec.decode(codec.encode(whole))


# What the README says


def _frames(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    return stream.getvalue()


def parts(image: Image.Image, name: str = "PNG", **options) -> ImageParts:
    """Of an image that was written as a file and read."""
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return dctcodec.image.as_parts(stream)


RED = Image.new("RGB", (20, 10), (200, 40, 40))
LAB = ImageCms.profileToProfile(RED, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
HOLDS = {
    "kept": {
        "RGB and grey colour profiles other than sRGB": lambda: parts(RED, icc_profile=P3).profile == P3,
        "transparency": lambda: parts(Image.new("RGBA", (9, 9), (9, 9, 9, 77))).alpha.getextrema() == (77, 77),
        "EXIF": lambda: b"Kamera" in parts(RED, exif=exif().tobytes()).exif,
        "XMP": lambda: b"Rating" in parts(RED, "JPEG", xmp=XMP).xmp,
        "dots per inch": lambda: parts(RED, "JPEG", dpi=(300, 200)).dpi == (300, 200),
    },
    "converted": {
        "16-bit and float samples to 8 bits": lambda: (
            parts(Image.new("I;16", (9, 9), 25700)).pixels.getpixel((0, 0)) == 100
            and parts(Image.new("F", (9, 9), 0.4), "TIFF").pixels.getpixel((0, 0)) == 102
        ),
        "CMYK and Lab to sRGB": lambda: (
            parts(RED.convert("CMYK"), "TIFF").pixels.getpixel((0, 0)) == (200, 40, 40)
            and parts(LAB, "TIFF").pixels.getpixel((0, 0)) == pytest.approx((200, 40, 40), abs=2)
        ),
        "palettes to RGB": lambda: parts(RED.quantize(4)).pixels.mode == "RGB",
        "orientation to upright": lambda: parts(RED, exif=exif(6).tobytes()).pixels.size == (10, 20),
    },
    "dropped": {
        "further frames and pages": lambda: dctcodec.image.as_parts(io.BytesIO(_frames(RED))).pixels.size == (20, 10),
        "IPTC": lambda: parts(RED, "TIFF", tiffinfo={33723: b"Caption"}).exif is None,
        "comments": lambda: b"whose" not in repr(parts(RED, "JPEG", comment=b"whose")).encode(),
    },
}


def test_the_readme_tells_all_of_it():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rows = dict(
        line.strip("| ").split(" | ") for line in readme.splitlines() if line.startswith(tuple(f"| {row} |" for row in HOLDS))
    )
    assert {row: set(cell.split(", ")) for row, cell in rows.items()} == {row: set(items) for row, items in HOLDS.items()}


@pytest.mark.filterwarnings("ignore:.*more than one frame")
@pytest.mark.parametrize(("row", "item"), [(row, item) for row, items in HOLDS.items() for item in items])
def test_what_the_readme_says_holds(row, item):
    assert HOLDS[row][item]()
