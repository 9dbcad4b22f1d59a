"""The test likelihood of the paper's models.

-ln p(x) is bounded by the importance-weighted bound (Burda et al. 2016): E ln mean_k w <= ln p(x), by Jensen's inequality, of

    w = p(y_0 .. y_T) p(x, z | y_0) / q(z, y_0 .. y_T | x)

over latents z, the context y_0 (a function of the image, or drawn) and diffusion chains of it. Other contexts than those that
q reaches could only add to p(x).
"""

import math
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dctcodec.data.sets import Images
from dctcodec.device import training_precision
from dctcodec.errors import ConfigError
from dctcodec.evaluate import machine
from dctcodec.evaluate.figures import standard_error
from dctcodec.evaluate.source import fingerprint, prepared, test_images
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel, bits_per_dim, importance_bound

SAMPLES = {"bernoulli": 1000, "logistic-mixture": 100}
"""The paper's."""
BATCH = {"bernoulli": 250, "logistic-mixture": 25}
"""As many draws as fit into a processor's caches."""


@torch.no_grad()
def measure(
    name: str,
    config: Config,
    model: PaperModel,
    data: Path,
    images: int,
    samples: int | None,
    pilot: int | None,
    batch: int | None,
    device: str,
) -> dict[str, object]:
    """Figures of a model on the first `images` test images; with `pilot` an estimate for all of them too (`whole_set`).
    `batch`: draws in the decoder at once; None: the defaults. Raises ConfigError for a pilot of more than `samples` draws."""
    shape = config.shape.network
    samples, batch = samples or SAMPLES[shape.likelihood], batch or BATCH[shape.likelihood]
    if pilot and pilot > samples:
        raise ConfigError(f"--pilot {pilot} is more than all draws of an image, --samples {samples}: give fewer")
    tests = test_images(config, data, device=device)
    model = prepared(model, device)
    began = time.monotonic()
    if not pilot:
        tests = tests[:images]
    parts = bound(model, tests, batch)
    elbo = sum(parts.values(), torch.zeros(()))
    figures = whole_set(model, tests, images, samples, pilot, batch) if pilot else first_images(model, tests, samples, batch)
    figures |= {"elbo_nats": _mean(elbo), "elbo_nats_standard_error": standard_error(elbo)}
    if shape.likelihood == "logistic-mixture":
        bits = {key.replace("nats", "bits_per_dim"): bits_per_dim(value, shape) for key, value in figures.items() if "_nats" in key}
        figures |= bits
    figures |= {f"elbo_{name}_nats": _mean(part) for name, part in parts.items()}
    facts: dict[str, object] = {"model": name, "weights": fingerprint(model), "description": config.description}
    facts |= {"data": config.data, "images": len(tests), "samples": samples}
    facts |= {"parameters": sum(parameter.numel() for parameter in model.parameters()), "latents": _latents(config)}
    return facts | figures | {"seconds": round(time.monotonic() - began, 1), "machine": machine.describe()}


def first_images(model: PaperModel, images: Images, samples: int, batch: int) -> dict[str, float]:
    """The bound of images, and its standard error as one of more images."""
    nats = importance(model, images, samples, batch)
    return {"nll_nats": _mean(nats), "nll_nats_standard_error": standard_error(nats)}


def whole_set(model: PaperModel, images: Images, chosen: int, samples: int, pilot: int, batch: int) -> dict[str, float]:
    """The bound with `samples` draws of all images, estimated: the mean with `pilot` draws over all, less what more draws gain
    on `chosen` of them, spread evenly. That gain varies little from image to image, so a few tell it."""
    spread = torch.linspace(0, len(images) - 1, min(chosen, len(images))).round().long()
    weights = log_weights(model, images[spread], samples, batch)
    few = torch.stack([importance_bound(part) for part in weights.split(pilot) if len(part) == pilot]).mean(0)
    everywhere, gain = few, few - importance_bound(weights)
    rest = torch.ones(len(images), dtype=torch.bool).index_fill_(0, spread, False)
    if rest.any():
        everywhere = torch.cat([few, importance(model, images[rest], pilot, batch)])
    return {
        "pilot": pilot,
        "images_with_all_samples": len(spread),
        "nll_nats": _mean(everywhere) - _mean(gain),
        "nll_nats_estimation_error": standard_error(gain) * math.sqrt(1 - len(spread) / len(images)),
        "nll_nats_standard_error": standard_error(everywhere),
    }


def bound(model: PaperModel, images: Images, batch: int) -> dict[str, Tensor]:
    """The plain bound's parts, nats of each image, one draw of the latents and of each diffusion step."""
    parts = []
    with training_precision(images.seen.device):
        for some in images.split(batch):
            given = model.bound(some.seen, some.target)
            parts.append((given.reconstruction, given.divergence(), model.context_bound(some.seen)))
    names = ("reconstruction", "divergence", "context")
    return dict(zip(names, map(torch.cat, zip(*parts, strict=True)), strict=True))


def importance(model: PaperModel, images: Images, samples: int, batch: int) -> Tensor:
    """-ln mean of `samples` weights, nats of each image."""
    return importance_bound(log_weights(model, images, samples, batch))


def log_weights(model: PaperModel, images: Images, samples: int, batch: int) -> Tensor:
    """ln w of `samples` draws of each image, (samples, B)."""
    results = []
    # numbers as in training
    with tqdm(total=len(images), unit="image", disable=None) as bar, training_precision(images.seen.device):
        for some in images.split(max(1, batch // samples)):
            results.append(model.log_weights(some.seen, samples, batch, some.target))
            bar.update(len(some))
    return torch.cat(results, 1)


def _latents(config: Config) -> int:
    """Stochastic layers, the context among them, as the paper counts them."""
    network = config.shape.network
    return sum(scale.latents for scale in network.scales) + network.context


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
