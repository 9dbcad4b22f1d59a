"""Configurations of trainings: tables of TOML files as dataclasses, checked, with sentences for what is wrong in them."""

import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from dctcodec.errors import ConfigError

_CHOICES = {
    "kind": ("dct", "downsample"),
    "likelihood": ("bernoulli", "logistic-mixture"),
    "optimiser": ("adamw", "muon"),
    "schedule": ("linear", "cosine", "geometric"),
}
_POSITIVE = {"side", "latents", "width", "widths", "hidden", "channels", "latent_width", "size", "bits", "steps", "batch"}
_POSITIVE |= {"learning_rate", "prior_learning_rate", "epochs", "clip", "skip", "scales", "prior_images", "blocks", "crop"}
_POSITIVE |= {"draws", "reveals"}
_RATES = {"learning_rate", "prior_learning_rate", "final_rate"}
_LARGEST = 10**9
"""Of any number but a rate, which is at most 1: none that makes sense is near."""
_CHAIN = 20
"""The longest chain of files that are each like the next."""

Config = TypeVar("Config")


def read(path: Path, parse: Callable[[dict[str, Any]], Config]) -> Config:
    """What `parse` makes of the table in a TOML file. Raises ConfigError, which says what is wrong in it."""
    values = table(path)
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def table(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The table in a TOML file. One that says `like = "other.toml"` has what it does not say itself from that file beside it, which
    may say so, too. `before`: the files that led here. Raises ConfigError."""
    own = _parsed(path)
    if "like" not in own:
        return own
    other = own.pop("like")
    if not isinstance(other, str):
        raise ConfigError(f"{path}: like = {other!r} should be the name of a file beside it")
    before = (*before, path.resolve())
    if (path.parent / other).resolve() in before:
        raise ConfigError(f"{path}: like = {other!r} leads back to itself")
    if len(before) > _CHAIN:
        raise ConfigError(f"{path}: more than {_CHAIN} files are each like the next")
    return table(path.parent / other, before) | own


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error


def make(kind: type, values: dict[str, Any], where: str) -> Any:
    """The dataclass `kind` of some values, which the table `where` holds. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"[[{where}]] must be a table, or several")
    check_names(values, {field.name for field in fields(kind)}, where)
    for field in fields(kind):
        if field.name in values:
            _check_value(field.name, values[field.name], field.type, where)
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"[{where}]: {str(error).replace(f'{kind.__name__}.__init__() ', '')}") from error


def check_names(values: dict[str, Any], known: set[str], where: str) -> None:
    """Raises ConfigError where a table has other names than those known."""
    if unknown := sorted(values.keys() - known):
        raise ConfigError(f"[{where}] has {', '.join(unknown)}, which means nothing there; known: {', '.join(sorted(known))}")


def _check_value(name: str, value: Any, kind: Any, where: str) -> None:
    if kind in (int, float, str, bool):
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ConfigError(f"[{where}] {name} = {value!r} should be of type {kind.__name__}")
    if kind == tuple[int, ...] and not (isinstance(value, list) and all(type(v) is int and 0 < v <= _LARGEST for v in value)):
        raise ConfigError(f"[{where}] {name} = {value!r} should be a list of whole numbers above 0, at most {_LARGEST}")
    largest = 1 if name in _RATES else _LARGEST
    if kind in (int, float) and not (0 <= value <= largest and (value or name not in _POSITIVE)):
        least = "above 0" if name in _POSITIVE else "from 0 up"
        raise ConfigError(f"[{where}] {name} = {value} should be a number {least}, at most {largest}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ConfigError(f"[{where}] {name} = {value!r} is none of {', '.join(_CHOICES[name])}")
