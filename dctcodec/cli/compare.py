"""`dctcodec compare`: a comparison of codecs in an HTML report."""

import re
from typing import Any

import click

from dctcodec.cli.options import FiniteRange, check_page, check_quality
from dctcodec.compare import MATCHES, Crop
from dctcodec.family import TUNES
from dctcodec.files import STANDARD_STREAM
from dctcodec.installed import DEFAULT


class _Crop(click.ParamType):  # type: ignore[type-arg]  # older clicks take no type argument
    """Width and height in pixels, and perhaps left and top."""

    name = "WxH[+X+Y]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Crop:
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})(?:\+(\d{1,6})\+(\d{1,6}))?", str(value))
        if not match:
            self.fail(f"{value!r} is not WIDTHxHEIGHT or WIDTHxHEIGHT+LEFT+TOP, in pixels", param, ctx)
        width, height, left, top = match.groups()
        return int(width), int(height), None if left is None else int(left), None if top is None else int(top)


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE.html", required=True, help="HTML file to write, - for stdout.")
@click.option("--quality", type=FiniteRange(1, 100), help="Quality of dctcodec, 1 to 100.  [default: 50]")
@click.option(
    "--target-bpp", type=FiniteRange(0, min_open=True), help="Best quality of dctcodec with at most this many bits per pixel."
)
@click.option(
    "--target-size", type=click.IntRange(min=1), metavar="BYTES", help="Best quality of dctcodec with at most this many bytes."
)
@click.option("--target-psnr", type=FiniteRange(0), metavar="DB", help="Lowest quality of dctcodec with at least this PSNR.")
@click.option(
    "--match", type=click.Choice(MATCHES), default=MATCHES[0], show_default=True, help="What the other codecs must match."
)
@click.option("--effort", type=click.IntRange(0, 9), help="Effort of dctcodec, 0 to 9.  [default: 1; 0 for dct-vae models]")
@click.option(
    "--tune",
    "tunes",
    type=click.Choice(TUNES),
    multiple=True,
    help="Measure that dctcodec optimises; repeat for both.  [default: psnr]",
)
@click.option("--crop", type=_Crop(), help="Part of the image to show. Figures are of the whole image.")
@click.option(
    "--curves/--no-curves", default=True, show_default=True, help="Also measure rate-distortion curves. This takes longer."
)
@click.option("--model", default=DEFAULT, show_default=True, help="Model to encode with; see `dctcodec models`.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute.")
def compare(
    images: tuple[str, ...],
    output: str,
    quality: float | None,
    target_bpp: float | None,
    target_size: int | None,
    target_psnr: float | None,
    match: str,
    effort: int | None,
    tunes: tuple[str, ...],
    crop: Crop | None,
    curves: bool,
    model: str,
    device: str,
) -> None:
    """Write an HTML report that compares dctcodec with AVIF, JPEG XL, WebP and JPEG.

    The page is one HTML file that needs no network. All codecs get the same file size, or with --match psnr the same PSNR.
    """
    wanted = {"bpp": target_bpp, "size": target_size, "psnr": target_psnr}
    targets = {name: value for name, value in wanted.items() if value is not None}
    check_quality(model, quality, targets)
    if STANDARD_STREAM in images and len(images) > 1:
        raise click.UsageError("Input from stdin must be the only input.")
    check_page(output)
    from dctcodec.compare.comparison import Settings
    from dctcodec.compare.run import run

    settings = Settings(quality, targets or None, effort, tuple(dict.fromkeys(tunes)) or TUNES[:1], match, curves)
    run(images, output, settings, model, device, crop)
