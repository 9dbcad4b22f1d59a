"""The errors of dctcodec. Messages say what is wrong and what to do."""

import sys
import warnings
from textwrap import shorten


class DctcodecError(Exception):
    """Base of all errors. The command line prints the message and exits with 1."""


class ImageError(DctcodecError):
    """An image that cannot be read, or is too large or too small."""


class FormatError(DctcodecError):
    """A .dct file that is foreign, damaged, truncated or of an unknown version, or an archive that is damaged."""


class TargetError(DctcodecError):
    """A target (bpp, size or PSNR) that no quality of the model meets."""


class ModelError(DctcodecError):
    """A model that is not installed, is damaged, or did not make the file."""


class ConfigError(DctcodecError):
    """A configuration that cannot be read or makes no sense."""


class DataError(DctcodecError):
    """Images or data sets that are missing, or cannot be used as asked."""


class InputError(DctcodecError):
    """A file that cannot be read."""


class OutputError(DctcodecError):
    """A file that cannot be written."""


class ExportError(DctcodecError):
    """A trained network that has no exact integer form within the bounds."""


class DctcodecWarning(UserWarning):
    """Something that the user may not expect, such as a change of the image. The command line prints one line."""


def last_line(error: Exception) -> str:
    """The last line of another library's error, shortened."""
    return shorten((str(error).splitlines() or [type(error).__name__])[-1], 120)


def warn(message: str) -> None:
    """A DctcodecWarning that names the caller's line, the nearest outside the package."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("dctcodec"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, DctcodecWarning, stacklevel=level)
