"""Configurations of the paper's models: TOML files, models/configs/*.toml; table 6 of the paper and what runs on a CPU."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dctcodec import configuration
from dctcodec.configuration import check_names, make
from dctcodec.errors import ConfigError
from dctcodec.vae.context import ContextShape
from dctcodec.vae.diffusion import DiffusionShape
from dctcodec.vae.model import ModelShape
from dctcodec.vae.network import NetworkShape, Scale


@dataclass(frozen=True)
class Training:
    """How a model is trained. `epochs`: length of a run that is given no other; `batch`: images a step of the VAE, of all processes
    together; `optimiser`: "adamw" (decoupled `weight_decay`) or
    "muon" (`train.optimiser`); the rate falls from `learning_rate` to `final_rate` along a cosine; gradients are clipped to
    the norm `clip`, a step whose norm exceeds `skip` is not taken; `average`: decay of the moving average of weights, 0 for none;
    `prior_images`: images that the diffusion prior sees for each one of the VAE; `paint`: weight of the squared error of what the
    context alone paints (not in the paper, whose objective trains no such image); `warm_up`: steps over which the weight of the
    latents' KL rises to 1 in a training from nothing (`train.vae.kl_weight`; not in the paper): begun at 1 it drives most latents
    of a deep network to nothing before they have learnt anything, and they stay there; `draws`: of each image's latents, whose
    importance-weighted bound is trained (Burda et al. 2016), 1 for the paper's plain one. More cost as many decodings and come
    nearer to ln p: for the end of a training, from its weights."""

    epochs: float
    batch: int
    learning_rate: float
    final_rate: float
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    clip: float = 1.0
    skip: float = 100.0
    average: float = 0.0
    prior_images: int = 1
    paint: float = 0.0
    warm_up: int = 0
    draws: int = 1


@dataclass(frozen=True)
class Config:
    """`data`: cifar10, mnist, omniglot or photos."""

    data: str
    description: str
    shape: ModelShape
    training: Training


def read(path: Path) -> Config:
    """The configuration in a TOML file. Raises ConfigError, which says what is wrong in it."""
    return configuration.read(path, from_table)


def from_table(table: dict[str, Any]) -> Config:
    """The configuration of a parsed TOML or JSON table. Raises ConfigError."""
    check_names(table, {"data", "description", "network", "scale", "context", "prior", "training"}, "the file")
    parts = dict(table)
    for name in ("context", "network", "prior", "training"):
        if not isinstance(parts.get(name, {}), dict):
            raise ConfigError(f"{name} must be a table: [{name}]")
    scales = tuple(make(Scale, scale, "scale") for scale in parts.pop("scale", ()))
    context = make(ContextShape, parts.pop("context"), "context") if "context" in parts else None
    network = make(NetworkShape, parts.pop("network", {}) | {"scales": scales, "context": context is not None}, "network")
    prior = None
    if context:
        sizes = {"channels": network.channels, "size": context.size, "bits": context.bits}
        prior = make(DiffusionShape, parts.pop("prior", {}) | sizes, "prior")
    training = make(Training, parts.pop("training", {}), "training")
    _check(network, context)
    if training.draws > 1 and (training.prior_images > 1 or training.paint or training.warm_up):
        raise ConfigError("[training] draws above 1 has one bound of all images: prior_images = 1, paint = 0, warm_up = 0")
    return make(Config, parts | {"shape": ModelShape(network, context, prior), "training": training}, "the file")


def _check(network: NetworkShape, context: ContextShape | None) -> None:
    if context and (context.size > network.side or context.kind == "downsample" and network.side % context.size):
        raise ConfigError(f"[context] size = {context.size} does not fit images of side {network.side}")
    weight = context and context.rate_weight
    if weight is not None and not (type(weight) in (int, float) and 0 <= weight < math.inf):
        raise ConfigError(f"[context] rate_weight = {weight!r} should be a number from 0 up")
    if context and context.drawn and not weight:
        raise ConfigError("[context] drawn needs a rate_weight above 0")
    sides = [network.side, *(scale.side for scale in network.scales)]
    if network.offset and not (network.context and network.likelihood == "logistic-mixture"):
        raise ConfigError("[network] offset needs a context and the likelihood logistic-mixture")
    if len(sides) < 2 or any(fine % coarse for fine, coarse in zip(sides, sides[1:], strict=False)):
        raise ConfigError("the sides of [[scale]] must each divide the one before, and the first the image's")
