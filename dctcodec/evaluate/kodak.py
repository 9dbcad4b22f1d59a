"""The test images: from the user's folder, a cache, or the Kodak site, where each file is checked."""

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dctcodec.errors import DataError
from dctcodec.files import make_folder, write_output

URL = "https://r0k.us/graphics/kodak/kodak/"
SHA256 = (  # of kodim01.png to kodim24.png
    "a56e27cbf5f843c048b6af1d6e090760e9c92fadba88b7dee0205918a37523bd",
    "4f4b74a79237e311d72cad958237b5f7088d8bce1c82305ebefe1a70e3022dfd",
    "e25ca1ff2f0c0cb5fdfd5f9b0a0bb21ac4c3de3c84a67f35b09a85d3306249db",
    "e3b946107c5d3441c022f678d0c3caf1e224d81b1604ba840a4f88e562de61aa",
    "10349e963c5c813d327852f82c1795fa4148d69fedffc4c589bee458e3ac3d53",
    "363510303b715d4cbc384e1ce227e466b613a09e1b71ae985882bf8e7fbd9b18",
    "b77d3f006f42414bb242222e0482e750c0fb9e5ee8d4bed2f6f11c5605fe54a4",
    "ba23983c76b4832ee0e8af0592664756841a16779acd69f792e268fb6d13d6e7",
    "6a4361c2fc194feb4edaa9f9a4a0620fb9943e460ac7fdf037fb0f6dd6607a7d",
    "9dfb70f5867c29ff9ed6313683f19b3d867849e40fbc0c4c54a4a89df341cf23",
    "7936814b58b5387fce2e4e2488b4ec830dadd95fa9520f358ddb30990b50f2b6",
    "d78c37c2f04f23761ed2367dd77e2db584ddd4c3950833fecf89f199a8126980",
    "bc34a3ce58dea09dce1704c997171602de90cb34d0c8503a988b77f473d39b08",
    "55a94550ff18f3246c4074fd32b77b0c74447c26b6ad274d564d999c0450ba6e",
    "7538cbb80cb9103606c48b806eae57d56c885c7f90b9b3be70a41160f9cbb683",
    "a89c7268ccd4718ba424a99fc4643c572cf692ca6eae887185ceb4e9f11d2e54",
    "37afcc89fbdcb76d9518e04b2fc011027e2f4cd14b3b2f83cefd721641a47c5b",
    "1a9258c365988961d87a0598725b609139c303ad48a5aad6c503c3b1a87849aa",
    "b7450b264b1b0a411390d8931b112c27905a992520fc90569dc4b920aa32bbdc",
    "3b46c71e3b92a563820ba32936be8330c586c41f938efd94be938386aae4328a",
    "ac958597c82073f6bb65129c68f72b651db5b9efd82e11547d07350214bc268b",
    "1cee58eb1f2d9c7ebb254d208a03c783ce6cf2c4d8c2cf45e235dd23b4ce1b29",
    "e3111a2fd4da24af15d6459ef9eacfe54106b38e27b4a21821b75c3f5d2d5baf",
    "1071c68372cc5a01435c2c225a5cf7d4bb803846ec08bb6b3d6721b156d7cb96",
)
TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class ImageSet:
    """Test images and what to call them in a report."""

    description: str
    paths: tuple[Path, ...]


def find(data: Path | None = None) -> ImageSet:
    """The images to test on: those in the folder `data`, else Kodak from the cache, downloaded where needed.

    A folder may hold any images; the description says whether they are Kodak's. The cache is
    `$DCTCODEC_CACHE/kodak`, else `~/.cache/dctcodec/kodak`.
    Raises DataError: no such folder, no images in it, no way to download them, or a download that is not the file;
    OutputError: the cache cannot be written.
    """
    if data is None:
        return ImageSet("Kodak", _cached())
    if not data.is_dir():
        raise DataError(f"{data} is not a folder of images")
    paths = tuple(sorted(path for path in data.iterdir() if path.suffix.lower() in _extensions()))
    if not paths:
        raise DataError(f"{data} contains no images")
    return ImageSet("Kodak" if _is_kodak(paths) else f"{data} (not the Kodak set)", paths)


def _extensions() -> set[str]:
    Image.init()
    return {extension for extension, name in Image.EXTENSION.items() if name in Image.OPEN}


def _names() -> list[str]:
    return [f"kodim{number:02}.png" for number in range(1, 25)]


def _is_kodak(paths: tuple[Path, ...]) -> bool:
    return [path.name for path in paths] == _names() and all(map(_intact, paths, SHA256))


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _cached() -> tuple[Path, ...]:
    folder = Path(os.environ.get("DCTCODEC_CACHE") or Path.home() / ".cache" / "dctcodec") / "kodak"
    paths = tuple(folder / name for name in _names())
    missing = [(path, sha256) for path, sha256 in zip(paths, SHA256, strict=True) if not _intact(path, sha256)]
    if missing:
        _download(missing)
    return paths


def _download(files: list[tuple[Path, str]]) -> None:
    from tqdm import tqdm

    for path, sha256 in tqdm(files, desc="downloading Kodak", unit="file", disable=None):
        content = _fetch(URL + path.name)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{URL}{path.name} is not the Kodak image (its SHA-256 differs); use --data DIR")
        make_folder(path.parent)
        write_output(path, content)


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            return response.read()
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        raise DataError(f"the Kodak images are not in the cache and {url} cannot be reached ({cause}); use --data DIR") from error
