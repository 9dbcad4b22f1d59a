"""What a run has done, in figures."""

import time
from dataclasses import dataclass, field

from dctcodec.batch.manifest import FAILED, FOUND, SHARD, Row

_TOLD, _HARDEST = 10, 8
"""Rows that are kept: of the last failures, and of the images with most bits per pixel."""


@dataclass
class Account:
    """Images done, files skipped since their output was there, failures and bytes. `source`, `destination`: addresses of their
    stores; `failures`: rows of the last ones; `hardest`: rows of the images with most bits per pixel, shards apart."""

    source: str = ""
    destination: str = ""
    images: int = 0
    skipped: int = 0
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    failures: list[Row] = field(default_factory=list)
    hardest: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, rows: list[Row]) -> None:
        """Count rows of the manifest."""
        for row in rows:
            if row["status"] == FAILED:
                self.errors += 1
                self.failures = [*self.failures, row][-_TOLD:]
            elif row["status"] == FOUND:
                self.skipped += 1
            else:
                self.images += 1
                self.bytes_in += row["bytes_in"]
                self.bytes_out += row["bytes_out"]
                if f"{SHARD}/" not in row["output"]:
                    self.hardest = sorted([*self.hardest, row], key=_bpp, reverse=True)[:_HARDEST]

    @property
    def seconds(self) -> float:
        """Since the start."""
        return max(time.monotonic() - self.started, 1e-3)

    @property
    def ratio(self) -> str:
        """Bytes in over bytes out."""
        return f"{self.bytes_in / self.bytes_out:.2f}" if self.bytes_out else "-"

    def speed(self) -> str:
        """Images and megabytes a second, the ratio and the errors."""
        rates = f"{self.images / self.seconds:.2f} images/s, {self.bytes_in / 1e6 / self.seconds:.2f} MB/s"
        return f"{rates}, ratio {self.ratio}, errors {self.errors}"

    def last_errors(self) -> list[str]:
        """The last failures, a line each."""
        return [f"{row['source']}: {row['error']}" for row in self.failures]

    def summary(self, verb: str) -> str:
        """Two lines for the end of a run."""
        skipped = f"{self.skipped} files skipped (their output exists), " if self.skipped else ""
        counts = f"{self.images} images {verb}, {skipped}{self.errors} errors"
        sizes = f"{self.bytes_in / 1e6:.1f} MB in, {self.bytes_out / 1e6:.1f} MB out"
        return f"{counts}\n{sizes}, {self.seconds:.1f} s: {self.speed()}"


def _bpp(row: Row) -> float:
    """Bits per pixel of an encoded image."""
    return float(8 * row["bytes_out"] / (row["width"] * row["height"]))
