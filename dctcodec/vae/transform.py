"""From images to the paper's contexts, and back (see `context.py`), on NumPy or torch."""

from dctcodec.arrays import Array, cast, library, place_of
from dctcodec.tiles import dct_basis
from dctcodec.vae.choice import Choice
from dctcodec.vae.shapes import ContextShape

GRID = 2**20
"""Coefficients are rounded to 1/GRID, which is far more than the errors of sums in float64. In a flat tile most coefficients are
zero. Without the rounding the signs of these errors, which differ between machines, would choose their symbols."""


class Transform:
    """Images (B, channels, side, side) in [0, 1] to symbols (B, channels, size, size), int64 in 0 .. 2^bits - 1, and back.

    `largest`: the largest magnitude of each coefficient, float32 (channels, size, size), where the context is of DCTs; `choice`:
    where the shape has a `rate_weight`."""

    def __init__(self, shape: ContextShape, side: int, largest: Array, choice: Choice | None):
        self.shape, self.side, self.largest, self.choice = shape, side, largest, choice
        self.reach = 2 ** (shape.bits - 1)

    @property
    def width(self) -> Array:
        """How far an image moves, in root of its summed squared intensities, with one bin of a value, (channels, size, size)."""
        return self.largest / self.reach * (1 if self.shape.kind == "dct" else self.side / self.shape.size / 2)

    def symbols(self, images: Array) -> Array:
        """The context of images: the bin of each value, or the best symbol."""
        values = self.values(images)
        if self.choice:
            return self.of_bins(self.choice(values * self.reach, self.width))
        return cast(library(values).floor((values + 1) * self.reach).clip(0, 2 * self.reach - 1), "int64")

    def image(self, symbols: Array) -> Array:
        """The image (B, channels, side, side) in [0, 1] that a context shows: each symbol at its bin's centre."""
        return self.shown(self.bins(symbols) if self.choice else symbols + 0.5 - self.reach)

    def shown(self, bins: Array) -> Array:
        """The image (B, channels, side, side) in [0, 1] of values counted in bins from zero, whole numbers or not."""
        values = cast(bins, "float32") / self.reach
        if self.shape.kind == "downsample":
            return self._enlarged((values + 1) / 2)
        basis = self._basis()
        return (basis.T @ (values * self.largest) @ basis).clip(0, 1)

    def bins(self, symbols: Array) -> Array:
        """Bins from zero, whole numbers, of symbols that are told as differences."""
        return self._against_middle(symbols, 1) - self.reach

    def of_bins(self, bins: Array) -> Array:
        """Inverse of `bins`."""
        return self._against_middle(bins + self.reach, -1)

    def corner(self, images: Array) -> Array:
        """The lowest frequencies of each channel's DCT, float32 (B, channels, size, size), rounded to 1/GRID."""
        basis = cast(self._basis(), "float64")
        coefficients = basis @ cast(images, "float64") @ basis.T
        return cast(library(coefficients).floor(coefficients * GRID + 0.5) / GRID, "float32")

    def values(self, images: Array) -> Array:
        """What is quantised, in [-1, 1]."""
        return self.corner(images) / self.largest if self.shape.kind == "dct" else self._pooled(images) * 2 - 1

    def _against_middle(self, symbols: Array, sign: int) -> Array:
        """Less, or plus, the middle channel's distance from zero, in all others."""
        middle = symbols.shape[1] // 2
        moved = (symbols + sign * (symbols[:, middle : middle + 1] - self.reach)) % (2 * self.reach)
        moved[:, middle] = symbols[:, middle]
        return moved

    def _pooled(self, images: Array) -> Array:
        size, cell = self.shape.size, self.side // self.shape.size
        return images.reshape(*images.shape[:2], size, cell, size, cell).mean(5).mean(3)

    def _enlarged(self, values: Array) -> Array:
        *shape, size, _ = values.shape
        cell = self.side // size
        cells = library(values).broadcast_to(values[..., :, None, :, None], (*shape, size, cell, size, cell))
        return cells.reshape(*shape, self.side, self.side)

    def _basis(self) -> Array:
        return dct_basis(self.side, place_of(self.largest))[: self.shape.size]
