"""`dctcodec bench`: the codec measured against other codecs on the Kodak images."""

from pathlib import Path
from typing import Any

import click

from dctcodec.cli.options import check_page
from dctcodec.family import FAMILIES, TUNES
from dctcodec.installed import DEFAULT, find

QUALITIES = (1, 5, 15, 30, 45, 60, 75, 90, 100)
PATH = click.Path(path_type=Path)


class _Qualities(click.ParamType):  # type: ignore[type-arg]  # older clicks take no type argument
    """A number in 1..100, or several with commas between them."""

    name = "Q[,Q...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            qualities = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, nor numbers with commas between them", param, ctx)
        if not all(1 <= quality <= 100 for quality in qualities):
            self.fail(f"{value!r} is not within 1 to 100", param, ctx)
        return qualities


@click.group()
def bench() -> None:
    """Measure the codec against JPEG, WebP, AVIF and JPEG XL."""


@bench.command()
@click.option("--data", type=PATH, metavar="DIR", help="Folder of images.  [default: Kodak, cached or downloaded]")
@click.option(
    "--quality",
    "qualities",
    type=_Qualities(),
    multiple=True,
    help=f"1 to 100, repeatable.  [default: {','.join(map(str, QUALITIES))}; dct-vae models have only one]",
)
@click.option("--model", default=DEFAULT, metavar="NAME", show_default=True, help="The model to measure.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute.")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="Write all results to this file.")
@click.option("--plot", "plot_path", type=PATH, metavar="FILE.png", help="Write a plot of the curves to this file.")
@click.option(
    "--report",
    "report_path",
    type=PATH,
    metavar="FILE.html",
    help="Write an HTML report to this file, and a page per image beside it.",
)
@click.option("--baselines/--no-baselines", default=True, show_default=True, help="Also measure JPEG, WebP, AVIF and JPEG XL.")
@click.option(
    "--reuse",
    "reused",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Reuse rows of an earlier run's JSON if codec, options, versions and image are the same. Repeatable.",
)
@click.option("--paper", is_flag=True, help="The paper's figure 9: VAE, DCT-VAE and JPEG of equal PSNR, for a dct-vae model.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="T",
    help="With --paper: factor of the standard deviation of latents drawn from the prior.  [default: the model's, 0.1]",
)
@click.option("--effort", type=click.IntRange(0, 9), help="Effort of dctcodec.  [default: 1; 0 for dct-vae models]")
@click.option("--tune", type=click.Choice(TUNES), default=TUNES[0], show_default=True, help="What dctcodec optimises.")
@click.option("--published", type=PATH, metavar="DIR", help="Folder of published curves (JSON) to plot and compare.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N images.")
def kodak(
    data: Path | None,
    qualities: tuple[tuple[float, ...], ...],
    model: str,
    device: str,
    json_path: Path | None,
    plot_path: Path | None,
    baselines: bool,
    reused: tuple[Path, ...],
    paper: bool,
    limit: int | None,
    published: Path | None,
    effort: int | None,
    tune: str,
    report_path: Path | None,
    temperature: float | None,
) -> None:
    """Rate, distortion and time on the 24 Kodak images, and BD-rates against JPEG, WebP, AVIF and JPEG XL."""
    from dctcodec.evaluate.run import Bench, Outputs, run, run_paper

    if paper and (effort or tune != TUNES[0] or published or reused or report_path or not baselines):
        raise click.UsageError(
            "--paper measures figure 9. Remove --effort, --tune, --published, --reuse, --report and --no-baselines."
        )
    if temperature is not None and not paper:
        raise click.UsageError("--temperature goes with --paper. `dctcodec decode --temperature` decodes at others.")
    if report_path:
        check_page(str(report_path))
    distinct: list[float | None] = [*sorted({quality for several in qualities for quality in several})]
    if FAMILIES[find(model).family].one_quality:
        if distinct:
            raise click.UsageError(f"The model {model} has one quality. Remove --quality.")
        distinct = [None]
    elif paper:
        raise click.UsageError(f"--paper is for codecs of the family dct-vae, and {model} is not one.")
    outputs = Outputs(json_path, plot_path, report_path)
    if paper:
        run_paper(data, limit, model, device, temperature, outputs)
        return
    wanted = distinct or QUALITIES
    run(Bench(data, limit, model, device, wanted, effort, tune, baselines, reused, published), outputs)


@bench.command()
@click.option("--model", default=DEFAULT, metavar="NAME", show_default=True, help="The model to count.")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="Write the figures to this file.")
def operations(model: str, json_path: Path | None) -> None:
    """Multiply-adds per pixel of a model's analysis, prior and decoder."""
    from dctcodec.evaluate import report
    from dctcodec.evaluate.operations import count

    report.emit({"model": model, "multiply_adds_a_pixel": {name: round(value) for name, value in count(model).items()}}, json_path)
