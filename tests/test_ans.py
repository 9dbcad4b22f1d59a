"""Our rANS: the bytes and symbols of constriction's, of drawn and of hostile words, and fast enough."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctcodec import ans

constriction = pytest.importorskip("constriction")
theirs = constriction.stream.model


@st.composite
def counts(draw: st.DrawFn, rows: int = 1) -> np.ndarray:
    """Tables of counts, whole numbers of many sizes, as float64 (rows, n)."""
    entries = draw(st.integers(2, 40))
    value = st.one_of(st.integers(1, 9), st.integers(1, 2**24), st.just(1))
    return np.array([draw(st.lists(value, min_size=entries, max_size=entries)) for _ in range(rows)], np.float64)


words = st.lists(st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**32 - 1])), max_size=12)
powers = st.integers(1, 24).map(lambda power: 2**power)


def both(given_words: list[int]) -> tuple[ans.AnsCoder, object] | None:
    """A stack of each kind, None where both refuse the words."""
    array = np.array(given_words, np.uint32)
    if given_words and given_words[-1] == 0:
        for kind in (ans.AnsCoder, constriction.stream.stack.AnsCoder):
            with pytest.raises(ValueError):
                kind(array)
        return None
    return ans.AnsCoder(array), constriction.stream.stack.AnsCoder(array)


def assert_equal(ours: ans.AnsCoder, other: object) -> None:
    assert ours.get_compressed().tolist() == other.get_compressed().tolist()
    assert ours.get_compressed().dtype == np.uint32
    for fact in ("num_words", "num_valid_bits", "is_empty"):
        assert getattr(ours, fact)() == getattr(other, fact)()


@given(words, st.lists(st.tuples(counts(), st.integers(0, 2**32), st.integers(0, 30), st.booleans()), max_size=6))
def test_pushes_and_pops_in_any_order_are_those_of_constriction(given_words, calls):
    if (stacks := both(given_words)) is None:
        return
    for table, seed, count, push in calls:
        models = [kind.Categorical(table[0] / table[0].sum(), perfect=False) for kind in (ans, theirs)]
        entries = np.random.default_rng(seed).integers(0, table.shape[1], count).astype(np.int32)
        if push:
            for stack, model in zip(stacks, models, strict=True):
                stack.encode_reverse(entries, model)
        else:
            taken = [stack.decode(model, count) for stack, model in zip(stacks, models, strict=True)]
            assert taken[0].tolist() == taken[1].tolist() and taken[0].dtype == np.int32
        assert_equal(*stacks)


@given(words, counts(rows=3), st.lists(st.integers(0, 2), max_size=20), st.integers(0, 2**32))
def test_rows_of_tables_are_those_of_constriction(given_words, rows, keys, seed):
    if (stacks := both(given_words)) is None:
        return
    ours, other = stacks
    keys, family = np.array(keys, np.int64), theirs.Categorical(perfect=False)
    taken = ours.pop_rows(rows, keys)
    expected = other.decode(family, rows[keys])
    assert taken.tolist() == expected.tolist() and taken.dtype == np.int32
    assert_equal(ours, other)
    entries = np.random.default_rng(seed).integers(0, rows.shape[1], len(keys)).astype(np.int32)
    ours.encode_reverse(entries, ans.Categorical(perfect=False), rows[keys])
    other.encode_reverse(entries, family, rows[keys])
    assert_equal(ours, other)
    assert ours.decode(ans.Categorical(perfect=False), rows[keys]).tolist() == entries.tolist()


@given(words, powers, st.integers(0, 2**32), st.integers(0, 20))
def test_uniform_entries_are_those_of_constriction(given_words, size, seed, count):
    if (stacks := both(given_words)) is None:
        return
    entries = np.random.default_rng(seed).integers(0, size, count).astype(np.int32)
    for stack, kind in zip(stacks, (ans, theirs), strict=True):
        stack.encode_reverse(entries, kind.Uniform(size))
    assert_equal(*stacks)
    taken = [stack.decode(kind.Uniform(size), count + 5) for stack, kind in zip(stacks, (ans, theirs), strict=True)]
    assert taken[0].tolist() == taken[1].tolist()
    assert taken[0][:count].tolist() == entries.tolist()
    assert_equal(*stacks)


def test_many_tables_are_cut_as_constriction_cuts_them():
    # every edge shows in what the words just below and at it decode to
    random = np.random.default_rng(0)
    for size in (2, 3, 17, 100, 1700):
        table = np.floor(np.exp(random.uniform(0, 16, size)))
        probabilities = table / table.sum()
        edges = ans.cut(probabilities[None])[0]
        assert edges[0] == 0 and edges[-1] == 2**24 and (np.diff(edges) > 0).all()
        stack = constriction.stream.stack.AnsCoder
        model = theirs.Categorical(probabilities, perfect=False)
        points = np.unique(np.concatenate([edges[:-1], edges[1:] - 1]))
        found = [stack(np.array([point, 1], np.uint32)).decode(model) for point in points.tolist()]
        assert found == (np.searchsorted(edges, points, "right") - 1).tolist()


def test_a_clone_goes_its_own_way():
    stack = ans.AnsCoder(np.arange(1, 6, dtype=np.uint32))
    other, model = stack.clone(), ans.Uniform(2**16)
    other.decode(model, 5)
    other.encode_reverse(np.arange(50, dtype=np.int32), model)
    assert stack.get_compressed().tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("entry", [-1, 3])
def test_an_entry_outside_its_table_is_refused(entry: int):
    entries, table = np.array([0, entry], np.int32), np.ones((1, 3))
    with pytest.raises(KeyError):
        ans.AnsCoder().encode_reverse(entries, ans.Categorical(table[0], perfect=False))
    with pytest.raises(KeyError):
        ans.AnsCoder().push_rows(entries, table, np.zeros(2, np.int64))
    with pytest.raises(KeyError):
        ans.AnsCoder().encode_reverse(entries, ans.Uniform(2))


@pytest.mark.parametrize("table", [[], [1.0], [0.0, 0.0], [1.0, -0.5], [np.nan, 1.0], [np.inf, 1.0]])
def test_tables_that_are_none_are_refused(table: list[float]):
    with pytest.raises(ValueError):
        ans.Categorical(np.array(table, np.float64), perfect=False)


@pytest.mark.parametrize("size", [0, 1, 3, 2**25])
def test_sizes_of_uniform_tables_are_powers_of_two(size: int):
    with pytest.raises(ValueError):
        ans.Uniform(size)


def test_the_symbols_of_a_large_photograph_take_less_than_two_seconds():
    # 768 * 512 pixels have 589,824 symbols; most are 0 under a narrow table
    random = np.random.default_rng(0)
    table = np.floor(1e6 * np.exp(-np.abs(np.arange(60) - 30) * random.uniform(0.5, 1))) + 1
    model = ans.Categorical(table, perfect=False)
    entries = random.choice(60, 589_824, p=table / table.sum()).astype(np.int32)
    stack, start = ans.AnsCoder(), time.process_time()
    stack.encode_reverse(entries, model)
    encoded = time.process_time()
    assert np.array_equal(stack.decode(model, len(entries)), entries)
    assert encoded - start < 2 and time.process_time() - encoded < 2


SCRIPT = """
import hashlib, sys
import numpy as np
from dctcodec import Codec, rans
pixels = (np.indices((40, 70)).sum(0)[..., None] * [3, 5, 7] + np.random.default_rng(0).integers(0, 60, (40, 70, 3))) % 256
for model in ("flagship-1", "dct-vae-cifar10"):
    codec = Codec(model, "cpu")
    data = codec.encode(pixels.astype(np.uint8))
    assert codec.decode(data).size == (70, 40)
    print(rans.CODER, model, len(data), hashlib.sha256(data).hexdigest())
"""


def test_files_are_the_same_with_either_coder():
    printed = {}
    for coder in ("constriction", "numpy"):
        environment = os.environ | {"DCTCODEC_CODER": coder, "PYTHONPATH": str(Path(__file__).parents[1])}
        result = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        printed[coder] = result.stdout.replace(coder, "")
    assert printed["numpy"] == printed["constriction"] and printed["numpy"].count("\n") == 2


def test_a_coder_that_there_is_not_is_refused():
    environment = os.environ | {"DCTCODEC_CODER": "c"}
    result = subprocess.run([sys.executable, "-c", "import dctcodec.rans"], env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "set it to one of constriction, numpy" in result.stderr
