"""Lines on stderr: warnings and errors, each of one line that names what it is about."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dctcodec.errors import DctcodecError, DctcodecWarning

Line = tuple[str, str]
"""A kind, warning or error, and its message."""
_collections: list[list[Line]] = []


@contextmanager
def about(source: str) -> Iterator[None]:
    """Print warnings on one line, and raise every failure as a DctcodecError that names `source`."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DctcodecWarning)
        warnings.showwarning = lambda message, *_: say("warning", named(source, str(message)))
        try:
            yield
        except (ModuleNotFoundError, BrokenPipeError):
            raise
        except Exception as error:  # of a defect of ours, too: other inputs are still processed
            defect = f"unexpected {type(error).__name__}: {error}. This is a defect of dctcodec: please report it"
            raise DctcodecError(named(source, failure_message(error) or defect)) from error


def named(source: str, message: str) -> str:
    """A message that begins with the name of its subject."""
    told = message.startswith((f"{source} ", f"{source}: ", f"cannot read {source}: "))
    return message if told else f"{source}: {message}"


def failure_message(error: Exception) -> str | None:
    """One line for an expected failure, None for any other."""
    if isinstance(error, DctcodecError):
        return str(error)
    # PyTorch raises RuntimeError for memory, with no class of its own on the CPU
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return "not enough memory; use a smaller image (in training, a smaller network or batch)"
    return None


@contextmanager
def collected() -> Iterator[list[Line]]:
    """Collect lines instead of printing them."""
    _collections.append([])
    try:
        yield _collections[-1]
    finally:
        _collections.pop()


def say(kind: str, message: str) -> None:
    """One line on stderr, above the progress bar if there is one."""
    if _collections:
        _collections[-1].append((kind, message))
        return
    line = f"{kind}: {' '.join(message.splitlines())}"
    tqdm = sys.modules.get("tqdm")
    if tqdm and sys.stderr:
        tqdm.tqdm.write(line, file=sys.stderr)
    else:
        click.echo(line, err=True)


def missing_package(error: ModuleNotFoundError) -> str:
    """One line that says what to install."""
    package = str(error.name).split(".")[0]
    wanted = "'dctcodec[torch]'" if package in ("torch", "pytorch_msssim") else package
    return f"this command needs the package {package}: pip install {wanted}"
