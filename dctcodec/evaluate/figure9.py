"""Figure 9 of the paper on whole images: the VAE's two top latents, DCT-VAE's context as a file, and the JPEG of equal PSNR.

Beside them the bare context, its inverse DCT without the VAE, and a DCT-VAE that was trained for the bound, as the paper's was: it
has no files, so its rate is -L_vlb.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dctcodec import container, metrics
from dctcodec.codec import Codec
from dctcodec.errors import ModelError
from dctcodec.evaluate import machine
from dctcodec.evaluate.baselines import JPEG
from dctcodec.evaluate.figures import png
from dctcodec.evaluate.kodak import ImageSet
from dctcodec.files import write_output
from dctcodec.image import normalise, read_image
from dctcodec.installed import installed
from dctcodec.vae.bits_back import INITIAL_BITS
from dctcodec.vae.family import DctVae
from dctcodec.vae.files import load_model
from dctcodec.vae.model import PaperModel
from dctcodec.vae.network import HierarchicalVae
from dctcodec.vae.reconstruct import reconstruct_context, reconstruct_top

TOP_LATENTS = 2
GRID_ROWS = 3
SEED = 0
_TITLES = {
    "vae": "VAE",
    "bare": "bare context",
    "dct_vae": "DCT-VAE",
    "jpeg": "JPEG",
    "bound_bare": "bare context, bound",
    "bound": "DCT-VAE, bound",
}


@dataclass(frozen=True)
class Point:
    """One version of an image. `bpp`: of its file; where it has none, the KL of its latents, or -L_vlb of its context."""

    psnr: float
    ms_ssim: float | None
    bpp: float


@dataclass(frozen=True)
class Row:
    """An image. `jpeg`: the smallest of at least DCT-VAE's PSNR; `jpeg_equal_bpp`: interpolated to exactly that PSNR, or the
    smallest JPEG there is where DCT-VAE's PSNR lies below it; `bound_bpp`: -L_vlb of the noise drawn; `initial_bpp`: bits under
    the stack; `plain_tiles`: those coded without the diffusion model, which pay for the first noise. `bare`: what the context of
    the file shows without the VAE; `bound`, `bound_bare`: the same two of the model for the bound, None where there is none."""

    image: str
    vae: Point
    dct_vae: Point
    jpeg: Point
    jpeg_equal_bpp: float
    payload_bpp: float
    bound_bpp: float
    initial_bpp: float
    plain_tiles: int
    encode_seconds: float
    decode_seconds: float
    bare: Point
    bound: Point | None = None
    bound_bare: Point | None = None

    @property
    def ratio(self) -> float:
        """Our bits over those of the JPEG of equal PSNR."""
        return self.dct_vae.bpp / self.jpeg_equal_bpp


@dataclass(frozen=True)
class Versions:
    """The images behind a row."""

    original: Image.Image
    vae: Image.Image
    bare: Image.Image
    dct_vae: Image.Image
    jpeg: Image.Image


@dataclass(frozen=True)
class Models:
    """What is compared: the codec, the VAE without a context, the model for the bound if there is one. `temperature`: by which the
    standard deviation of the latents that come from the prior is multiplied."""

    codec: Codec
    vae: HierarchicalVae
    bound: PaperModel | None
    temperature: float


def run(
    images: ImageSet, codec: Codec, baseline: str, temperature: float | None, json_path: Path | None, plot_path: Path | None
) -> None:
    """What `dctcodec bench kodak --paper` does; `temperature` is the codec's by default. Raises ModelError, ImageError,
    OutputError."""
    from tqdm import tqdm

    temperature = _family(codec).temperature if temperature is None else temperature
    models = Models(codec, load_model(baseline, codec.device)[1].vae, _for_the_bound(codec), temperature)
    rows: list[Row] = []
    shown: list[tuple[Row, Versions]] = []
    for path in tqdm(images.paths, unit="image", disable=None):
        row, versions = measure(models, normalise(read_image(path)).convert("RGB"), path.name)
        rows.append(row)
        shown = [*shown, (row, versions)][:GRID_ROWS]
    click.echo(f"{images.description}; VAE: {baseline}, {TOP_LATENTS} top latents, KL; DCT-VAE: {codec.model.name}, file")
    click.echo("JPEG: the smallest of at least DCT-VAE's PSNR; bits / JPEG: interpolated to equal PSNR")
    click.echo(table(rows))
    if json_path:
        facts: dict[str, Any] = {"set": images.description, "model": codec.model.name, "baseline": baseline}
        facts |= {"temperature": temperature, "machine": machine.describe()}
        document = facts | {"means": means(rows), "images": [asdict(row) | {"ratio": row.ratio} for row in rows]}
        write_output(json_path, json.dumps(document, indent=1).encode() + b"\n")
    if plot_path:
        write_output(plot_path, grid(shown))


@torch.no_grad()
def measure(models: Models, image: Image.Image, name: str) -> tuple[Row, Versions]:
    """All versions of an RGB image. Times are wall-clock, from pixels in memory to bytes in memory and back."""
    codec, pixels = models.codec, image.width * image.height
    start = time.perf_counter()
    data = codec.encode(image, seed=SEED)
    encoded = time.perf_counter()
    ours = codec.decode(data, models.temperature)
    decoded = time.perf_counter()
    family, symbols = _family(codec), codec.symbols(data)[1]
    coded = family.prior.code(symbols, SEED, measure=True)
    bare = _cropped(torch.from_numpy(family.bare(symbols, image.size)), image)
    others = _of_bound(models.bound, image, models) if models.bound else {}
    top, nats = _top(image, models)
    psnr = metrics.psnr(image, ours)
    jpeg, jpeg_data, equal = jpeg_of_equal_psnr(image, psnr)
    row = Row(
        name,
        vae=_point(image, top, nats / np.log(2)),
        dct_vae=_point(image, ours, 8 * len(data)),
        jpeg=_point(image, jpeg, 8 * len(jpeg_data)),
        jpeg_equal_bpp=8 * equal / pixels,
        payload_bpp=8 * len(container.parse(data).payload) / pixels,
        bound_bpp=coded.bound_bits / pixels,
        initial_bpp=INITIAL_BITS / pixels,
        plain_tiles=coded.plain,
        encode_seconds=encoded - start,
        decode_seconds=decoded - encoded,
        bare=_point(image, bare, 8 * len(data)),
        **others,
    )
    return row, Versions(image, top, bare, ours, jpeg)


def jpeg_of_equal_psnr(image: Image.Image, psnr: float) -> tuple[Image.Image, bytes, float]:
    """The smallest JPEG of at least `psnr` dB, its bytes, and their number interpolated to exactly that PSNR between it and the
    quality before (its own where there is none before)."""
    before = None
    for quality in range(1, 96):
        data = JPEG.encode(image, quality)
        decoded = JPEG.decode(data)
        here = metrics.psnr(image, decoded), len(data)
        if here[0] >= psnr:
            break
        before = here
    if before is None or here[0] < psnr:
        return decoded, data, len(data)
    return decoded, data, float(np.interp(psnr, (before[0], here[0]), (before[1], here[1])))


def means(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the images; `ratio` is the mean of the images' ratios."""
    versions = {name: _mean_point([getattr(row, name) for row in rows]) for name in _measured(rows[0])}
    bits = ("jpeg_equal_bpp", "ratio", "payload_bpp", "bound_bpp", "initial_bpp")
    figures = (*bits, "plain_tiles", "encode_seconds", "decode_seconds")
    result: dict[str, Any] = {name: asdict(point) for name, point in versions.items()}
    result |= {name: _mean([getattr(row, name) for row in rows]) for name in figures}
    overheads = [row.payload_bpp / row.bound_bpp for row in rows]
    return result | {"payload_over_bound": _mean(overheads), "worst_payload_over_bound": max(overheads)}


def _measured(row: Row) -> list[str]:
    """The versions that have a point."""
    names = ("vae", "bare", "dct_vae", "jpeg", "bound_bare", "bound")
    return [name for name in names if getattr(row, name) is not None]


def table(rows: Sequence[Row]) -> str:
    """A line an image, and their means."""
    names = _measured(rows[0])
    head = f"{'':14}" + "".join(f"{_TITLES[name]:>24}" for name in names) + f"{'bits':>9}{'payload':>9}{'':>7}"
    units = f"{'image':14}" + f"{'PSNR dB MS-SSIM   bpp':>24}" * len(names) + f"{'/ JPEG':>9}{'/ -Lvlb':>9}{'s':>7}"
    lines = [head, units, *(_line(row.image, row, names) for row in rows)]
    mean = means(rows)
    points = "".join(_figures(Point(**mean[name])) for name in names)
    seconds = mean["encode_seconds"] + mean["decode_seconds"]
    return "\n".join([*lines, f"{'mean':14}{points}{mean['ratio']:>9.3f}{mean['payload_over_bound']:>9.3f}{seconds:>7.1f}"])


def _line(name: str, row: Row, names: Sequence[str]) -> str:
    points = "".join(_figures(getattr(row, name)) for name in names)
    seconds = row.encode_seconds + row.decode_seconds
    return f"{name:14}{points}{row.ratio:>9.3f}{row.payload_bpp / row.bound_bpp:>9.3f}{seconds:>7.1f}"


def _figures(point: Point) -> str:
    similarity = "-" if point.ms_ssim is None else f"{point.ms_ssim:.3f}"
    return f"{point.psnr:>10.2f}{similarity:>7}{point.bpp:>7.3f}"


def grid(shown: Sequence[tuple[Row, Versions]]) -> bytes:
    """A PNG with a row of images for each: the original, VAE, bare context, DCT-VAE, JPEG, with their figures."""
    from matplotlib.figure import Figure

    width, height = shown[0][1].original.size
    figure = Figure(figsize=(20, 4.4 * len(shown) * height / width + 0.6 * len(shown)), layout="constrained")
    cells = figure.subplots(len(shown), 5, squeeze=False)
    for line, (row, versions) in zip(cells, shown, strict=True):
        points = {"original": None, "VAE, 2 latents": row.vae, "bare context": row.bare, "DCT-VAE, context": row.dct_vae}
        points |= {"JPEG": row.jpeg}
        for axes, (title, point), image in zip(line, points.items(), vars(versions).values(), strict=True):
            figures = f"\n{point.psnr:.1f} dB, MS-SSIM {point.ms_ssim or 0:.2f}, {point.bpp:.2f} bpp" if point else ""
            axes.imshow(np.asarray(image))
            axes.set_title(title + figures, fontsize=11)
            axes.axis("off")
    return png(figure, 90)


def _family(codec: Codec) -> DctVae:
    if not isinstance(codec.family, DctVae):
        raise ModelError(f"the model {codec.model.name} is not one of the paper's: use dct-vae-photos")
    return codec.family


def _for_the_bound(codec: Codec) -> PaperModel | None:
    """The model of the codec's name that was trained for the bound, if there is one."""
    name = f"{codec.model.name}-bound"
    return load_model(name, codec.device)[1].eval() if name in {info.name for info in installed()} else None


def _top(image: Image.Image, models: Models) -> tuple[Image.Image, float]:
    painted, nats = reconstruct_top(models.vae, _planes(image, models), TOP_LATENTS, models.temperature, SEED)
    return _cropped(painted, image), nats


def _of_bound(bound: PaperModel, image: Image.Image, models: Models) -> dict[str, Point]:
    painted, bare, nats = reconstruct_context(bound, _planes(image, models), models.temperature, SEED)
    versions = {"bound": painted, "bound_bare": bare}
    return {name: _point(image, _cropped(planes, image), nats / np.log(2)) for name, planes in versions.items()}


def _planes(image: Image.Image, models: Models) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().to(models.codec.device)


def _cropped(planes: Tensor, image: Image.Image) -> Image.Image:
    pixels = planes[:, : image.height, : image.width].clamp(0, 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _point(original: Image.Image, decoded: Image.Image, bits: float) -> Point:
    bpp = bits / (original.width * original.height)
    return Point(metrics.psnr(original, decoded), metrics.ms_ssim(original, decoded), float(bpp))


def _mean_point(points: Sequence[Point]) -> Point:
    similarities = [point.ms_ssim for point in points if point.ms_ssim is not None]
    return Point(
        psnr=_mean([point.psnr for point in points]),
        ms_ssim=_mean(similarities) if len(similarities) == len(points) else None,
        bpp=_mean([point.bpp for point in points]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
