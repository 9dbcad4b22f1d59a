"""Installed models: `models/<name>/` with weights, a config and a card."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dctcodec.errors import ModelError
from dctcodec.family import FAMILIES, PRIOR, TUNED_DECODER
from dctcodec.proof import Proof

DEFAULT = "flagship-1"
CONFIG = "config.json"
_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "models" if (_PACKAGE / "models").is_dir() else _PACKAGE.parent / "models",)
"""Inside an installed wheel, or beside the package in a checkout."""


@dataclass(frozen=True)
class ModelInfo:
    """One installed model. `family`: a name in `family.FAMILIES`; `model_id`: first 32
    bits of the SHA-256 of its prior's file, None where it has none; `figures`: measured, from its card; `config`: config.json;
    `proof`: by which a process checks that it decodes right, None where it has none."""

    name: str
    path: Path
    family: str
    model_id: int | None
    bytes: int
    description: str
    figures: dict[str, float | str]
    config: dict[str, Any]
    proof: Proof | None


def installed() -> list[ModelInfo]:
    """Every installed model, by name. Raises ModelError for a damaged one."""
    return [_read(folder) for folder in _folders().values()]


def find(name: str) -> ModelInfo:
    """The model of a name. Raises ModelError where it is not installed, or damaged."""
    folders = _folders()
    if name not in folders:
        raise ModelError(f"there is no model {name!r}; installed: {', '.join(folders) or 'none'}")
    return _read(folders[name])


def find_by_id(model_id: int) -> ModelInfo:
    """The model whose prior has this identity. Raises ModelError where it is not installed, or may be one that is damaged."""
    damage = None
    for folder in _folders().values():
        try:
            model = _read(folder)
        except ModelError as error:
            damage = error
            continue
        if model.model_id == model_id:
            return model
    if damage:
        raise damage
    raise ModelError(
        f"the file was made with model {model_id:08x}, which is not installed: install the version of dctcodec that wrote the file"
    )


@contextmanager
def told_as_damage(model: ModelInfo) -> Iterator[None]:
    """A context that loads a model. Raises ModelError where that fails."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise ModelError(f"the model {model.name} is damaged ({error}): install dctcodec again") from error


def _folders() -> dict[str, Path]:
    """The folder of each model, by name."""
    folders = {config.parent.name: config.parent for place in reversed(_PLACES) for config in place.glob(f"*/{CONFIG}")}
    return dict(sorted(folders.items()))


@cache
def _read(folder: Path) -> ModelInfo:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = [folder / name for name in FAMILIES[config["family"]].files]
        weights += [folder / TUNED_DECODER] * (folder / TUNED_DECODER).exists()
        size = sum(file.stat().st_size for file in weights)
        identity = _identity(folder / PRIOR) if folder / PRIOR in weights else None
        facts = config["description"], config["figures"], config, Proof.of(config)
        return ModelInfo(folder.name, folder, config["family"], identity, size, *facts)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"the model in {folder} is damaged or incomplete ({error}): install it again") from error


def _identity(prior: Path) -> int:
    return int.from_bytes(hashlib.sha256(prior.read_bytes()).digest()[:4], "little")
