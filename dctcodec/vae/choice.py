"""The best symbols of coefficients by squared error and bits (see `quantiser.py`), on NumPy or torch."""

import numpy as np

from dctcodec.arrays import Array, cast, copied, library, place_of, table


class Choice:
    """`weight`: what a bit is worth in squared error of an image whose intensities are in [0, 1]; `reach`: bins on each side of
    zero; `bits`: code lengths float32 (channels, size, size, 4 reach + 1) of the middle channel, and of the others' differences
    from it."""

    def __init__(self, weight: float, reach: int, bits: Array):
        self.weight, self.reach, self.bits = weight, reach, bits

    def __call__(self, bins: Array, width: Array) -> Array:
        """Coefficients (B, channels, size, size) in bins from zero, and the width of a bin (channels, size, size) in intensities,
        to integers in -reach .. reach - 1, int64."""
        candidates = self.candidates(bins)
        best = (error(candidates, bins, width) + self.weight * self.lengths(candidates)).argmin(0)
        return chosen(candidates, best)

    def lengths(self, symbols: Array) -> Array:
        """Bits of each frequency, (..., size, size) of symbols (..., channels, size, size)."""
        starts = _starts(self.bits.shape, place_of(self.bits))
        return self.bits.reshape(-1)[starts + self.differences(symbols)].sum(-3)

    def differences(self, symbols: Array) -> Array:
        """What is coded of symbols (..., channels, size, size): rows of the table."""
        middle = symbols.shape[-3] // 2
        differences = symbols - symbols[..., middle : middle + 1, :, :]
        differences[..., middle, :, :] = symbols[..., middle, :, :]
        return differences + 2 * self.reach

    def candidates(self, bins: Array) -> Array:
        """int64 (K, B, channels, size, size): every channel one of its two nearest bins; all in one bin near their mean; all
        zero."""
        xp, mean = library(bins), copied(bins)
        mean[:] = bins.mean(1)[:, None]
        near = cast(xp.floor(bins), "int64") + _ways(bins.shape[1], place_of(bins))
        alike = cast(xp.stack([xp.floor(mean), xp.ceil(mean), xp.zeros_like(mean)]), "int64")
        return xp.concatenate([near, alike]).clip(-self.reach, self.reach - 1)


def error(candidates: Array, bins: Array, width: Array) -> Array:
    """Squared error of each frequency's channels together, (K, B, size, size)."""
    distance = (cast(candidates, "float32") - bins) * width
    return (distance * distance).sum(2)


def chosen(candidates: Array, which: Array) -> Array:
    """(B, channels, size, size) of candidates (K, B, channels, size, size), by their numbers (B, size, size)."""
    result = candidates[0]
    for number in range(1, len(candidates)):
        result = library(result).where((which == number)[:, None], candidates[number], result)
    return result


@table
def _starts(shape: tuple[int, ...]) -> np.ndarray:
    """`_starts(shape, place)`: where each coefficient's code lengths (..., entries) begin, int64 (...)."""
    return np.arange(0, np.prod(shape), shape[-1]).reshape(shape[:-1])


@table
def _ways(channels: int) -> np.ndarray:
    """`_ways(channels, place)`: each way to take the lower or the higher bin in every channel, int64 (ways, 1, channels, 1, 1)."""
    ways = np.arange(2**channels)[:, None] >> np.arange(channels)[::-1] & 1
    return ways[:, None, :, None, None]
