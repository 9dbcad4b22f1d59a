"""`dctcodec batch`: archives of images, on one machine or on a cluster."""

from pathlib import Path
from typing import Any

import click

from dctcodec.batch import local
from dctcodec.batch.account import Account
from dctcodec.batch.pool import default_workers
from dctcodec.batch.run import Batch, Engine, convert
from dctcodec.batch.run import verify as verify_batch
from dctcodec.batch.work import Decode, Encode, Verify
from dctcodec.cli.messages import say
from dctcodec.cli.options import FiniteRange, check_colour, check_page, decode_options, encode_options, with_options
from dctcodec.encoding import Encoding
from dctcodec.errors import DctcodecError
from dctcodec.evaluate.extra import need
from dctcodec.installed import find

_batch_options = with_options(
    click.argument("source"),
    click.argument("destination"),
    click.option("--list", "listed", is_flag=True, help="SOURCE is a file of paths, one per line, or - for standard input."),
    click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where to run."),
    click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: as cores and memory allow]"),
    click.option("--address", metavar="HOST:PORT", help="Ray cluster to use, or auto.  [default: start Ray here]"),
    click.option("--gpus", type=FiniteRange(0), default=0, show_default=True, help="GPUs for each Ray worker."),
    click.option("--max-errors", type=click.IntRange(min=0), metavar="N", help="Stop after more than N errors."),
)
"""Arguments and options of all three commands."""
_convert_options = with_options(
    click.option("--shards", type=click.IntRange(min=1), metavar="N", help="Write .tar files of N outputs each."),
    click.option("--overwrite", is_flag=True, help="Replace files that exist in DESTINATION."),
    click.option("--verify", is_flag=True, help="Check files that exist in DESTINATION, and replace damaged ones."),
)
"""Options of encoding and decoding."""


@click.group()
def batch() -> None:
    """Encode, decode or verify whole archives.

    SOURCE is a folder, a file or a pattern such as 'photos/**/*.jpg'; DESTINATION gets the same tree. Both may be fsspec URLs,
    such as s3://bucket/photos. A .tar file in SOURCE becomes a .tar file in DESTINATION. Files that exist in
    DESTINATION are skipped, so run the same command again to resume. DESTINATION/_manifest has a row for each image.
    """


@batch.command()
@_batch_options
@encode_options
@click.option("--psnr", is_flag=True, help="Also decode each file, and write its PSNR into the manifest.")
@click.option("--report", metavar="FILE.html", help="Write a page with a summary and the images with most bits per pixel.")
@_convert_options
def encode(
    source: str,
    destination: str,
    encoding: Encoding,
    psnr: bool,
    report: str | None,
    shards: int | None,
    overwrite: bool,
    verify: bool,
    listed: bool,
    max_errors: int | None,
    **engine: Any,
) -> None:
    """Encode images to .dct files."""
    if report:
        check_page(report)
        need("--report", "torch", "pytorch_msssim", extra="torch")
    work = Encode(encoding, _device(**engine), psnr)
    account = convert(Batch(source, destination, _engine(**engine), listed, max_errors), work, overwrite, verify, shards)
    if report:
        from dctcodec.batch.report import write

        write(Path(report), account, work)
    _end(account, work.verb)


@batch.command()
@_batch_options
@click.option("--format", "ending", default="png", show_default=True, metavar="ENDING", help="Format of the images.")
@decode_options
@_convert_options
def decode(
    source: str,
    destination: str,
    ending: str,
    temperature: float | None,
    bands: int | None,
    model: str | None,
    max_pixels: int | None,
    shards: int | None,
    overwrite: bool,
    verify: bool,
    listed: bool,
    max_errors: int | None,
    **engine: Any,
) -> None:
    """Decode .dct files to images."""
    from dctcodec.image import check_ending

    ending = f".{ending.removeprefix('.').lower()}"
    check_ending(f"image{ending}")
    if model:
        find(model)
    work = Decode(ending, model, _device(**engine), temperature, bands, max_pixels)
    batch = Batch(source, destination, _engine(**engine), listed, max_errors)
    _end(convert(batch, work, overwrite, verify, shards), work.verb)


@batch.command()
@_batch_options
@click.option("--min-psnr", type=FiniteRange(0), default=20, show_default=True, metavar="DB", help="Lowest PSNR that passes.")
@click.option("--background", metavar="COLOUR", callback=check_colour, help="The --background that was used to encode.")
@click.option("--to-srgb", is_flag=True, help="The files were encoded with --to-srgb.")
@click.option("--delete-source", is_flag=True, help="Remove each source whose .dct file passes.")
def verify(
    source: str,
    destination: str,
    min_psnr: float,
    background: str | None,
    to_srgb: bool,
    delete_source: bool,
    listed: bool,
    max_errors: int | None,
    **engine: Any,
) -> None:
    """Decode the .dct files of DESTINATION and compare them with SOURCE."""
    work = Verify(_device(**engine), background, to_srgb, min_psnr)
    _end(verify_batch(Batch(source, destination, _engine(**engine), listed, max_errors), work, delete_source), "verified")


def _device(engine: str, gpus: float, **_: Any) -> str:
    return "cuda" if engine == "ray" and gpus else "cpu"


def _engine(engine: str, workers: int | None, address: str | None, gpus: float) -> Engine:
    """The function that runs tasks. Raises UsageError for options of another engine."""
    if engine == "ray":
        from dctcodec.batch import ray

        return lambda tasks, action: ray.run(tasks, action, workers, address, gpus)
    if address or gpus:
        raise click.UsageError("--address and --gpus need --engine ray.")
    return lambda tasks, action: local.run(tasks, action, workers or default_workers())


def _end(account: Account, verb: str) -> None:
    click.echo(account.summary(verb))
    for line in account.last_errors():
        say("error", line)
    if account.errors:
        raise DctcodecError(f"{account.errors} errors: see the rows of {account.destination}/_manifest whose status is failed")
