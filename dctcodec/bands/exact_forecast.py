"""The forecast of `forecast.py` in exact integer arithmetic.

Its inverse and forward DCT are products with whole numbers too, in float64: a basis of 2^9 is shipped with the model, and so
are the steps of the frequencies, in 2^-4, and their inverses, in 2^-12; symbols are limited to +-2^11, so no partial sum can
reach 2^53.
"""

import math

import torch
from torch import Tensor

from dctcodec.bands.forecast import COARSE, FINE, IMAGE_GAIN, PAINT_GAIN, POOL_GAIN
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.bands.prior import MEAN_BITS
from dctcodec.bands.transform import STEP_BITS
from dctcodec.exact.layers import STREAM_LIMIT, Arithmetic, Layer, activation, convolved, stored
from dctcodec.exact.quantised import ACTIVATION_BITS, ACTIVATION_MAX
from dctcodec.tiles import TILE

BASIS_BITS = 9
"""The shipped basis is round(2^9 of the orthonormal DCT's)."""
INVERSE_BITS = 12
"""The shipped inverse of a frequency's relative step is round(2^12 / it)."""
KNOWN_LIMIT = 2**11
"""Symbols beyond this are taken as this."""


_ROWS_OF_BYTES = {4: torch.int32, 8: torch.int64}


class ExactForecast:
    """The forecast's network. `tensors` as `export.to_integers` makes them, names that begin with `forecast.`."""

    def __init__(self, tensors: dict[str, Tensor], arithmetic: Arithmetic):
        self.device, self.operand, self._float = arithmetic.device, arithmetic.operand, arithmetic.dtype
        tensors = {name.removeprefix("forecast."): t for name, t in tensors.items() if name.startswith("forecast.")}
        for part in ("weight", "offset", "shift"):  # outputs in the order of `_doubled`
            tensors[f"up.{part}"] = torch.cat([tensors[f"up.{part}"][place::4] for place in range(4)])
        self._coarse, self._fine, self._up, self._paint, self._pool = (
            stored(tensors, name, arithmetic) for name in ("coarse", "fine", "up", "paint", "pool")
        )
        blocks = sum(name.startswith("first.") and name.endswith(".weight") for name in tensors)
        self._blocks = [tuple(stored(tensors, f"{part}.{n}", arithmetic) for part in ("first", "second")) for n in range(blocks)]
        self._coarse_blocks = int(tensors["coarse_blocks"])
        self._bias = tensors["reveal_bias"].to(self.device, arithmetic.dtype)
        self._step_bias = tensors["step_bias"].to(self.device, arithmetic.dtype)
        self._basis, self._step, self._inverse = (
            tensors[name].to(self.device, torch.float64) for name in ("basis", "step", "step_inverse")
        )

    def __call__(self, symbols: Tensor, band: int, step_row: int) -> tuple[Tensor, Tensor]:
        """What the symbols (CHANNELS, h, w), int32, of the bands before `band` say of it: int32 (n, h, w) each, to be added to
        means in 1/16 symbols and to scale indices of its n channels."""
        bias, (h, w) = self._bias[band] + self._step_bias[step_row], symbols.shape[1:]
        image = self._picture(symbols, band)
        stream = self._coarse(_cells(image, COARSE))
        for number in range(self._coarse_blocks):
            stream = self._block(number, stream, bias, w * TILE // COARSE)
        coarse = activation(stream, bias[-2])
        stream = _doubled(self._up(coarse), w * TILE // COARSE).add_(self._fine(_cells(image, FINE)))
        for number in range(self._coarse_blocks, len(self._blocks)):
            stream = self._block(number, stream, bias, w * TILE // FINE)
        fine = activation(stream, bias[-1])
        painted = self._convolved(self._paint, fine, w * TILE // FINE).clamp_(-ACTIVATION_MAX, ACTIVATION_MAX).to(self.operand)
        pooled = torch.cat([_pooled(coarse, h, TILE // COARSE), _pooled(fine, h, TILE // FINE)], 1)
        scales = self._pool(pooled, BANDS[band]).T.to(torch.int32).reshape(-1, h, w)
        return self._coefficients(_tile_rows(painted, w), band).reshape(-1, h, w), scales

    def _picture(self, symbols: Tensor, band: int) -> Tensor:
        """The inverse DCT of the symbols before a band, in 1/16 of IMAGE_GAIN steps: (3, 32 h, 32 w)."""
        known, (h, w) = slice(0, BANDS[band].start), symbols.shape[1:]
        side, places = _places(known)
        matrices = torch.zeros(h * w, 3 * side**2, dtype=torch.float64, device=self.device)
        values = symbols[known].to(self.device).clamp(-KNOWN_LIMIT, KNOWN_LIMIT)
        matrices[:, places] = values.flatten(1).T * self._step[known]
        across = matrices.reshape(-1, side) @ self._basis[:side]
        tiles = self._basis[:side].T @ across.reshape(-1, side, TILE)
        pixels = _rescaled(tiles, 2 * BASIS_BITS + STEP_BITS - ACTIVATION_BITS - math.log2(IMAGE_GAIN))
        pixels = pixels.clamp_(-ACTIVATION_MAX, ACTIVATION_MAX).to(self.operand)
        return pixels.reshape(h, w, 3, TILE, TILE).permute(2, 0, 3, 1, 4).reshape(3, h * TILE, w * TILE)

    def _coefficients(self, rows: Tensor, band: int) -> Tensor:
        """The DCT of tiles whose rows are given, (tiles * 3 * TILE, TILE): a band's channels, in 1/16 symbols, int32 (n, tiles)."""
        side, places = _places(BANDS[band])
        rows = rows.to(self._float)
        across = rows @ self._basis[:side].T.to(rows.dtype)  # at most 127 * 32 * 2^7: exact in float32
        matrices = self._basis[:side] @ across.double().reshape(-1, TILE, side)
        chosen = matrices.reshape(-1, 3 * side**2)[:, places]
        shift = 2 * BASIS_BITS + INVERSE_BITS + ACTIVATION_BITS - MEAN_BITS - math.log2(PAINT_GAIN)
        return _rescaled(chosen * self._inverse[BANDS[band]], shift).to(torch.int32).T

    def _block(self, number: int, stream: Tensor, bias: Tensor, width: int) -> Tensor:
        first, second = self._blocks[number]
        hidden = activation(self._convolved(first, activation(stream, bias[number]), width))
        return self._convolved(second, hidden, width).add_(stream).clamp_(-STREAM_LIMIT, STREAM_LIMIT)

    def _convolved(self, layer: Layer, activations: Tensor, width: int) -> Tensor:
        return convolved(layer, activations.to(self.operand).reshape(-1, width, activations.shape[1]))


def _places(channels: slice) -> tuple[int, list[int]]:
    """The side of the smallest square matrix of frequencies that holds some channels, and where each is among 3 such matrices."""
    chosen = CHANNELS[channels]
    side = 1 + max(max(channel.u, channel.v) for channel in chosen)
    return side, [(channel.plane * side + channel.u) * side + channel.v for channel in chosen]


def _rescaled(whole: Tensor, bits: float) -> Tensor:
    """floor(x / 2^bits + 1/2), in place."""
    return whole.mul_(2.0**-bits).add_(0.5).floor_()


def _cells(image: Tensor, side: int) -> Tensor:
    """The pixels of cells of `side` x `side`: (3, H, W) to (positions, 3 * side^2)."""
    height, width = (length // side for length in image.shape[1:])
    rows = _whole_rows(image, side)
    cells = rows.reshape(3, height, side, width, -1).permute(1, 3, 0, 2, 4)
    return cells.reshape(height * width, -1).view(image.dtype)


def _whole_rows(pixels: Tensor, side: int) -> Tensor:
    """Bytes seen so that the `side` pixels of a cell's row move as one; other numbers as they are."""
    return pixels.contiguous().view(_ROWS_OF_BYTES[side]) if pixels.dtype == torch.int8 else pixels


def _doubled(rows: Tensor, width: int) -> Tensor:
    """Positions on a grid of `width` to those of one twice as fine: (positions, 4 n), ordered by (row, column, n) of the square, to
    (4 positions, n)."""
    grid = rows.reshape(-1, width, 2, rows.shape[1] // 2)
    return grid.permute(0, 2, 1, 3).reshape(4 * len(rows), -1)


def _tile_rows(cells: Tensor, tiles_across: int) -> Tensor:
    """Rows of tiles from `_cells` of side FINE: (positions, 3 * FINE^2) to (tiles * 3 * TILE, TILE)."""
    rows = _whole_rows(cells, FINE)
    grid = rows.reshape(-1, TILE // FINE, tiles_across, TILE // FINE, 3, FINE, rows.shape[1] // (3 * FINE))
    return grid.permute(0, 2, 4, 1, 5, 3, 6).reshape(-1, rows.shape[1] * TILE // (3 * FINE**2)).view(cells.dtype)


def _pooled(activations: Tensor, tiles_down: int, side: int) -> Tensor:
    """Mean of the `side` x `side` positions of each tile, times POOL_GAIN: (positions, n) to (tiles, n)."""
    height = tiles_down * side
    across = len(activations) // height // side
    columns = activations.reshape(tiles_down, side, -1).sum(1)
    mean = columns.reshape(tiles_down, across, side, -1).sum(2) * (POOL_GAIN / side**2)
    return torch.floor(mean + 0.5).clamp_max(ACTIVATION_MAX).flatten(0, 1)
