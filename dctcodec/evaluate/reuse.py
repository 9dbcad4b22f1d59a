"""Rows of an earlier run's JSON, so that codecs which make the same files again need not be measured again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dctcodec.errors import DataError
from dctcodec.evaluate.kodak import ImageSet
from dctcodec.evaluate.machine import package_version
from dctcodec.evaluate.measure import Known, Row, stored_row
from dctcodec.files import reason

MEASURES = {
    "psnr": "over 8-bit RGB",
    "ms_ssim": f"pytorch-msssim {package_version('pytorch-msssim')}",
    "ssimulacra2": "SSIMULACRA 2.1 by dctcodec, as https://github.com/cloudinary/ssimulacra2",
}
"""By what the columns of a run were measured: rows of other measures are not reused."""


@dataclass(frozen=True)
class Earlier:
    """The codecs of an earlier run by name, and the SHA-256 of its images' files by name."""

    codecs: Mapping[str, dict[str, Any]]
    sha256: Mapping[str, str]

    def rows(self, name: str, encoder: dict[str, Any], images: ImageSet) -> list[Row]:
        """Rows of the codec `name` with the same encoder on the same images."""
        codec = self.codecs.get(name, {})
        if codec.get("encoder") != encoder:
            return []
        same = {name for name, digest in sums(images).items() if self.sha256.get(name) == digest}
        return [stored_row(row) for row in codec["images"] if row["image"] in same]


def rows(earlier: Sequence[Earlier], name: str, encoder: dict[str, Any], images: ImageSet) -> Known:
    """What earlier runs measured of a codec on these images. `encoder`: what its rows depend on, see `Result`."""
    return {(row.image, row.quality): row for run in earlier for row in run.rows(name, encoder, images)}


def read(path: Path) -> Earlier:
    """The JSON of an earlier run; nothing can be reused where it was measured by other measures. Raises DataError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        codecs = {codec["name"]: codec for codec in document["codecs"]}
        [stored_row(row) for codec in codecs.values() for row in codec["images"]]
        return Earlier(codecs if document["measures"] == MEASURES else {}, dict(document["sha256"]))
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not the JSON of an earlier run: give what `dctcodec bench kodak --json` wrote") from error


def sums(images: ImageSet) -> dict[str, str]:
    """The SHA-256 of each image's file by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in images.paths}
