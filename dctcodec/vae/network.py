"""The top-down hierarchical VAE with a context of figure 8 (arXiv 2302.09976, after VDVAE, Child 2021).

A ResNet encoder goes down the scales; the decoder goes up them again. At the start of a scale the context's image, averaged to that
resolution, is added to the decoder's features; each top-down block then holds one latent with a learned Gaussian prior. Without
a context the same network is the VAE baseline.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from dctcodec.modules import ModuleList
from dctcodec.vae.likelihood import LIKELIHOODS, gaussian_divergence
from dctcodec.vae.shapes import LOG_VARIANCE, SOFTPLUS_BETA, NetworkShape, Scale

Noise = Callable[[tuple[int, ...]], Tensor]
"""Standard normal numbers of a shape."""


class Latent(NamedTuple):
    """One latent as drawn: value, mean and log standard deviation of its prior, and of its posterior where there was an image."""

    value: Tensor
    prior_mean: Tensor
    prior_log_std: Tensor
    mean: Tensor | None = None
    log_std: Tensor | None = None

    def divergence(self) -> Tensor:
        """KL(posterior, prior) in nats, (B, latent width, side, side)."""
        return gaussian_divergence(self.posterior(), (self.prior_mean, self.prior_log_std))

    def log_ratio(self) -> Tensor:
        """ln p(z) - ln q(z | x) at the value drawn, (B,)."""
        ours = _log_normal(self.value, self.prior_mean, self.prior_log_std)
        return (ours - _log_normal(self.value, *self.posterior())).flatten(1).sum(1)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the posterior. Raises ValueError where the latent was drawn without an image."""
        if self.mean is None or self.log_std is None:
            raise ValueError("the latent was drawn from its prior and has no posterior: give an image")
        return self.mean, self.log_std


class Bounded(torch.autograd.Function):
    """Values clamped to a range; one beyond it still learns what would bring it back. (Clamped plainly it never learns again: a
    latent whose prior and posterior both reach the largest variance is noise for good.)"""

    @staticmethod
    def forward(context: Any, values: Tensor, low: float, high: float) -> Tensor:
        context.save_for_backward(values)
        context.low, context.high = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (values,) = context.saved_tensors
        outward = (values > context.high) & (gradient < 0) | (values < context.low) & (gradient > 0)
        return gradient.masked_fill(outward, 0), None, None


class Block(nn.Sequential):
    """Bottleneck of figure 8: 1x1, 3x3, 3x3, 1x1 convolutions, SiLU before each; 1x1 only where the grid is a point."""

    def __init__(self, shape: NetworkShape, scale: Scale, outputs: int, gain: float = 1.0):
        kernel = 3 if scale.side > 1 else 1
        sizes = [(scale.width, scale.hidden, 1), (scale.hidden, scale.hidden, kernel), (scale.hidden, scale.hidden, kernel)]
        layers = [layer for size in sizes for layer in (nn.SiLU(), _convolution(shape, *size))]
        # a layer that starts at zero has no direction to normalise
        last = nn.Conv2d(scale.hidden, outputs, 1) if gain == 0 else _convolution(shape, scale.hidden, outputs, 1)
        with torch.no_grad():
            _magnitude(last).mul_(gain)
            _zero_bias(last)
        super().__init__(*layers, nn.SiLU(), last)


class TopDown(nn.Module):
    """One latent: prior and posterior from the features, the latent into the features, one residual block."""

    def __init__(self, shape: NetworkShape, scale: Scale, gain: float):
        super().__init__()
        self.latent_width = shape.latent_width
        self.prior = Block(shape, scale, 2 * shape.latent_width + scale.width, gain=0)
        self.posterior = Block(shape, scale, 2 * shape.latent_width)
        self.inject = nn.Conv2d(shape.latent_width, scale.width, 1)
        self.residual = Block(shape, scale, scale.width, gain)
        nn.init.normal_(self.inject.weight, std=gain / math.sqrt(shape.latent_width))

    def forward(
        self, features: Tensor, encoded: Tensor | None, temperature: float, noise: Noise, value: Tensor | None = None
    ) -> tuple[Tensor, Latent]:
        prior = self.prior(features)
        mean, log_std = self._gaussian(prior[:, : 2 * self.latent_width])
        if value is not None:
            latent = Latent(value, mean, log_std)
        elif encoded is None:
            value = mean + temperature * torch.exp(log_std) * noise(mean.shape) if temperature else mean
            latent = Latent(value, mean, log_std)
        else:
            q_mean, q_log_std = self._gaussian(self.posterior(features + encoded))
            latent = Latent(q_mean + torch.exp(q_log_std) * noise(mean.shape), mean, log_std, q_mean, q_log_std)
        features = features + prior[:, 2 * self.latent_width :] + self.inject(latent.value)
        return features + self.residual(features), latent

    @staticmethod
    def _gaussian(raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation; the variance is softplus_0.7, its logarithm kept in LOG_VARIANCE."""
        mean, spread = raw.float().contiguous().chunk(2, 1)  # halves of channels-last rows are slow to compute with
        return mean, Bounded.apply(torch.log(F.softplus(spread, SOFTPLUS_BETA) + 1e-8), *LOG_VARIANCE) / 2


class Encoder(nn.Module):
    """Image to features at each scale, fine to coarse."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        stride = shape.side // shape.scales[0].side
        self.stem = nn.Conv2d(shape.channels, shape.scales[0].width, 2 * stride + stride % 2, stride, (stride + 1) // 2)
        gain = 1 / math.sqrt(max(1, sum(scale.encoder for scale in shape.scales)))
        self.blocks = ModuleList(
            ModuleList(Block(shape, scale, scale.width, gain) for _ in range(scale.encoder)) for scale in shape.scales
        )
        pairs = zip(shape.scales, shape.scales[1:], strict=False)
        self.narrow = ModuleList(nn.Conv2d(fine.width, coarse.width, 1) for fine, coarse in pairs)
        self.sides = [scale.side for scale in shape.scales]

    def forward(self, images: Tensor) -> list[Tensor]:
        features, outputs = self.stem(images * 2 - 1), []
        for number, blocks in enumerate(self.blocks):
            if number:
                features = self.narrow[number - 1](_pooled(features, self.sides[number]))
            for block in blocks:
                features = features + block(features)
            outputs.append(features)
        return outputs


class HierarchicalVae(nn.Module):
    """Encoder, top-down decoder and likelihood of images (B, channels, side, side) in [0, 1]."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        self.shape, self.likelihood = shape, LIKELIHOODS[shape.likelihood]
        coarse_first = shape.scales[::-1]
        gain = 1 / math.sqrt(sum(scale.latents for scale in shape.scales))
        self.encoder = Encoder(shape)
        self.start = nn.Parameter(torch.zeros(1, coarse_first[0].width, coarse_first[0].side, coarse_first[0].side))
        self.widen = ModuleList(nn.Conv2d(c.width, f.width, 1) for c, f in zip(coarse_first, coarse_first[1:], strict=False))
        self.context = ModuleList(nn.Conv2d(shape.channels, s.width, 3, padding=1) for s in coarse_first if shape.context)
        self.blocks = ModuleList(ModuleList(TopDown(shape, s, gain) for _ in range(s.latents)) for s in coarse_first)
        fine = coarse_first[-1]
        zoom = shape.side // fine.side
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(fine.width, fine.hidden * zoom**2, 3, padding=1),
            nn.PixelShuffle(zoom),
            nn.SiLU(),
            nn.Conv2d(fine.hidden, self.likelihood.parameters, 3, padding=1),
        )

    def reconstruct(self, images: Tensor, context: Tensor | None, noise: Noise | None = None) -> tuple[Tensor, list[Latent]]:
        """Parameters of the likelihood and all latents, coarse to fine, drawn from their posteriors. `context`: its image."""
        return self.top_down(context, len(images), self.encoder(images), noise=noise)

    def generate(self, context: Tensor | None, batch: int, temperature: float = 1.0, noise: Noise | None = None) -> Tensor:
        """Expected image of what the context leaves to the prior, drawn at `temperature` >= 0; 0 takes every mean."""
        return self.likelihood.mean(self.top_down(context, batch, None, temperature, noise)[0])

    def top_down(
        self,
        context: Tensor | None,
        batch: int,
        encoded: list[Tensor] | None,
        temperature: float = 1.0,
        noise: Noise | None = None,
        given: int | None = None,
        values: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, list[Latent]]:
        """The decoder. The first `given` latents (all by default) come from the posterior where there are features `encoded`.
        `values`: of each latent its value, or None for one that is drawn.
        `noise`: torch.randn on the weights' device by default. Features are added up, and parameters of the likelihood computed, in
        float32 under autocast too: to round them to bfloat16 costs 0.007 bits/dim of CIFAR-10 (`models/TRAINING.md`)."""
        latents: list[Latent] = []
        for step in self._down(context, batch, encoded, temperature, noise, given, values):
            features, latent = step
            latents.append(latent)
        with torch.autocast(features.device.type, enabled=False):
            parameters = self.head(features.float())
        if self.shape.offset and context is not None:
            parameters = self.likelihood.moved(parameters, context)
        return parameters, latents

    def first_latents(self, images: Tensor, context: Tensor | None, count: int, noise: Noise | None = None) -> list[Latent]:
        """The `count` coarsest latents of images, drawn from their posteriors. The finer ones are not computed."""
        return [latent for _, latent in islice(self._down(context, len(images), self.encoder(images), noise=noise), count)]

    def _down(
        self,
        context: Tensor | None,
        batch: int,
        encoded: list[Tensor] | None,
        temperature: float = 1.0,
        noise: Noise | None = None,
        given: int | None = None,
        values: Sequence[Tensor | None] | None = None,
    ) -> Iterator[tuple[Tensor, Latent]]:
        """The decoder's features after each block, coarse to fine, and the latent of the block. Arguments as of `top_down`."""
        if (context is not None) != self.shape.context:
            raise ValueError("only a network with a context takes a context's image")
        noise = noise or partial(torch.randn, device=self.start.device)
        features, drawn = self.start.expand(batch, -1, -1, -1), 0
        for number, (scale, blocks) in enumerate(zip(self.shape.scales[::-1], self.blocks, strict=True)):
            if number:
                features = F.interpolate(self.widen[number - 1](features).float(), size=scale.side, mode="nearest")
            if context is not None:
                features = features + self.context[number](_pooled(context * 2 - 1, scale.side))
            for block in blocks:
                known = given is None or drawn < given
                value = values[drawn] if values else None
                features, latent = block(features, encoded[-1 - number] if encoded and known else None, temperature, noise, value)
                drawn += 1
                yield features, latent


def _pooled(image: Tensor, side: int) -> Tensor:
    return image if image.shape[-1] == side else F.adaptive_avg_pool2d(image, side)


def _convolution(shape: NetworkShape, inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(inputs * kernel**2 / 2))
    _zero_bias(layer)
    return weight_norm(layer) if shape.weight_norm else layer


def _zero_bias(layer: nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _magnitude(layer: nn.Conv2d) -> Tensor:
    """The parameter that scales a layer's outputs."""
    return layer.get_parameter("parametrizations.weight.original0") if is_parametrized(layer) else layer.weight


def _log_normal(value: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return -((value - mean) ** 2) * torch.exp(-2 * log_std) / 2 - log_std - math.log(2 * math.pi) / 2
