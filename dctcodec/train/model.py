"""Training of a whole model, stage by stage, as its recipe says.

Each stage is a run in a folder of its own and can be resumed. Where the start of a stage has changed since, because an earlier
stage was made longer, the stage starts again and its old folder is renamed.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from dctcodec.bands.config import BandsConfig
from dctcodec.data.photographs import photo_files
from dctcodec.data.sets import folder_of
from dctcodec.errors import ConfigError
from dctcodec.files import make_folder, write_output
from dctcodec.train.checkpoint import CHECKPOINT, progress_of
from dctcodec.train.decoder import train_decoder
from dctcodec.train.export import export_bands
from dctcodec.train.export_vae import export_vae
from dctcodec.train.joint import train_joint
from dctcodec.train.latents import train_latents
from dctcodec.train.loop import held
from dctcodec.train.prior import train_prior
from dctcodec.train.processes import agree, barrier, join_processes, local_batch, processes, rank
from dctcodec.train.recipe import MODEL, Recipe, Stage
from dctcodec.train.settings import Settings
from dctcodec.train.vae import train_vae
from dctcodec.vae.config import Config

BEGINNING = "beginning"
"""File in a stage's folder: SHA-256 of the weights that it began with."""


_BANDS: dict[str, Callable[[BandsConfig, Path, Settings], nn.Module]] = {
    "joint": train_joint,
    "prior": train_prior,
    "forecast": partial(train_prior, forecast_alone=True),
    "decoder": train_decoder,
    "latents": train_latents,
    "ms-ssim": partial(train_decoder, tune="ms-ssim"),
}
"""What trains each part of the family dct-bands."""


def train_model(recipe: Recipe, data: Path, settings: Settings, only: str | None = None) -> bool:
    """Train (or take up) all stages in folders of `settings.folder`, on the data sets in the folder `data`, and write the model to
    its folder `model`; or the stage `only` alone. Returns whether all has come to its end: `settings.piece` may be over before.

    Raises ConfigError where another process trains there, or the stage that another starts from has not ended."""
    stages = [recipe.stage(only)] if only else list(recipe.stages)
    for stage in stages:  # errors are reported before the first hours of training
        local_batch(stage.config.training.batch)
        if stage.data == "photos":
            photo_files(folder_of("photos", data))
    join_processes(settings.device)
    end = time.monotonic() + 60 * settings.piece
    with nullcontext() if only else held(settings.folder):
        for stage in stages:
            left = agree((end - time.monotonic()) / 60, processes())
            if not train_stage(recipe, stage, data, replace(settings, piece=left)):
                return False
        if rank() == 0 and not only:
            export(recipe, settings.folder)
    return True


def train_stage(recipe: Recipe, stage: Stage, data: Path, settings: Settings) -> bool:
    """Train or resume one stage in its folder of `settings.folder`. Returns whether it has ended."""
    start, painter = (_weights(recipe, stage, named, settings) for named in (stage.start, stage.painter))
    own = replace(_of_stage(stage, settings, recipe.stages.index(stage)), start=start, painter=painter)
    if start:
        begin(own.folder, start)
    if not _ended(own) and own.piece > 0:
        _train(stage, data, own)
    barrier()
    return _ended(own)


def export(recipe: Recipe, run: Path) -> None:
    """Write the model that the stages of a run made to its folder `model`; of dct-bands only where they made prior and decoder."""
    last = recipe.stages[-1]
    if isinstance(last.config, Config):
        export_vae(run / MODEL, recipe.family, last.config, last.table, run / last.name / CHECKPOINT)
        return
    makers = recipe.last("joint", "prior", "forecast"), recipe.last("joint", "decoder", "latents"), recipe.last("ms-ssim")
    prior, decoder, second = (run / stage.name / CHECKPOINT if stage else None for stage in makers)
    if prior and decoder:
        export_bands(run / MODEL, last.config, prior, decoder, second)


def _of_stage(stage: Stage, settings: Settings, number: int) -> Settings:
    training = stage.config.training
    return replace(
        settings,
        folder=settings.folder / stage.name,
        batch=local_batch(training.batch),
        learning_rate=training.learning_rate,
        seed=settings.seed + number,
        steps=training.steps,
        minutes=training.minutes,
    )


def _weights(recipe: Recipe, stage: Stage, named: str | Path | None, settings: Settings) -> Path | None:
    """The file of the weights that a stage starts from, or paints with. Raises ConfigError where the stage that makes them has not
    ended."""
    if isinstance(named, Path) and not named.is_file():
        raise ConfigError(f"there is no {named}, which the stage {stage.name} starts from")
    if not isinstance(named, str):
        return named
    before = recipe.stage(named)
    run = _of_stage(before, settings, 0)
    if not _ended(run):
        raise ConfigError(
            f"the stage {stage.name} starts from {before.name}, which has not ended in {run.folder}: train that first"
        )
    return run.folder / CHECKPOINT


def _ended(settings: Settings) -> bool:
    return progress_of(settings.folder / CHECKPOINT).fraction(settings) >= 1


def _train(stage: Stage, data: Path, settings: Settings) -> None:
    if isinstance(stage.config, Config):
        train_vae(replace(stage.config, data=stage.data), data, settings, stage.part)
    else:
        _BANDS[stage.part](stage.config, folder_of(stage.data, data), settings)


def begin(run: Path, weights: Path) -> None:
    """The folder `run` of a stage that begins with `weights`; one that began with others is put aside."""
    if rank() == 0:
        digest, note = hashlib.sha256(weights.read_bytes()).hexdigest(), run / BEGINNING
        if not (note.exists() and note.read_text() == digest):
            if run.exists():
                run.rename(run.with_name(f"{run.name}-until-{time.strftime('%Y%m%d-%H%M%S')}"))
            make_folder(run)
            write_output(note, digest.encode())
    barrier()
