"""rANS in Python and NumPy, for machines without the package constriction: the same bytes as its `stream.stack.AnsCoder`.

Words have 32 bits, the state 64, probabilities 24 (FORMAT section 4). What is known of all symbols of a call, the intervals of
their entries, is computed by NumPy at once; only the state goes from symbol to symbol, in Python's integers.
`rans.py` chooses between the two coders.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

PRECISION = 24
_WHOLE = 1 << PRECISION
_QUANTILE = _WHOLE - 1
_WORD_BITS = 32
_WORD = (1 << _WORD_BITS) - 1
_FULL = 64 - PRECISION
"""A symbol of probability p / 2^24 fits the state while state < p * 2^_FULL."""

Intervals = tuple[np.ndarray, np.ndarray]
"""Left edges and lengths, int64 (n,), of the intervals of n symbols in 0 .. 2^24 - 1."""


class Uniform:
    """Entries 0 .. size - 1, all equally probable. `size`: a power of two from 2 to 2^24."""

    def __init__(self, size: int):
        if not 2 <= size <= _WHOLE or size & (size - 1):
            raise ValueError(f"{size} is not a power of two from 2 to 2^{PRECISION}")
        self._length = _WHOLE // size
        self.edges: Sequence[int] = range(0, _WHOLE + 1, self._length)

    def intervals(self, entries: np.ndarray) -> Intervals:
        """Intervals of entries (n,). Raises KeyError for an entry that there is not."""
        check_entries(entries, len(self.edges) - 1)
        return entries * self._length, np.full(len(entries), self._length)


class Categorical:
    """Entries 0 .. n - 1 of a table. `probabilities`: float64 (n,), 0 or above, in any unit, n >= 2. Without them it stands for
    a family, whose tables a call gives: float64 (symbols, n). `perfect`: must be False. Raises ValueError."""

    def __init__(self, probabilities: np.ndarray | None = None, perfect: bool = True):
        if perfect:
            raise ValueError("only tables that are cut fast are coded here: give perfect=False")
        self._cuts = None if probabilities is None else cut(probabilities[None])[0]
        self.edges: Sequence[int] = [] if self._cuts is None else self._cuts.tolist()

    def intervals(self, entries: np.ndarray) -> Intervals:
        """Intervals of entries (n,). Raises KeyError for an entry that there is not, ValueError for a family."""
        if self._cuts is None:
            raise ValueError("a family of tables needs the tables")
        check_entries(entries, len(self._cuts) - 1)
        left = self._cuts[entries]
        return left, self._cuts[entries + 1] - left


def cut(rows: np.ndarray) -> np.ndarray:
    """Edges int64 (k, n + 1) of the n intervals of each of k tables, float64 (k, n), as FORMAT section 4 says. Raises ValueError
    for a table that is none."""
    count = rows.shape[1]
    sums = np.cumsum(rows, axis=1, dtype=np.float64)
    good = rows.size == 0 or (rows.min() >= 0 and sums[:, -1].min() > 0 and np.isfinite(sums[:, -1]).all())
    if not 2 <= count < _WHOLE - 1 or not good:
        raise ValueError("a table needs at least two probabilities, none below 0, of a finite sum above 0")
    edges = np.empty((len(rows), count + 1), np.int64)
    edges[:, 0], edges[:, -1] = 0, _WHOLE
    edges[:, 1:-1] = sums[:, :-1] * ((_WHOLE - count) / sums[:, -1:])
    edges[:, 1:-1] += np.arange(1, count)
    return edges


def check_entries(entries: np.ndarray, count: int) -> None:
    """Raise KeyError for an entry outside 0 .. count - 1."""
    if len(entries) and not 0 <= entries.min() <= entries.max() < count:
        raise KeyError(f"an entry is outside its table of {count}")


class AnsCoder:
    """A stack of symbols as a number. `words`: uint32 (n,), what `get_compressed` gave. Raises ValueError where the last is 0."""

    def __init__(self, words: np.ndarray | None = None):
        self._words: list[int] = [] if words is None else words.tolist()
        if self._words and self._words[-1] == 0:
            raise ValueError("the last word of coded symbols is never 0")
        self._state = 0
        while self._words and self._state <= _WORD:
            self._state = self._state << _WORD_BITS | self._words.pop()

    def encode_reverse(self, symbols: np.ndarray, model: Uniform | Categorical, rows: np.ndarray | None = None) -> None:
        """Push entries int32 (n,), the last one first. `rows`: their tables, float64 (n, entries), where the model is a family.
        Raises KeyError for an entry that its table does not have."""
        if rows is None:
            self._push(*model.intervals(symbols))
        else:
            self.push_rows(symbols, rows, np.arange(len(rows)))

    def decode(self, model: Uniform | Categorical, amount: int | np.ndarray) -> np.ndarray:
        """Pop `amount` entries, int32 (amount,), or one of each table float64 (n, entries), where the model is a family."""
        if isinstance(amount, np.ndarray):
            return self.pop_rows(amount, np.arange(len(amount)))
        found = self._pop(model.edges, repeat((0, len(model.edges) - 1), amount))
        return np.array(found, np.int32) - np.int32(1)

    def push_rows(self, symbols: np.ndarray, rows: np.ndarray, keys: np.ndarray) -> None:
        """Push entries (n,), the last one first, each of the table that its key (n,) names: a row of `rows`."""
        check_entries(symbols, rows.shape[1])
        used, keys = np.unique(keys, return_inverse=True)
        edges = cut(rows[used])
        left = edges[keys, symbols]
        self._push(left, edges[keys, symbols + 1] - left)

    def pop_rows(self, rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Pop entries int32 (n,), each of the table that its key (n,) names: a row of `rows`."""
        used, keys = np.unique(keys, return_inverse=True)
        edges, length = cut(rows[used]), rows.shape[1]
        starts = keys * (length + 1)
        found = self._pop(edges.ravel().tolist(), zip(starts.tolist(), (starts + length).tolist(), strict=True))
        return (np.array(found, np.int64) - starts - 1).astype(np.int32)

    def _push(self, left: np.ndarray, length: np.ndarray) -> None:
        state, words = self._state, self._words
        for start, share in zip(left[::-1].tolist(), length[::-1].tolist(), strict=True):
            if state >> _FULL >= share:
                words.append(state & _WORD)
                state >>= _WORD_BITS
            # as (state // share << PRECISION) + start + state % share
            state += state // share * (_WHOLE - share) + start
        self._state = state

    def _pop(self, edges: Sequence[int], tables: Iterable[tuple[int, int]]) -> list[int]:
        """For each table, which is edges[start] .. edges[stop], the position of the right edge of what is popped."""
        state, words, found = self._state, self._words, []
        for start, stop in tables:
            quantile = state & _QUANTILE
            right = bisect_right(edges, quantile, start, stop)
            left = edges[right - 1]
            state = (state >> PRECISION) * (edges[right] - left) + quantile - left
            if state <= _WORD and words:
                state = state << _WORD_BITS | words.pop()
            found.append(right)
        self._state = state
        return found

    def get_compressed(self) -> np.ndarray:
        """Words uint32 (n,) of all that is on the stack, the bottom first."""
        return np.array(self._words + self._state_words(), np.uint32)

    def num_words(self) -> int:
        """Number of words of `get_compressed`."""
        return len(self._words) + len(self._state_words())

    def num_valid_bits(self) -> int:
        """Bits on the stack."""
        return _WORD_BITS * len(self._words) + max(self._state.bit_length(), 1) - 1

    def is_empty(self) -> bool:
        """Whether nothing is on the stack."""
        return self._state == 0

    def clone(self) -> "AnsCoder":
        """A stack of its own with the same on it."""
        other = AnsCoder()
        other._words, other._state = self._words.copy(), self._state
        return other

    def _state_words(self) -> list[int]:
        low, high = self._state & _WORD, self._state >> _WORD_BITS
        return [low, high] if high else [low] if low else []
