"""Gaussians as integer counts, and how a coder's stack takes and gives symbols under them.

A cell k under a mean (in 1/64 cell) and a scale index is sent as its offset from the nearest whole number to the mean. The counts
are differences of the shipped table of the cumulative normal distribution, read at points that whole numbers give: no exp or
erf is computed here. Many symbols are coded at once, each with its own row of counts.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from dctcodec import rans
from dctcodec.errors import FormatError, ModelError
from dctcodec.vae.exact_diffusion import PHASE_BITS

INVERSE_SHIFT = 12
"""Fraction bits of a scale's inverse."""
PHASES = 2**PHASE_BITS
REACH_LIMIT = 255
ESCAPE_BITS = 16
"""A cell outside its table is sent as the table's last entry, then plainly in this many bits, from -2^15."""
_ESCAPE_MODEL = rans.Uniform(2**ESCAPE_BITS)
_ESCAPE_ZERO = 2 ** (ESCAPE_BITS - 1)
"""Rows that are computed at a time: they stay in the processor's cache."""


Stack: TypeAlias = rans.AnsCoder


class GaussianTables:
    """Counts of all scales. Of `tensors`, as `export.to_integers` makes them, it reads

    `normal`: cumulative counts of the normal distribution; `grid_inverse`, `bin_inverse`: for each scale, points of that table in
    1/64 cell, times 2^INVERSE_SHIFT; `reach`: the table of a scale covers -reach .. reach cells; `plain`: counts of the values of
    each coefficient of y_0.
    """

    def __init__(self, tensors: dict[str, np.ndarray]):
        names = ("normal", "grid_inverse", "bin_inverse", "reach")
        self._normal, self._grid, self._bin, self.reach = (tensors[name].astype(np.int64) for name in names)
        if (
            (np.diff(self._normal) < 0).any()
            or self._normal[0] != 0
            or not 0 < self._normal[-1] <= 2**24
            or min(self._grid.min(), self._bin.min(), self.reach.min()) < 1
            or (np.diff(self.reach) < 0).any()
            or self.reach.max() > REACH_LIMIT
            or not len(self._grid) == len(self._bin) == len(self.reach)
        ):
            raise ModelError("the model's coding tables are damaged")
        self._plain = tensors["plain"].astype(np.float64)
        if self._plain.ndim != 2 or self._plain.min(initial=1) < 1 or not 0 < self._plain.sum(1).max(initial=0) <= 2**24:
            raise ModelError("the model's coding tables are damaged")
        self.coefficients, self.bins = self._plain.shape
        bounds = np.searchsorted(self.reach, sizes := np.unique(self.reach)), np.searchsorted(self.reach, sizes, "right")
        self._classes = [(int(first), self._rows(int(first), int(stop))) for first, stop in zip(*bounds, strict=True)]
        self._class_of = np.searchsorted(sizes, self.reach)
        self._noise: dict[int, np.ndarray] = {}

    def _rows(self, first: int, stop: int) -> np.ndarray:
        """Counts of scales first .. stop - 1, all of one reach: float64 (scales * PHASES, 2 reach + 2), whole numbers, the last of
        a row for the escape; row (scale - first) * PHASES + phase + PHASES / 2, for a mean `phase` / 64 above a whole number."""
        reach, phases = int(self.reach[first]), np.arange(PHASES) - PHASES // 2
        edges = (np.arange(2 * reach + 2) - reach) * PHASES - PHASES // 2 - phases[:, None]
        inside = np.diff(self._cumulative(edges[None], self._grid[first:stop, None, None]))
        outside = self._normal[-1] - inside.sum(-1, keepdims=True)
        return (np.concatenate([inside, outside], -1) + 1).reshape(-1, 2 * reach + 2).astype(np.float64)

    def noise_rows(self, scale: int) -> np.ndarray:
        """Counts float64 (PHASES, 2 reach + 1), a row for each phase. The forward chain's noise has no escape."""
        if scale not in self._noise:
            first, rows = self._classes[self._class_of[scale]]
            self._noise[scale] = np.ascontiguousarray(rows[(scale - first) * PHASES : (scale - first + 1) * PHASES, :-1])
        return self._noise[scale]

    def _cumulative(self, positions: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Counts below positions, given from the mean and in its unit."""
        points = ((positions * inverse + 2 ** (INVERSE_SHIFT - 1)) >> INVERSE_SHIFT) + len(self._normal) // 2
        return self._normal[points.clip(0, len(self._normal) - 1)]

    # --- y_{t-1} under p(y_{t-1} | y_t), t > 1: int64 (n,) each of cells, means in 1/64 cell and scale indices

    def push(self, stack: Stack, cells: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> None:
        """Code cells onto the stack."""
        centre, phase = split(mean)
        offsets, reach = cells - centre, self.reach[scale]
        escaped = np.abs(offsets) > reach
        if escaped.any():
            stack.encode_reverse((cells[escaped] + _ESCAPE_ZERO).astype(np.int32), _ESCAPE_MODEL)
        entries = np.where(escaped, 2 * reach + 1, offsets + reach).astype(np.int32)
        for number, where in reversed(list(self._by_class(scale))):
            first, rows = self._classes[number]
            rans.push_rows(stack, entries[where], rows, (scale[where] - first) * PHASES + phase[where])

    def pop(self, stack: Stack, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Take cells, int64 (n,), off the stack."""
        centre, phase = split(mean)
        entries, reach = np.empty(len(mean), np.int64), self.reach[scale]
        for number, where in self._by_class(scale):
            first, rows = self._classes[number]
            entries[where] = rans.pop_rows(stack, rows, (scale[where] - first) * PHASES + phase[where])
        cells, escaped = entries - reach + centre, entries == 2 * reach + 1
        if escaped.any():
            cells[escaped] = stack.decode(_ESCAPE_MODEL, int(escaped.sum())).astype(np.int64) - _ESCAPE_ZERO
        return cells

    def bits(self, cells: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> float:
        """Code length under the counts."""
        centre, phase = split(mean)
        offsets, reach, total = cells - centre, self.reach[scale], 0.0
        escaped = np.abs(offsets) > reach
        entries = np.where(escaped, 2 * reach + 1, offsets + reach)
        for number, where in self._by_class(scale):
            first, rows = self._classes[number]
            total += _bits(rows, (scale[where] - first) * PHASES + phase[where], entries[where])
        return total + ESCAPE_BITS * float(escaped.sum())

    def _by_class(self, scale: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Positions whose tables have the same size."""
        classes = self._class_of[scale]
        for number in np.flatnonzero(np.bincount(classes, minlength=len(self._classes))):
            yield int(number), np.flatnonzero(classes == number)

    # --- y_t under q(y_t | y_{t-1}): one scale for all

    def push_noise(self, stack: Stack, cells: np.ndarray, mean: np.ndarray, scale: int) -> None:
        """Give noise back. Raises FormatError where the forward chain could not have made it."""
        centre, phase = split(mean)
        entries = cells - centre + self.reach[scale]
        if entries.min(initial=0) < 0 or entries.max(initial=0) > 2 * self.reach[scale]:
            raise FormatError("the coded contexts hold noise that no encoder writes: the file is damaged")
        rans.push_rows(stack, entries.astype(np.int32), self.noise_rows(scale), phase)

    def pop_noise(self, stack: Stack, mean: np.ndarray, scale: int) -> np.ndarray:
        """Draw noise from the stack."""
        centre, phase = split(mean)
        return rans.pop_rows(stack, self.noise_rows(scale), phase) - self.reach[scale] + centre

    def noise_bits(self, cells: np.ndarray, mean: np.ndarray, scale: int) -> float:
        """-log2 q of noise."""
        centre, phase = split(mean)
        return _bits(self.noise_rows(scale), phase, cells - centre + self.reach[scale])

    # --- y_0 by itself, int64 (tiles, coefficients): each coefficient by the frequencies of its values

    def push_plain(self, stack: Stack, symbols: np.ndarray) -> None:
        """Code tiles onto the stack."""
        rans.push_rows(stack, symbols.ravel().astype(np.int32), self._plain, self._plain_keys(len(symbols)))

    def pop_plain(self, stack: Stack, tiles: int) -> np.ndarray:
        """Take tiles off the stack."""
        return rans.pop_rows(stack, self._plain, self._plain_keys(tiles)).reshape(tiles, self.coefficients)

    def _plain_keys(self, tiles: int) -> np.ndarray:
        return np.tile(np.arange(self.coefficients), tiles)

    # --- y_0 under p(y_0 | y_1): the bins, the outer ones open

    def push_bins(self, stack: Stack, symbols: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> None:
        """Code symbols onto the stack."""
        for part in reversed(rans.chunks(len(symbols))):
            stack.encode_reverse(symbols[part].astype(np.int32), rans.DISTRIBUTIONS, self.bin_rows(mean[part], scale[part]))

    def pop_bins(self, stack: Stack, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Take symbols, int64 (n,), off the stack."""
        parts = [stack.decode(rans.DISTRIBUTIONS, self.bin_rows(mean[part], scale[part])) for part in rans.chunks(len(mean))]
        return np.concatenate(parts).astype(np.int64)

    def bin_bits(self, symbols: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> float:
        """Code length under the counts."""
        rows = self.bin_rows(mean, scale)
        return float(np.log2(rows.sum(1) / np.take_along_axis(rows, symbols[:, None], 1)[:, 0]).sum())

    def bin_rows(self, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Counts float64 (n, bins), whole numbers, of means in 1/64."""
        edges = (2 * np.arange(1, self.bins) - 1) << (PHASE_BITS - 1)
        inner = self._cumulative(edges - mean[:, None], self._bin[scale][:, None])
        return (np.diff(inner, prepend=0, append=self._normal[-1]) + 1).astype(np.float64)


def split(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest whole numbers to means in 1/64, and how far the means lie above them, plus PHASES / 2: 0 .. PHASES - 1."""
    raised = mean + PHASES // 2
    return raised >> PHASE_BITS, raised & (PHASES - 1)


def _bits(rows: np.ndarray, keys: np.ndarray, entries: np.ndarray) -> float:
    return float(np.log2(rows.sum(1)[keys] / rows[keys, entries]).sum())
