"""Implied parities: one parity of each block of symbols is not sent.

A symbol's parity, even or odd, costs nearly a bit where its distribution is wide: then it is *open*. The open symbols of a part are
cut into blocks. Each has a column of bits. A register takes up (xor) the columns of the odd symbols of a block. At the end of the
block it must be even, and its other bits pass on to the next block. So a reader knows the parity of one symbol of each block, the
most open one. This symbol is coded among the even numbers alone, or among the odd ones. The encoder moves the symbols for which
that costs least (`trellis.py`).

This is a syndrome-trellis code (Filler, Judas and Fridrich 2011). It does what trellis-coded quantisation does in other codecs.
"""

from typing import NamedTuple

import numpy as np

OPEN_BITS = 8
"""A symbol's openness is the probability of its rarer parity, in 2^-OPEN_BITS, rounded down."""
BLOCK = 2 << OPEN_BITS
"""The openness of a block."""
REGISTER_BITS = 5
COLUMNS = np.array([0b10001, 0b11111, 0b10111, 0b11011, 0b10011, 0b11101, 0b11001, 0b10101], np.uint8)
"""Of the symbols of a part that are open, in turn. All are odd, and all use the whole register."""
CHAIN = 256
"""The register begins at 0 in every part, and again after so many blocks."""


class Blocks(NamedTuple):
    """The blocks of a part. `places`: the symbols of the part that are in blocks, ascending, int32; `columns`: theirs, uint8;
    `starts`: the first place of each block; `implied`: the place of its symbol whose parity is implied, int64 both."""

    places: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    implied: np.ndarray


def blocks_of(openness: np.ndarray) -> Blocks:
    """The blocks of a part. `openness`: of its symbols (n,), 0 to 2^(OPEN_BITS - 1). What is open after the last whole block is in
    none."""
    places = np.flatnonzero(openness).astype(np.int32)
    openness = openness[places]
    number = np.cumsum(openness, dtype=np.int64)
    number //= BLOCK
    count = int(number[-1]) if len(number) else 0
    starts = np.searchsorted(number, np.arange(count + 1))
    places, openness, number, starts = places[: starts[-1]], openness[: starts[-1]], number[: starts[-1]], starts[:-1]
    if not count:
        return Blocks(places, COLUMNS[:0], starts, starts)
    widest = np.flatnonzero(openness == np.maximum.reduceat(openness, starts)[number])
    implied = widest[np.searchsorted(number[widest], np.arange(count))]
    return Blocks(places, np.resize(COLUMNS, len(places)), starts, implied)


def sums(blocks: Blocks, symbols: np.ndarray) -> np.ndarray:
    """What each block adds to the register: the columns of its odd symbols. `symbols`: those in blocks, (n,)."""
    if not len(blocks.starts):
        return blocks.starts
    return np.bitwise_xor.reduceat(blocks.columns * (symbols & 1).astype(np.uint8), blocks.starts).astype(np.int64)


def implied_parities(blocks: Blocks, symbols: np.ndarray) -> np.ndarray:
    """The parity of the symbol of each block that is implied, 0 or 1. `symbols`: of the part (n,), those that are implied 0."""
    added = sums(blocks, symbols[blocks.places])
    columns, parities, register = blocks.columns[blocks.implied].tolist(), [], 0
    for number, (of_block, column) in enumerate(zip(added.tolist(), columns, strict=True)):
        register = of_block if number % CHAIN == 0 else register ^ of_block
        parities.append(register & 1)
        register = (register ^ column * (register & 1)) >> 1
    return np.array(parities, np.int64)
