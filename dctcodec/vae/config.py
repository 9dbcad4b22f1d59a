"""Configurations of the paper's models: TOML files, models/configs/*.toml; table 6 of the paper and what runs on a CPU."""

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dctcodec.errors import ConfigError
from dctcodec.prior.diffusion import DiffusionShape
from dctcodec.vae.context import ContextShape
from dctcodec.vae.likelihood import LIKELIHOODS
from dctcodec.vae.model import ModelShape
from dctcodec.vae.network import NetworkShape, Scale

_CHOICES = {
    "kind": ("dct", "downsample"),
    "likelihood": tuple(LIKELIHOODS),
    "optimiser": ("adamw", "muon"),
    "schedule": ("linear", "cosine", "geometric"),
}
_POSITIVE = {"side", "latents", "width", "hidden", "channels", "latent_width", "size", "bits", "steps", "batch", "prior_images"}
_POSITIVE |= {"learning_rate", "epochs", "clip", "skip", "scales"}


@dataclass(frozen=True)
class Training:
    """How a model is trained. `epochs`: length of a run that is given no other; `optimiser`: "adamw" (decoupled `weight_decay`) or
    "muon" (`train.optimiser`); the rate falls from `learning_rate` to `final_rate` along a cosine; gradients are clipped to
    the norm `clip`, a step whose norm exceeds `skip` is not taken; `average`: decay of the moving average of weights, 0 for none;
    `prior_images`: images that the diffusion prior sees for each one of the VAE; `paint`: weight of the squared error of what the
    context alone paints (not in the paper, whose objective trains no such picture)."""

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


@dataclass(frozen=True)
class Config:
    """`data`: cifar10, mnist or omniglot."""

    data: str
    description: str
    shape: ModelShape
    training: Training


def read(path: Path) -> Config:
    """The configuration in a TOML file. Raises ConfigError, which says what is wrong in it."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    try:
        return from_table(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def from_table(table: dict[str, Any]) -> Config:
    """The configuration of a parsed TOML or JSON table. Raises ConfigError."""
    parts = dict(table)
    for name in ("context", "network", "prior", "training"):
        if not isinstance(parts.get(name, {}), dict):
            raise ConfigError(f"{name} must be a table: [{name}]")
    scales = tuple(_make(Scale, scale, "scale") for scale in parts.pop("scale", ()))
    context = _make(ContextShape, parts.pop("context"), "context") if "context" in parts else None
    network = _make(NetworkShape, parts.pop("network", {}) | {"scales": scales, "context": context is not None}, "network")
    prior = None
    if context:
        sizes = {"channels": network.channels, "size": context.size, "bits": context.bits}
        prior = _make(DiffusionShape, parts.pop("prior", {}) | sizes, "prior")
    training = _make(Training, parts.pop("training", {}), "training")
    _check(network, context)
    return _make(Config, parts | {"shape": ModelShape(network, context, prior), "training": training}, "the file")


def _make(kind: type, values: dict[str, Any], where: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"[[{where}]] must be a table, or several")
    known = {field.name for field in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise ConfigError(f"[{where}] has {', '.join(unknown)}, which means nothing there; known: {', '.join(sorted(known))}")
    for field in fields(kind):
        if field.name in values:
            _check_value(field.name, values[field.name], field.type, where)
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"[{where}]: {str(error).replace(f'{kind.__name__}.__init__() ', '')}") from error


def _check_value(name: str, value: Any, kind: Any, where: str) -> None:
    if kind in (int, float, str, bool):
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ConfigError(f"[{where}] {name} = {value!r} should be of type {kind.__name__}")
    if kind in (int, float) and (value < 0 or value == 0 and name in _POSITIVE):
        raise ConfigError(f"[{where}] {name} = {value} is too small")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ConfigError(f"[{where}] {name} = {value!r} is none of {', '.join(_CHOICES[name])}")


def _check(network: NetworkShape, context: ContextShape | None) -> None:
    if context and (context.size > network.side or context.kind == "downsample" and network.side % context.size):
        raise ConfigError(f"[context] size = {context.size} does not fit images of side {network.side}")
    weight = context and context.rate_weight
    if weight is not None and (context.kind != "dct" or type(weight) not in (int, float) or not 0 <= weight < math.inf):
        raise ConfigError(f"[context] rate_weight = {weight!r} should be a number from 0 up, of a context of the kind dct")
    sides = [network.side, *(scale.side for scale in network.scales)]
    if network.offset and not (network.context and network.likelihood == "logistic-mixture"):
        raise ConfigError("[network] offset needs a context and the likelihood logistic-mixture")
    if len(sides) < 2 or any(fine % coarse for fine, coarse in zip(sides, sides[1:], strict=False)):
        raise ConfigError("the sides of [[scale]] must each divide the one before, and the first the image's")
