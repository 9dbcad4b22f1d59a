"""The Pillow plug-in: lazy, exact, and small where a small image is asked for."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError
from test_metadata import XMP, exif, flat

import dctcodec.pillow
from dctcodec import container
from dctcodec.bands.order import BANDS, CHANNELS, bands_below
from dctcodec.codec import loaded
from dctcodec.image import icc
from dctcodec.installed import DEFAULT
from dctcodec.metrics import psnr

P3 = icc.profile(icc.DISPLAY_P3, icc.SRGB_CURVE)


@pytest.fixture(scope="module")
def crop(photo) -> Image.Image:
    return photo.crop((150, 90, 150 + 250, 90 + 170))


@pytest.fixture(scope="module")
def path(crop, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pillow") / "photo.dct"
    crop.save(path, quality=70)
    return path


def test_opening_reads_no_pixels_and_imports_no_torch(path):
    script = "import sys, dctcodec.pillow\nfrom PIL import Image\nimage = Image.open(sys.argv[1])\n"
    script += "print(image.format, image.mode, image.size, Image.MIME[image.format], 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert run.stdout == "DCT RGB (250, 170) image/x-dct False\n"


def test_pixels_are_those_of_the_codec(crop, path):
    data = path.read_bytes()
    assert data == loaded(DEFAULT, "auto").encode(crop, quality=70)
    with Image.open(path) as image:
        assert np.array_equal(image, loaded(DEFAULT, "auto").decode(data))
        assert image.size == crop.size and image.mode == "RGB"
    assert np.array_equal(Image.open(io.BytesIO(data)).convert("L"), loaded(DEFAULT, "auto").decode(data).convert("L"))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_any_mode_is_saved(mode, make_picture):
    image = make_picture(33, 20).convert(mode)
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize((33, 20)))
    stream = io.BytesIO()
    image.save(stream, "DCT")
    back = Image.open(stream)
    assert back.mode == {"P": "RGB", "CMYK": "RGB", "1": "L"}.get(mode, mode)
    if "A" in mode:
        assert np.array_equal(back.getchannel("A"), image.getchannel("A"))


def saved(image: Image.Image, **options) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "DCT", **options)
    return Image.open(stream)


def test_metadata_go_through(make_picture):
    image = make_picture(33, 20)
    image.info = {"icc_profile": P3, "exif": exif(6).tobytes(), "xmp": XMP, "dpi": (300.0, 200.0)}
    back = saved(image)
    assert back.size == (20, 33) and back.info["icc_profile"] == P3 and back.info["dpi"] == (200, 300)
    assert flat(back.getexif()) == flat(exif()) | {274: 1}
    assert saved(image, strip="all").info.keys() == {"icc_profile", "dpi"}
    other = saved(make_picture(33, 20), exif=exif(), icc_profile=P3, dpi=(72, 72))
    assert flat(other.getexif()) == flat(exif()) and other.info["icc_profile"] == P3 and other.info["dpi"] == (72, 72)


def test_options_of_the_codec_go_through(make_picture):
    image = make_picture(40, 33)
    stream = io.BytesIO()
    image.save(stream, "DCT", quality=33, effort=1, tune="ms-ssim", seed=5, model="flagship-1")
    assert stream.getvalue() == loaded("flagship-1", "auto").encode(image, 33, 5, 1, "ms-ssim")
    with pytest.raises(ValueError, match="outside 1..100"):
        image.save(io.BytesIO(), "DCT", quality=0)


@pytest.mark.parametrize("scale", [2, 4, 8, 16, 32])
def test_a_draft_is_the_image_made_smaller(crop, path, scale):
    image = Image.open(path)
    mode, box = image.draft(None, (250 // scale, 170 // scale))
    assert (mode, image.size) == ("RGB", (-(-250 // scale), -(-170 // scale)))
    assert box == (0, 0, 250 / scale, 170 / scale)
    inner = (0, 0, 250 // scale, 170 // scale)
    assert psnr(image.crop(inner), crop.crop((0, 0, 250 // scale * scale, 170 // scale * scale)).reduce(scale)) > 26
    assert image.draft(None, (1, 1)) is None  # loaded


def test_a_thumbnail_decodes_no_more_bands_than_it_needs(path, monkeypatch):
    codec = loaded(DEFAULT, "auto")
    asked = []
    means = codec.family.prior.network.means
    monkeypatch.setattr(
        codec.family.prior.network, "means", lambda symbols, number, *rest: asked.append(number) or means(symbols, number, *rest)
    )
    for side, last in ((60, 11), (16, 9), (4, 5)):
        image = Image.open(path)
        image.thumbnail((side, side))
        assert image.size == (side, round(side * 170 / 250)) and max(asked) == last
        asked.clear()
    assert [bands_below(side) for side in (1, 2, 4, 8, 16)] == [2, 3, 4, 6, 8]
    assert all(max(c.u, c.v) >= 4 for c in CHANNELS[BANDS[bands_below(4)].start :])


def test_the_alpha_of_a_draft_is_smaller_too(make_picture):
    image = make_picture(100, 65)
    image.putalpha(Image.linear_gradient("L").resize((100, 65)))
    back = saved(image)
    back.draft(None, (12, 8))
    assert (back.mode, back.size) == ("RGBA", (13, 9))
    assert np.array_equal(back.getchannel("A"), image.getchannel("A").reduce(8))


def test_files_of_the_papers_model_have_no_draft(make_picture):
    stream = io.BytesIO()
    make_picture(64, 64).save(stream, "DCT", model="dct-vae-cifar10", quality=None)
    image = Image.open(stream)
    assert image.draft(None, (8, 8)) is None
    image.thumbnail((8, 8))
    assert image.size == (8, 8)


def test_a_copy_by_pickle_has_the_pixels(path):
    with Image.open(path) as image:
        image.load()
        copy = pickle.loads(pickle.dumps(image))
    assert np.array_equal(np.asarray(copy), np.asarray(image)) and copy.convert("L").size == image.size


def test_damage_is_an_os_error(path, monkeypatch):
    data = path.read_bytes()
    for damaged in (data[:-9], data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(OSError, match="truncated|checksum"):
            Image.open(io.BytesIO(damaged))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"DC" + data))
    foreign = container.parse(data)
    other = container.write(container.Header(8, 8, False, 800, 0x0BADCAFE), foreign.payload)
    with pytest.raises(OSError, match="not installed"):
        Image.open(io.BytesIO(other)).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert Image.open(io.BytesIO(data[:200])).convert("RGB").size == (250, 170)


def test_a_dct_file_may_be_encoded_again(path):
    assert dctcodec.decode(dctcodec.encode(path)).size == (250, 170)
