"""Files that break off: refused unless asked for, and then a coarser image of what is there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import assert_one_error
from test_cli import dctcodec as command

import dctcodec
from dctcodec import FormatError, container, installed
from dctcodec.bands import blocks
from dctcodec.bands.order import BANDS, PARTS
from dctcodec.metrics import psnr

HEADER = container.HEADER_BYTES
SYMBOLS = HEADER + 5
"""Where they begin, behind their chunk's kind and length."""
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def crop(photo) -> Image.Image:
    return photo.crop((150, 90, 150 + 150, 90 + 110))


@pytest.fixture(scope="module")
def data(codec, crop) -> bytes:
    return codec.encode(crop, quality=70)


def prefixes(data: bytes, parts: int) -> list[bytes]:
    end = len(data) - 4
    return [data[: SYMBOLS + (end - SYMBOLS) * part // parts] for part in range(parts)] + [data]


def test_every_truncation_of_a_small_file_is_refused_or_a_picture(codec, make_picture):
    small = codec.encode(make_picture(40, 33), quality=30)
    for length in range(len(small)):
        with pytest.raises(FormatError):
            codec.decode(small[:length])
        if length < HEADER:
            with pytest.raises(FormatError, match="not a .dct file|truncated|empty"):
                codec.decode(small[:length], partial=True)
        else:
            assert codec.decode(small[:length], partial=True).size == (40, 33)


def test_a_whole_file_is_the_same_with_partial(codec, data):
    assert np.array_equal(codec.decode(data, partial=True), codec.decode(data))
    with pytest.raises(FormatError, match="checksum"):
        codec.decode(data[:-1] + bytes([data[-1] ^ 1]), partial=True)
    with pytest.raises(FormatError, match="follow the end"):
        codec.decode(data + b"\0", partial=True)


def test_more_of_a_file_is_nearer_to_the_picture(codec, crop, data):
    found = [psnr(crop, codec.decode(prefix, partial=True)) for prefix in prefixes(data, 8)]
    assert found == sorted(found)
    assert found[-1] - found[4] > 0.5 and found[4] - found[0] > 5


def test_each_latent_brings_the_picture_nearer(codec, crop, data):
    found = [psnr(crop, codec.decode(data, bands=count)) for count in range(1, 9)]
    assert found == sorted(set(found))
    assert np.array_equal(codec.decode(data, bands=8), codec.decode(data))
    for count in (0, 9):
        with pytest.raises(ValueError, match=r"bands 1\.\.8"):
            codec.decode(data, bands=count)


def test_latents_are_an_option_of_decode(tmp_path: Path, codec, data):
    (tmp_path / "a.dct").write_bytes(data)
    out = tmp_path / "a.png"
    assert command("decode", tmp_path / "a.dct", "-o", out, "--bands", 3).exit_code == 0
    assert np.array_equal(Image.open(out), codec.decode(data, bands=3))
    assert_one_error(command("decode", tmp_path / "a.dct", "-o", out, "--bands", 9), 1, "a.dct", installed.DEFAULT, "8 bands")


def coded(codec, data: bytes) -> np.ndarray:
    """The symbols of a file that may have broken off, without a partition."""
    return blocks.unpacked(codec.symbols(data, partial=True)[1])[0]


def test_what_is_there_is_exact_and_the_rest_zero(codec, data):
    whole = coded(codec, data)
    counts = set()
    for prefix in prefixes(data, 8)[:-1]:
        symbols = coded(codec, prefix)
        known = [band for band, of in enumerate(BANDS) if (symbols[of] == whole[of]).all()]
        assert known == list(range(len(known))) and len(known) < len(BANDS)
        begun, later = BANDS[len(known)], symbols[BANDS[len(known)].stop :]
        assert ((symbols[begun] == whole[begun]) | (symbols[begun] == 0)).all()
        assert not later.any()
        counts.add(len(known))
    assert len(counts) > 4


def test_of_a_band_whole_parts_are_taken(codec, data):
    whole = coded(codec, data)
    some = [symbols for prefix in prefixes(data, 16)[:-1] if (symbols := coded(codec, prefix)).any()]
    found = set()
    for symbols in some:
        for band, parts in list(enumerate(PARTS))[4:]:  # those that all tiles send at once
            there = [bool((symbols[list(part)] == whole[list(part)]).all()) for part in parts if whole[list(part)].any()]
            assert there == sorted(there, reverse=True)
            found |= {band} if any(there) and not all(there) else set()
    assert found, "no file broke off within a band"


def test_files_of_one_part_are_refused():
    with pytest.raises(FormatError, match="cannot be decoded in part"):
        dctcodec.decode((GOLDEN / "tiles-200x170.dct").read_bytes()[:-8], partial=True)


def test_the_command_line(codec, data, tmp_path: Path):
    broken, out, other = (tmp_path / name for name in ("a.dct", "a.png", "b.png"))
    broken.write_bytes(data[:400])
    assert_one_error(command("decode", broken, "-o", out), 1, "a.dct", "truncated", "--partial decodes what is there")
    assert_one_error(command("decode", broken, "-o", out, "--upto", 300), 1, "truncated")
    done = command("decode", broken, "-o", out, "--partial")
    assert done.exit_code == 0
    assert (
        done.stderr.startswith("warning: ")
        and "a.dct" in done.stderr
        and f"{37500 / (len(data) - HEADER - 9):.0f} %" in done.stderr
    )
    (tmp_path / "b.dct").write_bytes(data)
    assert command("decode", tmp_path / "b.dct", "-o", other, "--upto", 400).output == ""
    assert out.read_bytes() == other.read_bytes()
    assert_one_error(command("decode", tmp_path / "b.dct", "-o", out, "--upto", 19), 1, "truncated")
    assert_one_error(command("decode", tmp_path / "b.dct", "-o", out, "--upto", 0), 2, "--upto")
