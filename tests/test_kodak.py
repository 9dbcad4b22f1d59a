"""What the shipped weights must do, on four Kodak images."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dctcodec import container
from dctcodec.bands import blocks
from dctcodec.bands.order import REVEALS
from dctcodec.bands.transform import dequantise, synthesise
from dctcodec.tiles import ycbcr_to_rgb
from dctcodec.train.export import shipped_prior
from dctcodec.train.prior import reveal_bits

pytestmark = pytest.mark.quality
NUMBERS = (3, 8, 13, 20)
QUALITIES = (30, 45)


@dataclass
class Coded:
    """One image at one quality."""

    bpp: float
    bits: int
    header: container.Header
    symbols: np.ndarray
    gain: float
    """PSNR of the decoded image less that of the plain inverse DCT, dB."""


def psnr(pixels: np.ndarray, original: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.square(pixels.astype(float) - original).mean())


@pytest.fixture(scope="module")
def coded(codec, kodak: list[Path]) -> dict[tuple[int, int], Coded]:
    return {(number, quality): code(codec, kodak[number - 1], quality) for number in NUMBERS for quality in QUALITIES}


def code(codec, path: Path, quality: float) -> Coded:
    image = Image.open(path)
    original = np.asarray(image, float)
    data = codec.encode(image, quality)
    header, symbols = codec.symbols(data)
    values, partition = blocks.unpacked(symbols)
    coefficients = dequantise(values[None].astype(np.float32), header.step)
    plain = ycbcr_to_rgb(synthesise(coefficients, None if partition is None else partition[None]))[0].clip(0, 255).round()
    gain = psnr(np.asarray(codec.decode(data)), original) - psnr(plain.transpose(1, 2, 0), original)
    return Coded(8 * len(data) / (image.width * image.height), 8 * len(data), header, symbols, gain)


def test_the_decoder_beats_the_inverse_dct(coded: dict[tuple[int, int], Coded]):
    for quality in QUALITIES:
        bpp = np.mean([coded[number, quality].bpp for number in NUMBERS])
        assert 0.1 < bpp < 0.4, f"quality {quality} is outside the range of the target"
    assert min(c.gain for c in coded.values()) > 0
    assert np.mean([c.gain for c in coded.values()]) >= 0.9


def test_files_are_hardly_larger_than_the_ideal(codec, coded: dict[tuple[int, int], Coded]):
    for c in coded.values():
        ideal = codec.family.prior.code_length(c.symbols, c.header.step16)
        assert 0 <= c.bits - ideal <= 0.01 * ideal + 8 * 29


def test_the_float_network_has_the_exact_one_s_code_length(codec, coded: dict[tuple[int, int], Coded]):
    network = shipped_prior(codec.model)
    exact = floating = 0.0
    for number in NUMBERS[:2]:
        c = coded[number, 45]
        symbols, partition = blocks.unpacked(torch.from_numpy(c.symbols))
        steps, told = torch.tensor([c.header.step]), None if partition is None else partition[None]
        with torch.no_grad():
            outputs = network(symbols[None].float(), torch.log(steps), torch.arange(len(REVEALS))[None], partition=told)
            floating += 0 if told is None else network.partition.code.bits(told, steps).item()
        floating += sum(reveal_bits(symbols, reveal, *output).item() for reveal, output in enumerate(outputs))
        exact += codec.family.prior.whole_length(c.symbols, c.header.step16)
    assert exact == pytest.approx(floating, rel=0.005)
