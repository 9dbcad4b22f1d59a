"""Sizes of the paper's models, and what their networks of torch and of onnxruntime share."""

from dataclasses import dataclass
from typing import Literal

from dctcodec.configuration import Count

LOG_VARIANCE = (-5.0, 0.0)
"""Range of the logarithm of a latent's variance."""
SOFTPLUS_BETA = 0.7
"""Of the softplus that makes a variance."""
MIXTURES = 10
"""Logistics in the mixture of a colour."""


@dataclass(frozen=True)
class ContextShape:
    """`kind`: "dct" or "downsample"; `size`: side of the context; `bits`: of each symbol.

    `rate_weight`: None for the paper's bins, of which zero is an edge: then the sign of every coefficient near zero costs a bit.
    Else the bins move by half so that zero is a centre, a symbol is chosen by its squared error and its bits, each of which weighs
    that much (`quantiser.py`), and channels are told as differences from the middle one, modulo 2^bits.

    `drawn` (with a `rate_weight` above 0): training and likelihoods do not take the best symbol but draw one. Near the edge of a
    bin a decoder cannot know on which side an image will fall; with a context that is a function of the image it pays for that in
    probability of images whose context is another."""

    kind: Literal["dct", "downsample"]
    size: Count
    bits: Count
    rate_weight: float | None = None
    drawn: bool = False


@dataclass(frozen=True)
class DiffusionShape:
    """Size of contexts (channels, size, size) of 2^bits values each, of the chain and of the network.

    `first`, `last`: noise-to-signal ratio sigma_t / a_t of the geometric schedule at t = 1, in bins, and at t = T."""

    channels: Count = 3
    size: Count = 6
    bits: Count = 5
    steps: Count = 40
    width: Count = 64
    scales: Count = 2
    blocks: Count = 3
    schedule: Literal["linear", "cosine", "geometric"] = "geometric"
    first: float = 0.5
    last: float = 4.0


@dataclass(frozen=True)
class Scale:
    """One resolution of the network: side in pixels, latents, residual blocks of the encoder, channels, channels inside a block."""

    side: Count
    latents: Count
    encoder: int
    width: Count
    hidden: Count


@dataclass(frozen=True)
class NetworkShape:
    """`channels`, `side` of an image; `scales` fine to coarse; channels of a latent; name of the likelihood; context or not.

    `offset`: the likelihood's means count from the context's image (not in the paper: what a short training would spend on
    copying it, goes to what the context lacks)."""

    channels: Count
    side: Count
    scales: tuple[Scale, ...]
    latent_width: Count
    likelihood: Literal["bernoulli", "logistic-mixture"]
    context: bool
    weight_norm: bool = False
    offset: bool = False


@dataclass(frozen=True)
class ModelShape:
    """`context` and `prior` are None for the VAE baseline."""

    network: NetworkShape
    context: ContextShape | None = None
    prior: DiffusionShape | None = None
