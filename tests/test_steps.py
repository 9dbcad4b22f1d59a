"""A step for each tile: the indices and how they are sent, what is made of them, and files that have them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_blocks import small_codec

from dctcodec import Codec, FormatError, container
from dctcodec.arrays import place_of
from dctcodec.bands import coder, rounding, steps
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.partition import bits_of_tiles
from dctcodec.bands.transform import ROUNDING_OFFSETS, analyse, coefficients, consistent, dequantise, quantise, step_of_symbols

TABLES = coder.Tables(**coder.integer_tables(np.zeros(1), lambda x: 1 / (1 + np.exp(-x))))


def index_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-steps.MOST, steps.MOST + 1, (height, width))


def partition_with(index: np.ndarray) -> np.ndarray:
    """Whole tiles with these steps: (1, 5, h, w)."""
    return np.concatenate([np.zeros((4, *index.shape), np.int64), index[None]])[None]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_indices_come_back(height: int, width: int, seed: int):
    index = index_of(height, width, seed)
    data = coder.encode([], TABLES, [(entries, now.keys, now.table) for now, _, entries in steps.sent(index)])
    reader, read = coder.Reader(data, TABLES), np.zeros_like(index)
    for now, take, _ in steps.sent(read):
        take(reader.take_plain(now.keys, now.table))
    reader.finish()
    assert np.array_equal(read, index)
    bits = bits_of_tiles(steps.sent(index), height, width).sum()
    assert bits - 32 <= 8 * len(data) <= bits + 96


@given(st.binary(min_size=4, max_size=80).filter(lambda data: any(data[:4])))
def test_any_bytes_are_indices(data: bytes):
    reader, index = coder.Reader(data[: len(data) // 4 * 4], TABLES), np.zeros((3, 5), np.int64)
    for now, take, _ in steps.sent(index):
        take(reader.take_plain(now.keys, now.table))
    assert abs(index).max() <= steps.MOST


def test_factors_in_whole_numbers_are_near_those_in_floats():
    partition = partition_with(np.arange(-steps.MOST, steps.MOST + 1)[None])
    assert np.allclose(steps.whole_factors(partition[0]) / 2**steps.FACTOR_BITS, steps.factors(partition)[0, 0], rtol=3e-3)
    assert steps.factors(partition[:, :4]) == 1 and steps.whole_factors(partition[0, :4]) is None


def test_chosen_indices_follow_what_is_wanted_and_are_cheap():
    smooth = np.broadcast_to(np.linspace(-0.9, 0.9, 24), (16, 24))
    noisy = smooth + np.random.default_rng(0).normal(0, 0.1, smooth.shape)
    found, nearest = steps.chosen(noisy, 0.3), np.rint(4 * noisy).clip(-4, 4).astype(np.int64)
    assert abs(found - 4 * noisy).mean() < 0.6
    lengths = [bits_of_tiles(steps.sent(index), 16, 24).sum() for index in (found, nearest, np.zeros_like(found))]
    assert lengths[0] < 0.7 * lengths[1] and lengths[2] < 0.75 * found.size
    assert (steps.chosen(np.full((2, 3), 9.0), 0.3) == steps.MOST).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_symbols_are_of_their_tiles_steps(kind: str):
    rgb = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 96)).astype(np.float32)
    partition = partition_with(index_of(2, 3))
    if kind == "torch":
        rgb, partition = torch.from_numpy(rgb), torch.from_numpy(partition)
    wanted = analyse(rgb, partition)
    symbols = quantise(wanted, 24.0, partition)
    for row, column in np.ndindex(2, 3):
        step = 24 * steps.WHOLE_FACTORS[steps.MOST + int(partition[0, 4, row, column])] / 2**steps.FACTOR_BITS
        alone = quantise(wanted[:, :, row : row + 1, column : column + 1], step)
        assert (symbols[:, :, row, column] == alone[..., 0, 0]).all()
    step = torch.tensor([24.0]) if kind == "torch" else np.array([24.0], np.float32)
    slopes = rounding.slopes_of_rounding(symbols, wanted, step, partition)
    curvatures = rounding.curvatures(step, place_of(symbols), partition)
    error = abs(slopes / (2 * rounding.LEFT_OF_ROUNDING * curvatures))  # in steps
    assert 0.3 < error.max() <= 1 - min(ROUNDING_OFFSETS) + 1e-3
    assert abs((dequantise(symbols, 24.0, partition) - wanted) / step_of_symbols(24.0, place_of(symbols), partition)).max() < 0.61


def test_what_is_added_stays_within_half_a_step_of_each_tile():
    partition = torch.from_numpy(partition_with(index_of(2, 3)))
    added = 200 * torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    kept = coefficients(consistent(added, torch.tensor([40.0]), partition), partition)
    assert (kept / dequantise(torch.ones(1, len(CHANNELS), 2, 3), 40.0, partition)).abs().max() <= 0.501


# --- files


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec("flagship-1", "cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A gradient, and noise on the right."""
    pixels = np.broadcast_to(np.linspace(60, 180, 130)[:, None, None], (130, 200, 3)).copy()
    pixels[:, 100:] += np.random.default_rng(0).normal(0, 40, (130, 100, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(codec: Codec, picture: Image.Image) -> bytes:
    return codec.encode(picture, 60, tune="ms-ssim")


def test_files_tuned_for_ms_ssim_have_finer_steps_where_all_is_flat(codec: Codec, data: bytes):
    header, symbols = codec.symbols(data)
    index = symbols[len(CHANNELS) + 4]
    assert header.stepped and index.shape == (5, 7)
    assert index[:, :3].max() < 0 < index[:4, 4:].min()
    assert codec.tile_bits(data).sum() == pytest.approx(codec.code_length(data), rel=1e-6)
    assert codec.code_length(data) == pytest.approx(8 * len(data), rel=0.05)


def test_other_files_have_none(codec: Codec, picture: Image.Image):
    header, symbols = codec.symbols(codec.encode(picture, 60))
    assert not header.stepped and len(symbols) == len(CHANNELS) + 4


def test_every_way_to_decode_knows_them(codec: Codec, picture: Image.Image, data: bytes):
    whole = np.asarray(codec.decode(data), float)
    assert np.abs(whole - np.asarray(picture)).mean() < 20
    small = np.asarray(codec.preview(data, 4), float)
    means = whole[:128].reshape(32, 4, 50, 4, 3).mean((1, 3))
    assert np.abs(small[:32] - means).mean() < 8
    coarse = np.asarray(codec.decode(data[: len(data) // 2], partial=True), float)
    assert np.abs(coarse - whole).mean() < 40
    assert codec.symbols(data[:40], partial=True)[1].shape == (len(CHANNELS) + 5, 5, 7)


@pytest.mark.parametrize("options", [{"effort": 0}, {"effort": 2}])
def test_every_effort_makes_them(codec: Codec, picture: Image.Image, options: dict[str, int]):
    data = codec.encode(picture.convert("L"), 40, tune="ms-ssim", **options)
    header, symbols = codec.symbols(data)
    assert header.stepped and header.grey and symbols[len(CHANNELS) + 4].any()


def test_a_model_without_blocks_refuses_them(tmp_path: Path, make_picture: Callable[..., Image.Image]):
    plain = small_codec(tmp_path, ())
    file = container.parse(plain.encode(make_picture(40, 40), 50))
    with pytest.raises(FormatError, match="step for each tile, which its model"):
        plain.decode(container.write(replace(file.header, stepped=True), file.payload))
