"""A part of the photographs that travels."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from dctcodec import DataError
from dctcodec.cli.train import train
from dctcodec.data.photographs import photo_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty files of 100 kB and forty of 200 kB."""
    for name, count, size in (("bsds", 60, 100_000), ("large", 40, 200_000)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "photos" / name / f"{number:02}.jpg").write_bytes(bytes([number]) * size)
    return tmp_path / "photos"


def pack(*arguments) -> str:
    return CliRunner().invoke(train, ["pack", *map(str, arguments)], catch_exceptions=False).output


def names(files: list[Path]) -> set[str]:
    return {f"{file.parent.name}/{file.name}" for file in files}


def test_what_is_held_out_stays_held_out_and_all_fits(photos: Path, tmp_path: Path):
    pack(photos, tmp_path / "packed", "--mib", 8)
    whole, part = photo_files(photos), photo_files(tmp_path / "packed")
    for before, after in zip(whole, part, strict=True):
        assert names(after) < names(before)
    files = [*part[0], *part[1]]
    assert all(file.read_bytes() == (photos / file.parent.name / file.name).read_bytes() for file in files)
    assert 5 << 20 < sum(file.stat().st_size for file in files) <= 8 << 20
    assert {file.parent.name for file in files} == {"bsds", "large"}


def test_all_is_copied_where_it_fits(photos: Path, tmp_path: Path):
    assert pack(photos, tmp_path / "packed").startswith("100 photographs, 13.4 MiB, in ")


def test_too_little_room_and_no_photographs_are_said(photos: Path, tmp_path: Path):
    with pytest.raises(DataError, match="allow for more"):
        pack(photos, tmp_path / "packed", "--mib", 1)
    with pytest.raises(DataError, match="no photographs in"):
        pack(tmp_path, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
