"""A part of a folder of photographs that is small enough to travel, to a machine with a GPU."""

from pathlib import Path

from dctcodec.data.photographs import VALIDATION_STRIDE, folders_of_images
from dctcodec.errors import DataError
from dctcodec.files import make_folder, write_output


def pack(photos: Path, folder: Path, most: int) -> list[Path]:
    """Copy photographs to `folder`, at most `most` bytes of them, unchanged; returns the copies.

    Whole groups of ten photographs that follow each other in order of name are copied, evenly spaced, the same share of each of the
    folders in `photos`. So what is held out in `photos` is held out in `folder`, and what is trained on there is trained on here.
    Raises DataError where not even a group of each folder fits, and OutputError."""
    groups = {name: _groups(files) for name, files in folders_of_images(photos).items()}
    chosen = next((files for share in range(100, 0, -1) if _size(files := _chosen(groups, share / 100)) <= most), None)
    if chosen is None:
        raise DataError(f"ten photographs of each folder of {photos} have more than {most:,} bytes: allow for more")
    for file in chosen:
        make_folder(folder / file.parent.name)
        write_output(folder / file.parent.name / file.name, file.read_bytes())
    return [folder / file.parent.name / file.name for file in chosen]


def _groups(files: list[Path]) -> list[list[Path]]:
    return [files[first : first + VALIDATION_STRIDE] for first in range(0, len(files), VALIDATION_STRIDE)]


def _chosen(groups: dict[str, list[list[Path]]], share: float) -> list[Path]:
    """The files of a share of each folder's groups, of one group at least."""
    chosen = []
    for of_folder in groups.values():
        count = max(1, int(share * len(of_folder)))
        chosen += [file for number in range(count) for file in of_folder[number * len(of_folder) // count]]
    return chosen


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)
