"""The manifest: what became of each image, as JSON Lines in the destination. It is a report; resuming never relies on it."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from dctcodec.batch.store import Store

FOLDER = "_manifest"
"""Folder of the manifests in the destination."""
ENDING = ".jsonl"
SHARD = ".tar"
"""Ending of shards: tar files whose members are files, as WebDataset's are. Each has a part of its own."""
ROWS, SECONDS = 10_000, 60.0
"""A part is written when it has so many rows, or is so old."""

ENCODED, DECODED, VERIFIED, FOUND, FAILED = "encoded", "decoded", "verified", "found", "failed"
"""What became of an image: FOUND where its output was there already."""

Row = dict[str, Any]
"""status, source, output, bytes_in, bytes_out, seconds, error (None where there is none), and what is known of width, height,
model, psnr (dB; None for equal images) and warnings."""


@dataclass
class Outcome:
    """The rows of a task. `listed`: they are in the manifest already."""

    rows: list[Row]
    listed: bool = False


@dataclass
class Manifest:
    """Rows of one run. They are written in parts, `_manifest/TIME-ID-NUMBER.jsonl`, each of them atomically: two runs on one
    destination, or a run that is killed, do no harm. `known`: outputs that have a row."""

    store: Store
    known: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    part: int = 0
    written: float = field(default_factory=time.monotonic)
    name: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{token_hex(3)}")

    @staticmethod
    def of(store: Store) -> "Manifest":
        """A manifest that knows the rows of earlier runs. Raises InputError."""
        parts = (part for part in sorted(store.sizes(FOLDER)) if part.endswith(ENDING) and not part.endswith(SHARD + ENDING))
        rows = (row for part in parts for row in from_lines(store.read(part)))
        return Manifest(store, {row["output"] for row in rows if row.get("error") is None and isinstance(row.get("output"), str)})

    def add(self, outcome: Outcome) -> None:
        """Take rows, and write a part when it is due. Raises OutputError."""
        if not outcome.listed:
            self.rows += [row for row in outcome.rows if row["status"] != FOUND or row["output"] not in self.known]
        if len(self.rows) >= ROWS or time.monotonic() - self.written >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not written yet. Raises OutputError."""
        if self.rows:
            self.store.write(f"{FOLDER}/{self.name}-{self.part:04}{ENDING}", as_lines(self.rows))
            self.rows, self.part = [], self.part + 1
        self.written = time.monotonic()


def write_rows(store: Store, output: str, rows: list[Row]) -> None:
    """The rows of one shard, in a part of its own. Raises OutputError."""
    store.write(f"{FOLDER}/{output}{ENDING}", as_lines(rows))


def as_lines(rows: list[Row]) -> bytes:
    """Rows as JSON Lines."""
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def from_lines(data: bytes) -> Iterator[Row]:
    """The rows of JSON Lines, but for lines that are damaged."""
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
