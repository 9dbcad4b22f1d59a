"""The subject of a measurement: an installed model, or a recipe with its training run; and the test images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from dctcodec.data import sets
from dctcodec.errors import ConfigError
from dctcodec.modules import channels_last
from dctcodec.train.checkpoint import CHECKPOINT, load_weights
from dctcodec.train.recipe import Recipe, read
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel

BINARY_SEED = 0
"""Seed of the black and white images drawn from a binary set's grey levels."""


def load(source: str, run: Path | None) -> tuple[Config, PaperModel]:
    """The averaged weights of `run`, of the recipe in the file `source`, or of a stage of it; without a run, the installed model
    `source`.

    Raises ConfigError or ModelError, which say what is missing."""
    if is_recipe(source):
        recipe = read(Path(source))
        if run is None:
            raise ConfigError(f"{source} has no weights: add --run with the folder of a run of it")
        return _of_run(recipe, run)
    if run is not None:
        raise ConfigError(f"--run goes with a recipe (a .toml file); {source} is the name of a model, which has its weights")
    from dctcodec.vae.files import load_model

    return load_model(source)


def _of_run(recipe: Recipe, run: Path) -> tuple[Config, PaperModel]:
    """Of the stage whose folder `run` is, or of the last stage in `run`."""
    folders = {stage.name: run for stage in recipe.stages if stage.name == run.resolve().name and (run / CHECKPOINT).exists()}
    stage = recipe.stage(next(iter(folders), recipe.stages[-1].name))
    if not isinstance(stage.config, Config):
        raise ConfigError(f"models of the family {recipe.family} are measured by `dctcodec bench`")
    return stage.config, load_weights(folders.get(stage.name, run / stage.name) / CHECKPOINT, PaperModel(stage.config.shape))


def is_recipe(source: str) -> bool:
    """Whether a RECIPE-or-MODEL is a recipe's file."""
    return source.endswith(".toml")


def label(source: str, run: Path | None) -> str:
    """What a RECIPE-or-MODEL is called in a table: the run's folder, or the model."""
    return run.resolve().name if run else Path(source).name


def with_runs(sources: Sequence[str], runs: Sequence[Path]) -> list[tuple[str, Path | None]]:
    """Each source with its run: the runs belong to the recipes, in order. Raises ConfigError where their numbers differ."""
    recipes = sum(map(is_recipe, sources))
    if recipes != len(runs):
        raise ConfigError(f"give one --run per recipe: there are {recipes} recipes and {len(runs)} runs")
    left = iter(runs)
    return [(source, next(left) if is_recipe(source) else None) for source in sources]


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


def test_images(config: Config, folder: Path, count: int | None = None, device: str = "cpu") -> sets.Images:
    """The first `count` test images, or all, on a device; black and white of a binary set are always the same drawing."""
    data = sets.load(config.data, folder, config.inputs == "grey")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BINARY_SEED)
        return data.images(data.test)[:count].map(lambda images: images.to(device))
