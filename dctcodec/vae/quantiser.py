"""Rate-distortion optimised symbols: entropy-constrained quantisation (Chou, Lookabaugh and Gray 1989).

The nearest bin of each coefficient costs many bits: in RGB the three channels of a frequency nearly agree, and an edge of a bin
between them costs bits but reduces the squared error only a little. So the three are chosen together, by squared error plus
`weight` times a code length. Static tables of frequencies stand for the prior: the middle channel is coded by itself, the others
as differences from it. Only an encoder needs this module.

exp(-ln 2 * (error / weight + bits)), normalised, is the posterior of a symbol with the static frequencies as prior that
is observed in Gaussian noise of variance weight / (2 ln 2). The choice is its mode; training may draw from it instead.
"""

import math

import torch
from torch import Tensor, nn

from dctcodec.vae.choice import Choice, error

ROUNDS = 8
"""Rounds of fitting: frequencies from symbols, then symbols from frequencies."""
PIECE = 5000
"""Images at a time."""


class RdoQuantiser(nn.Module):
    """`weight`: what a bit is worth in squared error of an image whose intensities are in [0, 1]; `reach`: bins on each side of
    zero."""

    bits: Tensor

    def __init__(self, weight: float, channels: int, size: int, reach: int):
        super().__init__()
        self.weight, self.reach = weight, reach
        self.register_buffer("bits", torch.zeros(channels, size, size, 4 * reach + 1))

    def fit(self, bins: Tensor, width: Tensor) -> None:
        """Take the code lengths from training images; arguments as in the call."""
        self.bits.zero_()
        for _ in range(ROUNDS):
            counts = torch.ones_like(self.bits)
            for piece in bins.split(PIECE):
                differences = self.choice.differences(self(piece, width)).movedim(0, -1)
                counts.scatter_add_(-1, differences, torch.ones_like(differences, dtype=counts.dtype))
            self.bits.copy_(counts.sum(-1, keepdim=True).log2() - counts.log2())

    @property
    def choice(self) -> Choice:
        """With the code lengths where they are now."""
        return Choice(self.weight, self.reach, self.bits)

    def forward(self, bins: Tensor, width: Tensor) -> Tensor:
        """That of `Choice`."""
        symbols: Tensor = self.choice(bins, width)
        return symbols

    def posterior(self, bins: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols that may be drawn, int64 (K, B, channels, size, size), and ln of their probabilities, (K, B, size, size), the
        channels of a frequency together; arguments as in the call. Of one channel all symbols, else the candidates."""
        candidates = self._all(bins) if bins.shape[1] == 1 else self.choice.candidates(bins)
        logs = -math.log(2) * (error(candidates, bins, width) / self.weight + self.lengths(candidates))
        return candidates, torch.log_softmax(logs.masked_fill(_repeats(candidates), -math.inf), 0)

    def lengths(self, symbols: Tensor) -> Tensor:
        """Bits of each frequency, (..., size, size) of symbols (..., channels, size, size)."""
        bits: Tensor = self.choice.lengths(symbols)
        return bits

    def _all(self, bins: Tensor) -> Tensor:
        """Every symbol of each coefficient, (K, B, channels, size, size)."""
        symbols = torch.arange(-self.reach, self.reach, device=bins.device)
        return symbols.reshape(-1, 1, 1, 1, 1).expand(-1, *bins.shape)


def _repeats(candidates: Tensor) -> Tensor:
    """Where a candidate equals an earlier one, (K, B, size, size)."""
    return torch.stack([(candidates[:number] == one).all(2).any(0) for number, one in enumerate(candidates)])
