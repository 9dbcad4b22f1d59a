"""Effort: fewer bits or a nearer image for more of the encoder's time, in files like any other."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import assert_one_error, dctcodec

from dctcodec import Codec, container, device, installed, tiles
from dctcodec.bands import blocks, masking, rdo, transform
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.rdo import SymbolOptimiser
from dctcodec.errors import FormatError
from dctcodec.family import TUNED_DECODER, TUNES, Parameters
from dctcodec.metrics import ms_ssim, psnr
from dctcodec.progress import no_tick

QUALITY = 45
MS_SSIM_EXPONENT = 0.83
"""1 - MS-SSIM is about bits to the power of minus this: the mean over held-out photographs, 0.1 to 0.9 bits a pixel."""


@pytest.fixture(scope="module")
def crop(photo) -> Image.Image:
    """Part of the photograph, not of whole tiles."""
    return photo.crop((150, 90, 150 + 200, 90 + 140))


@pytest.fixture(scope="module")
def files(codec, crop) -> dict[int, bytes]:
    return {effort: codec.encode(crop, QUALITY, effort=effort) for effort in (0, 1, 2, 5)}


@pytest.fixture
def float32(monkeypatch) -> None:
    """Differences of images that are nearly the same need more digits than bfloat16 has."""
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda: False)


def refiner(
    codec, image: Image.Image, step: float, partition: np.ndarray | None = None, seen: np.ndarray | float = 1.0
) -> tuple[SymbolOptimiser, torch.Tensor]:
    """A search for an image, and its symbols to begin with."""
    rgb = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()
    told = None if partition is None else torch.from_numpy(partition[None])
    symbols = transform.quantise(transform.analyse(rgb[None], told), step)[0].int()
    parts = codec.family.torch_decoder(TUNES[0]), codec.family.prior, rgb.numpy(), Parameters(round(16 * step))
    return SymbolOptimiser(*parts, partition, seen), symbols


def cost(codec, image: Image.Image, data: bytes) -> float:
    """Squared error of the decoded image and the file's bits, weighed as the search weighs them."""
    header = container.parse(data).header
    found, wanted = (np.array(one.convert("RGB"), float) for one in (codec.decode(data), image))
    error = np.square(found - wanted).sum()
    return error + 8 * len(data) * header.step**2 / 5


def test_more_effort_costs_less(codec, crop, files):
    costs = [cost(codec, crop, files[effort]) for effort in (0, 1, 2, 5)]
    assert costs == sorted(costs, reverse=True)
    bits = 8 * len(files[0]) * container.parse(files[0]).header.step ** 2 / 5
    assert costs[0] - costs[3] > 0.04 * bits
    assert psnr(crop, codec.decode(files[5])) > psnr(crop, codec.decode(files[0])) + 0.1


def test_effort_after_pictures_were_decoded(codec, crop, files, tmp_path: Path):
    crop.save(tmp_path / "crop.png")
    (tmp_path / "crop.dct").write_bytes(files[0])
    script = """
import sys
from pathlib import Path
from PIL import Image
import torch
from dctcodec.codec import codec_for
files = [Path(name).read_bytes() for name in (sys.argv[1], "crop.dct")]
with torch.inference_mode():
    codecs = [codec_for(file, "cpu") for file in files]
    for codec, file in zip(codecs, files):
        codec.decode(file)
sys.stdout.buffer.write(codecs[1].encode(Image.open("crop.png"), float(sys.argv[2]), effort=1))
"""
    paper = Path(__file__).parent / "golden" / "tile-1x1.dct"
    run = subprocess.run([sys.executable, "-c", script, paper, str(QUALITY)], cwd=tmp_path, capture_output=True, timeout=300)
    assert container.parse(run.stdout).header == container.parse(files[1]).header, run.stderr.decode()


def test_effort_changes_nothing_but_symbols(files):
    headers = [container.parse(data).header for data in files.values()]
    assert len({header.step16 for header in headers}) == 1 and len(set(files.values())) == len(files)


def test_the_same_effort_gives_the_same_file(codec, crop, files):
    assert codec.encode(crop, QUALITY, effort=1) == files[1]


def test_grey_pictures_send_no_chroma(codec, crop):
    grey = crop.convert("L")
    data = codec.encode(grey, QUALITY, effort=4)
    symbols, _ = blocks.unpacked(codec.symbols(data)[1])
    assert not symbols[[channel.plane > 0 for channel in CHANNELS]].any()
    assert cost(codec, grey, data) < cost(codec, grey, codec.encode(grey, QUALITY))


@pytest.mark.parametrize("size", [(1, 1), (33, 1), (40, 70)])
def test_any_size(codec, make_picture, size: tuple[int, int]):
    picture = make_picture(*size)
    assert codec.decode(codec.encode(picture, 30, effort=2)).size == size


def test_the_slope_is_that_of_the_error(codec, crop, float32):
    search, symbols = refiner(codec, crop, 40.0)
    symbols = symbols.float()
    _, slope = search._error(symbols)
    direction = torch.sign(slope) * (slope.abs() > slope.abs().quantile(0.99))
    low, high = (search._error(symbols + by * direction)[0] for by in (-0.01, 0.01))
    assert (high - low) / 0.02 == pytest.approx((slope * direction).sum().item(), rel=0.01)


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_the_curvature_is_that_of_the_inverse_dct(codec, crop, plane: int):
    search, symbols = refiner(codec, crop, 40.0)
    channel = next(number for number, channel in enumerate(CHANNELS) if channel.plane == plane and channel.u == 2)
    symbol = torch.zeros(1, *symbols.shape)
    symbol[0, channel, 1, 1] = 1
    change = tiles.ycbcr_to_rgb(transform.synthesise(transform.dequantise(symbol, 40.0))) - tiles.ycbcr_to_rgb(
        transform.synthesise(torch.zeros_like(symbol))
    )
    assert change.square().sum().item() == pytest.approx(search.curvature[channel].item(), rel=1e-3)


def test_with_weights_the_slope_is_that_of_the_weighted_error(codec, crop, float32):
    """The crop is not of whole tiles, and has blocks of two kinds."""
    partition = blocks.whole(5, 7)
    partition[:, 1, 2] = codec.family.kinds[-1]
    seen = np.random.default_rng(0).uniform(0.2, 5, (len(CHANNELS), 5, 7)).astype(np.float32)
    search, symbols = refiner(codec, crop, 40.0, partition, seen)
    symbols = symbols.float()
    _, slope = search._error(symbols)
    direction = torch.sign(slope) * (slope.abs() > slope.abs().quantile(0.99))
    low, high = (search._error(symbols + by * direction)[0] for by in (-0.01, 0.01))
    assert (high - low) / 0.02 == pytest.approx((slope * direction).sum().item(), rel=0.02)


def test_weights_of_1_leave_the_error_as_it_is(codec, photo, float32):
    """But for what leaves the frequencies that are coded: a few per cent."""
    image = photo.crop((150, 90, 150 + 160, 90 + 128))
    plain, symbols = refiner(codec, image, 40.0)
    weighted, _ = refiner(codec, image, 40.0, seen=np.ones((len(CHANNELS), 4, 5), np.float32))
    assert weighted._error(symbols.float())[0] == pytest.approx(plain._error(symbols.float())[0], rel=0.1)


@pytest.mark.quality
def test_tune_ms_ssim_serves_it(codec, photo):
    """Crops gain less: a small one has little that differs in texture."""
    files = [codec.encode(photo, QUALITY, **options) for options in ({}, {"tune": "ms-ssim"})]
    costs = [np.log(len(data)) + np.log(1 - ms_ssim(photo, codec.decode(data))) / MS_SSIM_EXPONENT for data in files]
    assert costs[1] < costs[0] - 0.04


@pytest.mark.quality
def test_effort_for_ms_ssim_lowers_bits_and_weighted_error(codec, photo):
    image = photo.crop((100, 200, 292, 392))
    rgb = np.array(image, np.float32).transpose(2, 0, 1)
    draft, partition = codec.family._rounded(rgb, Parameters(40 * 16), masking.step_index(masking.seen(rgb), 40.0))
    search, _ = refiner(codec, image, 40.0, partition, masking.weights(masking.seen(rgb), draft.slope, draft.curvature))
    first = search._state(torch.from_numpy(draft.symbols).float())
    last = search._state(torch.from_numpy(search.optimise(draft.symbols, 4, no_tick).symbols).float())
    assert last.cost < 0.98 * first.cost


def test_tune_says_how_a_file_is_painted(codec, crop, files, tmp_path: Path):
    data = codec.encode(crop, QUALITY, tune="ms-ssim")
    header, symbols = codec.symbols(data)
    assert header.tuned and header.stepped and np.any(symbols[: len(CHANNELS)] != codec.symbols(files[1])[1][: len(CHANNELS)])
    assert codec.decode(codec.encode(crop.crop((0, 0, 20, 9)), 30, effort=1, tune="ms-ssim")).size == (20, 9)
    crop.save(tmp_path / "a.png")
    command = ("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct", "--tune", "ms-ssim")
    assert dctcodec(*command, "--quality", QUALITY).exit_code == 0
    assert (tmp_path / "a.dct").read_bytes() == data
    assert "ms-ssim" in dctcodec("info", tmp_path / "a.dct").stdout
    assert dctcodec(*command, "--target-size", 700).exit_code == 0
    assert container.parse((tmp_path / "a.dct").read_bytes()).header.tuned
    with pytest.raises(ValueError, match="not tuned for 'vmaf'"):
        codec.encode(crop, tune="vmaf")


@pytest.fixture
def untuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model that is the default one without its decoder for MS-SSIM."""
    shutil.copytree(installed.find(installed.DEFAULT).path, tmp_path / "untuned", ignore=shutil.ignore_patterns(TUNED_DECODER))
    monkeypatch.setattr(installed, "_PLACES", (*installed._PLACES, tmp_path))
    return "untuned"


def test_a_model_without_a_second_decoder_refuses_tune(untuned, crop, tmp_path: Path):
    crop.save(tmp_path / "a.png")
    for command in (("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct"), ("bench", "kodak", "--data", tmp_path)):
        for model in (untuned, "dct-vae-cifar10"):
            assert_one_error(dctcodec(*command, "--tune", "ms-ssim", "--model", model), 1, "remove --tune")


def test_a_file_to_be_painted_by_weights_that_are_not_there_is_refused(untuned, crop):
    codec = Codec(untuned, "cpu")
    file = container.parse(codec.encode(crop, QUALITY))
    with pytest.raises(FormatError, match="needs a decoder that its model untuned does not have"):
        codec.decode(container.write(replace(file.header, tuned=True), file.payload))


def test_windows_cover_a_picture_once_and_hardly_change_its_error(codec, crop, monkeypatch: pytest.MonkeyPatch):
    search, symbols = refiner(codec, crop, 40.0)
    error, slope = search._error(symbols.float())
    monkeypatch.setattr(rdo, "WINDOW", 2)
    monkeypatch.setattr(rdo, "MARGIN", 2)
    seen = torch.zeros(symbols.shape[1:])
    for inner, _ in rdo._windows(*seen.shape):
        seen[inner] += 1
    assert (seen == 1).all()
    parts_error, parts_slope = search._error(symbols.float())
    assert parts_error == pytest.approx(error, rel=0.01)
    assert torch.nn.functional.cosine_similarity(slope.flatten(), parts_slope.flatten(), 0) > 0.98


def test_efforts_out_of_range_are_refused(codec, crop, tmp_path: Path):
    for effort in (-1, 10):
        with pytest.raises(ValueError, match="effort"):
            codec.encode(crop, effort=effort)
    crop.save(tmp_path / "a.png")
    command = ("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct", "--effort")
    assert_one_error(dctcodec(*command, 10), 2, "--effort")


def test_the_command_line_takes_an_effort_and_a_target_with_it(codec, crop, files, tmp_path: Path):
    crop.save(tmp_path / "a.png")
    command = ("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct", "--effort", 1)
    assert dctcodec(*command, "--quality", QUALITY).exit_code == 0
    assert (tmp_path / "a.dct").read_bytes() == files[1]
    assert dctcodec(*command, "--target-size", 700).exit_code == 0
    assert 650 < (tmp_path / "a.dct").stat().st_size <= 700


def test_progress_adds_up(codec, crop):
    shares = []
    codec.encode(crop, QUALITY, effort=2, tick=shares.append)
    assert sum(shares) == pytest.approx(1) and len(shares) > 10
