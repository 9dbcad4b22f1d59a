"""The paper's contexts: an image made small and discrete, and back (algorithms 1 to 4 of arXiv 2302.09976).

DCT: per-channel orthonormal DCT-II of the whole image, the low-frequency corner, divided by the largest magnitude that each
coefficient has in the training set, in 2^bits equal bins of [-1, 1]. Downsampling: average pooling, in 2^bits bins of [0, 1].
"""

import torch
from torch import Tensor, nn

from dctcodec.errors import ModelError
from dctcodec.vae.choice import chosen
from dctcodec.vae.quantiser import RdoQuantiser
from dctcodec.vae.shapes import ContextShape
from dctcodec.vae.transform import Transform


class Context(nn.Module):
    """What a model knows of its context, and draws from it, in training and evaluation. `Transform` says how images (B, channels,
    side, side) in [0, 1] become symbols (B, channels, size, size), int64 in 0 .. 2^bits - 1, and back."""

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

    @property
    def transform(self) -> Transform:
        """With the buffers where they are now."""
        return Transform(self.shape, self.side, self.largest, self.choice.choice if self.choice else None)

    def fit(self, images: Tensor) -> None:
        """Take the largest magnitude of each coefficient (the paper's S), and the code lengths of symbols, from training images."""
        if self.shape.kind == "dct":
            self.largest.copy_(self.transform.corner(images).abs().amax(0).clamp_min(1e-6))
        if self.choice:
            self.choice.fit(self.transform.values(images) * self.reach, self.width)

    @property
    def width(self) -> Tensor:
        """That of `Transform`."""
        width: Tensor = self.transform.width
        return width

    def symbols(self, images: Tensor) -> Tensor:
        """The context of images: the bin of each value, or the best symbol."""
        with _in_full(images):
            symbols: Tensor = self.transform.symbols(images)
        return symbols

    def draw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A draw from q(y_0 | x), and -ln q of it in nats, (B,): `symbols` and 0 where the context is a function of the image."""
        if not self.choice or not self.shape.drawn:
            return self.symbols(images), images.new_zeros(len(images))
        with _in_full(images):
            symbols, logs = self.choice.posterior(self.transform.values(images) * self.reach, self.width)
        logs = logs.movedim(0, -1).contiguous()
        # a categorical draw by the Gumbel-max method
        drawn = (logs - torch.log(-torch.log(torch.rand_like(logs).clamp(1e-20, 1 - 1e-7)))).argmax(-1)
        surprise = -logs.gather(-1, drawn[..., None]).flatten(1).sum(1)
        return self.of_bins(chosen(symbols, drawn)), surprise

    def image(self, symbols: Tensor) -> Tensor:
        """The image (B, channels, side, side) in [0, 1] that a context shows: each symbol at its bin's centre."""
        with _in_full(symbols):
            image: Tensor = self.transform.image(symbols)
        return image

    def shown(self, bins: Tensor) -> Tensor:
        """The image (B, channels, side, side) in [0, 1] of values counted in bins from zero, whole numbers or not."""
        with _in_full(bins):
            image: Tensor = self.transform.shown(bins)
        return image

    def bins(self, symbols: Tensor) -> Tensor:
        """Bins from zero, whole numbers, of symbols that are told as differences."""
        bins: Tensor = self.transform.bins(symbols)
        return bins

    def of_bins(self, bins: Tensor) -> Tensor:
        """Inverse of `bins`."""
        symbols: Tensor = self.transform.of_bins(bins)
        return symbols


def _in_full(tensor: Tensor) -> torch.autocast:
    """The context is float32 in training too: bfloat16 would move a value in its bin, or into the next."""
    return torch.autocast(tensor.device.type, enabled=False)
