"""Single files grouped into shards. The groups are kept in the destination, so that they stay when the source changes."""

import json
import re
from dataclasses import dataclass

from dctcodec.batch.manifest import FOLDER, SHARD
from dctcodec.batch.store import Store
from dctcodec.batch.tasks import Task
from dctcodec.errors import FormatError

_PLAN = f"{FOLDER}/plan"
"""Folder of the parts of a plan in the destination."""
_NAMES = re.compile(rf"shard-[0-9]{{6,}}{re.escape(SHARD)}")


@dataclass(frozen=True)
class Plan:
    """The inputs' keys of each shard, by the shard's name. `parts`: how many files of the destination hold it."""

    groups: dict[str, tuple[str, ...]]
    parts: int

    @staticmethod
    def read(store: Store) -> "Plan":
        """The plan of a destination, empty where there is none. Raises FormatError, InputError."""
        parts = sorted(key for key in store.sizes(_PLAN) if key.endswith(".json"))
        groups: dict[str, tuple[str, ...]] = {}
        for part in parts:
            try:
                found = {name: tuple(map(str, keys)) for name, keys in json.loads(store.read(part)).items()}
                if not all(_NAMES.fullmatch(name) for name in found):
                    raise ValueError("names of other files")
                groups |= found
            except (ValueError, AttributeError, TypeError, RecursionError) as error:
                raise FormatError(f"{store.path(part)} is damaged: use another destination") from error
        return Plan(groups, len(parts))

    def extended(self, tasks: list[Task], count: int, store: Store) -> "Plan":
        """This plan, with the tasks of single files that it lacks in further groups of `count`. It is kept in the destination."""
        known = {key for keys in self.groups.values() for key in keys}
        fresh = [task.keys[0] for task in tasks if not task.of_shard and task.keys[0] not in known]
        if not fresh:
            return self
        starts = range(0, len(fresh), count)
        added = {_name(len(self.groups) + n): tuple(fresh[start : start + count]) for n, start in enumerate(starts)}
        store.write(f"{_PLAN}/{self.parts:04}.json", json.dumps(added).encode())
        return Plan(self.groups | added, self.parts + 1)

    def applied(self, tasks: list[Task]) -> list[Task]:
        """The tasks, with those of files of a group as one task. Files that are in the plan but not in the source are left out."""
        name_of = {key: name for name, keys in self.groups.items() for key in keys}
        there: dict[str, list[str]] = {}
        single = []
        for task in tasks:
            name = None if task.of_shard else name_of.get(task.keys[0])
            if name is None:
                single.append(task)
            else:
                there.setdefault(name, []).append(task.keys[0])
        return single + [Task(tasks[0].source, tuple(keys), name) for name, keys in sorted(there.items())]


def _name(number: int) -> str:
    return f"shard-{number:06}{SHARD}"
