"""A whole batch: find the tasks, leave out what is done, run an engine, keep account."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from tqdm import tqdm

from dctcodec.batch import local
from dctcodec.batch.account import Account
from dctcodec.batch.job import Action, Job, VerifyJob
from dctcodec.batch.manifest import Manifest, Outcome
from dctcodec.batch.shards import Plan
from dctcodec.batch.store import Store, absolute
from dctcodec.batch.tasks import Task, check_outputs, tasks_of
from dctcodec.batch.work import ENDING, Verify, Work, is_image
from dctcodec.errors import DataError, DctcodecError

Engine = Callable[[list[Task], Action], Generator[Outcome, None, None]]


@dataclass(frozen=True)
class Batch:
    """From where to where, and by what. `listed`: the source is a list of paths; `max_errors`: more of them end the run."""

    source: str
    destination: str
    engine: Engine
    listed: bool = False
    max_errors: int | None = None

    @property
    def store(self) -> Store:
        """The destination. Raises DataError."""
        return Store(absolute(self.destination))


def convert(batch: Batch, work: Work, overwrite: bool = False, check: bool = False, shards: int | None = None) -> Account:
    """Encode or decode a batch. `overwrite`: also where the output exists; `check`: read outputs that exist, and do again those
    that are damaged; `shards`: group so many files into each tar file. Raises DctcodecError for a source without inputs, a full
    destination, or too many errors."""
    store = batch.store
    store.sweep()
    tasks = tasks_of(batch.source, work.ending, work.accepts, store.address, batch.listed)
    plan = Plan.read(store)
    if shards:
        plan = plan.extended(tasks, shards, store)
    tasks = plan.applied(tasks)
    check_outputs(tasks, store.address)
    account, manifest = Account(tasks[0].source, store.address), Manifest.of(store)
    if not (overwrite or check):
        tasks = list(_left(tasks, store, manifest, account))
    return _run(batch, tasks, Job(work, store.address, overwrite, check), manifest, account)


def verify(batch: Batch, work: Verify, delete_source: bool = False) -> Account:
    """Compare encoded files with their sources. Raises DctcodecError as `convert` does, and where there is no destination."""
    store = batch.store
    if not store.exists():
        raise DataError(f"there is no {store.address}: give the destination of `dctcodec batch encode`")
    tasks = Plan.read(store).applied(tasks_of(batch.source, ENDING, is_image, store.address, batch.listed))
    return _run(batch, tasks, VerifyJob(work, store.address, delete_source), Manifest(store), Account(destination=store.address))


def _left(tasks: list[Task], store: Store, manifest: Manifest, account: Account) -> Iterator[Task]:
    """The tasks whose output is not there, for files appear whole or not at all; and those whose output has no row in the manifest,
    since the run that made it was killed."""
    there = {key for key, size in store.sizes().items() if size}
    for task in tasks:
        if task.output in there and (task.to_shard or task.output in manifest.known):
            account.skipped += 1
        else:
            yield task


def _run(batch: Batch, tasks: list[Task], action: Action, manifest: Manifest, account: Account) -> Account:
    private = any(Store(address).private for address in {action.destination, *(task.source for task in tasks)})
    engine = local.here if private else batch.engine
    try:
        with tqdm(total=len(tasks), unit="file", disable=None) as bar, closing(engine(tasks, action)) as outcomes:
            for outcome in outcomes:
                account.add(outcome.rows)
                manifest.add(outcome)
                bar.update()
                bar.set_postfix_str(account.speed())
                if batch.max_errors is not None and account.errors > batch.max_errors:
                    last = account.failures[-1]
                    raise DctcodecError(f"stopped after {account.errors} errors; the last: {last['source']}: {last['error']}")
    finally:
        manifest.flush()
    return account
