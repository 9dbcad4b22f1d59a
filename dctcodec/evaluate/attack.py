"""Attacks on the latents of the paper's models (appendix H), after Kuzina, Welling and Tomczak 2022 ("Alleviating adversarial
attacks on variational autoencoders with MCMC") and its public code, AKuzina/defend_vae_mcmc.

An attack looks for a change of the image, of at most `radius` in each value, that moves the posteriors of the first latents as far
as it can: the objective is the sum of their symmetric KL divergences, (KL(p, q) + KL(q, p)) / 2. From there: the objective; the
radius 0.1; projected gradient ascent, whose step is a rate times the gradient, each value of the gradient cut to the radius;
the rate begins at 1 and halves where the objective stalls. There are 2,000 steps there, and a stall is 20 steps.

The objective needs draws of the latents above. They have the same noise for the image and for the attacked image, one noise for
each start. The reconstructions have another noise, which the attack does not know. Where a noise is common to both, equal
posteriors give equal reconstructions; the paper's code draws the two independently (`apart`).

The context is computed from the attacked image, as an encoder does. It is discrete, so that it has no gradient: the attack goes
through the latents, and may change the context only by the way. A context that a model draws is its best one here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dctcodec.evaluate.figures import standard_error
from dctcodec.metrics import ms_ssim_that_fits
from dctcodec.vae.likelihood import gaussian_divergence
from dctcodec.vae.model import PaperModel
from dctcodec.vae.network import Latent, Noise

BATCH = 50
"""Images that are attacked at once."""
PATIENCE = 5
"""Steps without a better value after which the rate of an image halves."""
LEAST_GAIN = 1e-4
"""By what share of itself a value must rise to be better."""


@dataclass(frozen=True)
class Settings:
    """`radius`: largest change of a value of the image, in [0, 1]; `steps` of the ascent from each of `starts` random changes."""

    radius: float
    steps: int
    starts: int


@dataclass(frozen=True)
class Mean:
    """Mean over images, and its standard error."""

    mean: float
    error: float


@dataclass(frozen=True)
class Row:
    """Attacks on the first `layers` latent layers, a context among them. MS-SSIM of the reconstructions of an image and of: the
    attacked image, and the image with random noise of that radius, with common draws; the attacked image, and the same image, with
    independent draws. Divergences: sums over the layers, nats. `changed_symbols`: share of the context's symbols."""

    layers: int
    attacked: Mean
    noise: Mean
    attacked_apart: Mean
    unattacked_apart: Mean
    divergence: Mean
    noise_divergence: Mean
    changed_symbols: Mean | None


@dataclass(frozen=True)
class Example:
    """Images (n, channels, side, side) in [0, 1], and how they were attacked and reconstructed."""

    image: Tensor
    attacked: Tensor
    reconstruction: Tensor
    attacked_reconstruction: Tensor


class Objective:
    """The divergence of the first `count` latents' posteriors from those of `images`."""

    def __init__(self, model: PaperModel, images: Tensor, count: int):
        self.model, self.count = model, count
        self.noise = _noise(model, len(images), images.device)
        with torch.no_grad():
            self.reference = self._latents(images)

    def __call__(self, images: Tensor) -> Tensor:
        """Nats, (B,), with a gradient."""
        pairs = zip(self._latents(images), self.reference, strict=True)
        return sum((_symmetric(*pair) for pair in pairs), images.new_zeros(len(images)))

    def _latents(self, images: Tensor) -> list[Latent]:
        return self.model.vae.first_latents(images, shown(self.model, images), self.count, replayed(self.noise))


def measure(model: PaperModel, images: Tensor, layers: int, settings: Settings, tick: Callable[[], object]) -> tuple[Row, Example]:
    """Attacks on the first `layers` latent layers of images (n, channels, side, side) in [0, 1]; those of the first start and
    batch as an example. `tick` is called after each step. The model's weights need no gradient."""
    examples, parts = [], []
    for some in images.split(BATCH):
        trials = [_trial(model, some, layers, settings, tick) for _ in range(settings.starts)]
        examples.append(trials[0][1])
        parts.append({key: torch.stack([figures[key] for figures, _ in trials]).mean(0) for key in trials[0][0]})
    means = {key: _mean(torch.cat([part[key] for part in parts])) for key in parts[0]}
    changed = means.pop("changed_symbols", None)
    return Row(layers, **means, changed_symbols=changed), examples[0]


def _trial(
    model: PaperModel, images: Tensor, layers: int, settings: Settings, tick: Callable[[], object]
) -> tuple[dict[str, Tensor], Example]:
    """The figures of a `Row` of one start, (B,) each."""
    count = layers - model.shape.network.context
    objective = Objective(model, images, count)
    noisy = bounded(images, random_change(images, settings.radius), settings.radius)
    attacked = ascend(objective, images, random_change(images, settings.radius), settings, tick)
    with torch.no_grad():
        noise, other = (_noise(model, len(images), images.device) for _ in range(2))
        clean, hit, noised = (_reconstructed(model, version, count, noise) for version in (images, attacked, noisy))
        apart = [_reconstructed(model, version, count, other) for version in (attacked, images)]
        similar = [ms_ssim_that_fits(clean, version) for version in (hit, noised, *apart)]
        figures = dict(zip(("attacked", "noise", "attacked_apart", "unattacked_apart"), similar, strict=True))
        figures |= {"divergence": objective(attacked), "noise_divergence": objective(noisy)}
        if model.context:
            changed = model.context.symbols(attacked) != model.context.symbols(images)
            figures["changed_symbols"] = changed.flatten(1).float().mean(1)
    return figures, Example(images, attacked, clean, hit)


def ascend(
    objective: Callable[[Tensor], Tensor],
    images: Tensor,
    change: Tensor,
    settings: Settings,
    tick: Callable[[], object] = lambda: None,
) -> Tensor:
    """The images of the largest objective (B,) among those of `settings.steps` steps of projected gradient ascent, in [0, 1]
    and within the radius of `images`. The ascent begins at `images` + `change`."""
    radius = settings.radius
    attacked = best = bounded(images, change, radius)
    value = images.new_full([len(images)], -torch.inf)
    rate, stalled = torch.ones_like(value), torch.zeros_like(value)
    for _ in range(settings.steps):
        attacked = attacked.detach().requires_grad_()
        here = objective(attacked)
        (gradient,) = torch.autograd.grad(here.sum(), attacked)
        better, here = here.detach() > value * (1 + LEAST_GAIN), here.detach()
        best = torch.where((here > value)[:, None, None, None], attacked.detach(), best)
        value = torch.maximum(here, value)
        stalled = torch.where(better, 0, stalled + 1)
        rate = torch.where(stalled > PATIENCE, rate / 2, rate)
        stalled = torch.where(stalled > PATIENCE, 0, stalled)
        step = rate[:, None, None, None] * gradient.clamp(-radius, radius)
        attacked = bounded(images, attacked.detach() + step - images, radius)
        tick()
    return best


def bounded(images: Tensor, change: Tensor, radius: float) -> Tensor:
    """Images plus a change that is cut to the radius, cut to [0, 1]."""
    return (images + change.clamp(-radius, radius)).clamp(0, 1)


def random_change(images: Tensor, radius: float) -> Tensor:
    """Uniform in the radius."""
    return (torch.rand_like(images) * 2 - 1) * radius


def replayed(numbers: Sequence[Tensor]) -> Noise:
    """A noise that gives these numbers, in order."""
    left = iter(numbers)
    return lambda shape: next(left)


@torch.no_grad()
def shown(model: PaperModel, images: Tensor) -> Tensor | None:
    """What the best context of images shows, None for the VAE."""
    return model.context.image(model.context.symbols(images)) if model.context else None


def _reconstructed(model: PaperModel, images: Tensor, count: int, noise: Sequence[Tensor]) -> Tensor:
    """Expected images, of the first `count` latents from their posteriors and the others from the prior."""
    encoded = model.vae.encoder(images)
    parameters, _ = model.vae.top_down(shown(model, images), len(images), encoded, noise=replayed(noise), given=count)
    return model.vae.likelihood.mean(parameters)


def _symmetric(first: Latent, second: Latent) -> Tensor:
    """(KL(p, q) + KL(q, p)) / 2 of two posteriors, nats (B,)."""
    pair = first.posterior(), second.posterior()
    return (gaussian_divergence(*pair) + gaussian_divergence(*pair[::-1])).flatten(1).sum(1) / 2


def _noise(model: PaperModel, batch: int, device: torch.device) -> list[Tensor]:
    """Standard normal numbers for all latents."""
    network = model.shape.network
    sides = [scale.side for scale in network.scales[::-1] for _ in range(scale.latents)]
    return [torch.randn(batch, network.latent_width, side, side, device=device) for side in sides]


def _mean(values: Tensor) -> Mean:
    return Mean(values.double().mean().item(), standard_error(values))
