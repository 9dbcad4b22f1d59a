"""Configurations of the paper's models: what a recipe says of the sizes of their networks, and of a stage of their training."""

from dataclasses import dataclass
from typing import Any, Literal

from dctcodec.configuration import Amount, Count, Rate, Share, check_names, make
from dctcodec.errors import ConfigError
from dctcodec.vae.shapes import ContextShape, DiffusionShape, ModelShape, NetworkShape, Scale


@dataclass(frozen=True)
class Training:
    """How a stage trains. Its length is `steps`, or `minutes` over all restarts; `batch`: images a step of the VAE, of all
    processes together; `optimiser`: "adamw" (decoupled `weight_decay`) or "muon" (`train.optimiser`); the rate falls from
    `learning_rate` to `final_rate` along a cosine; gradients are clipped to the norm `clip`, a step whose norm exceeds `skip` is
    not taken; `average`: decay of the moving average of weights, 0 for none; `prior_images`: images that the diffusion prior sees
    for each one of the VAE; `paint`: weight of the squared error of what the context alone paints (not in the paper, whose
    objective trains no such image); `warm_up`: steps over which the weight of the latents' KL rises to 1 in a training from nothing
    (`train.vae.kl_weight`; not in the paper): begun at 1 it drives most latents of a deep network to nothing before they have
    learnt anything, and they stay there; `draws`: of each image's latents, whose importance-weighted bound is trained (Burda et al.
    2016), 1 for the paper's plain one. More cost as many decodings and come nearer to ln p: for the end of a training, from its
    weights."""

    batch: Count
    learning_rate: Rate
    final_rate: Share
    steps: int = 0
    minutes: float = 0.0
    optimiser: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 0.01
    clip: Amount = 1.0
    skip: Amount = 100.0
    average: float = 0.0
    prior_images: Count = 1
    paint: float = 0.0
    warm_up: int = 0
    draws: Count = 1


@dataclass(frozen=True)
class Config:
    """`data`: cifar10, mnist, omniglot or photos; `inputs`: what encoder and context see of a binary set, the black and white
    that is drawn, or the grey levels that it is drawn from, as in the paper's code. The bound holds for both."""

    data: str
    description: str
    shape: ModelShape
    training: Training
    inputs: Literal["drawn", "grey"] = "drawn"


def from_table(table: dict[str, Any]) -> Config:
    """The configuration of a parsed TOML or JSON table. Raises ConfigError."""
    check_names(table, {"data", "description", "inputs", "network", "scale", "context", "prior", "training"}, "the file")
    parts = dict(table)
    for name in ("context", "network", "prior", "training"):
        if not isinstance(parts.get(name, {}), dict):
            raise ConfigError(f"{name} must be a table: [{name}]")
    if not isinstance(scales := parts.pop("scale", []), list):
        raise ConfigError("scale must be several tables: [[scale]]")
    scales = tuple(make(Scale, scale, "scale") for scale in scales)
    context = make(ContextShape, parts.pop("context"), "context") if "context" in parts else None
    network = make(NetworkShape, parts.pop("network", {}) | {"scales": scales, "context": context is not None}, "network")
    prior = None
    if context:
        sizes = {"channels": network.channels, "size": context.size, "bits": context.bits}
        prior = make(DiffusionShape, parts.pop("prior", {}) | sizes, "prior")
    training = make(Training, _without_epochs(parts.pop("training", {})), "training")
    _check(network, context)
    if parts.get("inputs") == "grey" and network.likelihood != "bernoulli":
        raise ConfigError('inputs = "grey" is for binary images: the likelihood should be bernoulli')
    if training.draws > 1 and (training.prior_images > 1 or training.paint or training.warm_up):
        raise ConfigError("[training] draws above 1 has one bound of all images: prior_images = 1, paint = 0, warm_up = 0")
    return make(Config, parts | {"shape": ModelShape(network, context, prior), "training": training}, "the file")


def _without_epochs(training: dict[str, Any]) -> dict[str, Any]:
    """Models that were made before there were recipes tell the length of their training so."""
    return {name: value for name, value in training.items() if name != "epochs"}


def _check(network: NetworkShape, context: ContextShape | None) -> None:
    if context and (context.size > network.side or (context.kind == "downsample" and network.side % context.size)):
        raise ConfigError(f"[context] size = {context.size} does not fit images of side {network.side}")
    if context and context.drawn and not context.rate_weight:
        raise ConfigError("[context] drawn needs a rate_weight above 0")
    sides = [network.side, *(scale.side for scale in network.scales)]
    if network.offset and not (network.context and network.likelihood == "logistic-mixture"):
        raise ConfigError("[network] offset needs a context and the likelihood logistic-mixture")
    if len(sides) < 2 or any(fine % coarse for fine, coarse in zip(sides, sides[1:], strict=False)):
        raise ConfigError("the sides of [[scale]] must each divide the one before, and the first the image's")
