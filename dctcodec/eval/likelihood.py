"""The test likelihood of the paper's models.

-ln p(x) is bounded by two importance-weighted bounds (Burda et al. 2016). The context y_0 of an image is a function of it, so
p(x) >= p(y_0) p(x | y_0): other contexts could only add to the sum over y_0. Each factor is an expectation, of

    w_y = p(y_0 .. y_T) / q(y_1 .. y_T | y_0)    over diffusion chains of the context, and of
    w_z = p(x, z | y_0) / q(z | x)               over the latents of the VAE,

so that E ln mean_k w_y <= ln p(y_0), and E ln mean_k w_z <= ln p(x | y_0), by Jensen's inequality. The sum of two lower bounds is
a lower bound of the sum. Chains and latents are independent given the image, and need not be drawn in pairs: a product of
two means is the mean over all pairs.
"""

import math
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dctcodec.bench import machine
from dctcodec.eval.source import prepared, test_images
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel, bits_per_dim

SAMPLES = {"bernoulli": 1000, "logistic-mixture": 100}
"""The paper's."""
BATCH = {"bernoulli": 250, "logistic-mixture": 25}
"""What a processor's caches hold."""
CHAINS = 200
"""Diffusion chains at once."""


@torch.inference_mode()
def measure(
    name: str, config: Config, model: PaperModel, data: Path, images: int, samples: int | None, batch: int | None, device: str
) -> dict[str, object]:
    """Figures of a model on the first `images` test images; `batch`: draws in the decoder at once; None: the defaults."""
    shape = config.shape.network
    samples, batch = samples or SAMPLES[shape.likelihood], batch or BATCH[shape.likelihood]
    tests = test_images(config, data, images).to(device)
    model = prepared(model, device)
    began = time.monotonic()
    parts = bound(model, tests, batch)
    given = importance(model, tests, samples, batch)
    context = context_importance(model, tests, samples)
    seconds = time.monotonic() - began
    elbo, nats = sum(parts.values()), given + context
    figures = {
        "model": name,
        "description": config.description,
        "data": config.data,
        "images": len(tests),
        "samples": samples,
        "nll_nats": _mean(nats),
        "nll_nats_standard_error": _error(nats),
        "nll_nats_given_context": _mean(given),
        "nll_nats_context": _mean(context),
        "elbo_nats": _mean(elbo),
        "elbo_nats_standard_error": _error(elbo),
        **{f"elbo_{name}_nats": _mean(part) for name, part in parts.items()},
    }
    if shape.likelihood == "logistic-mixture":
        for name, value in (("nll", nats), ("elbo", elbo)):
            figures[f"{name}_bits_per_dim"] = _mean(bits_per_dim(value, shape))
            figures[f"{name}_bits_per_dim_standard_error"] = _error(bits_per_dim(value, shape))
    return figures | {"seconds": round(seconds, 1), "machine": machine.describe()}


def bound(model: PaperModel, images: Tensor, batch: int) -> dict[str, Tensor]:
    """The plain bound's parts, nats of each image, one draw of the latents and of each diffusion step."""
    parts = []
    for some in images.split(batch):
        given = model.bound(some)
        context = model.prior.vlb(model.context.symbols(some)) if model.prior else torch.zeros_like(given.reconstruction)
        parts.append((given.reconstruction, sum(given.divergences), context))
    names = ("reconstruction", "divergence", "context")
    return dict(zip(names, map(torch.cat, zip(*parts, strict=True)), strict=True))


def importance(model: PaperModel, images: Tensor, samples: int, batch: int) -> Tensor:
    """-ln mean of `samples` weights w_z, nats of each image."""
    results = []
    with tqdm(total=len(images), unit="image", disable=None) as bar:
        for some in images.split(max(1, batch // samples)):
            results.append(_bound_of(model.log_weights(some, samples, batch)))
            bar.update(len(some))
    return torch.cat(results)


def context_importance(model: PaperModel, images: Tensor, samples: int) -> Tensor:
    """-ln mean of `samples` weights w_y, nats of each image; nothing for a model without a context."""
    if model.prior is None:
        return torch.zeros(len(images), device=images.device)
    results = []
    symbols = torch.cat([model.context.symbols(some) for some in images.split(CHAINS)])
    with tqdm(total=len(images), unit="context", disable=None) as bar:
        for some in symbols.split(CHAINS):
            results.append(_bound_of(model.prior.log_weight(some, samples)))
            bar.update(len(some))
    return torch.cat(results)


def _bound_of(weights: Tensor) -> Tensor:
    """-ln of the mean weight of each image, from logarithms (samples, B)."""
    return math.log(len(weights)) - torch.logsumexp(weights.double(), 0)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _error(values: Tensor) -> float:
    """Standard error of the mean over images."""
    return values.double().std().item() / math.sqrt(len(values))
