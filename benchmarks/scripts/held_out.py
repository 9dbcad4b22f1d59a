"""The photographs that no model was trained on, as folders for `dctcodec bench kodak --data`.

python benchmarks/scripts/held_out.py PHOTOS FOLDER
"""

from pathlib import Path

import click
from PIL import Image

from dctcodec.data.photographs import photo_files

SIDES = (768, 512)
"""Pixels of the centres, as of the Kodak images; those of BSDS500 are smaller and stay whole."""


@click.command()
@click.argument("photos", type=click.Path(file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(photos: Path, folder: Path) -> None:
    """Write the centres of every tenth photograph of PHOTOS/bsds to FOLDER/bsds, and of PHOTOS/large to FOLDER/large."""
    for file in photo_files(photos)[1]:
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        centre(Image.open(file).convert("RGB")).save(folder / file.parent.name / f"{file.stem}.png")


def centre(image: Image.Image) -> Image.Image:
    """The middle of an image, at most 768×512 pixels, or 512×768 of one that is higher than wide."""
    sides = SIDES if image.width >= image.height else SIDES[::-1]
    width, height = (min(side, most) for side, most in zip(image.size, sides, strict=True))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


if __name__ == "__main__":
    main()
