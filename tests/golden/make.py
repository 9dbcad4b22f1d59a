"""Make the golden files of an installed model that are not there yet: `python tests/golden/make.py MODEL [--force]`.
One of them becomes the model's proof (`dctcodec/proof.py`), in its config.json.

`--force` replaces those that are: only where the model has changed on purpose, so that they no longer decode.
"""

import hashlib
import json
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
from PIL import Image

from dctcodec import Codec
from dctcodec.family import TUNES
from dctcodec.installed import CONFIG

FOLDER = Path(__file__).parent
FILES = {
    "flagship-1": {
        "flagship-96x64": ((96, 64), "RGB", 50, 0),
        "flagship-grey-33x50": ((33, 50), "L", 40, 0),
        "flagship-1x1": ((1, 1), "RGB", 50, 0),
        "flagship-fine-70x45": ((70, 45), "RGB", 97, 0),
        "flagship-coarse-seeded-130x100": ((130, 100), "RGB", 3, 123456789),
        "flagship-tuned-80x40": ((80, 40), "RGB", 70, 0),
        "flagship-tuned-steps-80x40": ((80, 40), "RGB", 70, 0),
        "flagship-patch-100x40": ((100, 40), "RGB", 60, 0),
    },
    "dct-vae-cifar10": {
        "tiles-200x170": ((200, 170), "RGB", None, 0),
        "tiles-grey-33x50": ((33, 50), "L", None, 0),
        "tile-1x1": ((1, 1), "RGB", None, 0),
        "tiles-seeded-64x96": ((64, 96), "RGB", None, 987654321),
    },
}
"""For each model, name: size, mode, quality, seed."""
PROOFS = {"flagship-1": "flagship-96x64", "dct-vae-cifar10": "tiles-seeded-64x96"}
"""The proof of each model."""
WITHOUT_STEPS = "flagship-tuned-80x40"
"""As encoders wrote tuned files before tiles had steps of their own: readers still take them."""


def picture(size: tuple[int, int], mode: str) -> Image.Image:
    """Waves, a disc and noise, whole numbers only."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height // 3) ** 2 + (columns - width // 2) ** 2 < (height // 4) ** 2
    planes = [abs((columns * k + rows * 3) % 256 - 128) + 70 * disc for k in (2, 3, 5)]
    noise = np.random.Generator(np.random.PCG64(7)).integers(-6, 7, (height, width, 1))
    return Image.fromarray((np.stack(planes, -1) + 20 + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def squares(size: tuple[int, int], mode: str) -> Image.Image:
    """Squares of four colours, and on the right `picture`."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    colours = np.array([[250, 240, 230], [20, 60, 90], [200, 30, 40], [90, 90, 90]], np.uint8)
    pixels = colours[(rows // 4 * 7 + columns // 5 * 3) % 11 % 4]
    pixels[:, 70:] = np.asarray(picture(size, "RGB"))[:, 70:]
    return Image.fromarray(pixels).convert(mode)


def image_of(name: str, size: tuple[int, int], mode: str) -> Image.Image:
    """What the golden file of a name is made of."""
    return (squares if "patch" in name else picture)(size, mode)


def encoded(codec: Codec, name: str, size: tuple[int, int], mode: str, quality: float | None, seed: int) -> bytes:
    """The golden file of a name."""
    stepped = codec.family.stepped
    codec.family.stepped = stepped and name != WITHOUT_STEPS
    try:
        return codec.encode(image_of(name, size, mode), quality, seed, effort=0, tune=TUNES["tuned" in name])
    finally:
        codec.family.stepped = stepped


def proof_of(model: str, table: dict) -> dict[str, str]:
    """The proof of a model, as its config.json has it."""
    name = f"{PROOFS[model]}.dct"
    file = b64encode((FOLDER / name).read_bytes()).decode()
    pixels = {"pixels": table[name]["pixels"]} if "pixels" in table[name] else {}
    return {"file": file, "symbols": table[name]["sha256"]} | pixels


def write_proof(codec: Codec, table: dict) -> None:
    """Write a model's proof into its config.json."""
    config = codec.model.config | {"proof": proof_of(codec.model.name, table)}
    (codec.model.path / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    model, force = sys.argv[1], sys.argv[2:] == ["--force"]
    index = FOLDER / "symbols.json"
    table = json.loads(index.read_text()) if index.exists() else {}
    codec = Codec(model, device="cpu")
    wanted = {name: values for name, values in FILES[model].items() if force or f"{name}.dct" not in table}
    for name, (size, mode, quality, seed) in wanted.items():
        data = encoded(codec, name, size, mode, quality, seed)
        header, symbols = codec.symbols(data)
        digest = hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest()
        fields = {key: getattr(header, key) for key in ("width", "height", "grey", "step16", "seed", "model_id")}
        table[f"{name}.dct"] = {"sha256": digest} | fields
        if codec.family.exact_pixels:
            table[f"{name}.dct"]["pixels"] = hashlib.sha256(np.asarray(codec.decode(data)).tobytes()).hexdigest()
        (FOLDER / f"{name}.dct").write_bytes(data)
    index.write_text(json.dumps(table, indent=1) + "\n")
    write_proof(codec, table)
    print(f"{len(wanted)} files of model {model} in {FOLDER}")


if __name__ == "__main__":
    main()
