"""A bench run as pages: one of the whole set, and one of each image beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dctcodec.codec import Codec
from dctcodec.compare.comparison import Comparison, Settings, compare
from dctcodec.compare.contenders import Contender, contenders
from dctcodec.compare.page import page
from dctcodec.compare.run import made, report, shown
from dctcodec.compare.version import row_as_json
from dctcodec.evaluate.baselines import AVIF_PSNR
from dctcodec.evaluate.bdrate import INTERVAL, bd_rate
from dctcodec.evaluate.figures import as_json
from dctcodec.evaluate.kodak import ImageSet
from dctcodec.evaluate.measure import Row, means
from dctcodec.evaluate.plot import MAX_BPP
from dctcodec.evaluate.published import COLUMNS, Published
from dctcodec.evaluate.report import METRICS, Result, mean_rates, published_rates
from dctcodec.files import make_folder, write_output
from dctcodec.image import normalise, read_image

RATES_NOTE = (
    "Bits of dctcodec over those of another codec at equal quality (BD-rate): less than zero is fewer bits. "
    "Codecs measured here: the mean over the images; published curves: of the mean curves."
)
IMAGES_NOTE = (
    "Figures are those of dctcodec at its middle quality; percentages are BD-rates by PSNR. "
    "The name of an image leads to its comparison."
)
CURVES_NOTE = "Means over the images. Dotted: curves that others published, of other encoders and settings."


def write(
    path: Path, results: Sequence[Result], images: ImageSet, curves: Sequence[Published], codec: Codec, settings: Settings
) -> None:
    """Write the page of a run, and into a folder beside it a page of each image, at equal size. `settings`: of dctcodec's version
    there; the curves are those of the run. Raises OutputError, ImageError."""
    rivals = contenders() if len(results) > 1 else ()
    folder = path.with_name(f"{path.stem}-images")
    make_folder(folder)
    for source in _with_bar(images.paths):
        image = normalise(read_image(source))
        comparison = with_curves(compare(source.name, image, codec, rivals, settings), results, rivals)
        write_output(folder / f"{source.name}.html", report([shown(comparison)], settings, rivals).encode("utf-8", "replace"))
    data = {
        "set": document_of(results, images, curves, lambda name: f"{quote(folder.name)}/{quote(name)}.html"),
        "made": made(rivals),
    }
    write_output(path, page(f"{images.description} – dctcodec bench", data).encode("utf-8", "replace"))


def with_curves(comparison: Comparison, results: Sequence[Result], rivals: Sequence[Contender]) -> Comparison:
    """A comparison whose versions have the points that a run measured of this image with the same settings."""
    rows = {result.name: _rows_of(result, comparison.name) for result in results}
    measured = {rival.name: rows.get(rival.baseline.name, ()) for rival in rivals}
    measured[comparison.versions[0].name] = rows[results[0].name]
    versions = [
        replace(version, points=tuple(sorted([version.figures, *measured.get(version.name, ())], key=lambda point: point.bpp)))
        for version in comparison.versions
    ]
    return replace(comparison, versions=tuple(versions))


def _rows_of(result: Result, image: str) -> list[Row]:
    return [row for row in result.rows if row.image == image and row.bpp <= MAX_BPP]


def document_of(
    results: Sequence[Result], images: ImageSet, published: Sequence[Published], link: Callable[[str], str]
) -> dict[str, Any]:
    """What the page of a set shows, as JSON. `link`: the address of an image's page, by its name."""
    first, *others = results
    low, high = INTERVAL
    by, key = _sorted_by(results)
    return {
        "title": images.description,
        "lead": f"{len(images.paths)} images. dctcodec: {first.description}.",
        "rates": _rates(results, published),
        "rates_note": f"{RATES_NOTE} Between {low} and {high} bits per pixel.",
        "curves": [*_mean_curves(results), *_published_curves(published)],
        "curves_note": CURVES_NOTE if published else "Means over the images.",
        "columns": [
            {"key": "bpp", "title": "Bits per pixel", "digits": 3},
            {"key": "psnr", "title": "PSNR, dB", "digits": 2},
            {"key": "ms_ssim", "title": "MS-SSIM", "digits": 4},
            {"key": "ssimulacra2", "title": "SSIMULACRA2", "digits": 1},
            *({"key": f"rate {other.name}", "title": f"against {other.name}", "percent": True} for other in others),
        ],
        "sorted_by": key,
        "images": [{"name": path.name, "link": link(path.name), "figures": _figures(results, path.name)} for path in images.paths],
        "images_note": f"{by} {IMAGES_NOTE}",
    }


def _sorted_by(results: Sequence[Result]) -> tuple[str, str]:
    """How the images are sorted, as a sentence and as a column: those where dctcodec loses most against AVIF come first."""
    names = [result.name for result in results[1:]]
    if not names:
        return "Sorted by bits per pixel.", "bpp"
    name = AVIF_PSNR.name if AVIF_PSNR.name in names else names[0]
    return f"First comes the image where dctcodec needs most bits against {name}.", f"rate {name}"


def _rates(results: Sequence[Result], published: Sequence[Published]) -> list[dict[str, Any]]:
    described = {result.name: result.description for result in results}
    measured = [
        {"name": name, "settings": described[name]} | {metric: rate.percent for metric, rate in rates.items()}
        for name, rates in mean_rates(results).items()
    ]
    return measured + [
        {"name": name, "settings": "published"} | rates for name, rates in published_rates(results[0], published).items()
    ]


def _mean_curves(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {"name": result.name, "points": [row_as_json(row) for row in means(result.rows) if row.bpp <= MAX_BPP], "style": ""}
        for result in results
    ]


def _published_curves(published: Sequence[Published]) -> list[dict[str, Any]]:
    curves = []
    for curve in published:
        columns = {metric: curve.results.get(column) for metric, column in COLUMNS.items()}
        points: list[dict[str, float | None]] = [
            {"bpp": bpp, **{metric: values[at] if values else None for metric, values in columns.items()}}
            for at, bpp in enumerate(curve.results["bpp"])
            if bpp <= MAX_BPP
        ]
        curves.append({"name": curve.name, "points": points, "style": "dotted"})
    return curves


def _figures(results: Sequence[Result], image: str) -> dict[str, float | None]:
    """dctcodec's figures of an image at its middle quality, and its BD-rates by PSNR against the other codecs."""
    first, *others = results
    rows = [row for row in first.rows if row.image == image]
    row = rows[len(rows) // 2]
    figures = {"bpp": row.bpp} | {metric: getattr(row, metric) for metric in METRICS}
    ours = first.curves("psnr")[image]
    figures |= {f"rate {other.name}": bd_rate(other.curves("psnr")[image], ours) for other in others}
    return {key: as_json(value) for key, value in figures.items()}


def _with_bar(paths: Sequence[Path]) -> Sequence[Path]:
    from tqdm import tqdm

    return tqdm(paths, desc="pages of images", unit="page", disable=None)
