"""A model's proof: a small file of the model, and what it decodes to.

A library or a processor that computes a layer wrongly would write files that nobody else can read. So each process decodes the
proof before it uses a model.
"""

import hashlib
from base64 import b64decode
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dctcodec.errors import DctcodecError, ModelError, warn

if TYPE_CHECKING:
    from dctcodec.codec import Codec

_CHECKED: set[tuple[Path, str]] = set()
"""Folders of models, and devices, whose proof this process has decoded."""


@dataclass(frozen=True)
class Proof:
    """`file`: a .dct file; `symbols`: SHA-256 of its symbols as little-endian int32; `pixels`: SHA-256 of its pixels at temperature
    0, None for models whose pixels are not the same on every machine."""

    file: bytes
    symbols: str
    pixels: str | None

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Proof | None":
        """The proof of a model's config.json; None where it has none. Raises LookupError, ValueError, TypeError."""
        proof = config.get("proof")
        return cls(b64decode(proof["file"], validate=True), proof["symbols"], proof.get("pixels")) if proof else None


def check(codec: "Codec") -> None:
    """Decode the proof of a codec's model, once in each process and for each device. Raises ModelError where its symbols are wrong,
    and warns where only its pixels are."""
    proof, key = codec.model.proof, (codec.model.path, codec.device)
    if proof is None or key in _CHECKED:
        return
    wrong = f"{_library(codec.device)} computes the model {codec.model.name} wrongly on this machine"
    advice = "Install another version of it, newer if there is one."
    try:
        symbols = _digest(codec.symbols(proof.file)[1].astype("<i4").tobytes())
    except DctcodecError:
        symbols = ""
    if symbols != proof.symbols:
        raise ModelError(f"{wrong}: it could not read the model's files, and others could not read what it writes. {advice}")
    if proof.pixels and _digest(codec.decode(proof.file, temperature=0).tobytes()) != proof.pixels:
        warn(f"{wrong}: decoded images have other pixels than elsewhere. {advice}")
    _CHECKED.add(key)


def _library(device: str) -> str:
    """What computes a model's layers on a device, with its version."""
    name = "onnxruntime" if device == "cpu" else "torch"
    return f"{name} {import_module(name).__version__}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
