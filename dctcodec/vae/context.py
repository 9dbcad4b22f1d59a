"""The paper's contexts: an image made small and discrete, and back (algorithms 1 to 4 of arXiv 2302.09976).

DCT: per-channel orthonormal DCT-II of the whole image, the low-frequency corner, divided by the largest magnitude that each
coefficient has in the training set, in 2^bits equal bins of [-1, 1]. Downsampling: average pooling, in 2^bits bins of [0, 1].
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.configuration import Count
from dctcodec.errors import ModelError
from dctcodec.tiles import dct_basis
from dctcodec.vae.quantiser import RdoQuantiser, chosen


@dataclass(frozen=True)
class ContextShape:
    """`kind`: "dct" or "downsample"; `size`: side of the context; `bits`: of each symbol.

    `rate_weight`: None for the paper's bins, of which zero is an edge: then the sign of every coefficient near zero costs a bit.
    Else the bins move by half so that zero is a centre, a symbol is chosen by its squared error and its bits, each of which weighs
    that much (`quantiser.py`), and channels are told as differences from the middle one, modulo 2^bits.

    `drawn` (with a `rate_weight` above 0): training and likelihoods do not take the best symbol but draw one. Near the edge of a
    bin a decoder cannot know on which side an image will fall; with a context that is a function of the image it pays for that in
    probability of images whose context is another."""

    kind: Literal["dct", "downsample"]
    size: Count
    bits: Count
    rate_weight: float | None = None
    drawn: bool = False


class Context(nn.Module):
    """Images (B, channels, side, side) in [0, 1] to symbols (B, channels, size, size), int64 in 0 .. 2^bits - 1, and back."""

    largest: Tensor

    def __init__(self, shape: ContextShape, channels: int, side: int):
        super().__init__()
        self.shape, self.side = shape, side
        if shape.kind not in ("dct", "downsample"):
            raise ModelError(f"there is no context of kind {shape.kind!r}: use dct or downsample")
        if shape.kind == "downsample" and side % shape.size:
            raise ModelError(f"a downsampling context of side {shape.size} does not divide images of side {side}")
        self.register_buffer("largest", torch.ones(channels, shape.size, shape.size))
        self.reach = 2 ** (shape.bits - 1)
        self.choice = None if shape.rate_weight is None else RdoQuantiser(shape.rate_weight, channels, shape.size, self.reach)

    def fit(self, images: Tensor) -> None:
        """Take the largest magnitude of each coefficient (the paper's S), and the code lengths of symbols, from training images."""
        if self.shape.kind == "dct":
            self.largest.copy_(self._corner(images).abs().amax(0).clamp_min(1e-6))
        if self.choice:
            self.choice.fit(self._values(images) * self.reach, self.width)

    @property
    def width(self) -> Tensor:
        """How far an image moves, in root of its summed squared intensities, with one bin of a value, (channels, size, size)."""
        return self.largest / self.reach * (1 if self.shape.kind == "dct" else self.side / self.shape.size / 2)

    def symbols(self, images: Tensor) -> Tensor:
        """The context of images: the bin of each value, or the best symbol."""
        with _in_full(images):
            values = self._values(images)
            if self.choice:
                return self.of_bins(self.choice(values * self.reach, self.width))
        return torch.floor((values + 1) * self.reach).clamp(0, 2 * self.reach - 1).long()

    def draw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A draw from q(y_0 | x), and -ln q of it in nats, (B,): `symbols` and 0 where the context is a function of the image."""
        if not self.choice or not self.shape.drawn:
            return self.symbols(images), images.new_zeros(len(images))
        with _in_full(images):
            symbols, logs = self.choice.posterior(self._values(images) * self.reach, self.width)
        logs = logs.movedim(0, -1).contiguous()
        # a categorical draw by the Gumbel-max method
        drawn = (logs - torch.log(-torch.log(torch.rand_like(logs).clamp(1e-20, 1 - 1e-7)))).argmax(-1)
        surprise = -logs.gather(-1, drawn[..., None]).flatten(1).sum(1)
        return self.of_bins(chosen(symbols, drawn)), surprise

    def image(self, symbols: Tensor) -> Tensor:
        """The image (B, channels, side, side) in [0, 1] that a context shows: each symbol at its bin's centre."""
        return self.shown(self.bins(symbols) if self.choice else symbols + 0.5 - self.reach)

    def shown(self, bins: Tensor) -> Tensor:
        """The image (B, channels, side, side) in [0, 1] of values counted in bins from zero, whole numbers or not."""
        values = bins.float() / self.reach
        if self.shape.kind == "downsample":
            return F.interpolate((values + 1) / 2, size=self.side, mode="nearest")
        basis = self._basis()
        with _in_full(values):
            return (basis.T @ (values * self.largest) @ basis).clamp(0, 1)

    def bins(self, symbols: Tensor) -> Tensor:
        """Bins from zero, whole numbers, of symbols that are told as differences."""
        return self._against_middle(symbols, 1) - self.reach

    def of_bins(self, bins: Tensor) -> Tensor:
        """Inverse of `bins`."""
        return self._against_middle(bins + self.reach, -1)

    def _against_middle(self, symbols: Tensor, sign: int) -> Tensor:
        """Less, or plus, the middle channel's distance from zero, in all others."""
        middle = symbols.shape[1] // 2
        moved = (symbols + sign * (symbols[:, middle : middle + 1] - self.reach)) % (2 * self.reach)
        moved[:, middle] = symbols[:, middle]
        return moved

    def _values(self, images: Tensor) -> Tensor:
        """What is quantised, in [-1, 1]."""
        return self._corner(images) / self.largest if self.shape.kind == "dct" else self._pooled(images) * 2 - 1

    def _corner(self, images: Tensor) -> Tensor:
        basis = self._basis()
        return basis @ images @ basis.T

    def _pooled(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, self.side // self.shape.size)

    def _basis(self) -> Tensor:
        return dct_basis(self.side, self.largest.device)[: self.shape.size]


def _in_full(tensor: Tensor) -> torch.autocast:
    """The context is float32 in training too: bfloat16 would move a value in its bin, or into the next."""
    return torch.autocast(tensor.device.type, enabled=False)
