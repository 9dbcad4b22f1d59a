"""Rounds of moves without gradients: what it takes for the magnitudes around, by which slopes, and what it saves."""

import numpy as np
import pytest
import torch

from dctcodec import container
from dctcodec.bands import rounding
from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.choice import choose
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.transform import analyse, dequantise, quantise, synthesise
from dctcodec.metrics import psnr
from dctcodec.tiles import ycbcr_to_rgb

STEP = 40.0
KINDS = kinds_of(["32x32", "16x16", "16x8", "4x4"])


@pytest.fixture
def rgb() -> np.ndarray:
    """Stripes and noise, float32 (1, 3, 64, 96)."""
    generator = np.random.default_rng(5)
    stripes = 128 + 60 * np.sign(np.sin(np.arange(96) / 5 + np.arange(64)[:, None] / 9))
    return (stripes + generator.normal(0, 15, (1, 3, 64, 96))).clip(0, 255).astype(np.float32)


def painted_plainly(symbols: np.ndarray, partition: np.ndarray | None) -> np.ndarray:
    return ycbcr_to_rgb(synthesise(dequantise(symbols, STEP), partition))


@pytest.mark.parametrize("kinds", [(), KINDS])
def test_the_slopes_are_those_of_the_squared_error(rgb, kinds):
    """Where the plain inverse DCT paints, the error changes as a move says, to the last digit: it is a parabola."""
    partition = choose(rgb, np.array([STEP], np.float32), kinds) if kinds else None
    symbols = quantise(analyse(rgb, partition), STEP)
    before = painted_plainly(symbols, partition) - rgb
    slope = rounding.slopes(before, np.array([STEP], np.float32), partition)
    curvature = rounding.curvatures(np.array([STEP], np.float32), None)
    for channel, row, column in [(0, 0, 0), (40, 1, 2), (300, 0, 1), (len(CHANNELS) - 1, 1, 0)]:
        changed = symbols.copy()
        changed[0, channel, row, column] += 1
        after = painted_plainly(changed, partition) - rgb
        expected = np.square(after.astype(float)).sum() - np.square(before.astype(float)).sum()
        change = slope[0, channel, row, column] + curvature[0, channel, 0, 0]
        assert change == pytest.approx(expected, rel=0.01, abs=5)


def test_the_magnitudes_around_a_symbol():
    symbols = np.zeros((1, len(CHANNELS), 2, 2), np.float32)
    at = {(c.plane, c.u, c.v): number for number, c in enumerate(CHANNELS)}
    symbols[0, at[0, 5, 5], 0, 0] = -3
    found = rounding.around(symbols)[0]
    assert found[at[0, 5, 5], 0, 0] == 0
    for (down, across), weight in {
        (1, 0): 1.0,
        (0, -1): 1.0,
        (1, 1): 0.7,
        (2, 0): 0.4,
        (-2, 1): 0.3,
        (2, 2): 0.2,
        (3, 0): 0,
    }.items():
        assert found[at[0, 5 + down, 5 + across], 0, 0] == pytest.approx(3 * weight)
    assert found[at[1, 5, 5], 0, 0] == found[at[0, 5, 5], 1, 1] == 0
    assert found[at[0, 5, 5], 0, 1] == found[at[0, 5, 5], 1, 0] == pytest.approx(3 * rounding.NEXT_TILE)


def test_symbols_that_are_not_worth_their_bits_move_towards_0(rgb):
    """Where a third of their size is missed already, single symbols go and those among large ones stay; nothing becomes larger."""
    symbols = np.zeros((1, len(CHANNELS), 2, 3), np.float32)
    alone = next(number for number, channel in enumerate(CHANNELS) if (channel.plane, channel.u, channel.v) == (0, 9, 9))
    symbols[0, alone, 0, 0], symbols[0, : alone + 50, 1, 1] = 1, 7
    symbols[0, alone, 1, 1] = 1
    error = painted_plainly(symbols, None) - painted_plainly(symbols * np.float32(2 / 3), None)
    steps = np.array([STEP], np.float32)
    moves = rounding.moves(symbols, rounding.slopes(error, steps), rounding.curvatures(steps, None), steps)
    assert moves[0, alone, 0, 0] == -1 and moves[0, alone, 1, 1] == 0
    assert (moves <= 0).all()


@pytest.mark.parametrize("kinds", [(), KINDS])
def test_torch_moves_as_numpy_does(rgb, kinds):
    steps = np.array([STEP], np.float32)
    partition = choose(rgb, steps, kinds) if kinds else None
    symbols = quantise(analyse(rgb, partition), STEP)
    error = painted_plainly(symbols, partition) - rgb
    moves = rounding.moves(symbols, rounding.slopes(error, steps, partition), rounding.curvatures(steps, None), steps)
    told = None if partition is None else torch.from_numpy(partition)
    given, wrong, of = map(torch.from_numpy, (symbols, error, steps))
    same = rounding.moves(given, rounding.slopes(wrong, of, told), rounding.curvatures(of, of.device), of).numpy()
    assert moves.any() and (moves != same).mean() < 1e-3  # a gain may be 0 up to its rounding


def test_the_default_effort_is_rounds_of_moves_and_each_is_worth_it(codec, photo, monkeypatch: pytest.MonkeyPatch):
    crop = photo.crop((100, 80, 300, 220))
    plain, moved = (codec.encode(crop, 50, effort=effort) for effort in (0, 1))
    assert codec.encode(crop, 50) == moved
    monkeypatch.setattr(rounding, "ROUNDS", 1)
    step, pixels = container.parse(plain).header.step, crop.width * crop.height
    bit = step**2 / 5
    costs = [
        3 * pixels * 255**2 * 10 ** (-psnr(crop, codec.decode(data)) / 10) + 8 * len(data) * bit
        for data in (plain, codec.encode(crop, 50), moved)
    ]
    assert costs[1] < costs[0] - 0.01 * 8 * len(plain) * bit
    assert costs[2] < costs[1] - 0.001 * 8 * len(plain) * bit


def test_a_grey_image_keeps_its_symbols_of_chroma_at_0(codec, photo):
    symbols = codec.symbols(codec.encode(photo.crop((90, 80, 160, 140)).convert("L"), 60))[1]
    assert not symbols[: len(CHANNELS)][[channel.plane > 0 for channel in CHANNELS]].any()
