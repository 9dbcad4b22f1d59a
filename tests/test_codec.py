"""Images to bytes and back: sizes and modes kept, symbols exact, the same bytes every time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_blocks import PLAIN, small_codec

import dctcodec
from dctcodec import Codec, FormatError, ImageError, ModelError, container, tiles
from dctcodec.bands import blocks, transform
from dctcodec.bands.choice import choose
from dctcodec.bands.quality import step_of_quality
from dctcodec.threads import limited


@pytest.fixture(scope="module")
def crop(photo) -> Image.Image:
    """The middle of the photograph, not of whole tiles."""
    return photo.crop((150, 90, 150 + 170, 90 + 140))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def mean_difference(first: Image.Image, second: Image.Image) -> float:
    return np.abs(pixels(first) - pixels(second)).mean()


def assert_rounded(codec: Codec, data: bytes, image: Image.Image, quality: float) -> None:
    """The symbols of a file of effort 0 are what the image alone tells, but for moves by one, and so is the partition, where the
    model
    has kinds of blocks."""
    rgb = np.array(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32)[None]
    step, kinds = step_of_quality(quality), codec.family.kinds
    chosen = choose(rgb, np.array([step], np.float32), kinds) if kinds else None
    expected = transform.quantise(transform.analyse(rgb, chosen), step)[0].astype(np.int32)
    symbols, partition = blocks.unpacked(codec.symbols(data)[1])
    assert chosen is None or np.array_equal(partition, chosen[0])
    assert np.abs(symbols - expected).max() <= 1 and np.mean(symbols != expected) < 0.1


@settings(max_examples=12)
@given(st.integers(1, 100), st.integers(1, 100), st.sampled_from(["RGB", "L"]), st.floats(1, 100))
def test_any_size_and_mode_comes_back(codec, make_picture, width: int, height: int, mode: str, quality: float):
    image = make_picture(width, height, mode)
    data, rounded = codec.encode(image, quality), codec.encode(image, quality, effort=0)
    assert_rounded(codec, rounded, image, quality)
    for back in codec.decode(data), codec.decode(rounded):
        assert (back.size, back.mode) == (image.size, mode)


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (100, 1), (32, 32), (33, 31)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_small_and_thin_pictures_come_back(codec, make_picture, size: tuple[int, int], mode: str):
    image = make_picture(*size, mode)
    back = codec.decode(codec.encode(image, 95))
    assert (back.size, back.mode) == (size, mode)
    assert mean_difference(back, image) < 12


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (120, 130, 90)])
def test_a_plain_colour_stays(codec, colour: tuple[int, int, int]):
    image = Image.new("RGB", (50, 20), colour)
    assert mean_difference(codec.decode(codec.encode(image, 90)), image) < 12


def test_noise_and_extremes_come_back(codec):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 2, (64, 40, 3), dtype=np.uint8) * 255)
    for quality in (1, 100):
        assert_rounded(codec, codec.encode(image, quality, effort=0), image, quality)


@pytest.mark.parametrize("mode", ["P", "CMYK", "I;16", "1", "LA"])
def test_other_modes_are_taken_as_rgb_or_grey(codec, make_picture, mode: str):
    image = make_picture(20, 30)
    image = Image.fromarray(np.full((30, 20), 30000, np.uint16)) if mode == "I;16" else image.convert(mode)
    assert codec.decode(codec.encode(image)).mode == ("RGB" if mode in ("P", "CMYK") else "L")


def test_the_header_says_what_was_asked_for(codec, crop):
    header, symbols = codec.symbols(codec.encode(crop.convert("L"), quality=33, seed=2**32 - 1))
    assert (header.width, header.height, header.grey, header.seed) == (170, 140, True, 2**32 - 1)
    assert header.step == step_of_quality(33)
    assert header.model_id == codec.model.model_id
    chroma = [channel.plane > 0 for channel in transform.CHANNELS]
    coded, _ = blocks.unpacked(symbols)
    assert not coded[chroma].any() and coded.any()
    assert symbols.dtype == np.int32


def test_better_quality_takes_more_bytes_and_is_closer(codec, crop):
    files = [codec.encode(crop, quality) for quality in (1, 15, 30, 50, 75, 100)]
    sizes = [len(data) for data in files]
    assert sizes == sorted(set(sizes))
    first, last = (mean_difference(codec.decode(data), crop) for data in (files[0], files[-1]))
    assert last < first


def test_a_file_is_hardly_larger_than_the_ideal(codec, photo):
    data = codec.encode(photo)
    assert 0 <= 8 * len(data) - codec.code_length(data) <= 8 * 29 + 0.01 * codec.code_length(data) + 64


def test_threads_and_other_calls_in_between_make_no_difference(codec, crop, make_picture, threads):
    threads(1)
    data, other = codec.encode(crop, 60), codec.encode(make_picture(60, 50, "L"), 20)
    picture = codec.decode(data)
    threads(2)
    assert codec.encode(make_picture(60, 50, "L"), 20) == other
    codec.decode(other, temperature=1)
    assert codec.encode(crop, 60) == data
    assert_rounded(codec, codec.encode(crop, 60, effort=0), crop, 60)
    assert np.abs(pixels(codec.decode(data)) - pixels(picture)).max() <= 1


def test_a_callers_autocast_makes_no_difference(codec, crop):
    data, picture = codec.encode(crop), codec.decode(codec.encode(crop))
    with torch.autocast("cpu", torch.bfloat16):
        assert codec.encode(crop) == data
        assert np.array_equal(pixels(codec.decode(data)), pixels(picture))
        assert codec.code_length(data) < 8 * len(data)


def test_a_codec_loaded_again_gives_the_same_bytes_and_pixels(codec, crop):
    data = codec.encode(crop)
    again = Codec(device="cpu")
    assert again.encode(crop) == data
    assert pixels(again.decode(data, 0.8)).tolist() == pixels(codec.decode(data, 0.8)).tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_cuda_reads_and_writes_the_same_symbols(codec, crop):
    there = Codec(device="cuda")
    data = codec.encode(crop, 60)
    assert np.array_equal(there.symbols(data)[1], codec.symbols(data)[1])
    assert np.abs(pixels(there.decode(data)) - pixels(codec.decode(data))).max() <= 4
    theirs = there.encode(crop, 60)
    assert np.array_equal(there.symbols(theirs)[1], codec.symbols(theirs)[1])


def test_the_seed_changes_nothing_but_the_texture(codec, crop):
    first, second = (codec.encode(crop, 30, seed) for seed in (0, 1))
    assert len(first) + 13 == len(second)  # the chunk of the seed
    assert pixels(codec.decode(first)).tolist() == pixels(codec.decode(second)).tolist()
    textured = pixels(codec.decode(first, temperature=1))
    assert textured.tolist() == pixels(codec.decode(first, temperature=1)).tolist()
    assert (textured != pixels(codec.decode(first))).any()
    assert (textured != pixels(codec.decode(second, temperature=1))).any()


@pytest.mark.parametrize("quality", [0, 0.99, 100.1, -5, float("nan"), float("inf")])
def test_a_quality_out_of_range_is_refused(codec, make_picture, quality: float):
    with pytest.raises(ValueError, match="outside 1..100"):
        codec.encode(make_picture(8, 8), quality)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(codec, make_picture, seed: int):
    with pytest.raises(ValueError, match="seed"):
        codec.encode(make_picture(8, 8), seed=seed)


@pytest.mark.parametrize("path", ["photo.dct", Path("photo.dct")])
def test_a_path_is_not_the_bytes_of_a_file(codec, path):
    for decode in (dctcodec.decode, codec.decode):
        with pytest.raises(TypeError, match="read_bytes"):
            decode(path)


@pytest.mark.parametrize("temperature", [-0.1, 10.1, float("inf"), float("nan")])
def test_a_temperature_out_of_range_is_refused(codec, make_picture, temperature: float):
    with pytest.raises(ValueError, match="temperature"):
        codec.decode(codec.encode(make_picture(8, 8)), temperature)


def test_progress_is_told_at_every_stage(codec, make_picture):
    encoding, decoding = [], []
    data = codec.encode(make_picture(8, 8), tick=encoding.append)
    codec.decode(data, tick=decoding.append)
    assert min(len(encoding), len(decoding)) > 5
    assert sum(encoding) == pytest.approx(1) and sum(decoding) == pytest.approx(1)


def test_pictures_outside_the_format_are_refused(codec):
    with pytest.raises(FormatError, match="65536x1"):
        codec.encode(Image.new("L", (65536, 1)))
    with pytest.raises(ImageError, match="no pixels"):
        codec.encode(Image.new("RGB", (0, 4)))


def test_models_and_devices_that_are_not_there_are_refused(codec, make_picture):
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        Codec("nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="CUDA"):
            Codec(device="cuda")
    file = container.parse(codec.encode(make_picture(8, 8)))
    foreign = container.write(replace(file.header, model_id=file.header.model_id ^ 1), file.payload)
    for decode in (codec.decode, dctcodec.decode):
        with pytest.raises(ModelError, match="not installed"):
            decode(foreign)


def test_the_top_level_functions_do_the_same(codec, crop):
    data = dctcodec.encode(crop, quality=40, seed=3)
    assert data == codec.encode(crop, quality=40, seed=3) and codec.symbols(data)[0].seed == 3
    data = dctcodec.encode(crop, quality=40, seed=3, effort=0)
    assert_rounded(codec, data, crop, 40)
    assert mean_difference(dctcodec.decode(data, temperature=0.5), codec.decode(data, 0.5)) < 1


def test_every_public_name_is_there():
    assert all(getattr(dctcodec, name) is not None for name in dctcodec.__all__)
    with pytest.raises(AttributeError):
        _ = dctcodec.nonsense


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_bits_of_tiles_add_up_to_the_code_length(codec, make_picture, mode):
    data = codec.encode(make_picture(200, 130, mode), 30)
    bits = codec.tile_bits(data)
    assert bits.shape == (5, 7)
    assert (bits > 0).all()
    assert bits.sum().item() == pytest.approx(codec.code_length(data), rel=1e-3)


@pytest.mark.parametrize("forecast", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_strips_of_a_large_image_do_not_matter(forecast, mode, make_picture, tmp_path, monkeypatch: pytest.MonkeyPatch):
    codec = Codec(device="cpu") if forecast else small_codec(tmp_path, (), PLAIN)
    image = make_picture(70, 400, mode)
    data = codec.encode(image, 70)
    symbols, back, bits = codec.symbols(data)[1], pixels(codec.decode(data, temperature=1)), codec.tile_bits(data)
    monkeypatch.setattr(tiles, "STRIP", 6)
    monkeypatch.setattr("dctcodec.bands.family.CHOSEN", 6)
    monkeypatch.setattr("dctcodec.exact.rows.CACHED", 1)
    assert [rows for _, rows in tiles.strips_of((13, 3), 2)][:2] == [slice(0, 4), slice(0, 6)]
    with limited(2):
        assert codec.encode(image, 70) == data
        assert np.array_equal(codec.symbols(data)[1], symbols)
        assert np.allclose(codec.tile_bits(data), bits)
        assert np.abs(pixels(codec.decode(data, temperature=1)) - back).max() <= 1
