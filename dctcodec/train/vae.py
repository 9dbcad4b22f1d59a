"""Training of the paper's models: one joint objective, -ln p(x | z) + KL of the latents - L_vlb of the context, or the
importance-weighted bound of several draws of them (Burda et al. 2016).

The objective is in nats per value of the image (VDVAE's scale), so that one clipping norm fits images of all sizes.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dctcodec.data.sets import Images, ImageSet, load
from dctcodec.device import training_precision
from dctcodec.errors import ConfigError
from dctcodec.modules import channels_last
from dctcodec.train.checkpoint import read_weights
from dctcodec.train.expand import expand_weights, has_context
from dctcodec.train.loop import cosine, train
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.processes import processes
from dctcodec.train.settings import Settings
from dctcodec.vae.config import Config, Training
from dctcodec.vae.model import PaperModel, bits_per_dim, importance_bound

FIT_IMAGES = 50_000
"""Number of training images for the context's range and the prior's statistics."""
VALIDATION_BATCH = 100
KL_START = 1e-3
"""Weight of the latents' KL at the first step of a warm-up."""
PAINTED = 4
"""One image of this many is decoded from its context alone, where `paint` is trained."""
PAINT_DEVIATION = 0.05
"""Standard deviation of a value in [0, 1] that turns squared errors into nats."""


def train_vae(config: Config, data: Path, settings: Settings, part: str = "all") -> PaperModel:
    """Train (or take up) the model of a configuration on the data set in a folder; `settings` say where, and from what weights.

    `part`: "vae" or "prior" trains that term of the objective alone, which is as good, since the two share no parameter. Raises
    ConfigError for a part where the configuration's bound has several draws, which has no such terms, and for a batch that the
    processes cannot share or that is more than all training images.
    """
    if part != "all" and config.training.draws > 1:
        raise ConfigError('[training] draws above 1 trains all of the model: part = "all"')
    torch.manual_seed(settings.seed)
    images = load(config.data, data, config.inputs == "grey")
    if (step := config.training.batch * config.training.prior_images) > len(images.training):
        raise ConfigError(
            f"[training] a step of {step} images is more than the {len(images.training)} to train on: give a smaller batch"
        )
    model = PaperModel(config.shape)
    _begin(model, settings.start, images)
    if part == "prior" and model.context and model.prior:  # which may begin with a model of other images
        model.prior.fit(model.context.draw(images.images(images.training[:FIT_IMAGES]).seen)[0])
    model = channels_last(model, settings.device)
    training = replace(config.training, warm_up=0) if settings.start else config.training
    settings = _complete(settings, training)
    draw = images.batches()
    return train(
        model,
        _optimiser(model, training),
        lambda model, batch, step: loss(model, images.images(batch), training, part, kl_weight(step, training)),
        lambda average: validate(average, images),
        lambda count: draw(count * training.prior_images),
        settings,
    )


def _begin(model: PaperModel, start: Path | None, images: ImageSet) -> None:
    """The network with the weights of `start`, if any. Without them, images set the context's range and the prior's statistics."""
    weights = read_weights(start) if start else {}
    if not has_context(weights):
        model.fit(images.images(images.training[:FIT_IMAGES]).seen)
    if start:
        expand_weights(model, weights, start)


def kl_weight(step: Tensor, training: Training) -> Tensor | float:
    """Weight of the latents' KL at a step, counted from 0: from KL_START to 1 over the warm-up, each step by the same factor."""
    return KL_START ** (1 - step / training.warm_up).clamp_min(0) if training.warm_up else 1.0


def loss(model: PaperModel, images: Images, training: Training, part: str = "all", weight: Tensor | float = 1.0) -> Tensor:
    """Mean nats a value, those of the latents' KL times `weight`: the context's prior sees all images, the VAE the first of every
    `prior_images`."""
    images = images.map(lambda some: some.contiguous(memory_format=torch.channels_last))
    values = images.target[0].numel()
    if training.draws > 1:
        return _weighted(model, images, training.draws) / values
    some = images[: len(images) // training.prior_images]
    total = images.seen.new_zeros(())
    with training_precision(images.seen.device):
        if part != "prior":
            total = total + model.bound(some.seen, some.target).total(weight).mean()
            if training.paint:
                total = total + training.paint * _painting(model, some.seen[::PAINTED])
        if part != "vae" and model.context and model.prior:
            total = total + model.prior.loss(model.context.draw(images.seen)[0]).mean()
    return total / values


def _weighted(model: PaperModel, images: Images, draws: int) -> Tensor:
    """The importance-weighted bound, mean nats of an image."""
    with training_precision(images.seen.device):
        weights = model.log_weights(images.seen, draws, rows=draws * len(images), target=images.target)
    return importance_bound(weights).mean()


def _painting(model: PaperModel, images: Tensor) -> Tensor:
    """Squared error of what the context alone paints, in nats an image."""
    painted = model.vae.generate(model.context_image(images), len(images), temperature=0)
    return (painted - images).square().sum() / len(images) / (2 * PAINT_DEVIATION**2)


@torch.no_grad()
def validate(model: PaperModel, images: ImageSet) -> dict[str, float]:
    """Nats of a held-out image: the whole bound and its parts; bits a value for colours."""
    device = next(model.parameters()).device
    parts = []
    # always the same draws; the run's own random state is restored
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for batch in images.images(images.validation).map(lambda some: some.to(device)).split(VALIDATION_BATCH):
            bound = model.bound(batch.seen, batch.target)
            context = model.context_bound(batch.seen)
            parts.append(torch.stack([part.mean() for part in (bound.reconstruction, bound.divergence(), context)]))
    reconstruction, divergence, context = torch.stack(parts).mean(0).tolist()
    total = reconstruction + divergence + context
    figures = {"bound": total, "reconstruction": reconstruction, "divergence": divergence, "context": context}
    return figures if images.binary else figures | {"bits_per_dim": bits_per_dim(total, model.shape.network)}


def _complete(settings: Settings, training: Training) -> Settings:
    """The run's settings with those of the configuration."""
    return replace(
        settings,
        replay=settings.device == "cuda" and processes() == 1 and training.optimiser == "muon",
        schedule=cosine(training.final_rate / training.learning_rate),
        average=training.average,
        clip=training.clip,
        skip=training.skip,
    )


def _optimiser(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    if training.optimiser == "muon":
        adam_only = ("start", "inject", "head", "stem", "network.input", "bias")
        return Optimiser(model, training.learning_rate, 1 / 3, adam_only)
    return torch.optim.AdamW(model.parameters(), training.learning_rate, weight_decay=training.weight_decay)
