"""Sixteen drawings as of a screen, none of which was trained on, as a folder for `dctcodec bench kodak --data`.

python benchmarks/scripts/drawings.py DRAWINGS
"""

from pathlib import Path

import click
from PIL import Image

from dctcodec.data.drawings import drawings

COUNT, SIDE, SEED = 16, 480, 1
"""Training draws with another seed, 0."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the drawings to FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(drawings(COUNT, SIDE, SEED)):
        Image.fromarray(picture).save(folder / f"drawing{number:02}.png")


if __name__ == "__main__":
    main()
