"""What works without torch: encoding, decoding, `info`, `models` and the Pillow plug-in; and what says that it needs torch."""

import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
REFUSE = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Refuse())
"""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", REFUSE + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def cli(*arguments: object) -> subprocess.CompletedProcess:
    return run("from dctcodec.cli.main import main\nmain(sys.argv[1:])", *arguments)


def test_images_are_encoded_to_the_golden_files_and_decoded(tmp_path: Path):
    script = f"""
sys.path.insert(0, {str(GOLDEN)!r})
import hashlib, json
from pathlib import Path
import numpy as np
from PIL import Image
from dctcodec import Codec
import dctcodec, dctcodec.pillow, make

expected = json.loads((make.FOLDER / "symbols.json").read_text())
for model in ("dct-vae-cifar10", "flagship-1"):
    codec = Codec(model)
    for name, (size, mode, quality, seed) in make.FILES[model].items():
        data = (make.FOLDER / f"{{name}}.dct").read_bytes()
        encoded = make.encoded(codec, name, size, mode, quality, seed)
        # coefficients of flat tiles are zero but for rounding errors, by whose signs dct-vae's symbols of these files were chosen
        # a patch is as libwebp makes it, and the choice of its tiles may change
        assert encoded == data or name in ("tile-1x1", "tiles-grey-33x50", "flagship-patch-100x40"), name
        digest = hashlib.sha256(codec.symbols(data)[1].astype("<i4").tobytes()).hexdigest()
        assert digest == expected[f"{{name}}.dct"]["sha256"], name
        assert codec.decode(data, 0.5).size == size
        assert codec.code_length(data) > 0
        assert codec.model.family == "dct-vae" or (codec.tile_bits(data) > 0).all()
        with Image.open(make.FOLDER / f"{{name}}.dct") as image:
            image.load()
data = codec.encode_to(make.picture((64, 40), "RGB"), psnr=25)
assert dctcodec.decode(data).size == (64, 40)
assert "torch" not in sys.modules
"""
    result = run(script)
    assert result.returncode == 0, result.stderr


def test_the_command_line_works(tmp_path: Path):
    file = GOLDEN / "flagship-96x64.dct"
    for words in (("decode", file, "-o", tmp_path / "a.png"), ("encode", tmp_path / "a.png", "-o", tmp_path / "a.dct")):
        result = cli(*words)
        assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "a.dct").stat().st_size > 100
    assert "flagship-1" in cli("info", file).stdout and "flagship-1" in cli("models").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("encode", "a.png", "-o", "a.dct", "--effort", 2),
        ("encode", "a.png", "-o", "a.dct", "--device", "cuda"),
        ("encode", "a.png", "-o", "a.dct", "--model", "dct-vae-cifar10", "--effort", 1),
        ("compare", "a.png", "-o", "a.html"),
        ("batch", "encode", "a.png", "out", "--report", "a.html"),
        ("train", "model", "a.toml", "--data", ".", "--run", "run"),
    ],
)
def test_what_needs_torch_says_so_in_one_line(words, tmp_path: Path, make_picture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make_picture(20, 9).save("a.png")
    result = cli(*words)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.endswith("pip install 'dctcodec[torch]'")
