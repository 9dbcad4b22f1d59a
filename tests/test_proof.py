"""The file that each model carries, by which a process checks that it computes the model right."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from dctcodec import Codec, installed
from dctcodec.errors import ModelError
from dctcodec.installed import CONFIG

FOLDER = Path(__file__).parent / "golden"
sys.path.insert(0, str(FOLDER))
import make  # noqa: E402

MODELS = list(make.PROOFS)
"""Those that have golden files."""
WRONG = "0" * 64


@pytest.fixture
def with_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a copy of a model with another proof, and gives its name."""

    def made(model: str, **changes: str) -> str:
        folder = tmp_path / "other"
        shutil.copytree(installed.find(model).path, folder)
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | {"proof": config["proof"] | changes}))
        monkeypatch.setattr(installed, "_PLACES", (*installed._PLACES, tmp_path))
        return "other"

    return made


@pytest.mark.parametrize("model", MODELS)
def test_a_models_proof_is_one_of_its_golden_files(model: str):
    table = json.loads((FOLDER / "symbols.json").read_text())
    assert installed.find(model).config["proof"] == make.proof_of(model, table)


@pytest.mark.parametrize("model", MODELS)
def test_a_codec_decodes_it_once(model: str, with_proof: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    other, decoded, symbols = with_proof(model), [], Codec.symbols
    monkeypatch.setattr(Codec, "symbols", lambda codec, data: decoded.append(data) or symbols(codec, data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            Codec(other, "cpu")
    assert decoded == [installed.find(model).proof.file]


@pytest.mark.parametrize("model", MODELS)
def test_wrong_symbols_are_an_error_each_time(model: str, with_proof: Callable[..., str]):
    other = with_proof(model, symbols=WRONG)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"onnxruntime \d\S+ computes the model other wrongly .* Install another version"):
            Codec(other, "cpu")


def test_a_file_that_does_not_decode_is_the_same_error(with_proof: Callable[..., str]):
    file = installed.find("flagship-1").config["proof"]["file"]
    other = with_proof("flagship-1", file=file[:200] + "A" * 16 + file[216:])
    with pytest.raises(ModelError, match="computes the model other wrongly"):
        Codec(other, "cpu")


def test_wrong_pixels_are_a_warning(with_proof: Callable[..., str], photo):
    other = with_proof("flagship-1", pixels=WRONG)
    with pytest.warns(UserWarning, match="images have other pixels than elsewhere"):
        codec = Codec(other, "cpu")
    assert codec.decode(codec.encode(photo)).size == photo.size


def test_a_model_without_one_is_not_checked(tiny_tiles, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "_PLACES", (tiny_tiles, *installed._PLACES))
    name = next(path.parent.name for path in tiny_tiles.glob(f"*/{CONFIG}"))
    assert installed.find(name).proof is None
    assert Codec(name, "cpu").device == "cpu"


@pytest.mark.parametrize("damage", [{"file": "?"}, {"file": None}])
def test_a_damaged_proof_is_told(damage: dict, with_proof: Callable[..., str]):
    with pytest.raises(ModelError, match="damaged or incomplete"):
        Codec(with_proof("flagship-1", **damage), "cpu")
