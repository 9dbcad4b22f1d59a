"""Patches: tiles of few colours come back from a palette, in few bits, and photographs have none."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page import page
from PIL import Image

import dctcodec
from dctcodec import Codec, FormatError, container
from dctcodec.image import patch
from dctcodec.metrics import psnr
from dctcodec.palette import nearest, palette_of

TEXT = (0, 0, 128, 96)
"""Whole tiles of `page` without anything else."""


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec("flagship-1", device="cpu")


@pytest.fixture(scope="module")
def coded(codec: Codec) -> bytes:
    return codec.encode(page(200, 100), 50)


def chunks(data: bytes) -> dict[str, int]:
    return {chunk.name: len(chunk.data) for chunk in container.chunks_of(data)}


def without_patch(codec: Codec, image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as context:
        context.setattr("dctcodec.flat.choose", lambda *_: None)
        return codec.encode(image, 50)


def test_text_is_better_and_smaller_with_a_patch(codec: Codec, coded: bytes, monkeypatch: pytest.MonkeyPatch):
    image = page(200, 100)
    plain = without_patch(codec, image, monkeypatch)
    assert "patch" in chunks(coded) and "patch" not in chunks(plain)
    better, worse = (psnr(image.crop(TEXT), codec.decode(data).crop(TEXT)) for data in (coded, plain))
    assert len(coded) < len(plain) and better > worse + 6


@pytest.mark.parametrize("tune", ["psnr", "ms-ssim"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_mode_may_have_a_patch(codec: Codec, mode: str, tune: str):
    image = page(200, 100)
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda level: max(level, 1)))
    image = image.convert(mode)
    data = codec.encode(image, 60, tune=tune)
    back = codec.decode(data)
    assert "patch" in chunks(data) and back.mode == mode
    assert psnr(image.convert("RGB").crop(TEXT), back.convert("RGB").crop(TEXT)) > 34


def test_patched_pixels_do_not_depend_on_the_decoder(codec: Codec, coded: bytes):
    warm = codec.decode(coded, temperature=1.0).crop(TEXT)
    assert np.array_equal(warm, codec.decode(coded).crop(TEXT))


def test_bits_of_tiles_have_those_of_the_patch(codec: Codec, coded: bytes):
    bits, size = codec.tile_bits(coded), chunks(coded)
    assert bits is not None and bits.shape == (4, 7)
    assert bits.sum() == pytest.approx(8 * (size["patch"] + size["symbols"]), rel=0.1)
    assert bits[:3, :4].min() > 50


def test_a_photograph_has_none(codec: Codec):
    assert "patch" not in chunks(codec.encode(page(200, 100, photograph=200), 50))


def test_a_truncated_file_has_its_patch(codec: Codec, coded: bytes):
    sizes = chunks(coded)
    end = container.HEADER_BYTES + container.CHUNK_BYTES + sizes["patch"]
    whole, part = (np.asarray(image)[:96, :128] for image in (codec.decode(coded), codec.decode(coded[:end], partial=True)))
    assert np.array_equal(whole, part)
    cut = codec.decode(coded[: end - 1], partial=True)
    assert cut.size == (200, 100)
    with pytest.raises(FormatError, match="truncated"):
        codec.decode(coded[:end])


@pytest.mark.parametrize("scale", [2, 4, 8, 16, 32])
def test_a_preview_has_its_patch(codec: Codec, coded: bytes, scale: int):
    small = codec.preview(coded, scale)
    expected = page(200, 100).reduce(scale)
    assert small.size == expected.size and psnr(small, expected) > 22


def test_a_target_of_size_is_met(codec: Codec):
    data = codec.encode_to(page(200, 100), size=1200)
    assert 1000 < len(data) <= 1200


def test_images_that_webp_cannot_hold_have_none(codec: Codec):
    assert "patch" not in chunks(codec.encode(page(16400, 34), 20, effort=0))


def test_the_quickest_effort_has_patches(codec: Codec):
    assert "patch" in chunks(codec.encode(page(200, 100), 50, effort=0))


def with_patch(coded: bytes, packed: bytes) -> bytes:
    file = container.parse(coded)
    return container.write(file.header, file.payload, container.Extra(patch=packed))


def webp(image: Image.Image, **options: object) -> bytes:
    packed = io.BytesIO()
    image.save(packed, "WEBP", **{"lossless": True, "exact": True} | options)
    return packed.getvalue()


HOSTILE = {
    "transparent in part": webp(Image.new("RGBA", (200, 100), (9, 9, 9, 254))),
    "not of the image's size": webp(Image.new("RGBA", (100, 200), (9, 9, 9, 255))),
    "cannot be decoded": webp(page(200, 100).convert("RGBA"))[:200],
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_what_is_no_patch_is_refused(codec: Codec, coded: bytes, reason: str):
    with pytest.raises(FormatError, match=reason):
        codec.decode(with_patch(coded, HOSTILE[reason]))


@pytest.mark.parametrize("packed", [b"", b"RIFF", webp(page(200, 100), lossless=False)])
def test_other_bytes_are_refused(codec: Codec, coded: bytes, packed: bytes):
    with pytest.raises(FormatError, match="patch"):
        codec.decode(with_patch(coded, packed))


def test_a_file_of_the_other_family_may_have_a_patch():
    codec, image = Codec("dct-vae-cifar10", device="cpu"), page(40, 33)
    plain = codec.encode(image)
    assert "patch" not in chunks(plain)
    assert np.array_equal(codec.decode(with_patch(plain, webp(image.convert("RGBA")))), image)


def test_a_patch_of_all_pixels_and_of_none(codec: Codec, coded: bytes):
    image = page(200, 100)
    assert np.array_equal(codec.decode(with_patch(coded, webp(image.convert("RGBA")))), image)
    assert codec.decode(with_patch(coded, webp(Image.new("RGBA", (200, 100))))).size == (200, 100)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_patches_come_back(width: int, height: int, seed: int):
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
    colours[..., 3] = random.choice([0, 255], (height, width))
    colours[colours[..., 3] == 0] = 0
    one = Image.fromarray(colours)
    assert np.array_equal(patch.unpack(patch.pack(one), one.size), one)
    under = Image.new("RGB", one.size, (1, 2, 3))
    expected = np.where(colours[..., 3:] == 255, colours[..., :3], np.array([1, 2, 3], np.uint8))
    assert np.array_equal(patch.paste(one, under), expected)


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 99))
def test_a_palette_is_near_all_colours(count: int, size: int, seed: int):
    random = np.random.default_rng(seed)
    colours = np.unique(random.integers(0, 256, (count, 3), dtype=np.uint8), axis=0)
    palette = palette_of(colours, random.integers(1, 9, len(colours)), size)
    assert palette.dtype == np.uint8 and len(palette) == min(size, len(colours))
    owner = nearest(colours, palette)
    distances = np.square(colours[:, None].astype(int) - palette[None]).sum(-1)
    assert np.array_equal(distances[np.arange(len(colours)), owner], distances.min(1))
    if size >= len(colours):
        assert (distances.min(1) == 0).all()


def test_a_palette_prefers_what_is_frequent():
    colours = np.array([[0, 0, 0], [10, 10, 10], [200, 200, 200]], np.uint8)
    assert palette_of(colours, np.array([1, 1000, 1000]), 2).tolist() == [[10, 10, 10], [200, 200, 200]]


def test_the_default_call_patches():
    assert "patch" in chunks(dctcodec.encode(page(130, 70)))
