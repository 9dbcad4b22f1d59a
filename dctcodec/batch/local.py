"""The local engine: tasks of a batch in worker processes on this machine."""

from collections.abc import Generator, Sequence

from dctcodec.batch import pool
from dctcodec.batch.job import Action, failed
from dctcodec.batch.manifest import Outcome
from dctcodec.batch.tasks import Task
from dctcodec.threads import limited


def here(tasks: Sequence[Task], action: Action) -> Generator[Outcome, None, None]:
    """The outcome of each task, done in this process."""
    with limited(1):
        for task in tasks:
            yield action(task)


def run(tasks: Sequence[Task], action: Action, workers: int) -> Generator[Outcome, None, None]:
    """The outcome of each task, in the order in which they end. A task on which workers die has failed. Whatever the action
    raises ends the run."""
    return pool.run(tasks, action, workers, death)


def death(task: Task) -> Outcome:
    """The outcome of a task on which workers die."""
    return Outcome([failed(task.name, task.output, pool.DEATH)])
