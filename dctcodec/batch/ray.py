"""The Ray engine: Ray Data streams tasks through a pool of actors, on one machine or a cluster."""

import json
import logging
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from dctcodec.batch.job import Action
from dctcodec.batch.local import death
from dctcodec.batch.manifest import Outcome
from dctcodec.batch.pool import WORKER_MEMORY, Worker, default_workers
from dctcodec.batch.tasks import Task
from dctcodec.errors import DctcodecError

TASKS_A_BLOCK = 16
"""Tasks that Ray hands to an actor at once, at most."""
ATTEMPTS = 2
"""How often a task is tried whose worker dies."""


class Actor:
    """One worker of the local engine, kept by Ray: where an image kills it, the actor lives on and tells. (Ray itself would try for
    ever.) Where the actor is killed, Ray starts another. `action` is a subclass's. Outcomes travel as JSON, for columns of rows
    differ."""

    action: Action

    def __init__(self) -> None:
        self.worker: Worker[Task, Outcome] | None = None

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        fields = json.loads(row["task"])
        task = Task(fields["source"], tuple(fields["keys"]), fields["output"])
        try:
            return {"outcome": json.dumps(asdict(self._done(task))), "error": ""}
        except Exception as error:  # Ray would tell of it in pages
            known = isinstance(error, DctcodecError)
            return {"outcome": "", "error": str(error) if known else f"unexpected {type(error).__name__}: {error}"}

    def _done(self, task: Task) -> Outcome:
        for _ in range(ATTEMPTS):
            self.worker = self.worker or Worker(self.action)
            outcome = self.worker.outcome() if self.worker.begin(task) else None
            if outcome:
                return outcome
            self.worker.stop()
            self.worker = None
        return death(task)


def run(
    tasks: Sequence[Task], action: Action, workers: int | None, address: str | None, gpus: float
) -> Generator[Outcome, None, None]:
    """The outcome of each task, in the order in which they end. `workers`: None for as many as there is room for; `address`: of a
    cluster, None for this machine; `gpus`: of each actor. Raises DctcodecError where Ray is not installed, where there is no such
    cluster, and what the action raises."""
    if not tasks:
        return
    ray = _connected(address, workers)
    try:
        workers = workers or _room(ray, gpus)
        blocks = min(len(tasks), max(4 * workers, len(tasks) // TASKS_A_BLOCK))
        data = ray.data.from_items([{"task": json.dumps(asdict(task))} for task in tasks], override_num_blocks=blocks)
        resources = {"num_gpus": gpus} if gpus else {"num_cpus": 1}
        # a class that knows its action: arguments of constructors would be in the object store, and lost with a machine
        actor = type("Worker", (Actor,), {"action": action})
        results = data.map(actor, compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)), **resources)
        for row in results.iter_rows():
            if row["error"]:
                raise DctcodecError(row["error"])
            yield Outcome(**json.loads(row["outcome"]))
    except ray.exceptions.RayError as error:
        raise DctcodecError(f"Ray failed: {str(error).splitlines()[-1]}") from error
    finally:
        ray.shutdown()


def _room(ray: Any, gpus: float) -> int:
    """Workers that the cluster has cores, or GPUs, and memory for."""
    there = ray.cluster_resources()
    places = there.get("GPU", 0) // gpus if gpus else there.get("CPU", 1)
    return max(1, int(min(places, there.get("memory", WORKER_MEMORY) // WORKER_MEMORY)))


def _connected(address: str | None, workers: int | None) -> Any:
    """Ray, started here or connected to a cluster. Raises DctcodecError."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DctcodecError("--engine ray needs Ray: pip install 'dctcodec[ray]'") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    here = {"num_cpus": workers or default_workers(), "include_dashboard": False}
    options: dict[str, Any] = {"address": address} if address else here
    try:
        with _silence():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DctcodecError(f"cannot start Ray: {error}" if address is None else f"no Ray cluster at {address}: {error}") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stderr: the part of Ray that is not Python writes there what is no concern of the user's, as an error in every
    run; and, where it is to write fatal errors alone, that it is."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if sys.stderr:
        sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
