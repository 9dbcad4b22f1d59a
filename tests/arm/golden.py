"""One machine's side of `tests/arm/run`, in any Python with dctcodec's packages. `golden.py FOLDER NAME...` prints a line of JSON
for each name: what the golden file of that name decodes to, or what the model of that name encodes a small image to. Pixels go into
FOLDER, as NAME.npy."""

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
PAINTED = ("flagship-96x64.dct", "flagship-tuned-steps-80x40.dct", "flagship-patch-100x40.dct", "tile-1x1.dct")
"""Golden files whose pixels are compared too: not all, since emulation is slow."""
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


def decode(name: str, folder: Path) -> bytes:
    """The symbols of a golden file."""
    data = (GOLDEN / name).read_bytes()
    codec = codec_for(data, "cpu")
    if name in PAINTED:
        np.save(folder / f"{name}.npy", np.asarray(codec.decode(data)))
    return np.asarray(codec.symbols(data)[1]).astype("<i4").tobytes()


def encode(model: str) -> bytes:
    """The file of a wavy image with some noise, of 2 tiles."""
    rows, columns = np.indices((32, 40))
    waves = 128 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)
    noise = np.random.default_rng(0).integers(-20, 21, (32, 40, 3))
    return Codec(model, "cpu").encode((waves[..., None] + noise).clip(0, 255).astype(np.uint8), effort=0)  # no painted floats


def main(folder: Path, names: list[str]) -> None:
    print(json.dumps(machine()), flush=True)
    for name in names:
        result = decode(name, folder) if name.endswith(".dct") else encode(name)
        print(json.dumps({"name": name, "sha256": hashlib.sha256(result).hexdigest()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
