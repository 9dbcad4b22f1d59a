"""The report of a bench run: a table and BD-rates as text, and JSON in CompressAI's form."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import click

from dctcodec.evaluate.bdrate import INTERVAL, MeanRate, bd_rate, mean_bd_rate
from dctcodec.evaluate.figures import as_json
from dctcodec.evaluate.kodak import ImageSet
from dctcodec.evaluate.measure import Row, means
from dctcodec.evaluate.reuse import MEASURES, sums
from dctcodec.files import write_output
from dctcodec.metrics import ms_ssim_db

METRICS = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2"}
"""Measures at which rates are compared, and their names."""
METHOD = (
    "Measured codecs: the mean of the BD-rates of the images, each over what both curves of the image reach of the interval; "
    "compared: images with a BD-rate, whole_interval: images whose curves reach both ends of the interval. "
    "Published curves: the BD-rate of the mean curves. MS-SSIM on the scale -10 log10(1 - MS-SSIM)."
)
TIMES = (
    "Wall-clock seconds of one process. They mean something only where nothing else ran on the machine; "
    "reused rows have the times of the run that measured them."
)


class Curve(Protocol):
    """What can be drawn and compared: a `Result`, or a curve that was published."""

    @property
    def name(self) -> str: ...

    def curve(self, metric: str) -> list[tuple[float, float]]: ...


@dataclass(frozen=True)
class Result:
    """All rows of one codec. `encoder`: what they depend on besides the images and the qualities; `reused`: how many are those of
    an earlier run."""

    name: str
    description: str
    rows: Sequence[Row]
    encoder: dict[str, object] | None = None
    reused: int = 0

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """The mean (bpp, metric) points. `metric`: a key of `METRICS`; MS-SSIM is on the decibel scale.

        Empty where an image was too small for the metric.
        """
        return _points(means(self.rows), metric)

    def curves(self, metric: str) -> dict[str, list[tuple[float, float]]]:
        """The (bpp, metric) points of each image by its name; none of those too small for the metric."""
        rows: dict[str, list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row.image, []).append(row)
        return {image: _points(of_image, metric) for image, of_image in rows.items()}


def _points(rows: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    scale = ms_ssim_db if metric == "ms_ssim" else float
    return [(row.bpp, scale(value)) for row in rows if (value := getattr(row, metric)) is not None]


def table(results: Sequence[Result]) -> str:
    """The mean of every codec and quality, one a line."""
    head = ("codec", "quality", "bpp", "code length", "PSNR dB", "MS-SSIM", "SSIMULACRA2", "encode s", "decode s")
    lines = [f"{head[0]:10}" + "".join(f"{title:>12}" for title in head[1:])]
    for result in results:
        lines += [f"{result.name:10}{_quality(row):>12}{_figures(row)}" for row in means(result.rows)]
    return "\n".join(lines)


def _quality(row: Row) -> str:
    return "-" if row.quality is None else f"{row.quality:g}"


def _figures(row: Row) -> str:
    figures = (
        (row.bpp, 4),
        (row.code_length_bpp, 4),
        (row.psnr, 2),
        (row.ms_ssim, 4),
        (row.ssimulacra2, 2),
        (row.encode_seconds, 3),
        (row.decode_seconds, 3),
    )
    return "".join(f"{'-' if value is None else format(value, f'.{digits}f'):>12}" for value, digits in figures)


def mean_rates(results: Sequence[Result]) -> dict[str, dict[str, MeanRate]]:
    """For each codec after the first: per cent of bits that the first needs more, by each of `METRICS`, image by image."""
    first, *others = results
    return {
        other.name: {metric: mean_bd_rate(other.curves(metric), first.curves(metric)) for metric in METRICS} for other in others
    }


def published_rates(first: Curve, published: Sequence[Curve]) -> dict[str, dict[str, float | None]]:
    """For each published curve: per cent of bits that `first` needs more, by the mean curves."""
    return {other.name: {metric: bd_rate(other.curve(metric), first.curve(metric)) for metric in METRICS} for other in published}


def percent(rate: float | None) -> str:
    """A BD-rate as text."""
    return "no common range" if rate is None else f"{rate:+.1f} %"


def bd_lines(results: Sequence[Result], published: Sequence[Curve] = ()) -> str:
    """The BD-rates as a table for people, one codec a line."""
    low, high = INTERVAL
    names = [curve.name for curve in (*results[1:], *published)]
    width = 2 + max(map(len, names))
    lines = [f"BD-rate of {results[0].name} over {low}-{high} bpp (negative: fewer bits), mean over the images, against"]
    lines.append(" " * width + "".join(f"{title:>16}" for title in METRICS.values()) + "   images whose curves reach both ends")
    for name, rates in mean_rates(results).items():
        counts = "/".join(f"{rate.whole_interval}" for rate in rates.values())
        lines.append(_bd_line(name, width, [rate.percent for rate in rates.values()]) + f"   {counts}")
    if published:
        lines.append("and, by mean curves that others published, against")
        lines += [_bd_line(name, width, rates.values()) for name, rates in published_rates(results[0], published).items()]
    return "\n".join(lines)


def _bd_line(name: str, width: int, rates: Iterable[float | None]) -> str:
    return f"{name:{width}}" + "".join(f"{percent(rate):>16}" for rate in rates)


def emit(figures: dict[str, object], path: Path | None) -> None:
    """Print figures as JSON, and write them to a file where one is wanted. Raises OutputError."""
    text = json.dumps(figures, indent=1)
    click.echo(text)
    if path:
        write_output(path, f"{text}\n".encode())


def document(
    results: Sequence[Result],
    model_id: int,
    images: ImageSet,
    machine: dict[str, object],
    published: Sequence[Curve] = (),
) -> dict[str, object]:
    """The whole run for JSON: each codec in CompressAI's result form with its per-image rows beside it. `model_id`: the first's."""
    rates = mean_rates(results)
    percents = {name: {metric: rate.percent for metric, rate in of_name.items()} for name, of_name in rates.items()}
    counts = {
        name: {metric: {"compared": rate.compared, "whole_interval": rate.whole_interval} for metric, rate in of_name.items()}
        for name, of_name in rates.items()
    }
    return {
        "model_id": f"{model_id:08x}",
        "set": images.description,
        "machine": machine,
        "times": TIMES,
        "measures": MEASURES,
        "bd_rate_method": METHOD,
        "bd_rate_interval_bpp": INTERVAL,
        "bd_rate_percent": percents | published_rates(results[0], published),
        "bd_rate_images": counts,
        "sha256": sums(images),
        "codecs": [_compressai_form(result) | {"images": _rows(result)} for result in results],
    }


def _compressai_form(result: Result) -> dict[str, object]:
    rows = means(result.rows)
    columns = {
        "quality": "quality",
        "bpp": "bpp",
        "code-length-bpp": "code_length_bpp",
        "psnr-rgb": "psnr",
        "ms-ssim-rgb": "ms_ssim",
        "ssimulacra2": "ssimulacra2",
        "encoding_time": "encode_seconds",
        "decoding_time": "decode_seconds",
    }
    facts = {"encoder": result.encoder, "reused_rows": result.reused} if result.encoder else {}
    return {
        "name": result.name,
        "description": result.description,
        **facts,
        "results": {key: [as_json(getattr(row, figure)) for row in rows] for key, figure in columns.items()},
    }


def _rows(result: Result) -> list[dict[str, object]]:
    return [{key: as_json(value) for key, value in asdict(row).items()} for row in result.rows]
