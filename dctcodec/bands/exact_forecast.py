"""The forecast of `forecast.py` in exact integer arithmetic.

Its inverse and forward DCT are products with whole numbers too, in float64: a basis of 2^9 is shipped with the model, and so
are the steps of the frequencies, in 2^-4, and their inverses, in 2^-12; symbols are limited to +-2^11, so no partial sum can
reach 2^53.
"""

import math

import torch
from torch import Tensor

from dctcodec.bands import blocks, forecast
from dctcodec.bands.forecast import COARSE, FINE, IMAGE_GAIN, PAINT_GAIN, POOL_GAIN
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.bands.prior import MEAN_BITS
from dctcodec.bands.transform import STEP_BITS
from dctcodec.exact.layers import STREAM_LIMIT, Arithmetic, Layer, activation, convolved, stored
from dctcodec.exact.quantised import ACTIVATION_BITS, ACTIVATION_MAX, STREAM_BITS
from dctcodec.tiles import TILE, strips_of

BASIS_BITS = 9
"""The shipped basis is round(2^9 of the orthonormal DCT's)."""
INVERSE_BITS = 12
"""The shipped inverse of a frequency's relative step is round(2^12 / it)."""
KNOWN_LIMIT = 2**11
"""Symbols beyond this are taken as this."""
TOLD_LIMIT = int(forecast.TOLD_LIMIT * 2**STREAM_BITS)
"""What a partition adds to a stream, or each of two such things, is limited to this."""
SMALLER_SIDES = (1, 2, 4, 8, 16)
"""Of the DCTs, shipped like that of 32, that those of blocks are made of."""
FRACTION_BITS = 4
"""More of symbols times steps, where they go through the DCTs of DCs."""
TILES_AT_ONCE = 1024
"""Their blocks' transforms take memory."""

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
        layers = sum(name.startswith("first.") and name.endswith(".weight") for name in tensors)
        self._blocks = [tuple(stored(tensors, f"{part}.{n}", arithmetic) for part in ("first", "second")) for n in range(layers)]
        self._coarse_blocks = int(tensors["coarse_blocks"])
        # rows of tiles on either side that the forecast of a tile depends on: two 3x3 layers a block, and what paints
        reach = 2 * self._coarse_blocks * COARSE + (2 * (layers - self._coarse_blocks) + 1) * FINE
        self._reach = -(-reach // TILE)
        self._bias = tensors["reveal_bias"].to(self.device, arithmetic.dtype)
        self._step_bias = tensors["step_bias"].to(self.device, arithmetic.dtype)
        self._basis, self._step, self._inverse = (
            tensors[name].to(self.device, torch.float64) for name in ("basis", "step", "step_inverse")
        )
        if "partition.kinds" in tensors:
            self._kinds = tensors["partition.kinds"].tolist()
            names = {COARSE: "coarse", FINE: "fine"}
            self._told = {pixels: stored(tensors, f"partition.{name}", arithmetic) for pixels, name in names.items()}
            bases = {TILE: self._basis} | {
                size: tensors[f"partition.basis.{size}"].to(self.device, torch.float64) for size in SMALLER_SIDES
            }
            self._matrices = blocks.matrices_of(bases.__getitem__, _settled)

    def __call__(self, symbols: Tensor, band: int, step_row: int, partition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the symbols (CHANNELS, h, w), int32, of the bands before `band` say of it: int32 (n, h, w) each, to be added to
        means in 1/16 symbols and to scale indices of its n channels. `partition`: int64 (4, h, w), where there are kinds of
        blocks. Large grids are done in strips, for the memory."""
        parts = []
        for inner, outer in strips_of(symbols.shape[1:], self._reach):
            kinds = None if partition is None else partition[:, outer]
            means, scales = self._forecast(symbols[:, outer], band, step_row, kinds)
            parts.append((means[:, inner], scales[:, inner]))
        means, scales = (torch.cat(strips, 1) for strips in zip(*parts, strict=True))
        return means, scales

    def _forecast(self, symbols: Tensor, band: int, step_row: int, partition: Tensor | None) -> tuple[Tensor, Tensor]:
        bias, (h, w) = self._bias[band] + self._step_bias[step_row], symbols.shape[1:]
        kinds = None if partition is None else partition.to(self.device).flatten(1).T
        image = self._picture(symbols, band, kinds)
        stream = self._coarse(_cells(image, COARSE))
        if partition is not None:
            stream += self._biases(partition, COARSE)
        for number in range(self._coarse_blocks):
            stream = self._block(number, stream, bias, w * TILE // COARSE)
        coarse = activation(stream, bias[-2])
        stream = _doubled(self._up(coarse), w * TILE // COARSE).add_(self._fine(_cells(image, FINE)))
        if partition is not None:
            stream += self._biases(partition, FINE)
        for number in range(self._coarse_blocks, len(self._blocks)):
            stream = self._block(number, stream, bias, w * TILE // FINE)
        fine = activation(stream, bias[-1])
        painted = self._convolved(self._paint, fine, w * TILE // FINE).clamp_(-ACTIVATION_MAX, ACTIVATION_MAX).to(self.operand)
        pooled = torch.cat([_pooled(coarse, h, TILE // COARSE), _pooled(fine, h, TILE // FINE)], 1)
        scales = self._pool(pooled, BANDS[band]).T.to(torch.int32).reshape(-1, h, w)
        return self._coefficients(_tile_rows(painted, w), band, kinds).reshape(-1, h, w), scales

    def _biases(self, partition: Tensor, pixels: int) -> Tensor:
        """What a partition adds to the stream of a scale of so many pixels a feature: (positions, width)."""
        grid, side = blocks.quadrant_map(partition.to(self.device)), blocks.QUADRANT // pixels
        operand = torch.stack([grid == kind for kind in self._kinds[1:]], -1).flatten(0, 1) * 2**ACTIVATION_BITS
        added = self._told[pixels](operand.to(self.operand)).clamp(-TOLD_LIMIT, TOLD_LIMIT)
        squares = added.reshape(*grid.shape, -1, side, side).permute(0, 3, 1, 4, 2)
        return squares.reshape(-1, squares.shape[-1])

    def _picture(self, symbols: Tensor, band: int, kinds: Tensor | None) -> Tensor:
        """The inverse DCT of the symbols before a band, in 1/16 of IMAGE_GAIN steps: (3, 32 h, 32 w). `kinds`: of the quadrants of
        each tile, (tiles, 4)."""
        known, (h, w) = slice(0, BANDS[band].start), symbols.shape[1:]
        if kinds is not None:
            return _joined(self._blocks_pixels(symbols[known].flatten(1).T.to(self.device), known, kinds), h, w)
        side, places = _places(known)
        matrices = torch.zeros(h * w, 3 * side**2, dtype=torch.float64, device=self.device)
        values = symbols[known].to(self.device).clamp(-KNOWN_LIMIT, KNOWN_LIMIT)
        matrices[:, places] = values.flatten(1).T * self._step[known]
        across = matrices.reshape(-1, side) @ self._basis[:side]
        tiles = self._basis[:side].T @ across.reshape(-1, side, TILE)
        pixels = _rescaled(tiles, 2 * BASIS_BITS + STEP_BITS - ACTIVATION_BITS - math.log2(IMAGE_GAIN))
        return _joined(pixels.clamp_(-ACTIVATION_MAX, ACTIVATION_MAX).to(self.operand), h, w)

    def _blocks_pixels(self, symbols: Tensor, known: slice, kinds: Tensor) -> Tensor:
        """The same of tiles of blocks, symbols (tiles, n): (tiles, 3, TILE, TILE)."""
        side, places = _places(known, blocks.SMALLEST_SIDE)
        pixels = symbols.new_empty(len(symbols), 3, TILE, TILE, dtype=self.operand)
        for start in range(0, len(symbols), TILES_AT_ONCE):
            part = slice(start, start + TILES_AT_ONCE)
            values = symbols[part].clamp(-KNOWN_LIMIT, KNOWN_LIMIT) * self._step[known]
            matrices = values.new_zeros(len(values), 3 * side**2)
            matrices[:, places] = values * 2**FRACTION_BITS
            tiles = blocks.inverse(matrices.reshape(-1, 3, side, side), kinds[part], self._matrices)
            tiles = _rescaled(tiles, 2 * BASIS_BITS + FRACTION_BITS + STEP_BITS - ACTIVATION_BITS - math.log2(IMAGE_GAIN))
            pixels[part] = tiles.clamp_(-ACTIVATION_MAX, ACTIVATION_MAX)
        return pixels

    def _blocks_coefficients(self, tiles: Tensor, band: int, kinds: Tensor) -> Tensor:
        """`_coefficients` of tiles of blocks (tiles, 3, TILE, TILE), in 2^(-2 BASIS_BITS): (tiles, n)."""
        side, places = _places(BANDS[band], blocks.SMALLEST_SIDE)
        parts = [
            blocks.forward(some.double(), those, self._matrices, side).reshape(-1, 3 * side**2)[:, places]
            for some, those in zip(tiles.split(TILES_AT_ONCE), kinds.split(TILES_AT_ONCE), strict=True)
        ]
        return torch.cat(parts)

    def _coefficients(self, rows: Tensor, band: int, kinds: Tensor | None) -> Tensor:
        """The DCT of tiles whose rows are given, (tiles * 3 * TILE, TILE): a band's channels, in 1/16 symbols, int32 (n, tiles)."""
        shift = 2 * BASIS_BITS + INVERSE_BITS + ACTIVATION_BITS - MEAN_BITS - math.log2(PAINT_GAIN)
        if kinds is not None:
            chosen = self._blocks_coefficients(rows.reshape(-1, 3, TILE, TILE), band, kinds)
            return _rescaled(chosen * self._inverse[BANDS[band]], shift).to(torch.int32).T
        side, places = _places(BANDS[band])
        rows = rows.to(self._float)
        across = rows @ self._basis[:side].T.to(rows.dtype)  # at most 127 * 32 * 2^7: exact in float32
        matrices = self._basis[:side] @ across.double().reshape(-1, TILE, side)
        chosen = matrices.reshape(-1, 3 * side**2)[:, places]
        return _rescaled(chosen * self._inverse[BANDS[band]], shift).to(torch.int32).T

    def _block(self, number: int, stream: Tensor, bias: Tensor, width: int) -> Tensor:
        first, second = self._blocks[number]
        hidden = activation(self._convolved(first, activation(stream, bias[number]), width))
        return self._convolved(second, hidden, width).add_(stream).clamp_(-STREAM_LIMIT, STREAM_LIMIT)

    def _convolved(self, layer: Layer, activations: Tensor, width: int) -> Tensor:
        return convolved(layer, activations.to(self.operand).reshape(-1, width, activations.shape[1]))


def _places(channels: slice, even_from: int | None = None) -> tuple[int, list[int]]:
    """The side of the smallest square matrix of frequencies that holds some channels, even and no less than `even_from` where that
    is given, and where each is among 3 such matrices."""
    chosen = CHANNELS[channels]
    side = 1 + max(max(channel.u, channel.v) for channel in chosen)
    if even_from:
        side = max(side + side % 2, even_from)
    return side, [(channel.plane * side + channel.u) * side + channel.v for channel in chosen]


def _joined(tiles: Tensor, height: int, width: int) -> Tensor:
    """Tiles (height * width, ...) of three planes as planes (3, 32 height, 32 width)."""
    planes = tiles.reshape(height, width, 3, TILE, TILE).permute(2, 0, 3, 1, 4)
    return planes.reshape(3, height * TILE, width * TILE)


def _settled(product: Tensor) -> Tensor:
    """A product with two of the integer matrices, in the unit that it was in before."""
    return _rescaled(product, 2 * BASIS_BITS)


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
