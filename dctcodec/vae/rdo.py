"""Effort for the paper's models: a search for symbols that give a better decoded tile, or cost fewer bits.

`quantiser.py` knows the squared error of symbols in the context alone, but the VAE decodes the tile. As in `bands/rdo.py`, the
gradient of the decoded tile's error says where a move of a symbol by one helps, and the static code lengths of `quantiser.py` say
what it costs. Tiles are decoded alone, so each keeps its own best symbols and curvature.
"""

import torch
from torch import Tensor

from dctcodec.errors import ModelError
from dctcodec.progress import Tick
from dctcodec.search import AFTER_FAILURE, AFTER_SUCCESS, CURVATURE, SHARE
from dctcodec.vae.model import PaperModel


class TileOptimiser:
    """The search for some tiles, (n, channels, side, side) in [0, 1]. Raises ModelError for contexts without code lengths."""

    def __init__(self, model: PaperModel, tiles: Tensor):
        if model.context is None or model.context.choice is None:
            raise ModelError("the model's context has no code lengths to search with")
        self.vae, self.context, self.choice, self.tiles = model.vae, model.context, model.context.choice, tiles
        self.weight, self.width = self.choice.weight, self.context.width
        self.generator = torch.Generator().manual_seed(0)
        channels = tiles.shape[1]
        one, all_ = torch.eye(channels, dtype=tiles.dtype, device=tiles.device), tiles.new_ones(1, channels)
        # a channel of a frequency, or all of them, by one step
        self.candidates = torch.cat([one, -one, all_, -all_])

    def optimise(self, symbols: Tensor, rounds: int, tick: Tick) -> Tensor:
        """Symbols int64 (n, channels, size, size), in each tile of no higher cost than those given."""
        best = self.context.bins(symbols)
        cost, slope = self._cost(best, sloped=rounds > 0)
        curvature = torch.full((len(best), 1, 1), CURVATURE, dtype=torch.float32, device=best.device)
        tick(1 / (rounds + 1))
        for left in reversed(range(rounds)):
            tried = best + self._moves(best, slope, curvature)
            tried_cost, tried_slope = self._cost(tried, sloped=left > 0)
            better = tried_cost < cost
            cost, kept = torch.where(better, tried_cost, cost), better[:, None, None, None]
            best, slope = torch.where(kept, tried, best), torch.where(kept, tried_slope, slope)
            curvature = curvature * torch.where(better, AFTER_SUCCESS, AFTER_FAILURE).float()[:, None, None]
            tick(1 / (rounds + 1))
        return self.context.of_bins(best)

    def _cost(self, bins: Tensor, sloped: bool) -> tuple[Tensor, Tensor]:
        """Squared error of each painted tile + weight * bits, (n,), and the error's gradient along bins, or zeros."""
        leaf = bins.float().requires_grad_(sloped)
        with torch.set_grad_enabled(sloped):
            painted = self.vae.generate(self.context.shown(leaf), len(leaf), temperature=0)
            error = (painted - self.tiles).square().flatten(1).sum(1)
            slope = torch.autograd.grad(error.sum(), leaf)[0] if sloped else torch.zeros_like(leaf)
        return error.detach() + self.weight * self.choice.lengths(bins).flatten(1).sum(1), slope

    def _moves(self, bins: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        """A move for each symbol, int64: the best candidate of each frequency, for a share of those that are good."""
        reach, here = self.choice.reach, self.choice.lengths(bins)
        gains = []
        for move in self.candidates:
            moved = bins + move.long()[:, None, None]
            error = (slope * move[:, None, None]).sum(1) + curvature * (self.width * move[:, None, None]).square().sum(0)
            inside = ((moved >= -reach) & (moved < reach)).all(1)
            bits = self.choice.lengths(moved.clamp(-reach, reach - 1)) - here
            gains.append(torch.where(inside, -(error + self.weight * bits), -1.0))
        gain, chosen = torch.stack(gains).max(0)
        made = (gain > 0) & (torch.rand(gain.shape, dtype=torch.float32, generator=self.generator) < SHARE).to(gain.device)
        return self.candidates[chosen].movedim(-1, 1).long() * made[:, None]
