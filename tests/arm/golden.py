"""One machine's side of `tests/arm/run`, in any Python with dctcodec's packages. `golden.py FOLDER NAME...` prints a line of JSON
for each name: what the golden file of that name decodes to, or what the model of that name encodes a small image to. Pixels that
are floating point go into FOLDER, as NAME.npy."""

import hashlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from dctcodec import Codec, rans
from dctcodec.codec import codec_for

GOLDEN = Path(__file__).parents[1] / "golden"
PAINTED = ("tile-1x1.dct",)
"""Golden files whose pixels are floating point, and compared: not all, since emulation is slow."""
PACKAGES = ("numpy", "pillow", "safetensors", "threadpoolctl", "constriction", "onnxruntime")


def machine() -> dict[str, object]:
    """The processor's kind, Python, the coder, the versions of the packages that are there."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"machine": platform.machine(), "python": platform.python_version(), "coder": rans.CODER, "versions": versions}


def decode(name: str, folder: Path) -> dict[str, str]:
    """The hashes of a golden file's symbols, and of its pixels where these are exact."""
    data = (GOLDEN / name).read_bytes()
    codec = codec_for(data, "cpu")
    if name in PAINTED:
        np.save(folder / f"{name}.npy", np.asarray(codec.decode(data)))
    pixels = {"pixels": _hash(np.asarray(codec.decode(data)).tobytes())} if codec.family.exact_pixels else {}
    return {"sha256": _hash(np.asarray(codec.symbols(data)[1]).astype("<i4").tobytes())} | pixels


def encode(model: str) -> dict[str, str]:
    """The hash of the file of a wavy image with some noise, of 2 tiles."""
    rows, columns = np.indices((32, 40))
    waves = 128 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)
    noise = np.random.default_rng(0).integers(-20, 21, (32, 40, 3))
    image = (waves[..., None] + noise).clip(0, 255).astype(np.uint8)
    return {"sha256": _hash(Codec(model, "cpu").encode(image, effort=0))}


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main(folder: Path, names: list[str]) -> None:
    print(json.dumps(machine()), flush=True)
    for name in names:
        hashes = decode(name, folder) if name.endswith(".dct") else encode(name)
        print(json.dumps({"name": name} | hashes), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
