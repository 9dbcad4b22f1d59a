"""Curves that others have published, to draw and compare with those measured here."""

import json
from dataclasses import dataclass
from pathlib import Path

from dctcodec.errors import DataError
from dctcodec.metrics import ms_ssim_db

COLUMNS = {"psnr": "psnr-rgb", "ms_ssim": "ms-ssim-rgb", "ssimulacra2": "ssimulacra2"}


@dataclass(frozen=True)
class Published:
    """Means over the Kodak images. `results`: columns of CompressAI's result form, bpp, psnr-rgb and perhaps ms-ssim-rgb."""

    name: str
    source: str
    results: dict[str, list[float]]

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """The (bpp, metric) points. `metric`: of `COLUMNS`; MS-SSIM is on the decibel scale. Empty where it was not published."""
        scale = ms_ssim_db if metric == "ms_ssim" else float
        return list(zip(self.results["bpp"], map(scale, self.results.get(COLUMNS[metric], [])), strict=False))


def read(folder: Path) -> list[Published]:
    """The curves in a folder, one a JSON file, by file name. Raises DataError."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(f"{folder} holds no published curves (*.json)")
    return [_read(path) for path in paths]


def _read(path: Path) -> Published:
    try:
        curve = Published(**json.loads(path.read_text(encoding="utf-8")))
        points = len(curve.results["bpp"])
        if all(len(column) == points for column in curve.results.values()):
            return curve
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is not a published curve: name, source and results are wanted ({error})") from error
    raise DataError(f"{path} is not a published curve: its columns have different lengths")
