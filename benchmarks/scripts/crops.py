"""Three crops of a photograph as dctcodec, AVIF and JPEG give them back from files of one size.

python benchmarks/scripts/crops.py -o benchmarks/crops.png
"""

from dataclasses import replace
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from dctcodec import Codec
from dctcodec.compare.comparison import Comparison, Settings, compare
from dctcodec.compare.contenders import Contender
from dctcodec.evaluate.baselines import AVIF_IQ, JPEG
from dctcodec.evaluate.demo import sample
from dctcodec.image import normalise, read_image, write_image

RIVALS = (Contender("AVIF-IQ", AVIF_IQ, replace(AVIF_IQ, options=AVIF_IQ.options | {"speed": 6})), Contender("JPEG", JPEG))
"""AVIF tuned for visual quality."""
CORNERS = ((150, 90), (330, 420), (60, 400))
"""Left and top of each crop: a face, ribbons, a name."""
SIDE, GAP, HEAD = 176, 8, 46
INK, PALE = "#16181d", "#5a6170"


def columns(comparison: Comparison) -> list[tuple[str, str, Image.Image]]:
    """The name, a line about the file, and the image of each column."""
    versions = [(v.name, f"{v.figures.bytes:,} bytes, {v.figures.psnr:.1f} dB", v.image) for v in comparison.versions]
    return [("original", "", comparison.original), *versions]


def sheet(columns: list[tuple[str, str, Image.Image]]) -> Image.Image:
    """A column for each image under its name, a row for each crop."""
    page = Image.new("RGB", (len(columns) * (SIDE + GAP) - GAP, HEAD + len(CORNERS) * (SIDE + GAP) - GAP), "white")
    draw = ImageDraw.Draw(page)
    for column, (name, about, image) in enumerate(columns):
        left_of_column = column * (SIDE + GAP)
        draw.text((left_of_column + 2, 3), name, INK, ImageFont.load_default(16))
        draw.text((left_of_column + 2, 24), about, PALE, ImageFont.load_default(13))
        for row, (left, top) in enumerate(CORNERS):
            crop = image.crop((left, top, left + SIDE, top + SIDE))
            page.paste(crop, (left_of_column, HEAD + row * (SIDE + GAP)))
    return page


@click.command()
@click.option("--bpp", type=float, default=0.2, show_default=True, help="Bits per pixel of every file, at most.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The sheet, a PNG.")
def main(bpp: float, output: Path) -> None:
    """Draw the sheet, of the portrait that matplotlib ships."""
    codec, source = Codec(), sample()
    settings = Settings(target={"bpp": bpp}, tunes=codec.family.tunes, curves=False)
    comparison = compare(source.name, normalise(read_image(source)), codec, RIVALS, settings)
    write_image(sheet(columns(comparison)), output)


if __name__ == "__main__":
    main()
