"""dctcodec: a neural image codec whose files decode to the same symbols on every machine.

`encode(image, quality=50) -> bytes`, `decode(data, temperature=None) -> PIL.Image`; `Codec` keeps a
model loaded, and its `encode_to` makes a file of a given size.
Importing the package is cheap. torch is imported only for CUDA, for efforts above 1, training and evaluation.
"""

from importlib import import_module
from typing import Any

from dctcodec.errors import (
    ConfigError,
    DataError,
    DctcodecError,
    DctcodecWarning,
    ExportError,
    FormatError,
    ImageError,
    InputError,
    ModelError,
    OutputError,
    TargetError,
)

__version__ = "0.1.0"
__all__ = [
    "Codec",
    "ConfigError",
    "DataError",
    "DctcodecError",
    "DctcodecWarning",
    "ExportError",
    "FormatError",
    "ImageError",
    "InputError",
    "ModelError",
    "OutputError",
    "TargetError",
    "decode",
    "encode",
]
_MODULES = {"Codec": "codec", "decode": "codec", "encode": "codec"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"dctcodec.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
