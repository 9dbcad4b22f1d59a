"""A whole bench run: find the images, measure every codec on them, say and store what came out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from dctcodec.codec import Codec


_FEW = 4
"""Qualities that a BD-rate needs to be of use."""


@dataclass(frozen=True)
class Subject:
    """A codec, what to call it, and the qualities to measure it at. `encoder`: what its rows depend on, see `Result`."""

    name: str
    description: str
    codec: Measurable
    qualities: Sequence[float | None]
    encoder: dict[str, object]


@dataclass(frozen=True)
class Bench:
    """The options of `dctcodec bench kodak` that say what is measured."""

    data: Path | None
    limit: int | None
    model: str
    device: str
    qualities: Sequence[float | None]
    effort: int | None
    tune: str
    with_baselines: bool
    reused: Sequence[Path]
    published: Path | None


@dataclass(frozen=True)
class Outputs:
    """The files that are written, where they are wanted."""

    json: Path | None
    plot: Path | None
    report: Path | None = None

    def check(self) -> None:
        """Raises OutputError where one cannot be written."""
        for path in filter(None, (self.json, self.plot, self.report)):
            check_output(path)


def run(bench: Bench, outputs: Outputs) -> None:
    """Measure, tell and write.

    Raises DataError, ImageError, ModelError and OutputError, and DctcodecError where the bench extra is missing.
    """
    from dctcodec.codec import Codec

    images = _images(bench.data, bench.limit, outputs)
    curves = _published(bench.published, images)
    earlier = [reuse.read(path) for path in bench.reused]
    codec = Codec(bench.model, bench.device)
    codec.check(bench.effort, bench.tune)
    results = _measure_all(_subjects(bench, codec), images, earlier)
    click.echo(f"Mean over {len(images.paths)} images: {images.description}")
    click.echo(report.table(results))
    if bench.with_baselines or curves:
        click.echo(f"\n{report.bd_lines(results, curves)}")
        if len(bench.qualities) < _FEW:
            click.echo(f"These BD-rates are rough: give {_FEW} qualities or more.", err=True)
    if outputs.json:
        document = report.document(results, codec.model_id, images, machine.describe(), curves)
        write_output(outputs.json, json.dumps(document, indent=1).encode() + b"\n")
    if outputs.plot:
        from dctcodec.evaluate.plot import draw

        write_output(outputs.plot, draw(results, images.description, curves))
    if outputs.report:
        from dctcodec.compare import set as pages
        from dctcodec.compare.comparison import Settings

        middle = bench.qualities[len(bench.qualities) // 2]
        settings = Settings(middle, effort=codec.effort(bench.effort), tunes=(bench.tune,), curves=False)
        pages.write(outputs.report, results, images, curves, codec, settings)


def run_paper(data: Path | None, limit: int | None, model: str, device: str, temperature: float | None, outputs: Outputs) -> None:
    """Figure 9 of the paper, by a model of the family dct-vae and the VAE of its data set. Raises what `run` raises."""
    from dctcodec.codec import Codec
    from dctcodec.evaluate import figure9

    images = _images(data, limit, outputs)
    baseline = f"vae-{model.removeprefix('dct-vae-')}"
    figure9.run(images, Codec(model, device), baseline, temperature, outputs.json, outputs.plot)


def _images(data: Path | None, limit: int | None, outputs: Outputs) -> ImageSet:
    """The images, once all is there that a run needs."""
    need("bench", "bjontegaard", "matplotlib", "scipy")
    outputs.check()
    return _first(find(data), limit)


def _subjects(bench: Bench, codec: "Codec") -> list[Subject]:
    """Our codec, and the others where they are wanted."""
    ours = Setting(codec, codec.effort(bench.effort), bench.tune)
    description = f"model {bench.model}, device {bench.device}, effort {ours.effort}, tune {bench.tune}"
    others = _available() if bench.with_baselines else ()
    return [
        Subject("dctcodec", description, ours, bench.qualities, ours.identity),
        *(Subject(one.name, one.description, one, one.qualities, one.encoder) for one in others),
    ]


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
