"""The coder: integers in, bytes out, through rANS (`rans.py`).

A symbol s with mean m (in 1/16) and scale index i is sent as its offset from the nearest whole number to m, with the counts
of table (i, fraction of m), or with those of its even or odd offsets alone where its parity is known (`parity.py`). The counts are
differences of the model's integer cumulative tables; no exp or erf is computed here. rANS is a stack: the writer pushes everything
in reverse, so that the reader takes it in order.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from dctcodec import rans
from dctcodec.bands.parity import OPEN_BITS
from dctcodec.bands.units import LOG_SCALE_MIN, SCALE_BITS, SCALES, distribution_function
from dctcodec.errors import FormatError, ModelError

PHASES = 16
"""Fractions of a symbol that a mean is kept to."""
ESCAPE_BITS = 17
"""An offset outside its table is sent as the table's last entry, then plainly in this many bits, from -2^16."""
_ESCAPE_MODEL = rans.Uniform(2**ESCAPE_BITS)
_ESCAPE_ZERO = 2 ** (ESCAPE_BITS - 1)


class Batch(NamedTuple):
    """Symbols, the whole numbers nearest to their means, and the keys of their tables, (n,) each: integers of any kind, small ones
    to save memory."""

    symbols: np.ndarray
    centre: np.ndarray
    keys: np.ndarray


class Keyed(Protocol):
    """Tables of entries by keys."""

    def model(self, key: int) -> rans.Categorical: ...


Plain = tuple[np.ndarray, np.ndarray, Keyed]
"""Entries of tables, the keys of these, (n,) each, and the tables."""


class Tables:
    """The distributions. `cumulative`: int32, all scales' tables one after another; `reach`: (scales,), table i covers offsets
    -reach[i] .. reach[i] and holds PHASES * (2 * reach[i] + 1) + PHASES + 1 cumulative counts in steps of 1/PHASES symbol.

    Key scale * PHASES + phase + PHASES / 2 is of all offsets, for a mean `phase` / PHASES (-8 .. 7) above a whole number; `half`
    keys are of the even or the odd ones. `openness`: of each key of all offsets, as in `parity.py`, uint8."""

    def __init__(self, cumulative: np.ndarray, reach: np.ndarray):
        sizes = PHASES * (2 * reach + 2) + 1
        if not reach.size or reach.min() < 1 or sizes.sum() != len(cumulative):
            raise ModelError("the model's coding tables are damaged")
        tables = np.split(cumulative, np.cumsum(sizes)[:-1])
        if any(table[0] < 0 or (np.diff(table) < 0).any() for table in tables):
            raise ModelError("the model's coding tables are damaged")
        self._counts = [_counts_of_table(*one) for one in zip(tables, reach.tolist(), strict=True)]
        self.whole = PHASES * len(reach)
        """Number of keys of all offsets."""
        reaches = np.repeat(reach.astype(np.int32), PHASES)
        starts = [-reaches, *((reaches + parity) % 2 - reaches for parity in (0, 1))]
        self._first, self._halved = np.concatenate(starts), np.repeat(np.array([0, 1, 1], np.int8), self.whole)
        self._escape = (np.tile(reaches, 3) - self._first >> self._halved) + 1
        self._models: dict[int, rans.Categorical] = {}
        masses = np.array([[self._counts_of(kind, scale)[:, :-1].sum(1) for scale in range(len(reach))] for kind in (1, 2)])
        self.openness = ((masses.min(0) << OPEN_BITS) // masses.sum(0)).reshape(-1).astype(np.uint8)

    def _counts_of(self, kind: int, scale: int) -> np.ndarray:
        """Counts, int64 (PHASES, entries), of all offsets of a scale (`kind` 0), of the even (1) or the odd ones (2), and the
        escape."""
        counts = self._counts[scale]
        if kind == 0:
            return counts
        first = (counts.shape[1] // 2 + kind) % 2  # the middle one of an odd number of offsets is 0
        return np.concatenate([counts[:, first:-1:2], counts[:, -1:]], 1)

    def counts(self, key: int) -> np.ndarray:
        """Counts, int64, all positive, of the offsets of a key, ascending, and the escape."""
        kind, rest = divmod(key, self.whole)
        return self._counts_of(kind, rest // PHASES)[rest % PHASES]

    def model(self, key: int) -> rans.Categorical:
        """Entropy model of a key."""
        if key not in self._models:
            counts = self.counts(key).astype(np.float64)
            self._models[key] = rans.Categorical(counts / counts.sum(), perfect=False)
        return self._models[key]

    def split(self, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest whole numbers to the means, int16, and keys of all offsets, uint16."""
        raised = mean.astype(np.int32) + PHASES // 2
        centre = (raised // PHASES).astype(np.int16)
        raised %= PHASES
        raised += scale.astype(np.int32) * PHASES
        return centre, raised.astype(np.uint16)

    def half(self, keys: np.ndarray, parity: np.ndarray | int) -> np.ndarray:
        """Keys of the offsets of a parity, 0 or 1, from keys of all."""
        return keys + (1 + np.asarray(parity)) * self.whole

    def entries(self, offsets: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Entries of offsets in the tables of their keys, int32, and whether these are escapes."""
        entries = offsets - self._first[keys]
        entries >>= self._halved[keys]
        escaped = (entries < 0) | (entries >= self._escape[keys])
        entries[escaped] = self._escape[keys[escaped]]
        return entries, escaped

    def offsets(self, entries: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `entries`; what an escape stands for is still to be added."""
        return self._first[keys] + (entries << self._halved[keys]), entries == self._escape[keys]

    def lengths(self, offsets: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Bits of offsets in the tables of their keys, float64 (n,)."""
        entries, _ = self.entries(offsets, keys)
        starts, bits = self._bits
        return bits[starts[keys] + entries]

    @cached_property
    def _bits(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each key's entries begin, and the bits of all keys' entries."""
        counts = [self._counts_of(kind, scale) for kind in range(3) for scale in range(len(self._counts))]
        bits = [np.log2(one.sum(1, keepdims=True)) - np.log2(one) for one in counts]
        for one in bits:
            one[:, -1] += ESCAPE_BITS
        return np.cumsum(self._escape + 1) - self._escape - 1, np.concatenate([one.reshape(-1) for one in bits])


def _counts_of_table(table: np.ndarray, reach: int) -> np.ndarray:
    """Counts, int64 (PHASES, 2 reach + 2), of offsets -reach .. reach and the escape from a scale's cumulative table."""
    edges = np.arange(2 * reach + 2) * PHASES + PHASES - np.arange(PHASES)[:, None]
    inside = np.diff(table[edges].astype(np.int64))
    return np.concatenate([inside, table[-1] - inside.sum(1, keepdims=True)], 1) + 1


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
    for symbols, centre, keys in reversed(batches):
        offsets = symbols.astype(np.int32) - centre
        entries, escaped = tables.entries(offsets, keys)
        coder.encode_reverse(offsets[escaped] + np.int32(_ESCAPE_ZERO), _ESCAPE_MODEL)
        _push(coder, entries, keys, tables)
    for entries, keys, plain in reversed(first):
        _push(coder, entries, keys, plain)
    return coder.get_compressed()[::-1].astype("<u4").tobytes()


def _push(coder: rans.AnsCoder, entries: np.ndarray, keys: np.ndarray, tables: Keyed) -> None:
    order, runs = groups(keys)
    ordered = entries[order].astype(np.int32, copy=False)
    for key, start, stop in reversed(runs):
        coder.encode_reverse(ordered[start:stop], tables.model(key))


def lengths(batch: Batch, tables: Tables) -> np.ndarray:
    """The length of each symbol of a batch under the tables' counts, in bits, without the coder's overhead, float64 (n,)."""
    return tables.lengths(batch.symbols.astype(np.int32) - batch.centre, batch.keys)


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

    def take(self, centre: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Symbols int32 (n,) of the whole numbers nearest to their means and the keys of their tables, (n,)."""
        offsets, escaped = self._tables.offsets(self.take_plain(keys, self._tables), keys)
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


def tables_of_prior() -> dict[str, np.ndarray]:
    """`integer_tables` of the distribution that a prior's symbols have, at its scales."""
    return integer_tables(LOG_SCALE_MIN + np.arange(SCALES) / 2**SCALE_BITS, distribution_function)
