"""A whole bench run: find the pictures, measure every codec on them, say and store what came out."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from dctcodec.errors import DataError
from dctcodec.evaluate import machine, report
from dctcodec.evaluate.baselines import BASELINES
from dctcodec.evaluate.extra import need
from dctcodec.evaluate.kodak import Pictures, find
from dctcodec.evaluate.measure import Setting, Subject, measure
from dctcodec.evaluate.published import Published, read
from dctcodec.evaluate.report import Result
from dctcodec.files import check_output, write_output


def run(
    data: Path | None,
    qualities: Sequence[float | None],
    model: str,
    device: str,
    json_path: Path | None,
    plot_path: Path | None,
    baselines: bool,
    paper: bool,
    limit: int | None,
    published: Path | None,
    effort: int,
    tune: str,
) -> None:
    """What `dctcodec bench kodak` does; the arguments are its options.

    Raises DataError, ImageError, ModelError and OutputError, and DctcodecError where the bench extra is missing.
    """
    from dctcodec.codec import Codec

    need("bench", "bjontegaard", "matplotlib")
    for path in filter(None, (json_path, plot_path)):
        check_output(path)
    pictures = _first(find(data), limit)
    curves = _published(published, pictures)
    if paper:
        from dctcodec.evaluate.figure9 import run_paper

        run_paper(pictures, Codec(model, device), f"vae-{model.removeprefix('dct-vae-')}", json_path, plot_path)
        return
    codec = Codec(model, device)
    codec.check(effort, tune)
    ours = Setting(codec, effort, tune)
    subjects = [("dctcodec", f"model {model}, device {device}, effort {effort}, tune {tune}", ours, qualities)]
    if baselines:
        subjects += [(codec.name, codec.description, codec, codec.qualities) for codec in BASELINES]
    results = _measure_all(subjects, pictures)

    click.echo(f"Mean over {len(pictures.paths)} pictures: {pictures.description}")
    click.echo(report.table(results))
    if baselines or curves:
        click.echo(f"\n{report.bd_lines([*results, *curves])}")
    if json_path:
        document = report.document(results, codec.model.model_id, pictures.description, machine.describe(), curves)
        write_output(json_path, json.dumps(document, indent=1).encode() + b"\n")
    if plot_path:
        from dctcodec.evaluate.plot import draw

        write_output(plot_path, draw(results, pictures.description, curves))


def _published(folder: Path | None, pictures: Pictures) -> list[Published]:
    if folder and pictures.description != "Kodak":
        raise DataError(f"published curves are means over all of Kodak, not over {pictures.description}: leave --published out")
    return read(folder) if folder else []


def _first(pictures: Pictures, limit: int | None) -> Pictures:
    if limit is None or limit >= len(pictures.paths):
        return pictures
    return Pictures(f"the first {limit} of {pictures.description}", pictures.paths[:limit])


def _measure_all(subjects: Sequence[tuple[str, str, Subject, Sequence[float]]], pictures: Pictures) -> list[Result]:
    from tqdm import tqdm

    results = []
    total = len(pictures.paths) * sum(len(qualities) for *_, qualities in subjects)
    with tqdm(total=total, unit="picture", disable=None) as bar:
        for name, description, codec, qualities in subjects:
            bar.set_description(name)
            results.append(Result(name, description, measure(codec, pictures.paths, qualities, bar.update)))
    return results
