"""Tables of TOML files as dataclasses, checked, with messages that say what is wrong in them.

A field's type says what its values may be: `Count`, `Rate`, `Literal[...]`. So a new setting is one field of a dataclass.
"""

import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from dctcodec.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Limits(NamedTuple):
    """Limits of a number: from 0 (or above 0) to `most`."""

    most: int = 10**9
    zero: bool = True

    def __str__(self) -> str:
        return f"{'from 0 up' if self.zero else 'above 0'}, at most {self.most}"

    def hold(self, number: float) -> bool:
        """Whether a number is within the limits; nan is not."""
        return 0 <= number <= self.most and (self.zero or number > 0)


Count = Annotated[int, Limits(zero=False)]
Amount = Annotated[float, Limits(zero=False)]
Rate = Annotated[float, Limits(1, zero=False)]
Share = Annotated[float, Limits(1)]

LONGEST_CHAIN = 20
"""Most files that extend one another."""

Config = TypeVar("Config")
Made = TypeVar("Made", bound="DataclassInstance")


def read(path: Path, parse: Callable[[dict[str, Any]], Config]) -> Config:
    """The result of `parse` on the table in a TOML file. Raises ConfigError with the file and what is wrong in it."""
    values = table(path)
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def table(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The table in a TOML file. One that says `extends = "other.toml"` is `merged` into the table of that file beside it, which may
    extend another. `before`: the files that led here. Raises ConfigError."""
    own = _parsed(path)
    if "extends" not in own:
        return own
    other = own.pop("extends")
    if not isinstance(other, str) or "\0" in other:
        raise ConfigError(f"{path}: extends = {other!r} should be the name of a file beside it")
    before = (*before, path.resolve())
    if (path.parent / other).resolve() in before:
        raise ConfigError(f"{path}: extends = {other!r} leads back to itself")
    if len(before) > LONGEST_CHAIN:
        raise ConfigError(f"{path}: more than {LONGEST_CHAIN} files extend one another")
    return merged(table(path.parent / other, before), own)


def merged(parent: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`parent` updated by `own`: tables are merged, everything else is replaced, arrays of tables too."""
    tables = {name for name in parent.keys() & own.keys() if isinstance(parent[name], dict) and isinstance(own[name], dict)}
    return parent | own | {name: merged(parent[name], own[name]) for name in tables}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error


def make(kind: type[Made], values: dict[str, Any], where: str) -> Made:
    """The dataclass `kind` of some values, which the table `where` holds. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a table: [{where}]")
    check_names(values, {field.name for field in fields(kind)}, where)
    kinds = get_type_hints(kind, include_extras=True)
    made = {name: _value(name, value, kinds[name], where) for name, value in values.items()}
    try:
        return kind(**made)
    except TypeError as error:
        raise ConfigError(f"[{where}]: {str(error).replace(f'{kind.__name__}.__init__() ', '')}") from error


def check_names(values: dict[str, Any], known: set[str], where: str) -> None:
    """Raises ConfigError where a table has unknown names."""
    if unknown := sorted(values.keys() - known):
        raise ConfigError(f"[{where}] has {', '.join(unknown)}, which is unknown there; known: {', '.join(sorted(known))}")


def _value(name: str, value: Any, kind: Any, where: str) -> Any:
    """A value as a field of this type holds it."""
    if type(None) in get_args(kind):  # one that may be missing
        if value is None:
            return None
        kind = next(one for one in get_args(kind) if one is not type(None))
    if is_dataclass(value) or isinstance(value, tuple):  # made already
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return make(kind, value, f"{where}.{name}")
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ConfigError(f"[{where}] {name} = {value!r} is none of {', '.join(get_args(kind))}")
    if get_origin(kind) is tuple:
        return _list(name, value, get_args(kind), where)
    plain, limits = get_args(kind) if get_origin(kind) is Annotated else (kind, Limits())
    if plain in (int, float, str, bool) and type(value) is not plain and not (plain is float and type(value) is int):
        raise ConfigError(f"[{where}] {name} = {value!r} should be of type {plain.__name__}")
    if plain in (int, float) and not limits.hold(value):
        raise ConfigError(f"[{where}] {name} = {value} should be a number {limits}")
    return value


def _list(name: str, value: Any, kinds: tuple[Any, ...], where: str) -> tuple[int, ...]:
    """A list of whole numbers, as many as there are kinds."""
    _, limits = get_args(kinds[0])
    if not (isinstance(value, list) and len(value) == len(kinds) and all(type(one) is int and limits.hold(one) for one in value)):
        raise ConfigError(f"[{where}] {name} = {value!r} should be a list of {len(kinds)} whole numbers {limits}")
    return tuple(value)
