"""The subject of a measurement: an installed model, or a recipe with its training run; and the test images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dctcodec.data import sets
from dctcodec.errors import ConfigError
from dctcodec.modules import channels_last
from dctcodec.train.checkpoint import CHECKPOINT, load_average
from dctcodec.vae.config import Config, read
from dctcodec.vae.model import PaperModel

BINARY_SEED = 0
"""Seed of the black and white images drawn from a binary set's grey levels."""


def load(source: str, run: Path | None) -> tuple[Config, PaperModel]:
    """The averaged weights of `run`, of the configuration in the file `source`; without a run, the installed model `source`.

    Raises ConfigError or ModelError, which say what is missing."""
    if is_config(source):
        config = read(Path(source))
        if run is None:
            raise ConfigError(f"{source} has no weights: add --run with the folder of a run that trained it")
        return config, load_average(run / CHECKPOINT, PaperModel(config.shape))
    if run is not None:
        raise ConfigError(f"--run goes with a configuration (a .toml file); {source} is the name of a model, which has its weights")
    from dctcodec.vae.files import load_model

    return load_model(source)


def is_config(source: str) -> bool:
    """Whether a CONFIG-or-MODEL is a configuration's file."""
    return source.endswith(".toml")


def label(source: str, run: Path | None) -> str:
    """What a CONFIG-or-MODEL is called in a table: the run's folder, or the model."""
    return run.resolve().name if run else Path(source).name


def with_runs(sources: Sequence[str], runs: Sequence[Path]) -> list[tuple[str, Path | None]]:
    """Each source with its run: the runs belong to the configurations, in order. Raises ConfigError where their numbers differ."""
    configs = sum(map(is_config, sources))
    if configs != len(runs):
        raise ConfigError(f"give one --run per recipe: there are {configs} configurations and {len(runs)} runs")
    left = iter(runs)
    return [(source, next(left) if is_config(source) else None) for source in sources]


def fingerprint(model: PaperModel) -> str:
    """The first 32 bits of a SHA-256 of all weights, as eight digits: of which weights a figure is."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def prepared(model: PaperModel, device: str) -> PaperModel:
    """The model on a device, with its convolutions in the fastest layout."""
    model = model.to(device).eval()
    channels_last(model.vae)
    return model


def test_images(config: Config, folder: Path, count: int | None = None) -> Tensor:
    """The first `count` test images, or all, float in [0, 1]; black and white of a binary set are always the same drawing."""
    data = sets.load(config.data, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BINARY_SEED)
        return data.images(data.test)[:count]
