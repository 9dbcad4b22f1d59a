"""Training of the decoder's latents, with its mean path frozen.

A hierarchical VAE on top of the mean path: posteriors (thrown away afterwards) see the original, and the loss is the
negative evidence lower bound of a Gaussian likelihood whose variance is the image's own mean squared error:
D/2 ln MSE + sum over scales of KL(q(z | original, features) || N(0, sigma(features)^2)).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.bands.config import BandsConfig
from dctcodec.bands.decoder import Decoder, DecoderShape, Scale
from dctcodec.bands.transform import dequantise, synthesise
from dctcodec.bands.units import LATENTS
from dctcodec.data.photographs import figures_of_sets, training_photos
from dctcodec.device import training_precision
from dctcodec.modules import channels_last
from dctcodec.tiles import ycbcr_to_rgb
from dctcodec.train.checkpoint import load_weights
from dctcodec.train.loop import train
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.prior import VALIDATION_STEPS, random_steps, symbols_of
from dctcodec.train.settings import Settings

ERROR_GAIN = 1 / 16


class Posterior(nn.Module):
    """q(z | original, features) of one scale: mean and log-deviation."""

    def __init__(self, pixels: int, width: int):
        super().__init__()
        self.error = nn.Conv2d(3 * pixels**2, width, 1)
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 2 * LATENTS, 3, padding=1)

    def forward(self, error: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """`error`: original less plain image, (B, 3, H, W), already unshuffled to the scale."""
        hidden = F.silu(self.hidden(F.silu(self.error(error) + features)))
        mean, log_sigma = self.out(hidden).float().chunk(2, 1)
        return mean, log_sigma.clamp(-6, 2)


class LatentTraining(nn.Module):
    """A decoder whose latents are drawn from posteriors."""

    def __init__(self, shape: DecoderShape = DecoderShape(), kinds: tuple[int, ...] = ()):
        super().__init__()
        self.shape = shape
        self.decoder = Decoder(shape, kinds)
        for name, parameter in self.decoder.named_parameters():
            parameter.requires_grad_("latent" in name)
        self.posteriors = nn.ModuleList(Posterior(s.pixels, w) for s, w in zip(self.decoder.scales, shape.widths, strict=True))

    def forward(self, original: Tensor, symbols: Tensor, step: Tensor, partition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and their divergence in nats (B,)."""
        plain = ycbcr_to_rgb(synthesise(dequantise(symbols, step[:, None, None, None], partition), partition))
        error = (original - plain) * ERROR_GAIN
        posteriors = dict(zip(self.decoder.scales, self.posteriors, strict=True))
        divergences = []

        def draw(scale: Scale, features: Tensor) -> Tensor:
            mean, log_sigma = posteriors[scale](F.pixel_unshuffle(error, scale.pixels), features)
            prior = scale.latent.sigma(features)
            spread = (mean.square() + torch.exp(2 * log_sigma)) / prior.square()
            divergences.append((0.5 * (spread - 1) + torch.log(prior) - log_sigma).sum((1, 2, 3)))
            return mean + torch.exp(log_sigma) * torch.randn_like(mean)

        painted = self.decoder(symbols, step, draw, partition)
        return painted, torch.stack(divergences).sum(0)


def bound(model: LatentTraining, batch: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Negative evidence lower bound less its constants, and divergence, in nats a subpixel, (B,) each."""
    original = batch.float()
    symbols, partition = symbols_of(original, steps, model.decoder.kinds)
    with training_precision(batch.device):
        painted, divergence = model(original, symbols, steps, partition)
    divergence = divergence / original[0].numel()
    return torch.log((painted - original).square().mean((1, 2, 3)) + 0.5) / 2 + divergence, divergence


def loss(model: LatentTraining, batch: Tensor) -> Tensor:
    return bound(model, batch, random_steps(len(batch)).to(batch.device))[0].mean()


@torch.no_grad()
def figures(model: LatentTraining, images: Tensor) -> dict[str, float]:
    """Bound and divergence of uint8 (n, 3, H, W) images at the validation steps, nats a subpixel."""
    rows: dict[str, float] = {}
    for step in VALIDATION_STEPS:
        pairs = [bound(model, p[None], torch.full((1,), step, device=p.device)) for p in images]
        bounds, divergences = (torch.cat(column).mean().item() for column in zip(*pairs, strict=True))
        rows |= {f"bound@{step:g}": bounds, f"divergence@{step:g}": divergences}
    return rows


def train_latents(config: BandsConfig, photos: Path, settings: Settings) -> LatentTraining:
    """Train (or take up) the latents of the decoder that `settings` start from."""
    torch.manual_seed(settings.seed)
    model = LatentTraining(config.shape.decoder, config.shape.kinds)
    if settings.start:
        load_weights(settings.start, model.decoder, "decoder")
    model = channels_last(model, settings.device)
    crops, validation = training_photos(photos, config.training.crop, settings.device)
    optimiser = Optimiser(model, settings.learning_rate)

    def validate(average: LatentTraining) -> dict[str, float]:
        return figures_of_sets(lambda images: figures(average, images), validation)

    return train(model, optimiser, lambda m, b, _: loss(m, b), validate, crops.batch, settings)
