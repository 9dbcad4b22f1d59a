"""Symbols to bytes and back under integer tables, whatever the symbols, and whatever the bytes."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec.bands import coder
from dctcodec.errors import FormatError, ModelError

SCALES = np.exp(-3.25 + np.arange(64) / 8)
MEAN_LIMIT, SYMBOL_LIMIT = 32767, 32767


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


PARTS = coder.integer_tables(np.log(SCALES), logistic)
TABLES = coder.Tables(PARTS["cumulative"], PARTS["reach"])

symbols = st.one_of(st.integers(-3, 3), st.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT), st.sampled_from([-SYMBOL_LIMIT, SYMBOL_LIMIT]))
means = st.one_of(st.integers(-40, 40), st.integers(-MEAN_LIMIT, MEAN_LIMIT), st.sampled_from([-MEAN_LIMIT, MEAN_LIMIT]))
batches = st.lists(st.lists(st.tuples(symbols, means, st.integers(0, 63)), max_size=20), max_size=4)


def batch(rows: list[tuple[int, int, int]]) -> coder.Batch:
    symbols, mean, scale = np.array(rows, np.int32).reshape(-1, 3).T.copy()
    return coder.Batch(symbols, *TABLES.split(mean, scale))


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols that follow the distributions they are coded with, int32, means in 1/16 and scale indices."""
    random = np.random.default_rng(seed)
    mean, scale = random.integers(-400, 400, count), random.integers(0, 64, count)
    values = np.rint(mean / 16 + random.logistic(0, SCALES[scale]))
    return values.astype(np.int32), mean.astype(np.int32), scale.astype(np.int32)


def drawn_batch(count: int, seed: int = 0) -> coder.Batch:
    symbols, mean, scale = drawn(count, seed)
    return coder.Batch(symbols, *TABLES.split(mean, scale))


def bits_of(batches: list[coder.Batch]) -> float:
    return sum(coder.lengths(one, TABLES).sum() for one in batches)


def taken(data: bytes, wanted: list[coder.Batch]) -> list[list[int]]:
    reader = coder.Reader(data, TABLES)
    got = [reader.take(one.centre, one.keys).tolist() for one in wanted]
    reader.finish()
    return got


@given(batches)
def test_symbols_come_back_in_order(rows):
    sent = [batch(part) for part in rows]
    assert taken(coder.encode(sent, TABLES), sent) == [one.symbols.tolist() for one in sent]


def test_many_symbols_come_back():
    sent = [drawn_batch(3000, seed) for seed in range(3)]
    assert taken(coder.encode(sent, TABLES), sent) == [one.symbols.tolist() for one in sent]


def test_nothing_takes_no_bytes():
    assert coder.encode([], TABLES) == b""
    assert coder.encode([batch([])] * 3, TABLES) == b""
    assert taken(b"", [batch([])] * 3) == [[], [], []]


def test_size_is_the_ideal_one():
    sent = [drawn_batch(40_000, seed) for seed in range(5)]
    ideal, real = bits_of(sent), 8 * len(coder.encode(sent, TABLES))
    assert abs(real - ideal) <= 0.01 * ideal + 64


def test_ideal_bits_are_those_of_the_distribution():
    values, mean, scale = drawn(20_000)
    upper, lower = ((values - mean / 16 + half) / SCALES[scale] for half in (0.5, -0.5))
    mass = np.where(values > mean / 16, logistic(-lower) - logistic(-upper), logistic(upper) - logistic(lower))
    assert bits_of([drawn_batch(20_000)]) == pytest.approx(-np.log2(mass).sum(), rel=1e-3)


def test_an_escape_costs_its_plain_bits_too():
    far = batch([(30_000, -5000, 0)])
    (count,) = TABLES.counts(0)[-1:]
    assert -5000 % 16 == 8  # so the phase is -8, and the key 0
    total = TABLES.counts(0).sum()
    assert bits_of([far]) == pytest.approx(coder.ESCAPE_BITS - np.log2(count / total))


@pytest.mark.parametrize("scale", [0, 1, 20, 40, 63])
@pytest.mark.parametrize("phase", range(-8, 8))
def test_counts_are_positive_and_those_of_the_distribution(scale: int, phase: int):
    counts, reach = TABLES.counts(scale * 16 + phase + 8), PARTS["reach"][scale]
    assert len(counts) == 2 * reach + 2
    assert (counts > 0).all()
    edges = (np.arange(-reach, reach + 2) - 0.5 - phase / 16) / SCALES[scale]
    mass = np.diff(logistic(edges))
    expected = np.append(mass, 1 - mass.sum())
    assert counts.sum() == pytest.approx(2**24 + len(counts), abs=4)
    assert np.abs(counts / counts.sum() - expected).max() < 2e-4


def test_batches_of_large_integers_are_coded_as_those_of_small_ones():
    sent = drawn_batch(5000)
    wide = coder.Batch(*(values.astype(np.int32) for values in sent))
    assert coder.encode([wide], TABLES) == coder.encode([sent], TABLES)


@given(batches)
def test_symbols_of_a_known_parity_come_back(rows):
    sent = []
    for part in rows:
        one = batch(part)
        sent.append(one._replace(keys=TABLES.half(one.keys, (one.symbols - one.centre) & 1)))
    assert taken(coder.encode(sent, TABLES), sent) == [one.symbols.tolist() for one in sent]


def test_a_known_parity_saves_its_bits():
    """p(s) = P(parity of s) p(s | parity), of symbols that are no escapes."""
    whole = drawn_batch(5000)
    offsets = whole.symbols - whole.centre
    halves = TABLES.half(whole.keys, offsets & 1)
    saved = TABLES.lengths(offsets, whole.keys) - TABLES.lengths(offsets, halves)
    for parity in (0, 1):
        counts = [TABLES.counts(key)[:-1].sum() for key in TABLES.half(whole.keys, parity).tolist()]
        others = [TABLES.counts(key)[:-1].sum() for key in TABLES.half(whole.keys, 1 - parity).tolist()]
        share = np.array(counts) / (np.array(counts) + np.array(others))
        assert saved[offsets & 1 == parity] == pytest.approx(-np.log2(share[offsets & 1 == parity]), abs=0.01)
        assert np.array_equal(TABLES.openness[whole.keys], np.floor(256 * np.minimum(share, 1 - share)))


def test_split_takes_the_nearest_whole_number():
    mean = np.arange(-100, 101, dtype=np.int32)
    centre, key = TABLES.split(mean, np.full(201, 5, np.int32))
    phase = key.astype(int) - 5 * 16 - 8
    assert (centre * 16 + phase == mean).all()
    assert (phase >= -8).all() and (phase < 8).all()


@given(st.binary(max_size=80), st.integers(0, 60))
def test_garbage_gives_symbols_or_a_format_error(data: bytes, count: int):
    sent = drawn_batch(count)
    try:
        reader = coder.Reader(data, TABLES)
        assert len(reader.take(sent.centre, sent.keys)) == count
        reader.finish()
    except FormatError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 401])
def test_broken_words_are_refused(length: int):
    with pytest.raises(FormatError, match="words"):
        coder.Reader(b"\1" * length, TABLES)


def test_a_zero_word_at_the_beginning_is_refused():
    with pytest.raises(FormatError, match="zero word"):
        coder.Reader(b"\0\0\0\0\1\2\3\4", TABLES)


def test_words_left_over_are_refused():
    sent = drawn_batch(500)
    reader = coder.Reader(coder.encode([sent], TABLES), TABLES)
    reader.take(sent.centre[:300], sent.keys[:300])
    with pytest.raises(FormatError, match="left over"):
        reader.finish()


@pytest.mark.parametrize("kept", [0, 4, 100, -8, -4])
def test_lost_words_never_give_the_symbols(kept: int):
    sent = drawn_batch(500)
    data = coder.encode([sent], TABLES)[:kept]
    with suppress(FormatError):
        assert taken(data, [sent])[0] != sent.symbols.tolist()


@pytest.mark.parametrize(
    "damage",
    [
        lambda c, r: (c[:-1], r),
        lambda c, r: (c, r - 1),
        lambda c, r: (np.append(c, 0), r),
        lambda c, r: (c[::-1], r[::-1]),
        lambda c, r: (c[:0], r[:0]),
        lambda c, r: (c - 2**20, r),
    ],
)
def test_damaged_tables_are_refused(damage):
    with pytest.raises(ModelError, match="tables"):
        coder.Tables(*damage(PARTS["cumulative"], PARTS["reach"]))
