"""One photograph through dctcodec, beside other codecs at the same size: figures, an image and a page."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from dctcodec.cli.options import FiniteRange
from dctcodec.compare.comparison import Comparison, Settings, compare
from dctcodec.compare.contenders import contenders
from dctcodec.compare.run import progress, report, shown
from dctcodec.compare.version import Version
from dctcodec.errors import DctcodecError
from dctcodec.files import write_output
from dctcodec.image import normalise, read_image, write_image

MAX_SIDE = 800  # pixels of a panel; of a larger image the centre is shown, without resizing
MARGIN = 12


@click.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option("--quality", type=FiniteRange(1, 100), default=30, show_default=True)
def main(image: Path | None, quality: float) -> None:
    """Encode and decode IMAGE (default: the portrait that matplotlib ships) and compare with other codecs at the same size."""
    from dctcodec.codec import Codec

    path = image or sample()
    original = normalise(read_image(path))
    settings, rivals = Settings(quality), contenders()
    with progress(settings.steps(rivals)) as bar:
        comparison = compare(path.name, original, Codec(), rivals, settings, bar.update)
    click.echo(table(comparison))
    sheet, page = (Path.cwd() / f"{path.stem}-demo{ending}" for ending in (".png", ".html"))
    write_image(side_by_side(comparison), sheet)
    write_output(page, report([shown(comparison)], settings, rivals).encode("utf-8", "replace"))
    click.echo(f"original, dctcodec and JPEG side by side: {sheet}")
    click.echo(f"all of them, for the browser: {page}")


def table(comparison: Comparison) -> str:
    """The size of the image, and the figures of each version, one a line."""
    width, height = comparison.original.size
    head = f"{'':24}{'quality':>8}{'bytes':>9}{'bpp':>8}{'PSNR dB':>9}{'MS-SSIM':>9}{'SSIMULACRA2':>13}"
    return "\n".join([f"{comparison.name}, {width}x{height}", head, *map(_line, comparison.versions)])


def _line(version: Version) -> str:
    figures = version.figures
    numbers = f"{figures.quality:>8g}{figures.bytes:>9}{figures.bpp:>8.3f}{figures.psnr:>9.2f}"
    return f"{version.name:24}{numbers}{_text(figures.ms_ssim, 4):>9}{_text(figures.ssimulacra2, 1):>13}  {version.note}".rstrip()


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def side_by_side(comparison: Comparison) -> Image.Image:
    """The original, dctcodec and JPEG in a row, each under its name and size in bytes; large ones show their centre."""
    ours, jpeg = comparison.versions[0], comparison.versions[-1]
    panels = [(comparison.original, "original")] + [(v.image, f"{v.name}: {v.figures.bytes} bytes") for v in (ours, jpeg)]
    return _row(panels)


def _row(panels: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    font = ImageFont.load_default(16)
    original = panels[0][0]
    width = max(min(original.width, MAX_SIDE), *(int(font.getlength(label)) for _, label in panels)) + MARGIN
    height = min(original.height, MAX_SIDE)
    sheet = Image.new("RGB", (width * len(panels) + MARGIN, height + 3 * MARGIN + 16), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (image, label) in enumerate(panels):
        left = MARGIN + column * width
        draw.text((left, MARGIN), label, "black", font)
        sheet.paste(_centre(image), (left, 2 * MARGIN + 16))
    return sheet


def _centre(image: Image.Image) -> Image.Image:
    left, top = (max(side - MAX_SIDE, 0) // 2 for side in image.size)
    return image.crop((left, top, min(left + MAX_SIDE, image.width), min(top + MAX_SIDE, image.height)))


def sample() -> Path:
    """The portrait that matplotlib ships."""
    from matplotlib import cbook

    return Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


if __name__ == "__main__":
    try:
        main()
    except DctcodecError as error:
        sys.exit(f"demo: {error}")
