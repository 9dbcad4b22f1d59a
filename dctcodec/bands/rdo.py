"""Effort: an encoder's search for symbols that cost fewer bits, or paint a nearer image, than those that rounding gives.

Rounding asks only how near a coefficient is to a symbol. But the decoder is a network: its gradient says how the painted image's
error changes with each symbol, and the prior says what each change costs. In each round a share of the symbols for which
squared error + weight * bits would fall moves by one. Moves are judged as if nothing else moved, so a round may fail: then it is
undone, and the next supposes the error to be more curved (as Levenberg and Marquardt do), which leaves fewer moves. Parities are
settled afterwards, by what moves of the best symbols cost: a move changes which parities the rest of the image implies.

For MS-SSIM the squared error of each coefficient has a weight (`masking.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from dctcodec.bands import rounding
from dctcodec.bands.blocks import packed
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.prior import code_bits
from dctcodec.bands.transform import SYMBOL_LIMIT, coefficients, energy
from dctcodec.bands.trellis import Draft
from dctcodec.device import fast_convolutions
from dctcodec.exact.byte_layers import unrounded
from dctcodec.family import Parameters
from dctcodec.progress import Tick
from dctcodec.search import AFTER_FAILURE, AFTER_SUCCESS, CURVATURE, SHARE
from dctcodec.tiles import TILE, rgb_to_ycbcr

if TYPE_CHECKING:
    from dctcodec.bands.masked import MaskedPrior
BITS_WEIGHT = 1 / 5
"""Squared error that a bit is worth, over the squared step: dMSE/dbpp of photographs at equal step is -step^2 / 15 (MSE over three
channels)."""
WINDOW, MARGIN = 24, 4
"""Tiles across the part of an image that is painted at once, and around it."""
Window = tuple[slice, slice]
"""Rows and columns of a part of an image."""


@dataclass(frozen=True)
class State:
    """Symbols (CHANNELS, h, w), float; what they cost; slope of the error along each; mean and scale each is coded with."""

    symbols: Tensor
    cost: float
    slope: Tensor
    mean: Tensor
    scale: Tensor


class SymbolOptimiser:
    """The search for one image. `rgb`: float32 (3, H, W) in [0, 255]; `partition`: int64 (4 or 5, h, w), where the model has kinds
    of blocks, which the search does not change; `seen`: weights of each coefficient's squared error, (CHANNELS, h, w), or 1."""

    def __init__(
        self,
        decoder: Decoder,
        prior: "MaskedPrior",
        rgb: np.ndarray,
        parameters: Parameters,
        partition: np.ndarray | None = None,
        seen: np.ndarray | float = 1.0,
    ):
        self.partition = partition
        self.decoder, self.prior, self.rgb = decoder, prior, torch.from_numpy(rgb).to(decoder.paint.weight.device)
        self.step16, self.step, self.grey = parameters.step16, parameters.step, parameters.grey
        self.seen = torch.from_numpy(seen) if isinstance(seen, np.ndarray) else None
        self.weight = BITS_WEIGHT * self.step**2
        self.curvature = rounding.curvatures(self._steps(), torch.device("cpu"), self._told())[0]
        if self.seen is not None:
            self.curvature = self.curvature * self.seen
        self.generator = torch.Generator().manual_seed(0)

    def optimise(self, symbols: np.ndarray, rounds: int, tick: Tick) -> Draft:
        """Symbols int32 (CHANNELS, h, w) of no higher cost than those given, if every parity were sent."""
        best, curvature = self._state(torch.from_numpy(symbols).float()), CURVATURE
        tick(1 / (rounds + 1))
        for _ in range(rounds):
            state = self._state(best.symbols + self._moves(best, curvature))
            best, factor = (state, AFTER_SUCCESS) if state.cost < best.cost else (best, AFTER_FAILURE)
            curvature *= factor
            tick(1 / (rounds + 1))
        slope, curvatures = self._slope_as_painted(best.symbols), rounding.SETTLING_CURVATURE * self.curvature
        return Draft(best.symbols.int().numpy(), slope.numpy(), curvatures.numpy(), self.weight)

    def _steps(self) -> Tensor:
        """The image's step, float32 (1,)."""
        return torch.full((1,), self.step, dtype=torch.float32)

    def _told(self) -> Tensor | None:
        """The image's partition, int64 (1, 4 or 5, h, w)."""
        return None if self.partition is None else torch.from_numpy(self.partition)[None]

    def _state(self, symbols: Tensor) -> State:
        distributions = self.prior.distributions(packed(symbols.int().numpy(), self.partition), self.step16, self.grey)
        mean, scale = map(torch.from_numpy, distributions)
        bits = code_bits(symbols, mean, scale)
        if self.grey:
            bits = bits * _luma()
        cost = self.weight * bits.sum().item()
        error, slope = self._error(symbols)
        return State(symbols, error + cost, slope, mean, scale)

    def _moves(self, state: State, curvature: float) -> Tensor:
        """-1, 0 or 1 for each symbol."""
        moves = helpful_moves(state.symbols, state.slope, curvature * self.curvature, self.weight, state.mean, state.scale)
        made = torch.rand(moves.shape, dtype=torch.float32, generator=self.generator) < SHARE
        return moves * (made & _luma() if self.grey else made)

    def _error(self, symbols: Tensor) -> tuple[float, Tensor]:
        """Error of the painted image, and its slopes."""
        total, slope = 0.0, torch.zeros_like(symbols)
        for inner, outer in _windows(*symbols.shape[1:]):
            leaf = symbols[:, *outer].to(self.rgb.device).detach().requires_grad_()
            with torch.enable_grad():
                error = self._error_of(self._painted(leaf, inner, outer), inner)
            total += error.item()
            slope[:, *outer] += torch.autograd.grad(error, leaf)[0].cpu()
        return total, slope

    def _slope_as_painted(self, symbols: Tensor) -> Tensor:
        """Slopes of the squared error if the inverse DCT painted changes (`rounding.slopes`). For moves by one they tell more than
        the decoder's gradient, which is of small changes."""
        _, height, width = symbols.shape
        error = torch.zeros(3, height * TILE, width * TILE, dtype=torch.float32)
        for inner, outer in _windows(height, width):
            with torch.no_grad():
                painted = self._painted(symbols[:, *outer].to(self.rgb.device), inner, outer)
            target = self.rgb[:, *_pixels(inner)]
            error[:, *_pixels(inner)][:, : target.shape[1], : target.shape[2]] = (painted - target).cpu()
        slope = rounding.slopes(error[None], self._steps(), self._told())[0]
        return slope if self.seen is None else slope * self.seen

    def _painted(self, symbols: Tensor, inner: Window, outer: Window) -> Tensor:
        """The `inner` tiles where the `outer` ones are painted, which have these symbols, cut to the image."""
        partition = None if self.partition is None else torch.from_numpy(self.partition[None, :, *outer]).to(symbols.device)
        with fast_convolutions(symbols.device), unrounded():
            painted = self.decoder(symbols[None], self._steps().to(symbols.device), partition=partition)[0]
        rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        _, height, width = self.rgb[:, *_pixels(inner)].shape
        return painted[:, *_pixels((rows, columns))][:, :height, :width]

    def _error_of(self, painted: Tensor, inner: Window) -> Tensor:
        """The squared error of painted tiles, or the weighted one of their coefficients."""
        error = painted - self.rgb[:, *_pixels(inner)]
        if self.seen is None:
            return error.square().sum()
        down, across = (-side % TILE for side in error.shape[1:])
        planes = pad(rgb_to_ycbcr(error) - rgb_to_ycbcr(torch.zeros_like(error)), (0, across, 0, down))
        told = None if self.partition is None else torch.from_numpy(self.partition[None, :, *inner]).to(planes.device)
        squares = coefficients(planes[None], told)[0].square() * energy(planes.device)
        return (self.seen[:, *inner].to(planes.device) * squares).sum()


def helpful_moves(symbols: Tensor, slope: Tensor, curvature: Tensor, weight: Tensor | float, mean: Tensor, scale: Tensor) -> Tensor:
    """-1, 0 or 1 for each of the symbols (..., CHANNELS, h, w): the move by which squared error + `weight` * bits falls most, if
    nothing else moves. The error changes by `slope` * move + `curvature`; `mean` and `scale` are what each symbol is coded with."""
    here = code_bits(symbols, mean, scale)
    moves, gains = torch.zeros_like(symbols), torch.zeros_like(symbols)
    for move in (-1.0, 1.0):
        bits = code_bits(symbols + move, mean, scale) - here
        gain = -(slope * move + curvature + weight * bits)
        moves, gains = torch.where(gain > gains, move, moves), torch.maximum(gain, gains)
    return moves * ((symbols + moves).abs() <= SYMBOL_LIMIT)


def _windows(height: int, width: int) -> Iterator[tuple[Window, Window]]:
    """Parts of a grid of tiles, rows and columns each: those that together are the grid, and the same with their margins."""
    for rows in _spans(height):
        for columns in _spans(width):
            yield (rows, columns), (_with_margin(rows, height), _with_margin(columns, width))


def _spans(length: int) -> list[slice]:
    return [slice(first, min(first + WINDOW, length)) for first in range(0, length, WINDOW)]


def _with_margin(span: slice, length: int) -> slice:
    return slice(max(0, span.start - MARGIN), min(span.stop + MARGIN, length))


def _pixels(tiles: Window) -> Window:
    rows, columns = (slice(span.start * TILE, span.stop * TILE) for span in tiles)
    return rows, columns


def _luma() -> Tensor:
    """True for the channels of luma: (CHANNELS, 1, 1)."""
    return torch.tensor([channel.plane == 0 for channel in CHANNELS])[:, None, None]
