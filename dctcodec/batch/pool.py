"""Worker processes of one thread each, which load a model once and do one task after another."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar, cast

from dctcodec.limits import free_memory
from dctcodec.threads import limited, processors

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
"""What an action makes of a task; never None. Both travel between processes."""

BASE_MEMORY = 300 << 20
"""Bytes that a worker needs with a model loaded."""
PIXEL_MEMORY = 165
"""Bytes a pixel of an image that a worker needs beside that, measured: benchmarks/batch.md."""
PIXELS = 12_000_000
"""Pixels of the images that the default number of workers leaves memory for."""
WORKER_MEMORY = BASE_MEMORY + PIXELS * PIXEL_MEMORY
DEATH = "the worker process died on this image: too little memory?"
"""What is told of a task on which workers die."""
_PATIENCE = 20.0
"""Seconds that a worker has to end when it is asked to."""


def default_workers() -> int:
    """As many workers as cores, or fewer where there is not memory for an image of PIXELS pixels in each."""
    cores, free = processors(), free_memory()
    return cores if free is None else max(1, min(cores, free // WORKER_MEMORY))


def run(
    tasks: Sequence[Task], action: Callable[[Task], Outcome], workers: int, dead: Callable[[Task], Outcome]
) -> Generator[Outcome, None, None]:
    """The outcome of each task, in the order in which they end. A task whose worker dies is done again after all others, alone, for
    memory may have been short; if its worker dies again, `dead` tells its outcome. Whatever the action raises ends the run."""
    died: list[Task] = []
    yield from _together(tasks, action, workers, died)
    died_again: list[Task] = []
    yield from _together(died, action, 1, died_again)
    for task in died_again:
        yield dead(task)


def _together(
    tasks: Sequence[Task], action: Callable[[Task], Outcome], workers: int, died: list[Task]
) -> Generator[Outcome, None, None]:
    """Do tasks in as many processes; those whose process dies are put into `died`."""
    waiting = deque(tasks)
    idle: list[Worker[Task, Outcome]] = []
    busy: dict[Connection, Worker[Task, Outcome]] = {}
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


class Worker(Generic[Task, Outcome]):
    """A process that does one task after another. `task`: the last that it was given."""

    def __init__(self, action: Callable[[Task], Outcome]):
        context = _context()
        self.connection, theirs = context.Pipe()
        self.process: Any = context.Process(target=_serve, args=(theirs, action, dict(os.environ)), daemon=True)  # type: ignore[attr-defined]
        with _sigint_blocked():
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


def _serve(connection: Connection, action: Callable[[Any], Any], environment: Mapping[str, str]) -> None:
    """What a worker process does until its driver closes the connection, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver's affair
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a temporary file is removed
    os.environ.update(environment, OMP_NUM_THREADS="1")  # for libraries that are loaded later
    with limited(1):
        while True:
            try:
                task = connection.recv()
            except (EOFError, OSError):
                return
            try:
                outcome: Any = action(task)
            except Exception as error:
                outcome = error
            try:
                connection.send(outcome)
            except OSError:
                return


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """A Ctrl-C comes later to this thread, and never to a process that starts here, not even while it imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> BaseContext:
    """How processes start: from a server that has imported what they need, where the system can; torch's threads do not survive a
    fork of the driver."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dctcodec.codec", "dctcodec.batch.job", "dctcodec.image"])
    return context
