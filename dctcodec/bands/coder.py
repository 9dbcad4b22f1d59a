"""The coder: integers in, bytes out, through rANS (`rans.py`).

A symbol s with mean m (in 1/16) and scale index i is sent as its offset from the nearest whole number to m, with the counts
of table (i, fraction of m). The counts are differences of the model's integer cumulative tables; no exp or erf is computed here.
rANS is a stack: the writer pushes everything in reverse, so that the reader takes it in order.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from dctcodec import rans
from dctcodec.errors import FormatError, ModelError

PHASES = 16
"""Fractions of a symbol that a mean is kept to."""
ESCAPE_BITS = 17
"""An offset outside its table is sent as the table's last entry, then plainly in this many bits, from -2^16."""
_ESCAPE_MODEL = rans.Uniform(2**ESCAPE_BITS)
_ESCAPE_ZERO = 2 ** (ESCAPE_BITS - 1)

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Symbols, means, scale indices, (n,) each: int32, or int16, int16 and uint8, which take less memory."""


class Keyed(Protocol):
    """Tables of entries by keys."""

    def model(self, key: int) -> rans.Categorical: ...


Plain = tuple[np.ndarray, np.ndarray, Keyed]
"""Entries of tables, the keys of these, (n,) each, and the tables."""


class Tables:
    """The distributions. `cumulative`: int32, all scales' tables one after another; `reach`: (scales,), table i covers offsets
    -reach[i] .. reach[i] and holds PHASES * (2 * reach[i] + 1) + PHASES + 1 cumulative counts in steps of 1/PHASES symbol."""

    def __init__(self, cumulative: np.ndarray, reach: np.ndarray):
        sizes = PHASES * (2 * reach + 2) + 1
        if not reach.size or reach.min() < 1 or sizes.sum() != len(cumulative):
            raise ModelError("the model's coding tables are damaged")
        self.reach = reach.astype(np.int32)
        self._tables = np.split(cumulative, np.cumsum(sizes)[:-1])
        if any(table[0] < 0 or (np.diff(table) < 0).any() for table in self._tables):
            raise ModelError("the model's coding tables are damaged")
        self._models: dict[int, rans.Categorical] = {}

    def counts(self, scale: int, phase: int) -> np.ndarray:
        """Counts (2 reach + 2,), int64, all positive, of offsets -reach .. reach and the escape, for a mean `phase` / PHASES
        (-8 .. 7) above a whole number."""
        reach, table = int(self.reach[scale]), self._tables[scale]
        edges = np.arange(2 * reach + 2) * PHASES + PHASES // 2 - phase
        inside = np.diff(table[edges])
        return np.append(inside, table[-1] - inside.sum()) + 1

    def model(self, key: int) -> rans.Categorical:
        """Entropy model of table `key` = scale * PHASES + phase + PHASES / 2."""
        if key not in self._models:
            counts = self.counts(key // PHASES, key % PHASES - PHASES // 2).astype(np.float64)
            self._models[key] = rans.Categorical(counts / counts.sum(), perfect=False)
        return self._models[key]

    def split(self, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest whole numbers to the means, and table keys, int32."""
        raised = mean.astype(np.int32) + PHASES // 2
        centre = raised // PHASES
        return centre, scale.astype(np.int32) * PHASES + (raised - centre * PHASES)


def groups(keys: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The order in which symbols are coded, keys ascending, and (key, start, stop) of each key's run in that order."""
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    ordered = keys[order]
    starts = [0] * min(len(keys), 1) + (np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist()
    runs = pairwise([*starts, len(keys)])
    return order, [(key, *run) for key, run in zip(ordered[starts].tolist(), runs, strict=True)]


def encode(batches: list[Batch], tables: Tables, first: Sequence[Plain] = ()) -> bytes:
    """Code batches of symbols, as 32-bit words in the order in which `Reader` needs them to take the symbols back. What is `first`
    comes before them."""
    coder = rans.AnsCoder()
    for batch in reversed(batches):
        entries, keys, escapes = _entries(batch, tables)
        coder.encode_reverse(escapes, _ESCAPE_MODEL)
        _push(coder, entries, keys, tables)
    for entries, keys, plain in reversed(first):
        _push(coder, entries, keys, plain)
    return coder.get_compressed()[::-1].astype("<u4").tobytes()


def _entries(batch: Batch, tables: Tables) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables' entries of a batch's symbols, int32, the keys of their tables, and what is sent plainly, int32."""
    symbols, mean, scale = batch
    centre, keys = tables.split(mean, scale)
    reach = tables.reach[scale]
    offsets = symbols - centre
    escaped = np.abs(offsets) > reach
    return np.where(escaped, 2 * reach + 1, offsets + reach), keys, offsets[escaped] + np.int32(_ESCAPE_ZERO)


def _push(coder: rans.AnsCoder, entries: np.ndarray, keys: np.ndarray, tables: Keyed) -> None:
    order, runs = groups(keys)
    ordered = entries[order].astype(np.int32, copy=False)
    for key, start, stop in reversed(runs):
        coder.encode_reverse(ordered[start:stop], tables.model(key))


def code_length(batches: list[Batch], tables: Tables) -> float:
    """Code length of the batches under the tables' counts, in bits, without the coder's overhead."""
    return float(sum(lengths(*batch, tables).sum() for batch in batches))


def lengths(symbols: np.ndarray, mean: np.ndarray, scale: np.ndarray, tables: Tables) -> np.ndarray:
    """The length of each symbol of a batch under the tables' counts, in bits, float64 (n,)."""
    result = np.empty(len(symbols))
    centre, keys = tables.split(mean, scale)
    order, runs = groups(keys)
    for key, start, stop in runs:
        where = order[start:stop]
        counts = tables.counts(key // PHASES, key % PHASES - PHASES // 2)
        reach = len(counts) // 2 - 1
        offsets = symbols[where] - centre[where]
        escaped = np.abs(offsets) > reach
        chosen = counts[np.where(escaped, -1, offsets + reach)]
        result[where] = np.log2(counts.sum()) - np.log2(chosen) + ESCAPE_BITS * escaped
    return result


class Reader:
    """Takes batches of symbols back out of coded bytes, or out of the first words of them. Raises FormatError for bytes that no
    writer made."""

    def __init__(self, data: bytes, tables: Tables):
        if len(data) % 4:
            raise FormatError("the coded symbols are not whole 32-bit words: the file is damaged")
        try:
            self._coder = rans.AnsCoder(np.frombuffer(data, "<u4")[::-1].astype(np.uint32))
        except ValueError as error:
            raise FormatError("the coded symbols begin with a zero word: the file is damaged") from error
        self._tables = tables

    def take(self, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Symbols int32 (n,) of means and scale indices (n,)."""
        centre, keys = self._tables.split(mean, scale)
        reach = self._tables.reach[scale]
        entries = np.empty(len(mean), np.int32)
        order, runs = groups(keys)
        taken = [self._coder.decode(self._tables.model(key), stop - start) for key, start, stop in runs]
        entries[order] = np.concatenate([entries[:0], *taken])
        offsets = entries - reach
        escaped = entries == 2 * reach + 1
        offsets[escaped] = self._coder.decode(_ESCAPE_MODEL, int(escaped.sum())) - _ESCAPE_ZERO
        return centre + offsets

    def take_plain(self, keys: np.ndarray, tables: Keyed) -> np.ndarray:
        """Entries int32 (n,) of tables by their keys."""
        entries = np.empty(len(keys), np.int32)
        order, runs = groups(keys)
        taken = [self._coder.decode(tables.model(key), stop - start) for key, start, stop in runs]
        entries[order] = np.concatenate([entries[:0], *taken])
        return entries

    def exhausted(self) -> bool:
        """Whether words may have been missing for the last batch. Never so before the last two words of a whole file."""
        return self._coder.num_words() < 2

    def finish(self) -> None:
        """Check that every bit has been used."""
        if not self._coder.is_empty():
            raise FormatError("coded symbols are left over: the file is damaged or was made by another model")


def integer_tables(log_scales: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray], bits: int = 24) -> dict[str, np.ndarray]:
    """Integer tables of a distribution with distribution function `cdf`, at each scale exp(log_scales). Run at export only."""
    reach = np.ceil(np.exp(log_scales) * 16).astype(np.int32) + 1
    tables = []
    for scale, half in zip(np.exp(log_scales), reach, strict=True):
        positions = np.arange(-PHASES * (half + 1), PHASES * (half + 1) + 1) / PHASES
        tables.append(np.round(cdf(positions / scale) * 2**bits).astype(np.int32))
    return {"cumulative": np.concatenate(tables), "reach": reach}
