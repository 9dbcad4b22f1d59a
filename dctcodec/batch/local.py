"""The local engine: worker processes of one thread each, which load a model once."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any, cast

from dctcodec.batch.job import Action, failed
from dctcodec.batch.manifest import Outcome
from dctcodec.batch.tasks import Task
from dctcodec.limits import free_memory
from dctcodec.threads import limited

BASE_MEMORY = 300 << 20
"""Bytes that a worker needs with a model loaded."""
PIXEL_MEMORY = 165
"""Bytes a pixel of an image that a worker needs beside that, measured: benchmarks/batch.md."""
PIXELS = 12_000_000
"""Pixels of the images that the default number of workers leaves memory for."""
WORKER_MEMORY = BASE_MEMORY + PIXELS * PIXEL_MEMORY
_PATIENCE = 20.0
"""Seconds that a worker has to end when it is asked to."""


def default_workers() -> int:
    """As many workers as cores, or fewer where there is not memory for an image of PIXELS pixels in each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = free_memory()
    return cores if free is None else max(1, min(cores, free // WORKER_MEMORY))


def here(tasks: Sequence[Task], action: Action) -> Generator[Outcome, None, None]:
    """The outcome of each task, done in this process."""
    with one_thread():
        for task in tasks:
            yield action(task)


def run(tasks: Sequence[Task], action: Action, workers: int) -> Generator[Outcome, None, None]:
    """The outcome of each task, in the order in which they end. A task whose worker dies is done again after all others, alone, for
    memory may have been short; if its worker dies again, it has failed. Whatever the action raises ends the run."""
    died: list[Task] = []
    yield from _together(tasks, action, workers, died)
    died_again: list[Task] = []
    yield from _together(died, action, 1, died_again)
    for task in died_again:
        yield death(task)


def death(task: Task) -> Outcome:
    """The outcome of a task on which workers die."""
    return Outcome([failed(task.name, task.output, "the worker process died on this image: too little memory?")])


def _together(tasks: Sequence[Task], action: Action, workers: int, died: list[Task]) -> Generator[Outcome, None, None]:
    """Do tasks in as many processes; those whose process dies are put into `died`."""
    waiting = deque(tasks)
    idle: list[Worker] = []
    busy: dict[Connection, Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = idle.pop() if idle else Worker(action)
                if worker.begin(waiting[0]):
                    waiting.popleft()
                    busy[worker.connection] = worker
                else:  # it died while it was idle
                    worker.stop()
            for connection in wait(list(busy)):
                worker = busy.pop(cast(Connection, connection))
                outcome = worker.outcome()
                if outcome is None:
                    died += [worker.task] if worker.task else []
                    worker.stop()
                else:
                    idle.append(worker)
                    yield outcome
    finally:
        for worker in [*idle, *busy.values()]:
            worker.stop()


class Worker:
    """A process that does one task after another. `task`: the last that it was given."""

    def __init__(self, action: Action):
        context = _context()
        self.connection, theirs = context.Pipe()
        self.process: Any = context.Process(target=_serve, args=(theirs, action, dict(os.environ)), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.task: Task | None = None

    def begin(self, task: Task) -> bool:
        """Give it a task; False where the process is dead."""
        self.task = task
        try:
            self.connection.send(task)
        except OSError:
            return False
        return True

    def outcome(self) -> Outcome | None:
        """What became of the task, None where the process died. Raises what the action raised."""
        try:
            outcome: Outcome | Exception = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def stop(self) -> None:
        """End the process. It leaves no file half-written."""
        self.connection.close()
        self.process.terminate()
        self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()
        self.process.close()


def _serve(connection: Connection, action: Action, environment: Mapping[str, str]) -> None:
    """What a worker process does until its driver closes the connection, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver's affair
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a temporary file is removed
    os.environ.update(environment)
    with one_thread():
        while True:
            try:
                task = connection.recv()
            except (EOFError, OSError):
                return
            try:
                outcome: Outcome | Exception = action(task)
            except Exception as error:
                outcome = error
            try:
                connection.send(outcome)
            except OSError:
                return


def _context() -> BaseContext:
    """How processes start: from a server that has imported what they need, where the system can; torch's threads do not survive a
    fork of the driver."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dctcodec.codec", "dctcodec.batch.job", "dctcodec.image"])
    return context


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread in this process."""
    with limited(1):
        yield
