"""The photographs that no model was trained on, as folders for `dctcodec bench kodak --data`.

python benchmarks/scripts/held_out.py PHOTOS FOLDER
"""

import shutil
from pathlib import Path

import click

from dctcodec.data.photographs import photo_files


@click.command()
@click.argument("photos", type=click.Path(file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(photos: Path, folder: Path) -> None:
    """Copy every tenth photograph of PHOTOS/bsds to FOLDER/bsds, and of PHOTOS/large to FOLDER/large."""
    for file in photo_files(photos)[1]:
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.parent.name)


if __name__ == "__main__":
    main()
