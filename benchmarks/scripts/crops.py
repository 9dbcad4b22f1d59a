"""Three crops of a photograph as dctcodec, AVIF and JPEG give them back from files of one size.

python benchmarks/scripts/crops.py -o benchmarks/crops.png
"""

from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from dctcodec import Codec
from dctcodec.evaluate.baselines import AVIF_IQ, JPEG
from dctcodec.evaluate.demo import best_of_size, sample
from dctcodec.image import normalise, read_image, write_image

CORNERS = ((150, 90), (330, 420), (60, 400))
"""Left and top of each crop: a face, ribbons, a name."""
SIDE, GAP, LINE = 176, 8, 22


def versions(original: Image.Image, size: int) -> dict[str, Image.Image]:
    """The photograph, and what is left of it in `size` bytes or, of AVIF and JPEG, in the best file of at most as many."""
    codec, pictures = Codec(), {"original": original}
    for tune in codec.family.tunes:
        data = codec.encode_to(original, size=size, tune=tune)
        name = "dctcodec" if tune == codec.family.tunes[0] else f"dctcodec, {tune}"
        pictures[f"{name}: {len(data)}"] = codec.decode(data)
    for baseline in (AVIF_IQ, JPEG):
        quality, data = best_of_size(baseline, original, size)
        pictures[f"{baseline.name} {quality}: {len(data)}"] = baseline.decode(data)
    return pictures


def sheet(pictures: dict[str, Image.Image]) -> Image.Image:
    """A column for each picture under its name, a row for each crop."""
    page = Image.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, LINE + len(CORNERS) * (SIDE + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, (name, picture) in enumerate(pictures.items()):
        draw.text((column * (SIDE + GAP), 3), name, "black", font)
        for row, (left, top) in enumerate(CORNERS):
            crop = picture.crop((left, top, left + SIDE, top + SIDE))
            page.paste(crop, (column * (SIDE + GAP), LINE + row * (SIDE + GAP)))
    return page


@click.command()
@click.option("--bpp", type=float, default=0.2, show_default=True, help="Bits a pixel of every file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The sheet, a PNG.")
def main(bpp: float, output: Path) -> None:
    """Draw the sheet, of the portrait that matplotlib ships."""
    original = normalise(read_image(sample()))
    page = sheet(versions(original, int(bpp * original.width * original.height / 8)))
    write_image(page, output)


if __name__ == "__main__":
    main()
