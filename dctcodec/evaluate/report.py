"""What a bench run says: a table and the BD-rates for people, and CompressAI's result form for programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import click

from dctcodec.evaluate.bdrate import INTERVAL, bd_rate
from dctcodec.evaluate.measure import Row, means
from dctcodec.files import write_output
from dctcodec.metrics import ms_ssim_db


class Curve(Protocol):
    """What can be drawn and compared: a `Result`, or a curve that was published."""

    name: str

    def curve(self, metric: str) -> list[tuple[float, float]]: ...


@dataclass(frozen=True)
class Result:
    """All rows of one codec."""

    name: str
    description: str
    rows: Sequence[Row]

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """The mean (bpp, metric) points. `metric`: "psnr" in dB, or "ms_ssim", on the decibel scale too.

        Empty where a picture was too small for MS-SSIM.
        """
        scale = ms_ssim_db if metric == "ms_ssim" else float
        points = [(row.bpp, getattr(row, metric)) for row in means(self.rows)]
        return [(bpp, scale(value)) for bpp, value in points if value is not None]


def table(results: Sequence[Result]) -> str:
    """The mean of every codec and quality, one a line."""
    head = ("codec", "quality", "bpp", "ideal bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s")
    lines = [f"{head[0]:10}" + "".join(f"{title:>10}" for title in head[1:])]
    for result in results:
        lines += [f"{result.name:10}{_quality(row):>10}{_figures(row)}" for row in means(result.rows)]
    return "\n".join(lines)


def _quality(row: Row) -> str:
    return "-" if row.quality is None else f"{row.quality:g}"


def _figures(row: Row) -> str:
    figures = (
        (row.bpp, 4),
        (row.ideal_bpp, 4),
        (row.psnr, 2),
        (row.ms_ssim, 4),
        (row.encode_seconds, 3),
        (row.decode_seconds, 3),
    )
    return "".join(f"{'-' if value is None else format(value, f'.{digits}f'):>10}" for value, digits in figures)


def bd_rates(results: Sequence[Curve]) -> dict[str, dict[str, float | None]]:
    """For each codec after the first: per cent of bits that the first needs more, by PSNR and by MS-SSIM (in dB)."""
    first, *others = results
    return {
        other.name: {metric: bd_rate(other.curve(metric), first.curve(metric)) for metric in ("psnr", "ms_ssim")}
        for other in others
    }


def percent(rate: float | None) -> str:
    """A BD-rate as text."""
    return "no common range" if rate is None else f"{rate:+.1f} %"


def bd_lines(results: Sequence[Curve]) -> str:
    """The BD-rates as text, one codec a line."""
    low, high = INTERVAL
    width = 2 + max(len(result.name) for result in results)
    lines = [f"BD-rate of {results[0].name} over {low}-{high} bpp against"]
    lines += [
        f"{name:{width}}PSNR {percent(rates['psnr'])}, MS-SSIM {percent(rates['ms_ssim'])}"
        for name, rates in bd_rates(results).items()
    ]
    return "\n".join(lines)


def emit(figures: dict[str, object], path: Path | None) -> None:
    """Print figures as JSON, and write them to a file where one is wanted. Raises OutputError."""
    text = json.dumps(figures, indent=1)
    click.echo(text)
    if path:
        write_output(path, f"{text}\n".encode())


def document(
    results: Sequence[Result], model_id: int, pictures: str, machine: dict[str, object], published: Sequence[Curve] = ()
) -> dict[str, object]:
    """The whole run for JSON: each codec in CompressAI's result form with its per-image rows beside it. `model_id`: the first's."""
    return {
        "model_id": f"{model_id:08x}",
        "pictures": pictures,
        "machine": machine,
        "bd_rate_interval_bpp": INTERVAL,
        "bd_rate_percent": bd_rates([*results, *published]),
        "codecs": [_compressai_form(result) | {"images": _rows(result)} for result in results],
    }


def _compressai_form(result: Result) -> dict[str, object]:
    rows = means(result.rows)
    columns = {
        "quality": "quality",
        "bpp": "bpp",
        "ideal-bpp": "ideal_bpp",
        "psnr-rgb": "psnr",
        "ms-ssim-rgb": "ms_ssim",
        "encoding_time": "encode_seconds",
        "decoding_time": "decode_seconds",
    }
    return {
        "name": result.name,
        "description": result.description,
        "results": {key: [_json(getattr(row, figure)) for row in rows] for key, figure in columns.items()},
    }


def _rows(result: Result) -> list[dict[str, object]]:
    return [{key: _json(value) for key, value in asdict(row).items()} for row in result.rows]


def _json(value: object) -> object:
    """JSON has no infinity: the PSNR of equal pictures becomes null."""
    return None if isinstance(value, float) and math.isinf(value) else value
