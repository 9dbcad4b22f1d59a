"""What a worker does with one task: read, work, write, and one row of the manifest for each image."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from dctcodec.batch.manifest import FAILED, FOUND, VERIFIED, Outcome, Row, write_rows
from dctcodec.batch.store import FullError, Store
from dctcodec.batch.tar import Writer, members
from dctcodec.batch.tasks import Task, output_of
from dctcodec.batch.work import ENDING, Verify, Work, is_image
from dctcodec.errors import DctcodecError, DctcodecWarning, FormatError, ImageError, InputError, TargetError


class Action(Protocol):
    """What engines call with each task, in whatever process. Raises DctcodecError for what no other task can be done with either,
    such as a full destination; every other failure is a row with an error."""

    @property
    def destination(self) -> str:
        """Address of the outputs' store."""

    def __call__(self, task: Task) -> Outcome:
        """Do a task."""


class _Entry(NamedTuple):
    """A file of a task: its name in a shard, the name that rows give it, what reads its bytes, and whether it is an input or
    something beside the inputs, which shards keep as it is."""

    name: str
    source: str
    read: Callable[[], bytes]
    input: bool


class _Attempt(NamedTuple):
    """The row of an attempt. `passing`: it failed, and another time it may not."""

    row: Row
    passing: bool = False


@dataclass(frozen=True)
class Job:
    """Encoding or decoding of a batch. `overwrite`: also where the output exists; `check`: also where it exists and is damaged."""

    work: Work
    destination: str
    overwrite: bool = False
    check: bool = False

    def __call__(self, task: Task) -> Outcome:
        """Do a task, or tell of its output where that is there. See Action."""
        self.work.prepare()
        store = Store(self.destination)
        try:
            found = None if self.overwrite or not store.size(task.output) else self._found(task, store)
            if found:
                return found
            if task.to_shard:
                return self._shard(task, store)
        except (FormatError, InputError) as error:
            return Outcome([failed(task.name, task.output, str(error))])
        return Outcome([_attempt(task.name, task.output, lambda: self._file(task, store)).row])

    def _found(self, task: Task, store: Store) -> Outcome | None:
        """The row of an output that is there, None where it is to be checked and is damaged."""
        size = sum(map(Store(task.source).size, task.keys))
        row = _row(FOUND, task.name, task.output, size, store.size(task.output), time.monotonic())
        if task.to_shard and not self.check:
            return Outcome([row], listed=True)
        data = store.read(task.output)
        try:
            if not task.to_shard:
                return Outcome([row | self._checked(data)])
            for name, part in members(data, task.output):
                if name.endswith(self.work.ending):
                    self._checked(part)
        except DctcodecError as error:
            return None if self.check else Outcome([failed(task.name, task.output, str(error))])
        return Outcome([row], listed=True)

    def _checked(self, data: bytes) -> Row:
        if self.check:
            self.work.check(data)
        return self.work.facts(data)

    def _file(self, task: Task, store: Store) -> Row:
        started = time.monotonic()
        data = Store(task.source).read(task.keys[0])
        result = self.work(data, task.keys[0])
        store.write(task.output, result.data)
        return _row(self.work.verb, task.keys[0], task.output, len(data), len(result.data), started) | result.facts

    def _shard(self, task: Task, store: Store) -> Outcome:
        """A tar file of outputs. An image that is damaged is left out of it. Where a failure may pass, no tar file is written, so
        that the next run tries again. Raises InputError, and FormatError for a tar file that is damaged."""
        attempts: list[_Attempt] = []
        writer = Writer()
        for entry in _entries(task, self.work.accepts):
            if entry.input:
                attempts.append(_attempt(entry.source, task.output, partial(self._member, task, entry, writer)))
            else:
                writer.add(entry.name, entry.read())
        rows = [attempt.row for attempt in attempts]
        if any(attempt.passing for attempt in attempts):
            return Outcome([row for row in rows if row["error"] is not None])
        written = _attempt(task.name, task.output, lambda: self._finish(task, store, rows, writer.data()))
        return Outcome(rows, listed=True) if written.row["error"] is None else Outcome([written.row])

    def _member(self, task: Task, entry: _Entry, writer: Writer) -> Row:
        started = time.monotonic()
        data = entry.read()
        result = self.work(data, entry.source)
        name = output_of(entry.name, self.work.ending)
        writer.add(name, result.data)
        row = _row(self.work.verb, entry.source, f"{task.output}/{name}", len(data), len(result.data), started)
        return row | result.facts

    def _finish(self, task: Task, store: Store, rows: list[Row], data: bytes) -> Row:
        """The rows first: a shard that is there has its rows."""
        write_rows(store, task.output, rows)
        store.write(task.output, data)
        return _row(self.work.verb, task.name, task.output, 0, len(data), time.monotonic())


@dataclass(frozen=True)
class VerifyJob:
    """Comparison of the outputs of `encode` with their sources. `delete_source`: remove each source that passes, a tar file
    where all that is in it does."""

    work: Verify
    destination: str
    delete_source: bool = False

    def __call__(self, task: Task) -> Outcome:
        """Verify a task; a failure is a row with an error."""
        source, store = Store(task.source), Store(self.destination)
        try:
            rows = list(self._rows(task, store))
        except (FormatError, InputError) as error:
            return Outcome([failed(task.name, task.output, str(error))])
        for key in _passed(task, rows) if self.delete_source else ():
            try:
                source.delete(key)
            except DctcodecError as error:
                rows.append(failed(key, task.output, str(error)))
        return Outcome(rows)

    def _rows(self, task: Task, store: Store) -> Iterator[Row]:
        if not store.size(task.output):
            raise InputError(f"there is no {task.output} in {self.destination}")
        encoded = store.read(task.output)
        entries = _entries(task, is_image)
        if not task.to_shard:
            for entry in entries:
                yield self._compared(entry, task.output, encoded)
            return
        outputs = dict(members(encoded, task.output))
        for entry in entries:
            name = output_of(entry.name, ENDING) if entry.input else entry.name
            if name not in outputs:
                yield failed(entry.source, task.output, f"{task.output} has no {name}")
            elif entry.input:
                yield self._compared(entry, f"{task.output}/{name}", outputs[name])
            elif entry.read() != outputs[name]:
                yield failed(entry.source, task.output, f"{name} of {task.output} differs from it")

    def _compared(self, entry: _Entry, output: str, encoded: bytes) -> Row:
        def compare() -> Row:
            started = time.monotonic()
            original = entry.read()
            facts = self.work(original, encoded, entry.source)
            return _row(VERIFIED, entry.source, output, len(original), len(encoded), started) | facts

        return _attempt(entry.source, output, compare).row


def _passed(task: Task, rows: Sequence[Row]) -> list[str]:
    """The keys of a task all of whose images have passed, without a warning: one may tell of what was not kept."""
    lost = [row for row in rows if row["error"] or row.get("warnings")]
    if task.of_shard:
        return [] if lost else list(task.keys)
    good = {row["source"] for row in rows} - {row["source"] for row in lost}
    return [key for key in task.keys if key in good]


def failed(source: str, output: str, error: str) -> Row:
    """The row of an input that failed."""
    return _row(FAILED, source, output, 0, 0, time.monotonic()) | {"error": error}


def _entries(task: Task, accepts: Callable[[str], bool]) -> Iterator[_Entry]:
    """The files of a task. Raises InputError, and FormatError for a tar file that is damaged."""
    store = Store(task.source)
    if not task.of_shard:
        for key in task.keys:
            yield _Entry(key, key, partial(store.read, key), True)
        return
    key = task.keys[0]
    for name, data in members(store.read(key), key):
        yield _Entry(name, f"{key}/{name}", partial(bytes, data), accepts(name))


def _attempt(source: str, output: str, act: Callable[[], Row]) -> _Attempt:
    """The row of an act, or one with its error: a bad image is an entry of the manifest, not the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DctcodecWarning)
        attempt = _guarded(source, output, act)
    told = [str(warning.message) for warning in caught]
    return _Attempt(attempt.row | {"warnings": told}, attempt.passing) if told else attempt


def _guarded(source: str, output: str, act: Callable[[], Row]) -> _Attempt:
    try:
        return _Attempt(act())
    except FullError:
        raise
    except (ImageError, FormatError, TargetError) as error:
        return _Attempt(failed(source, output, str(error)))
    except DctcodecError as error:
        return _Attempt(failed(source, output, str(error)), passing=True)
    except Exception as error:  # no memory, or a defect of ours; one image must not end a batch
        short = isinstance(error, MemoryError) or "memory" in str(error)
        message = "not enough memory: use fewer --workers" if short else f"unexpected {type(error).__name__}: {error}"
        return _Attempt(failed(source, output, message), passing=True)


def _row(status: str, source: str, output: str, bytes_in: int, bytes_out: int, started: float) -> Row:
    seconds = round(time.monotonic() - started, 4)
    row: Row = {"status": status, "source": source, "output": output, "bytes_in": bytes_in, "bytes_out": bytes_out}
    return row | {"seconds": seconds, "error": None}
