"""`dctcodec train`: training of models."""

import math
import os
from pathlib import Path

import click

from dctcodec.cli.options import SEED, FiniteRange

PATH = click.Path(path_type=Path)


@click.group()
def train() -> None:
    """Train models. Training needs data and hours of computing."""


@train.command("model")
@click.argument("recipe", type=PATH)
@click.option(
    "--data", type=PATH, required=True, metavar="DIR", help="Folder of the data set, or of folders named after data sets."
)
@click.option("--run", type=PATH, required=True, metavar="RUN", help="Folder of the stages' runs; resumed if it exists.")
@click.option("--stage", metavar="NAME", help="Train only this stage, and export nothing.")
@click.option(
    "--minutes", type=FiniteRange(0.01), help="Length of all stages together, divided in proportion to the minutes of RECIPE."
)
@click.option("--piece", type=FiniteRange(0), metavar="MINUTES", help="Stop after these minutes; run the command again to resume.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of weights and data.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
def model(
    recipe: Path,
    data: Path,
    run: Path,
    stage: str | None,
    minutes: float | None,
    piece: float | None,
    seed: int,
    device: str,
    threads: int | None,
) -> None:
    """Train a model as RECIPE says (models/recipes/*.toml), and write it to RUN/model.

    The stages of RECIPE are trained one after the other, each in a folder of its name in RUN. Run the command again to
    resume it. The data sets are photos (bsds/*.jpg and others), cifar10, mnist and omniglot.
    """
    from dctcodec.device import prepare
    from dctcodec.train import recipe as recipes
    from dctcodec.train.model import train_model
    from dctcodec.train.processes import rank
    from dctcodec.train.settings import Settings

    whole = recipes.read(recipe)
    if minutes:
        whole = whole.within(minutes)
    prepare(device, threads)
    if device == "cuda":
        _take_gpu(int(os.environ.get("LOCAL_RANK", 0)))  # torchrun's
    settings = Settings(run, piece=math.inf if piece is None else piece, seed=seed, device=device)
    if not train_model(whole, data, settings, stage) and rank() == 0:
        click.echo("the training has not ended: call the same command again to resume")


@train.command("pack")
@click.argument("photos", type=PATH)
@click.argument("folder", type=PATH)
@click.option("--mib", type=click.IntRange(min=1), default=60, show_default=True, help="Largest total size, in MiB.")
def pack_command(photos: Path, folder: Path, mib: int) -> None:
    """Copy some photographs of PHOTOS to FOLDER, up to a total size.

    Photographs that are held out in PHOTOS are held out in FOLDER too.
    """
    from dctcodec.data.pack import pack

    copies = pack(photos, folder, mib << 20)
    click.echo(f"{len(copies)} photographs, {sum(copy.stat().st_size for copy in copies) / 2**20:.1f} MiB, in {folder}")


def _take_gpu(number: int) -> None:
    import torch

    if number >= (there := torch.cuda.device_count()):
        raise click.UsageError(f"every process needs a GPU, and this machine has {there}: start fewer processes")
    torch.cuda.set_device(number)
