"""dctcodec: a neural image codec whose files decode to the same symbols on every machine.

`encode(image, quality=50) -> bytes`, `decode(data, temperature=0.0) -> PIL.Image`; `Codec` keeps a model loaded.
Importing the package is cheap: torch is loaded at the first use of a codec.
"""

from dctcodec.errors import (
    ConfigError,
    DataError,
    DctcodecError,
    ExportError,
    FormatError,
    ImageError,
    ModelError,
    OutputError,
)

__version__ = "0.1.0"
__all__ = [
    "Codec",
    "ConfigError",
    "DataError",
    "DctcodecError",
    "ExportError",
    "FormatError",
    "ImageError",
    "ModelError",
    "OutputError",
    "decode",
    "encode",
]
_FROM_CODEC = {"Codec", "decode", "encode"}


def __getattr__(name: str):
    if name in _FROM_CODEC:
        from dctcodec import codec

        return getattr(codec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
