"""Frozen files, whose symbols and pixels no machine, version of a library or later change may alter. Remake them with
golden/make.py."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dctcodec.codec import codec_for
from dctcodec.threads import limited

FOLDER = Path(__file__).parent / "golden"
EXPECTED = json.loads((FOLDER / "symbols.json").read_text())


def test_every_file_is_listed():
    assert {path.name for path in FOLDER.glob("*.dct")} == EXPECTED.keys()
    assert len(EXPECTED) >= 4


def test_other_processors_gave_these_symbols_and_pixels():
    # tests/arm/run makes the record; a golden file that is made anew needs a new record
    record = json.loads((FOLDER.parent / "arm" / "record.json").read_text())
    assert record.keys() == {"aarch64", "haswell", "nehalem"}
    for facts in record.values():
        files = {name: one for name, one in facts["results"].items() if name in EXPECTED}
        assert {name: one["sha256"] for name, one in files.items()} == {name: EXPECTED[name]["sha256"] for name in files}
        assert {name: one.get("pixels") for name, one in files.items()} == {name: EXPECTED[name].get("pixels") for name in files}
        assert all(one["equal"] for one in facts["results"].values())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", EXPECTED)
def test_symbols_are_those_of_the_day_it_was_made(name: str, threads: int):
    data = (FOLDER / name).read_bytes()
    with limited(threads):
        header, symbols = codec_for(data).symbols(data)
    expected = {key: value for key, value in EXPECTED[name].items() if key != "pixels"}
    assert hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest() == expected.pop("sha256")
    assert {key: getattr(header, key) for key in expected} == expected
    assert symbols.any()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name, facts in EXPECTED.items() if "pixels" in facts])
def test_pixels_are_those_of_the_day_it_was_made(name: str, threads: int):
    data = (FOLDER / name).read_bytes()
    with limited(threads):
        pixels = np.asarray(codec_for(data).decode(data))
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == EXPECTED[name]["pixels"]


def test_the_default_models_pixels_are_frozen():
    assert all("pixels" in facts for name, facts in EXPECTED.items() if name.startswith("flagship"))


@pytest.mark.parametrize("name", EXPECTED)
def test_they_still_give_pictures(name: str):
    data = (FOLDER / name).read_bytes()
    header = EXPECTED[name]
    picture = codec_for(data).decode(data, temperature=0.5)
    assert picture.size == (header["width"], header["height"])
    assert picture.mode == ("L" if header["grey"] else "RGB")


def test_a_patch_is_that_of_the_day_it_was_made():
    image = codec_for(data := (FOLDER / "flagship-patch-100x40.dct").read_bytes()).decode(data)
    patched = np.asarray(image)[:32, :64]
    colours = {(250, 240, 230), (20, 60, 90), (200, 30, 40), (90, 90, 90)}
    assert {tuple(colour) for colour in patched.reshape(-1, 3).tolist()} == colours
    assert hashlib.sha256(patched.tobytes()).hexdigest()[:16] == "28920b746726c129"
