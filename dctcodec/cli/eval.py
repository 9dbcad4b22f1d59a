"""`dctcodec eval`: the paper's evaluations."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dctcodec.cli.options import SEED, with_options

if TYPE_CHECKING:
    from dctcodec.vae.config import Config
    from dctcodec.vae.model import PaperModel

PATH = click.Path(path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


def _shared(images: int) -> Callable[[Command], Command]:
    """The options of all commands; `images`: the default number of test images."""
    return with_options(
        click.option("--data", type=PATH, required=True, metavar="DIR", help="Folder with the data set's files."),
        click.option("--images", type=click.IntRange(min=2), default=images, show_default=True, help="Number of test images."),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads."),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to compute."),
        click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the latents."),
        click.option("--json", "json_path", type=PATH, metavar="FILE", help="Write the figures to this file."),
    )


RUNS = click.option(
    "--run",
    "runs",
    type=PATH,
    multiple=True,
    metavar="RUN",
    help="Folder of a RECIPE's run, or of a stage of it; once for each, in order.",
)
PLOT = click.option("--plot", "plot_path", type=PATH, metavar="FILE.png", help="Write a plot of the table to this file.")


def _prepare(threads: int | None, seed: int, device: str) -> None:
    import torch

    from dctcodec.device import prepare

    prepare(device, threads)
    torch.manual_seed(seed)


@click.group()
def evaluate() -> None:
    """Measure the paper's models."""


@evaluate.command()
@click.argument("source", metavar="RECIPE-or-MODEL")
@click.option("--run", type=PATH, metavar="RUN", help="Folder of a run of RECIPE, or of a stage of it.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Draws of the latents per image.  [default: 1000 for binary sets, 100 for CIFAR-10]",
)
@click.option(
    "--pilot",
    type=click.IntRange(min=1),
    metavar="K",
    help="Estimate the bound of all test images from K draws of each and all draws of --images of them, evenly spaced.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Draws in the decoder at once.  [default: 250, for CIFAR-10 25]")
@_shared(1000)
def likelihood(
    source: str, run: Path | None, data: Path, threads: int | None, seed: int, json_path: Path | None, **options: Any
) -> None:
    """Importance-weighted bound on -ln p of test images, and the parts of the plain bound.

    RECIPE is one of models/recipes/*.toml, with --run; MODEL the name of an installed model.
    """
    from dctcodec.evaluate import report
    from dctcodec.evaluate.likelihood import measure
    from dctcodec.evaluate.source import label, load
    from dctcodec.files import check_output

    if json_path:
        check_output(str(json_path))
    _prepare(threads, seed, options["device"])
    report.emit(measure(label(source, run), *load(source, run), data, **options), json_path)


@evaluate.command()
@click.argument("sources", metavar="RECIPE-or-MODEL...", nargs=-1, required=True)
@RUNS
@PLOT
@click.option(
    "--deep",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Measure the gap of the bound, and each latent redrawn from its prior, on the first N images.",
)
@_shared(1000)
def collapse(sources: tuple[str, ...], runs: tuple[Path, ...], data: Path, threads: int | None, seed: int, **options: Any) -> None:
    """KL and active units of each latent, coarse to fine, for several models side by side.

    "1 draw" counts active units as the paper's code does. "redrawn" (with --deep) says by how much ln p(x|z) falls when
    only that latent is drawn again from its prior.

    RECIPE is one of models/recipes/*.toml, with --run; MODEL the name of an installed model.
    """
    from dctcodec.evaluate.collapse import run

    _prepare(threads, seed, options["device"])
    run(_models(sources, runs), data, **options)


@evaluate.command()
@click.argument("sources", metavar="RECIPE-or-MODEL...", nargs=-1, required=True)
@RUNS
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="N",
    help="Attack the first N latent layers. Repeatable.  [default: 1 to 10]",
)
@click.option(
    "--radius",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Largest change of a value of the image, where values are 0 to 1.",
)
@click.option("--steps", type=click.IntRange(min=1), default=50, show_default=True, help="Steps of an attack.")
@click.option("--starts", type=click.IntRange(min=1), default=5, show_default=True, help="Attacks on each image.")
@PLOT
@click.option("--examples", "examples_path", type=PATH, metavar="FILE.png", help="Write some attacked images to this file.")
@_shared(50)
def attack(
    sources: tuple[str, ...],
    runs: tuple[Path, ...],
    data: Path,
    threads: int | None,
    seed: int,
    radius: float,
    steps: int,
    starts: int,
    **options: Any,
) -> None:
    """Attacks on the first latent layers (the paper's figure 10), for several models side by side.

    An attack changes an image a little, so that the posteriors of those latents change much. "attacked" is the MS-SSIM of the
    reconstructions of the image and of the attacked image. --layers counts the context as a layer.

    RECIPE is one of models/recipes/*.toml, with --run; MODEL the name of an installed model.
    """
    from dctcodec.evaluate.attack import Settings
    from dctcodec.evaluate.figure10 import run

    _prepare(threads, seed, options["device"])
    run(_models(sources, runs), data, settings=Settings(radius, steps, starts), **options)


def _models(sources: tuple[str, ...], runs: tuple[Path, ...]) -> list[tuple[str, "Config", "PaperModel"]]:
    """Name, configuration and network of each source."""
    from dctcodec.evaluate.source import label, load, with_runs

    return [(label(source, folder), *load(source, folder)) for source, folder in with_runs(sources, runs)]
