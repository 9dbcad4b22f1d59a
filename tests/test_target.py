"""Files of a wanted size, rate or closeness: the target is met, hardly missed by the next quality, or refused in a sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import assert_one_error, dctcodec

from dctcodec import Codec, TargetError, container
from dctcodec.bands.quality import quality_of_step
from dctcodec.errors import DctcodecWarning
from dctcodec.metrics import psnr


@pytest.fixture(scope="module")
def crop(photo) -> Image.Image:
    return photo.crop((150, 90, 150 + 170, 90 + 140))


@pytest.fixture(scope="module")
def next_to(codec, crop):
    """The file of the quality a tenth better or worse than a file's."""

    def encode(data: bytes, by: float) -> bytes:
        return codec.encode(crop, round(quality_of_step(container.parse(data).header.step), 1) + by)

    return encode


def bpp(data: bytes, image: Image.Image) -> float:
    return 8 * len(data) / (image.width * image.height)


@pytest.mark.parametrize("target", [0.15, 0.4, 0.9])
def test_a_rate_is_met_and_the_next_quality_exceeds_it(codec, crop, next_to, target: float):
    data = codec.encode_to(crop, bpp=target)
    assert 0.98 * target < bpp(data, crop) <= target < bpp(next_to(data, 0.1), crop)


@pytest.mark.parametrize("target", [600, 1500])
def test_a_size_is_met_and_the_next_quality_exceeds_it(codec, crop, next_to, target: int):
    data = codec.encode_to(crop, size=target)
    assert 0.98 * target < len(data) <= target < len(next_to(data, 0.1))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_psnr_is_met_and_the_quality_below_falls_short(codec, crop, next_to, mode: str):
    image = crop.convert(mode)
    data = codec.encode_to(image, psnr=31)
    assert 31 <= psnr(image, codec.decode(data)) < 31.1
    if mode == "RGB":
        assert psnr(image, codec.decode(next_to(data, -0.1))) < 31


def test_a_picture_on_its_side_is_turned_upright_once(codec, crop):
    stored = crop.transpose(Image.Transpose.ROTATE_90)
    stored.info["exif"] = Image.Exif()
    stored.info["exif"][0x0112] = 6
    stored.info["exif"] = stored.info["exif"].tobytes()
    for target in ({"psnr": 30}, {"bpp": 0.9}):
        picture = codec.decode(codec.encode_to(stored, **target))
        assert picture.size == crop.size and psnr(crop, picture) > 27


def test_targets_beyond_the_qualities_are_refused(codec, crop):
    with pytest.raises(TargetError, match=r"0.01 bits a pixel is out of reach: quality 1 takes 0\.\d+"):
        codec.encode_to(crop, bpp=0.01)
    with pytest.raises(TargetError, match=r"30 bytes is out of reach: quality 1 takes \d+"):
        codec.encode_to(crop, size=30)
    with pytest.warns(DctcodecWarning, match=r"quality 100 takes only \d+ bytes"):
        codec.encode_to(crop, size=12345678)
    with pytest.raises(ValueError, match="one target"):
        codec.encode_to(crop, bpp=float("nan"))
    with pytest.raises(TargetError, match=r"70 dB is out of reach: quality 100 reaches \d+\.\d+"):
        codec.encode_to(crop, psnr=70)


def test_targets_that_the_end_of_the_scale_meets_with_ease_are_met_with_a_warning(codec, crop):
    with pytest.warns(DctcodecWarning, match="quality 100 takes only"):
        data = codec.encode_to(crop, bpp=9)
    assert data == codec.encode(crop, 100)
    with pytest.warns(DctcodecWarning, match=r"quality 1 reaches \d+\.\d+ dB"):
        data = codec.encode_to(crop, psnr=3)
    assert data == codec.encode(crop, 1)


def test_the_seed_and_progress_go_through(codec, crop):
    shares = []
    data = codec.encode_to(crop, size=900, seed=5, tick=shares.append)
    assert container.parse(data).header.seed == 5
    assert len(shares) > 5 and sum(shares) == pytest.approx(1, abs=0.2)


def test_one_target_is_wanted(codec, crop):
    for targets in ({}, {"bpp": 1.0, "psnr": 30.0}):
        with pytest.raises(ValueError, match="one target"):
            codec.encode_to(crop, **targets)


def test_a_model_of_one_quality_meets_no_target(crop):
    with pytest.raises(TargetError, match="dct-vae-cifar10 has one quality"):
        Codec("dct-vae-cifar10").encode_to(crop, bpp=0.2)


@pytest.mark.parametrize("option", ["--target-bpp", "--target-size", "--target-psnr"])
def test_the_command_line_meets_targets(codec, crop, option: str, tmp_path: Path):
    crop.save(tmp_path / "a.png")
    value = {"--target-bpp": 0.3, "--target-size": 900, "--target-psnr": 30}[option]
    assert dctcodec("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct", option, value).output == ""
    name = option.removeprefix("--target-")
    assert (tmp_path / "a.dct").read_bytes() == codec.encode_to(crop, **{name: value})


def test_the_command_line_refuses_what_cannot_be(tmp_path: Path):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    command = ("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct")
    assert_one_error(dctcodec(*command, "--target-size", 20), 1, "a.png", "20 bytes is out of reach")
    assert_one_error(dctcodec(*command, "--target-size", 99, "--quality", 5), 2, "one of --quality")
    assert_one_error(dctcodec(*command, "--target-bpp", 1, "--target-psnr", 30), 2, "one of --quality")
    assert_one_error(dctcodec(*command, "--target-bpp", 1, "--model", "dct-vae-cifar10"), 2, "one quality")
    assert_one_error(dctcodec(*command, "--target-bpp", 0), 2, "target-bpp")
    assert not (tmp_path / "a.dct").exists()


@pytest.mark.quality
def test_a_rate_is_met_within_two_per_cent_on_kodak(codec, kodak: list[Path]):
    for path in kodak[::12]:
        image = Image.open(path)
        assert 0.98 * 0.25 < bpp(codec.encode_to(image, bpp=0.25), image) <= 0.25, path
