"""A whole bench run: find the images, measure every codec on them, say and store what came out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from dctcodec.errors import DataError
from dctcodec.evaluate import baselines, machine, report, reuse
from dctcodec.evaluate.baselines import Baseline
from dctcodec.evaluate.extra import need
from dctcodec.evaluate.kodak import ImageSet, find
from dctcodec.evaluate.measure import Measurable, Setting, measure
from dctcodec.evaluate.published import Published, read
from dctcodec.evaluate.report import Result
from dctcodec.evaluate.reuse import Earlier
from dctcodec.files import check_output, write_output


@dataclass(frozen=True)
class Subject:
    """A codec, what to call it, and the qualities to measure it at. `encoder`: what its rows depend on, see `Result`."""

    name: str
    description: str
    codec: Measurable
    qualities: Sequence[float | None]
    encoder: dict[str, object]


def run(
    data: Path | None,
    qualities: Sequence[float | None],
    model: str,
    device: str,
    json_path: Path | None,
    plot_path: Path | None,
    with_baselines: bool,
    reused: Sequence[Path],
    paper: bool,
    limit: int | None,
    published: Path | None,
    effort: int | None,
    tune: str,
    report_path: Path | None = None,
    temperature: float | None = None,
) -> None:
    """What `dctcodec bench kodak` does; the arguments are its options.

    Raises DataError, ImageError, ModelError and OutputError, and DctcodecError where the bench extra is missing.
    """
    from dctcodec.codec import Codec

    need("bench", "bjontegaard", "matplotlib", "scipy")
    for path in filter(None, (json_path, plot_path, report_path)):
        check_output(path)
    images = _first(find(data), limit)
    curves = _published(published, images)
    earlier = [reuse.read(path) for path in reused]
    if paper:
        from dctcodec.evaluate.figure9 import run_paper

        baseline = f"vae-{model.removeprefix('dct-vae-')}"
        run_paper(images, Codec(model, device), baseline, temperature, json_path, plot_path)
        return
    codec = Codec(model, device)
    codec.check(effort, tune)
    ours = Setting(codec, codec.effort(effort), tune)
    description = f"model {model}, device {device}, effort {ours.effort}, tune {tune}"
    subjects = [Subject("dctcodec", description, ours, qualities, ours.identity)]
    if with_baselines:
        subjects += [Subject(one.name, one.description, one, one.qualities, one.encoder) for one in _available()]
    results = _measure_all(subjects, images, earlier)

    click.echo(f"Mean over {len(images.paths)} images: {images.description}")
    click.echo(report.table(results))
    if with_baselines or curves:
        click.echo(f"\n{report.bd_lines(results, curves)}")
    if json_path:
        document = report.document(results, codec.model_id, images, machine.describe(), curves)
        write_output(json_path, json.dumps(document, indent=1).encode() + b"\n")
    if plot_path:
        from dctcodec.evaluate.plot import draw

        write_output(plot_path, draw(results, images.description, curves))
    if report_path:
        from dctcodec.compare import set as pages
        from dctcodec.compare.comparison import Settings

        middle = qualities[len(qualities) // 2]
        pages.write(report_path, results, images, curves, codec, Settings(middle, effort=ours.effort, tunes=(tune,), curves=False))


def _published(folder: Path | None, images: ImageSet) -> list[Published]:
    if folder and images.description != "Kodak":
        raise DataError(f"published curves are means over all of Kodak, not over {images.description}: remove --published")
    return read(folder) if folder else []


def _first(images: ImageSet, limit: int | None) -> ImageSet:
    if limit is None or limit >= len(images.paths):
        return images
    return ImageSet(f"the first {limit} of {images.description}", images.paths[:limit])


def _available() -> Sequence[Baseline]:
    if not baselines.has_jpeg_xl():
        click.echo(f"JPEG XL is not measured: pip install {baselines.JXL_PACKAGE}", err=True)
    return baselines.available()


def _measure_all(subjects: Sequence[Subject], images: ImageSet, earlier: Sequence[Earlier]) -> list[Result]:
    from tqdm import tqdm

    results = []
    total = len(images.paths) * sum(len(subject.qualities) for subject in subjects)
    with tqdm(total=total, unit="image", disable=None) as bar:
        for subject in subjects:
            bar.set_description(subject.name)
            known = reuse.rows(earlier, subject.name, subject.encoder, images)
            rows = measure(subject.codec, images.paths, subject.qualities, bar.update, known)
            reused = sum((row.image, row.quality) in known for row in rows)
            results.append(Result(subject.name, subject.description, rows, subject.encoder, reused))
    return results
