"""The paper's contexts: an image made small and discrete, and back (algorithms 1 to 4 of arXiv 2302.09976).

DCT: per-channel orthonormal DCT-II of the whole image, the low-frequency corner, divided by the largest magnitude that each
coefficient has in the training set, in 2^bits equal bins of [-1, 1]. Downsampling: average pooling, in 2^bits bins of [0, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.context import dct_basis
from dctcodec.errors import ModelError


@dataclass(frozen=True)
class ContextShape:
    """`kind`: "dct" or "downsample"; `size`: side of the context; `bits`: of each symbol.

    `rounding`: None for the paper's bins, of which zero is an edge: then the sign of every coefficient near zero costs a bit. Else
    the bins move by half so that zero is a centre, and a DCT coefficient u bins from it, but for the mean, goes to
    sign(u) floor(|u| + rounding): 0.5 is the nearest bin, less a dead zone."""

    kind: str
    size: int
    bits: int
    rounding: float | None = None


class Context(nn.Module):
    """Images (B, channels, side, side) in [0, 1] to symbols (B, channels, size, size), int64 in 0 .. 2^bits - 1, and back."""

    def __init__(self, shape: ContextShape, channels: int, side: int):
        super().__init__()
        self.shape, self.side = shape, side
        if shape.kind not in ("dct", "downsample"):
            raise ModelError(f"there is no context of kind {shape.kind!r}: use dct or downsample")
        if shape.kind == "downsample" and side % shape.size:
            raise ModelError(f"a downsampling context of side {shape.size} does not divide images of side {side}")
        self.register_buffer("largest", torch.ones(channels, shape.size, shape.size))

    def fit(self, images: Tensor) -> None:
        """Take the largest magnitude of each coefficient (the paper's S) from training images."""
        if self.shape.kind == "dct":
            self.largest.copy_(self._corner(images).abs().amax(0).clamp_min(1e-6))

    def symbols(self, images: Tensor) -> Tensor:
        """The context of images: the bin of each value."""
        with _in_full(images):
            values = self._corner(images) / self.largest if self.shape.kind == "dct" else self._pooled(images) * 2 - 1
        bins = 2**self.shape.bits
        symbols = torch.floor((values + 1) * (bins / 2)) if self.shape.rounding is None else self._rounded(values * (bins / 2))
        return symbols.clamp(0, bins - 1).long()

    def image(self, symbols: Tensor) -> Tensor:
        """The image (B, channels, side, side) in [0, 1] that a context shows: each symbol at its bin's centre."""
        middle = 0.5 if self.shape.rounding is None else 0.0
        centres = (symbols + middle) * 2.0 ** (1 - self.shape.bits) - 1
        if self.shape.kind == "downsample":
            return F.interpolate((centres + 1) / 2, size=self.side, mode="nearest")
        basis = self._basis()
        with _in_full(centres):
            return (basis.T @ (centres * self.largest) @ basis).clamp(0, 1)

    def _rounded(self, bins: Tensor) -> Tensor:
        """Values in bins from zero to symbols, of which 2^(bits - 1) is zero."""
        offset = torch.full_like(self.largest, self.shape.rounding)
        offset[:, 0, 0] = 0.5
        return 2 ** (self.shape.bits - 1) + bins.sign() * torch.floor(bins.abs() + offset)

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
