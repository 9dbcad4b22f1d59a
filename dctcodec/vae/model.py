"""The paper's model: context, Gaussian diffusion prior over it, hierarchical VAE under it; one joint objective (equation 7)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dctcodec.vae.context import Context
from dctcodec.vae.diffusion import ContextPrior
from dctcodec.vae.network import HierarchicalVae
from dctcodec.vae.shapes import ModelShape, NetworkShape

CHAINS = 1000
"""Diffusion chains at once: enough to be fast, few enough for any number of samples to fit in memory."""


class Bound(NamedTuple):
    """The evidence lower bound of some images in its parts, nats, (B,) each: -ln p(x | z), and KL of each latent, coarse first."""

    reconstruction: Tensor
    divergences: list[Tensor]

    def total(self, weight: Tensor | float = 1.0) -> Tensor:
        """Nats (B,), those of the latents times `weight`: 1 for the bound."""
        return self.reconstruction + weight * self.divergence()

    def divergence(self) -> Tensor:
        """KL of all latents, nats (B,)."""
        return sum(self.divergences, torch.zeros_like(self.reconstruction))


class PaperModel(nn.Module):
    """DCT-VAE, or the VAE baseline where the shape has no context."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        network = shape.network
        self.vae = HierarchicalVae(network)
        self.context = Context(shape.context, network.channels, network.side) if shape.context else None
        self.prior = ContextPrior(shape.prior) if shape.prior else None

    def fit(self, images: Tensor) -> None:
        """Take what is not learned by gradients, the context's range and the prior's statistics, from training images in [0, 1]."""
        if self.context and self.prior:
            self.context.fit(images)
            self.prior.fit(self.context.draw(images)[0])

    def context_image(self, images: Tensor) -> Tensor | None:
        """What a context of images (B, channels, side, side) in [0, 1] shows of them; None for the baseline."""
        return self.context.image(self.context.draw(images)[0]) if self.context else None

    def context_bound(self, images: Tensor) -> Tensor:
        """Nats of the context of images, (B,): -L_vlb less -ln q(y_0 | x) of a context that is drawn; 0 for the baseline."""
        if not self.context or not self.prior:
            return images.new_zeros(len(images))
        symbols, surprise = self.context.draw(images)
        return self.prior.vlb(symbols) - surprise

    def bound(self, images: Tensor, target: Tensor | None = None) -> Bound:
        """Of images (B, channels, side, side) in [0, 1], given their context: -L_vlb of the context is not in it. `target`: what
        the likelihood is of, if it is not what encoder and context see (`data.sets.Images`)."""
        parameters, latents = self.vae.reconstruct(images, self.context_image(images))
        reconstruction = -self.vae.likelihood.log_likelihood(images if target is None else target, parameters)
        return Bound(reconstruction, [latent.divergence().flatten(1).sum(1) for latent in latents])

    def log_weights(self, images: Tensor, samples: int, rows: int = 250, target: Tensor | None = None) -> Tensor:
        """ln p(x, z, y_0 .. y_T) - ln q(z, y_0 .. y_T | x) at `samples` draws of latents, context and diffusion chain, nats
        (samples, B): its mean is the bound. Each image is encoded once; its draws go through the decoder at most `rows` at a
        time (or one for each image). `target`: as of `bound`."""
        encoded, total = self.vae.encoder(images), torch.zeros(samples, len(images), device=images.device)
        pieces, contexts = torch.arange(samples, device=images.device).split(max(1, rows // len(images))), None
        if self.context and self.prior:
            symbols, surprise = self.context.draw(_repeated(images, samples))
            chains = torch.cat([self.prior.log_weight(some) for some in symbols.split(CHAINS)])
            total = (chains + surprise).reshape(total.shape)
            contexts = self.context.image(symbols).reshape(samples, *images.shape)
        shown = [None if contexts is None else contexts[piece].flatten(0, 1) for piece in pieces]
        target = images if target is None else target
        given = [self._given(target, one, encoded, len(piece)) for one, piece in zip(shown, pieces, strict=True)]
        return total + torch.cat(given)

    def _given(self, images: Tensor, context: Tensor | None, encoded: list[Tensor], samples: int) -> Tensor:
        """ln p(x, z | y_0) - ln q(z | x), nats (samples, B), where the contexts show the images `context`, (samples * B, ...)."""
        many, features = _repeated(images, samples), [_repeated(level, samples) for level in encoded]
        parameters, latents = self.vae.top_down(context, len(many), features)
        log = self.vae.likelihood.log_likelihood(many, parameters)
        return sum((latent.log_ratio() for latent in latents), log).reshape(samples, len(images))


def importance_bound(weights: Tensor) -> Tensor:
    """The importance-weighted bound of -ln p(x) (Burda et al. 2016), nats (B,): -ln of the mean weight of each image, from
    logarithms (samples, B)."""
    return math.log(len(weights)) - torch.logsumexp(weights.double(), 0)


def _repeated(tensor: Tensor, samples: int) -> Tensor:
    return tensor.expand(samples, *tensor.shape).flatten(0, 1)  # no copy where there is one image


def bits_per_dim(nats: float, shape: NetworkShape) -> float:
    """Nats of an image as bits for each of its values."""
    return nats / (shape.channels * shape.side**2 * torch.log(torch.tensor(2.0)).item())
