"""What there is to do: the inputs of a source, and the output that each becomes."""

import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dctcodec.batch.manifest import SHARD
from dctcodec.batch.store import Store, absolute
from dctcodec.errors import DataError
from dctcodec.files import STANDARD_STREAM, read_input

_WILD = "*?["


@dataclass(frozen=True)
class Task:
    """Input files and their one output. `source`: the address of the inputs' store; `keys`: their paths there; `output`: the
    output's path in the destination. The output is a shard where the input is one, or where several inputs become its members."""

    source: str
    keys: tuple[str, ...]
    output: str

    @property
    def of_shard(self) -> bool:
        """Whether the input is a tar file."""
        return self.keys[0].endswith(SHARD)

    @property
    def to_shard(self) -> bool:
        """Whether the output is a tar file."""
        return self.output.endswith(SHARD)

    @property
    def name(self) -> str:
        """For messages."""
        return self.keys[0] if len(self.keys) == 1 else f"{self.keys[0]} and {len(self.keys) - 1} more"


def tasks_of(source: str, ending: str, accepts: Callable[[str], bool], destination: str, listed: bool = False) -> list[Task]:
    """The tasks of a source in order of their keys. `ending`: of outputs; `accepts`: whether a name found in a folder is an input.

    `source`: a folder, which is searched recursively, a file, a pattern with `*`, or, where it is `listed` or `-` for standard
    input, a file with a path a line. All but `-` may be addresses of fsspec. Files of the destination are no inputs. Raises
    DataError where there is nothing to do, where two inputs would have one output, or an output would replace its input.
    """
    address, keys = _listed(source) if listed or source == STANDARD_STREAM else _found(absolute(source), accepts)
    inside = _inside(Store(address), Store(destination))
    keys = [key for key in keys if not (inside and key.startswith(inside))]
    if not keys:
        raise DataError(f"there are no inputs in {source}")
    tasks = [Task(address, (key,), output_of(key, ending)) for key in sorted(set(keys))]
    check_outputs(tasks, destination)
    return tasks


def output_of(key: str, ending: str) -> str:
    """The output's path of an input's."""
    return key if key.endswith(SHARD) else posixpath.splitext(key)[0] + ending


def check_outputs(tasks: Sequence[Task], destination: str) -> None:
    """Raise DataError where two tasks have one output, or an output is an input."""
    source, store = Store(tasks[0].source), Store(destination)
    inputs = {source.path(key) for task in tasks for key in task.keys} if source.filesystem == store.filesystem else set()
    made: dict[str, str] = {}
    for task in tasks:
        if task.output in made:
            message = f"{made[task.output]} and {task.name} would both be written to {task.output}"
            raise DataError(f"{message}: rename one, or give a pattern")
        if store.path(task.output) in inputs:
            raise DataError(f"{store.path(task.output)} is an input and would be written over: give another destination")
        made[task.output] = task.name


def _found(source: str, accepts: Callable[[str], bool]) -> tuple[str, list[str]]:
    """Address and keys of the inputs of a folder, a file or a pattern."""
    store = Store(source)
    if store.is_file():
        folder, name = posixpath.split(source)
        return folder, [name]
    keys = [key for key in store.sizes() if key.endswith(SHARD) or accepts(key)]
    folder, pattern = _split(source)
    if not keys and pattern:
        return folder, Store(folder).glob(pattern)
    return source, keys


def _split(source: str) -> tuple[str, str]:
    """The folder before the first part of a path with a wild card, and the rest."""
    first = min((source.find(mark) for mark in _WILD if mark in source), default=-1)
    if first < 0:
        return source, ""
    start = source.rfind("/", 0, first)
    return source[:start] or "/", source[start + 1 :]


def _listed(source: str) -> tuple[str, list[str]]:
    """Address and keys of the files that a list names, a path a line: relative to the folder that all have in common."""
    if "://" in source:
        folder, name = posixpath.split(source)
        data = Store(folder).read(name)
    else:
        data = read_input(source)
    paths = [absolute(os.fsdecode(line.strip())) for line in data.splitlines() if line.strip()]
    if not paths:
        return absolute("."), []
    folder = _common(paths)
    return folder, [path[len(folder) :].lstrip("/") for path in paths]


def _common(paths: list[str]) -> str:
    """The longest folder that begins every path. Raises DataError where addresses have no bucket in common."""
    first, last = min(paths).split("/"), max(paths).split("/")
    differing = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    count = next(differing, len(first))
    folder = "/".join(first[: min(count, len(first) - 1)])
    if any("://" in path for path in paths) and folder.count("/") < 2:
        raise DataError("the addresses of a list must be in one bucket")
    return folder or "/"


def _inside(source: Store, destination: Store) -> str:
    """The beginning of the keys of a source that are files of the destination; empty where there are none."""
    same = source.filesystem == destination.filesystem and source.root != destination.root
    start = source.root.rstrip("/") + "/"
    return destination.root[len(start) :] + "/" if same and destination.root.startswith(start) else ""
