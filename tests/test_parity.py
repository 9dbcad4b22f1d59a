"""Implied parities: what is implied holds, what moves costs least, and what stays stays."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec.bands import coder, parity
from dctcodec.bands.parity import BLOCK, CHAIN, COLUMNS, Blocks, blocks_of, implied_parities
from dctcodec.bands.trellis import Draft, cheapest, settled
from dctcodec.bands.units import LOG_SCALE_MIN, SCALES

TABLES = coder.Tables(**coder.tables_of_prior())


def part(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, Blocks]:
    """Symbols of a part that follow their distributions, int32, the centres and keys of these, and its blocks."""
    random = np.random.default_rng(seed)
    mean, scale = random.integers(-40, 40, count), random.integers(0, SCALES, count)
    symbols = np.rint(mean / 16 + random.logistic(0, np.exp(LOG_SCALE_MIN + scale / 8))).astype(np.int32)
    centre, keys = TABLES.split(mean, scale)
    return symbols, centre, keys, blocks_of(TABLES.openness[keys])


def draft(symbols: np.ndarray, seed: int = 1) -> Draft:
    slope = np.random.default_rng(seed).normal(0, 1, len(symbols)).astype(np.float32)
    return Draft(symbols, slope, np.ones(len(symbols), np.float32), 0.3)


def holds(blocks: Blocks, symbols: np.ndarray) -> bool:
    """Whether the implied symbols have the parities that the others imply."""
    implied = blocks.places[blocks.implied]
    others = symbols.copy()
    others[implied] = 0
    return np.array_equal(implied_parities(blocks, others), symbols[implied] & 1)


@pytest.mark.parametrize("count", [0, 1, 7, 300, 20_000])
def test_symbols_settle_on_ones_whose_parities_hold(count: int):
    symbols, centre, keys, blocks = part(count)
    found = settled(draft(symbols), np.arange(count), centre, keys, TABLES, blocks)
    assert holds(blocks, found) and found.dtype == np.int32
    assert count == 0 or np.abs(found - symbols).max() <= 1
    assert count < 20_000 or len(blocks.starts) > 2 * CHAIN  # several chains
    assert count < 300 or not holds(blocks, symbols)


def test_what_holds_already_stays():
    symbols, centre, keys, blocks = part(3000)
    every = np.arange(len(symbols))
    found = settled(draft(symbols), every, centre, keys, TABLES, blocks)
    nothing = np.zeros(len(found), np.float32)
    still = Draft(found, nothing, nothing + 1, 0.0)
    assert np.array_equal(settled(still, every, centre, keys, TABLES, blocks), found)


def test_a_block_is_as_open_as_it_must_be():
    openness = TABLES.openness[part(5000)[2]]
    blocks = blocks_of(openness)
    sums = np.add.reduceat(openness[blocks.places].astype(int), blocks.starts)
    assert len(blocks.starts) == openness.astype(int).sum() // BLOCK
    assert np.abs(np.cumsum(sums)[:-1] - BLOCK * np.arange(1, len(blocks.starts))).max() <= openness.max()
    for number, (first, last) in enumerate(zip(blocks.starts, [*blocks.starts[1:], len(blocks.places)], strict=True)):
        own = openness[blocks.places[first:last]]
        assert blocks.implied[number] == first + own.argmax()
    assert openness.max() == 2 ** (parity.OPEN_BITS - 1) and openness.min() == 0


@given(st.integers(1, 3), st.integers(0, 10**6))
def test_the_cheapest_changes_are_those_of_all_sets(count: int, seed: int):
    """Against every set of symbols, in few small blocks."""
    random, places, starts = np.random.default_rng(seed), np.arange(4 * count), 4 * np.arange(count)
    blocks = Blocks(places, COLUMNS[places % len(COLUMNS)], starts, starts)
    symbols, loss = random.integers(0, 2, 4 * count), random.random(4 * count)
    changed = np.zeros(4 * count, bool)
    changed[cheapest(blocks, parity.sums(blocks, symbols), loss)] = True
    assert holds(blocks, symbols ^ changed)
    costs = [
        loss[np.array(some, bool)].sum()
        for some in product((False, True), repeat=4 * count)
        if holds(blocks, symbols ^ np.array(some))
    ]
    assert loss[changed].sum() == pytest.approx(min(costs), rel=1e-5)


def test_parities_save_bits_at_equal_error():
    """With them, the same squared error by fewer bits, on symbols of Gaussian noise that are rounded as their bits are worth."""
    random = np.random.default_rng(3)
    scale = np.full(50_000, 28)
    values = random.logistic(0, np.exp(LOG_SCALE_MIN + 28 / 8) * 0.9, len(scale))
    costs = []
    for implied in (True, False):
        for step in (1.0, 1.3):
            symbols = np.rint(values / step).astype(np.int32)
            centre, keys = TABLES.split(np.zeros(len(scale), np.int32), scale)
            blocks = blocks_of(TABLES.openness[keys] * implied)
            slope = (2 * step**2 * (symbols - values / step)).astype(np.float32)
            rough = Draft(symbols, slope, np.full(len(scale), step**2, np.float32), 0.2 * step**2)
            found = settled(rough, np.arange(len(scale)), centre, keys, TABLES, blocks)
            bits = TABLES.lengths(found - centre, keys)
            places = blocks.places[blocks.implied]
            bits[places] = TABLES.lengths(found[places], TABLES.half(keys[places], found[places] & 1))
            costs.append((np.log(np.mean((found * step - values) ** 2)), bits.mean()))
    (e1, b1), (e2, b2), (f1, c1), (f2, c2) = costs
    at_the_same_error = c1 + (c2 - c1) * (e1 - f1) / (f2 - f1)
    assert b1 < at_the_same_error - 0.03
