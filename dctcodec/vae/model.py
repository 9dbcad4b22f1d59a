"""The paper's model: context, Gaussian diffusion prior over it, hierarchical VAE under it; one joint objective (equation 7)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dctcodec.prior.diffusion import ContextPrior, DiffusionShape
from dctcodec.vae.context import Context, ContextShape
from dctcodec.vae.network import HierarchicalVae, Latent, NetworkShape


@dataclass(frozen=True)
class ModelShape:
    """`context` and `prior` are None for the VAE baseline."""

    network: NetworkShape
    context: ContextShape | None = None
    prior: DiffusionShape | None = None


class Bound(NamedTuple):
    """The evidence lower bound of some images in its parts, nats, (B,) each: -ln p(x | z), and KL of each latent, coarse first."""

    reconstruction: Tensor
    divergences: list[Tensor]

    def total(self) -> Tensor:
        return self.reconstruction + sum(self.divergences)


class PaperModel(nn.Module):
    """DCT-VAE, or the VAE baseline where the shape has no context."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        network = shape.network
        self.vae = HierarchicalVae(network)
        self.context = Context(shape.context, network.channels, network.side) if shape.context else None
        self.prior = ContextPrior(shape.prior) if shape.context else None

    def fit(self, images: Tensor) -> None:
        """Take what is not learned by gradients, the context's range and the prior's statistics, from training images in [0, 1]."""
        if self.context:
            self.context.fit(images)
            self.prior.fit(self.context.symbols(images))

    def context_image(self, images: Tensor) -> Tensor | None:
        """What the context shows of images (B, channels, side, side) in [0, 1]; None for the baseline."""
        return self.context.image(self.context.symbols(images)) if self.context else None

    def bound(self, images: Tensor) -> Bound:
        """Of images (B, channels, side, side) in [0, 1], given their context: -L_vlb of the context is not in it."""
        parameters, latents = self.vae.reconstruct(images, self.context_image(images))
        reconstruction = -self.vae.likelihood.log_likelihood(images, parameters.float())
        return Bound(reconstruction, [latent.divergence().flatten(1).sum(1) for latent in latents])

    def log_weight(self, images: Tensor) -> tuple[Tensor, list[Latent]]:
        """ln p(x, z | context) - ln q(z | x) at one draw of the latents, (B,): its mean is the bound; and the latents."""
        parameters, latents = self.vae.reconstruct(images, self.context_image(images))
        return self._weight(images, parameters, latents), latents

    def log_weights(self, images: Tensor, samples: int, rows: int = 250) -> Tensor:
        """`log_weight` at `samples` draws, (samples, B). Each image is encoded once; its draws go through the decoder at most
        `rows` at a time (or one for each image)."""
        context, encoded = self.context_image(images), self.vae.encoder(images)
        pieces = torch.arange(samples).split(max(1, rows // len(images)))
        return torch.cat([self._weights(images, context, encoded, len(piece)) for piece in pieces])

    def _weights(self, images: Tensor, context: Tensor | None, encoded: list[Tensor], samples: int) -> Tensor:
        def repeated(tensor: Tensor) -> Tensor:
            return tensor.expand(samples, *tensor.shape).flatten(0, 1)  # no copy where there is one image

        many = repeated(images)
        context = None if context is None else repeated(context)
        parameters, latents = self.vae.top_down(context, len(many), [repeated(features) for features in encoded])
        return self._weight(many, parameters, latents).reshape(samples, len(images))

    def _weight(self, images: Tensor, parameters: Tensor, latents: list[Latent]) -> Tensor:
        likelihood = self.vae.likelihood.log_likelihood(images, parameters.float())
        return likelihood + sum(latent.log_ratio() for latent in latents)


def bits_per_dim(nats: Tensor | float, shape: NetworkShape) -> Tensor | float:
    """Nats of an image as bits for each of its values."""
    return nats / (shape.channels * shape.side**2 * torch.log(torch.tensor(2.0)).item())
