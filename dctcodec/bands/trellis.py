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
_STATE = np.arange(STATES)[:, None]
_CHANGE = _STATE ^ (np.arange(STATES) << 1)
"""What a block adds to the register that began in one state (row) and ends in another (column), (STATES, STATES)."""
_RESOLUTION = 2**12
"""Costs as whole numbers are in units of 1 / _RESOLUTION."""
_NEVER = 2**50
"""More than any path costs. A whole chain of it, times STATES, fits into 64 bits."""


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
    chosen = sets[added, np.arange(len(blocks.starts))]
    return candidates.T[(chosen[:, None] >> np.arange(len(COLUMNS)) & 1) > 0]


def _candidates(blocks: Blocks, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symbol of each column that costs least in each block, and its loss, float32 (columns, blocks)."""
    shape = len(COLUMNS), len(blocks.starts)
    candidates, costs = np.zeros(shape, np.int64), np.full(shape, _NONE)
    ends = np.append(blocks.starts[1:], len(blocks.places))
    for column in range(len(COLUMNS)):
        first, last = (-(-(edges - column) // len(COLUMNS)) for edges in (blocks.starts, ends))
        some, mine = np.flatnonzero(last > first), loss[column :: len(COLUMNS)]
        if len(some):
            least = np.minimum.reduceat(mine, first[some])
            number = np.repeat(np.arange(len(some)), (last - first)[some])
            hits = np.flatnonzero(mine == least[number])
            candidates[column, some] = column + len(COLUMNS) * hits[np.searchsorted(number[hits], np.arange(len(some)))]
            costs[column, some] = least
    return candidates, costs


def _sets(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of the cheapest set of columns with each sum in each block, float32 (REGISTERS, blocks), and the set, its bits."""
    shape = REGISTERS, costs.shape[1]
    totals, sets = np.full(shape, _NONE), np.zeros(shape, np.uint8)
    totals[0] = 0
    for number, column in enumerate(COLUMNS):
        without = np.arange(REGISTERS) ^ int(column)
        others = totals[without] + costs[number]
        sets = np.where(others < totals, sets[without] | np.uint8(1 << number), sets)
        totals = np.minimum(totals, others)
    return totals, sets


def _path(sums: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """By Viterbi's algorithm, the sum of the columns that change in each block (blocks,). `costs`: of each sum, (REGISTERS,
    blocks). Costs are whole numbers here, and the state that a branch comes from is in their last bits, so that one minimum finds
    both."""
    blocks, chains, length = len(sums), -(-len(sums) // CHAIN), min(CHAIN, len(sums))
    changes = np.take_along_axis(costs, np.arange(REGISTERS)[:, None] ^ sums, 0)  # by what the register changes by in the block
    padded = np.zeros((REGISTERS, chains * length), np.int64)  # what comes after the last block costs nothing
    padded[:, :blocks] = np.minimum(changes * _RESOLUTION, _NEVER)
    padded = np.ascontiguousarray(padded.reshape(REGISTERS, chains, length).transpose(2, 0, 1)) * STATES
    total, reached = np.full((STATES, chains), _NEVER * STATES), np.zeros((length, STATES, chains), np.int64)
    total[0] = 0
    for step, best in enumerate(reached):
        branches = padded[step].take(_CHANGE, 0)
        branches += (total + _STATE)[:, None]
        np.minimum.reduce(branches, 0, out=best)
        np.bitwise_and(best, -STATES, out=total)
    reached &= STATES - 1
    states, every = np.zeros((length + 1, chains), np.int64), np.arange(chains)
    states[length] = total.argmin(0)
    for step in reversed(range(length)):
        states[step] = reached[step, states[step + 1], every]
    chain, place = np.divmod(np.arange(blocks), CHAIN)
    added: np.ndarray = (states[place + 1, chain] << 1) ^ states[place, chain] ^ sums
    return added
