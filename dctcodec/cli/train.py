"""`dctcodec train`: what made the shipped weights."""

import math
import os
from dataclasses import replace
from pathlib import Path

import click

from dctcodec.cli.options import SEED, FiniteRange
from dctcodec.family import TUNES


def _run_options(command):
    options = [
        click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Crops a step."),
        click.option(
            "--learning-rate", type=FiniteRange(0, 1), default=1.5e-3, show_default=True, help="Peak, in root mean square a step."
        ),
    ]
    return _photo_options(_with(options, command))


def _photo_options(command):
    options = [
        click.option("--photos", type=click.Path(path_type=Path), required=True, help="Folder with bsds/*.jpg and others."),
        click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of the run; resumed if it exists."),
        click.option("--steps", type=click.IntRange(min=1), help="Length of the run in optimiser steps."),
        click.option("--minutes", type=FiniteRange(min=0.01), help="Length of the run in minutes, over all restarts."),
        click.option("--piece", type=FiniteRange(0), callback=_or_endless, help="Stop after these minutes; call again to go on."),
    ]
    return _with(options, _machine_options(command))


def _or_endless(context: click.Context, option: click.Parameter, minutes: float | None) -> float:
    return math.inf if minutes is None else minutes


def _machine_options(command):
    options = [
        click.option("--seed", type=SEED, default=0, show_default=True, help="Of weights and data."),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train."),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads."),
    ]
    return _with(options, command)


def _with(options, command):
    for option in reversed(options):
        command = option(command)
    return command


def _photo_settings(run: Path, steps: int | None, minutes: float | None, batch: int, crops: int = 0, **rest):
    """`batch`: of all processes together. `crops`: the length of the run where neither option gives it; 0 for none."""
    from dctcodec.train.processes import local_batch

    own = crops if steps is None and minutes is None and crops else None
    if [own, steps, minutes].count(None) != 2:
        raise click.UsageError("give the length of the run: either --steps or --minutes")
    return _settings(run, steps, minutes, crops=own, batch=local_batch(batch), **rest)


def _settings(run: Path, steps: int | None, minutes: float | None, threads: int | None, **rest):
    from dctcodec.device import prepare
    from dctcodec.train.settings import Settings

    prepare(rest["device"], threads)
    if rest["device"] == "cuda":
        _take_gpu(int(os.environ.get("LOCAL_RANK", 0)))  # torchrun's
    return Settings(run, steps=steps, minutes=minutes, **rest)


def _take_gpu(number: int) -> None:
    import torch

    if number >= (there := torch.cuda.device_count()):
        raise click.UsageError(f"every process needs a GPU, and this machine has {there}: start no more of them than that")
    torch.cuda.set_device(number)


@click.group()
def train() -> None:
    """Train the networks (needs photographs and patience)."""


_start_option = click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True),
    help="Weights to begin with: prior-float.safetensors or decoder.safetensors of a model.  [default: random]",
)


_shape_option = click.option(
    "--config", type=click.Path(path_type=Path), help="Sizes as in this file, models/configs/flagship.toml.  [default: dct-bands]"
)


@train.command()
@_start_option
@_shape_option
@click.option(
    "--forecast", type=click.Path(path_type=Path, exists=True), help="Begin with the forecast of this prior-float.safetensors."
)
@click.option("--part", type=click.Choice(["all", "forecast"]), default="all", show_default=True, help="What to train.")
@_run_options
def prior(photos: Path, config: Path | None, forecast: Path | None, part: str, **options) -> None:
    """Train the masked-diffusion prior."""
    from dctcodec.train.prior import train_prior

    shape = _configuration(config).shape.prior
    if (forecast or part == "forecast") and not shape.forecast:
        raise click.UsageError("a forecast needs the --config of a prior that has one: models/configs/flagship.toml")
    train_prior(photos, _photo_settings(**options), shape, forecast, part == "forecast")


@train.command()
@_start_option
@_shape_option
@click.option("--tune", type=click.Choice(TUNES), default=TUNES[0], show_default=True, help="The measure to train for.")
@_run_options
def decoder(photos: Path, config: Path | None, tune: str, **options) -> None:
    """Train the decoder's mean path (temperature 0)."""
    from dctcodec.train.decoder import train_decoder

    train_decoder(photos, _photo_settings(**options), _configuration(config).shape.decoder, tune)


def _configuration(config: Path | None):
    """What the file says; without one the sizes of dct-bands, and no description."""
    from dctcodec.train.flagship import FlagshipConfig, read

    return read(config) if config else FlagshipConfig("")


@train.command()
@click.option("--decoder", type=click.Path(path_type=Path, exists=True), required=True, help="Checkpoint of a run that trained it.")
@_shape_option
@_run_options
def latents(decoder: Path, config: Path | None, photos: Path, **options) -> None:
    """Train the latents of a trained decoder (temperatures above 0). The length of the run may be --config's latent_crops."""
    from dctcodec.bands.decoder import Decoder
    from dctcodec.train.checkpoint import load_average
    from dctcodec.train.latents import train_latents

    settings = _configuration(config)
    network = load_average(decoder, Decoder(settings.shape.decoder), "decoder")
    train_latents(photos, network, _photo_settings(**options, crops=settings.training.latent_crops))


@train.command("flagship")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="Folder of a model to begin with, models/NAME.")
@_photo_options
def flagship_command(config: Path, photos: Path, **options) -> None:
    """Train prior and decoder together as CONFIG says (models/configs/flagship.toml), on symbols of which a share may be chosen by
    effort. The length of the run is CONFIG's crops, if it says them, unless --steps or --minutes are given."""
    from dctcodec.train.flagship import read, train_flagship

    settings = read(config)
    training = settings.training
    sizes = {"batch": training.batch, "learning_rate": training.learning_rate, "crops": training.crops}
    train_flagship(settings, photos, _photo_settings(**options, **sizes))


@train.command("model")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--photos", type=click.Path(path_type=Path), required=True, help="Folder with bsds/*.jpg and others.")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of the parts' runs; resumed if it exists.")
@_machine_options
def model_command(config: Path, photos: Path, run: Path, **options) -> None:
    """Train a whole model from nothing but photographs, for as long as CONFIG (models/configs/dct-bands.toml) says, and export it
    to RUN/model."""
    from dctcodec.train.flagship import read
    from dctcodec.train.model import train_model

    train_model(read(config), photos, _settings(run, None, None, **options))


@train.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the data set's usual files.")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of the run; resumed if it exists.")
@click.option("--steps", type=click.IntRange(min=1), help="Length of the run in optimiser steps.  [default: CONFIG's epochs]")
@click.option("--hours", type=FiniteRange(min=0.001), help="Length of the run in hours, over all restarts.")
@click.option("--learning-rate", type=FiniteRange(0, 1, min_open=True), help="Peak of the rate.  [default: CONFIG's]")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A model's vae.safetensors to begin a new RUN with.",
)
@click.option("--part", type=click.Choice(["both", "vae", "prior"]), default="both", show_default=True, help="What to train.")
@_machine_options
def vae(
    config: Path, data: Path, run: Path, steps: int | None, hours: float | None, learning_rate: float | None, part: str, **options
) -> None:
    """Train one of the paper's models as CONFIG (models/configs/*.toml) says: cifar10, mnist, omniglot or photos.

    Its batch is of all processes together. A RUN that exists goes on from its own weights. A VAE's weights may begin a DCT-VAE, and
    those of narrower layers wider ones: what is new adds nothing at first.
    """
    from dctcodec.train.vae import train_vae
    from dctcodec.vae.config import read

    if steps and hours:
        raise click.UsageError("give the length of the run either as --steps or as --hours")
    whole = read(config)
    if learning_rate:
        whole = replace(whole, training=replace(whole.training, learning_rate=learning_rate))
    train_vae(whole, data, _settings(run, steps, hours and 60 * hours, **options), part)


@train.command()
@_shape_option
@click.option("--prior", type=click.Path(path_type=Path, exists=True), required=True, help="Checkpoint of a run of the prior.")
@click.option("--decoder", type=click.Path(path_type=Path, exists=True), required=True, help="The same of its decoder or latents.")
@click.option("--tuned", type=click.Path(path_type=Path, exists=True), help="The same of a decoder trained for MS-SSIM, if any.")
@click.option("--description", help="One line for `dctcodec models`.  [default: that of --config]")
@click.option("-o", "--model", type=click.Path(path_type=Path), required=True, help="Folder of the model, models/NAME.")
def export(config: Path | None, description: str | None, model: Path, **checkpoints: Path | None) -> None:
    """Write trained weights in the form that is shipped: the prior as integers, with the proof of their bounds."""
    from dctcodec.train.export import export

    if not (config or description):
        raise click.UsageError("give --description, one line for `dctcodec models`, or --config, which holds one")
    settings = _configuration(config)
    export(model, description or settings.description, settings.shape, **checkpoints)


@train.command("export-vae")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the run.")
@click.option("--prior-run", type=click.Path(path_type=Path, exists=True), help="Take the prior from this run.  [default: RUN]")
@click.option("--codec/--no-codec", default=True, help="With the prior as integers, or only to evaluate.  [default: codec]")
@click.option("-o", "--model", type=click.Path(path_type=Path), required=True, help="Folder of the model, models/NAME.")
def export_vae(config: Path, run: Path, prior_run: Path | None, codec: bool, model: Path) -> None:
    """Write one of the paper's models, trained as CONFIG says, in the form that is shipped; its prior as integers, with proofs."""
    from dctcodec.train.checkpoint import CHECKPOINT
    from dctcodec.train.export_vae import export_paper

    export_paper(config, run / CHECKPOINT, model, prior_run and prior_run / CHECKPOINT, codec)
