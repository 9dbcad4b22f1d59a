"""The encoder's side of implied parities (`parity.py`): which symbols move, so that every block comes out even.

Each symbol has a best value, and a best one of the other parity, which costs more. Of all sets of symbols that could change their
parity, Viterbi's algorithm finds the cheapest one over the states of the register, with the cheapest symbol of each column in
each block.
"""

from typing import NamedTuple

import numpy as np

from dctcodec.bands import parity
from dctcodec.bands.coder import Tables
from dctcodec.bands.parity import CHAIN, COLUMNS, REGISTER_BITS, Blocks
from dctcodec.bands.transform import SYMBOL_LIMIT

REGISTERS = 2**REGISTER_BITS
STATES = REGISTERS // 2
"""Of the register between two blocks."""
_NONE = np.float32(1e30)
AT_ONCE = 2**18
"""Symbols whose moves are judged together, for the memory."""
_CHANGE = (np.arange(STATES)[:, None] << 1) ^ np.arange(STATES)
"""What a block adds to the register that ends in one state (row) and began in another (column), (STATES, STATES)."""


class Draft(NamedTuple):
    """Symbols int32 (CHANNELS, h, w) and, of the same shape or one that fits it, what moves cost: `slope` * move + `curvature` *
    move^2 of squared error, and `weight` for each bit."""

    symbols: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    weight: float


def movable(symbols: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Places of a part whose symbols may move, ascending: those in blocks, and those that are not 0. Of the others hardly any is
    worth the bits of another value."""
    some = symbols != 0
    some[blocks.places] = True
    return np.flatnonzero(some).astype(np.int32)


def settled(draft: Draft, places: np.ndarray, centre: np.ndarray, keys: np.ndarray, tables: Tables, blocks: Blocks) -> np.ndarray:
    """The symbols at some places of a part, those of `movable`, int32 (n,), each moved by at most one, so that the parities hold.
    `draft`, `centre` and `keys`, as from `Tables.split`: of these places, (n,)."""
    pieces = [slice(start, start + AT_ONCE) for start in range(0, len(places), AT_ONCE)] or [slice(0)]
    moves = [_moves(draft, piece, centre[piece], keys[piece], tables) for piece in pieces]
    best, other, loss = (np.concatenate(values) for values in zip(*moves, strict=True))
    symbols = draft.symbols + best
    if len(blocks.starts):
        within = np.searchsorted(places, blocks.places)
        sums = parity.sums(blocks, symbols[within])
        changed = within[cheapest(blocks, sums, loss[within])]
        symbols[changed] += other[changed] - best[changed]
    return symbols


def _moves(
    draft: Draft, piece: slice, centre: np.ndarray, keys: np.ndarray, tables: Tables
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best move of each symbol of a piece (n,), -1, 0 or 1; the best one to the other parity; and what that costs more."""
    symbols, slope, curvature = draft.symbols[piece], draft.slope[piece], draft.curvature[piece]
    down, stay, up = (
        np.where(abs(symbols + move) > SYMBOL_LIMIT, np.inf, slope * move + curvature * abs(move))
        + draft.weight * tables.lengths(symbols + move - centre, keys)
        for move in (-1, 0, 1)
    )
    odd, move = np.minimum(down, up), np.where(up < down, 1, -1)
    best, other = np.where(odd < stay, move, 0), np.where(odd < stay, 0, move)
    return best.astype(np.int8), other.astype(np.int8), np.abs(odd - stay).astype(np.float32)


def cheapest(blocks: Blocks, sums: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Which of the symbols in blocks change their parity, as indices of `blocks.places`: those that cost least together. `sums`:
    what the blocks add to the register without changes; `loss`: what a change costs, not below 0, for each of the symbols."""
    candidates, costs = _candidates(blocks, loss)
    totals, sets = _sets(costs)
    added = _path(sums, totals)
    chosen = sets[np.arange(len(blocks.starts)), added]
    return candidates[(chosen[:, None] >> np.arange(len(COLUMNS)) & 1) > 0]


def _candidates(blocks: Blocks, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symbol of each column that costs least in each block, and its loss, float32 (blocks, columns)."""
    shape = len(blocks.starts), len(COLUMNS)
    candidates, costs = np.zeros(shape, np.int64), np.full(shape, _NONE)
    ends = np.append(blocks.starts[1:], len(blocks.places))
    for column in range(len(COLUMNS)):
        first, last = (-(-(edges - column) // len(COLUMNS)) for edges in (blocks.starts, ends))
        some, mine = np.flatnonzero(last > first), loss[column :: len(COLUMNS)]
        if len(some):
            least = np.minimum.reduceat(mine, first[some])
            number = np.repeat(np.arange(len(some)), (last - first)[some])
            hits = np.flatnonzero(mine == least[number])
            candidates[some, column] = column + len(COLUMNS) * hits[np.searchsorted(number[hits], np.arange(len(some)))]
            costs[some, column] = least
    return candidates, costs


def _sets(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of the cheapest set of columns with each sum in each block, float32 (blocks, REGISTERS), and the set, its bits."""
    totals, sets = np.full((len(costs), REGISTERS), _NONE), np.zeros((len(costs), REGISTERS), np.uint8)
    totals[:, 0] = 0
    for number, column in enumerate(COLUMNS):
        without = np.arange(REGISTERS) ^ int(column)
        others = totals[:, without] + costs[:, number, None]
        better = others < totals
        sets = np.where(better, sets[:, without] | np.uint8(1 << number), sets)
        totals = np.minimum(totals, others)
    return totals, sets


def _path(sums: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """By Viterbi's algorithm, the sum of the columns that change in each block (blocks,). `costs`: of each sum, (blocks,
    REGISTERS)."""
    chains, length = -(-len(sums) // CHAIN), min(CHAIN, len(sums))
    costs = np.take_along_axis(costs, np.arange(REGISTERS) ^ sums[:, None], 1)  # by what the register changes by in the block
    total, back = np.full((chains, STATES), _NONE), np.zeros((length, chains, STATES), np.int8)
    total[:, 0] = 0
    for step, before in enumerate(back):
        branches = costs[step::CHAIN].take(_CHANGE, 1)
        now = len(branches)
        reached = total[:now, None] + branches
        before[:now] = reached.argmin(2)
        reached.min(2, out=total[:now])
    states = np.zeros((length + 1, chains), np.int64)
    states[:] = total.argmin(1)
    every = np.arange(chains)
    for step in reversed(range(length)):
        now = len(sums[step::CHAIN])
        states[step, :now] = back[step, every[:now], states[step + 1, :now]]
    chain, place = np.divmod(np.arange(len(sums)), CHAIN)
    added: np.ndarray = (states[place + 1, chain] << 1) ^ states[place, chain] ^ sums
    return added
