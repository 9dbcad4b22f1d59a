"""Folders and object stores, by way of fsspec: what is there, whole objects in, whole objects out."""

import errno
import os
import posixpath
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from dctcodec.errors import DataError, DctcodecError, InputError, OutputError
from dctcodec.files import make_folder, reason, write_output

_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory"}
"""Protocols whose objects appear complete or not at all."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_ABANDONED = 3600.0
"""Seconds after which no process still writes to a temporary file."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""Names of temporary files, as `files.write_output` gives them."""


class FullError(OutputError):
    """The destination has no room left: no other file can be written either."""


@dataclass(frozen=True)
class Store:
    """A folder or an address that fsspec knows, such as s3://bucket/prefix. Travels to other processes as its address.

    Raises DataError for an unknown protocol, or one whose package is missing."""

    address: str

    def __post_init__(self) -> None:
        self._located()

    @property
    def filesystem(self) -> Any:
        """fsspec's filesystem; one an address and process, by fsspec's cache."""
        return self._located()[0]

    @property
    def root(self) -> str:
        """The address as the filesystem writes paths."""
        return self._located()[1].rstrip("/") or "/"

    @property
    def local(self) -> bool:
        """Whether files are on this machine."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def private(self) -> bool:
        """Whether only this process can see the files."""
        return isinstance(self.filesystem, MemoryFileSystem)

    def path(self, key: str) -> str:
        """The filesystem's path of a key."""
        return posixpath.join(self.root, key) if key else self.root

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The size in bytes of every file below a folder of the store, by its key. Empty where the folder does not exist. Raises
        InputError."""
        path = self.path(folder)
        with _told(f"cannot list {path}", InputError):
            try:
                found = self.filesystem.find(path, detail=True)
            except FileNotFoundError:
                return {}
        start = len(self.root.rstrip("/")) + 1
        files = {path: entry for path, entry in found.items() if len(path) >= start and entry["type"] == "file"}
        return {path[start:]: int(entry.get("size") or 0) for path, entry in files.items()}

    def glob(self, pattern: str) -> list[str]:
        """The keys of the files that match a pattern. Raises InputError."""
        with _told(f"cannot list {self.path(pattern)}", InputError):
            found = self.filesystem.glob(self.path(pattern), detail=True)
        start = len(self.root.rstrip("/")) + 1
        return [path[start:] for path, entry in found.items() if entry["type"] == "file"]

    def exists(self) -> bool:
        """Whether there is anything at the address. Raises InputError."""
        with _told(f"cannot read {self.root}", InputError):
            return bool(self.filesystem.exists(self.root))

    def is_file(self, key: str = "") -> bool:
        """Whether a key, or the address itself, names a file. Raises InputError."""
        with _told(f"cannot read {self.path(key)}", InputError):
            return bool(self.filesystem.isfile(self.path(key)))

    def size(self, key: str) -> int:
        """Bytes of a file; 0 where there is none. Raises InputError."""
        with _told(f"cannot read {self.path(key)}", InputError):
            try:
                return int(self.filesystem.info(self.path(key))["size"] or 0)
            except FileNotFoundError:
                return 0

    def read(self, key: str) -> bytes:
        """All bytes of a file. Raises InputError."""
        with _told(f"cannot read {self.path(key)}", InputError):
            return bytes(self.filesystem.cat_file(self.path(key)))

    def write(self, key: str, data: bytes) -> None:
        """A whole file; it appears under its name complete or not at all. Raises OutputError, FullError."""
        path = self.path(key)
        try:
            with _told(f"cannot write {path}", OutputError):
                if self.local:
                    make_folder(Path(path).parent)
                    write_output(path, data)
                elif _ATOMIC & set(_protocols(self.filesystem)):
                    self.filesystem.pipe_file(path, data)
                else:
                    self._write_and_move(path, data)
        except OutputError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _FULL:
                raise FullError(str(error)) from cause
            raise

    def delete(self, key: str) -> None:
        """Remove a file. Raises OutputError."""
        with _told(f"cannot remove {self.path(key)}", OutputError):
            self.filesystem.rm_file(self.path(key))

    def sweep(self) -> None:
        """Remove temporary files that a killed process left in a local folder more than an hour ago."""
        if not self.local:
            return
        for path in Path(self.root).rglob(".*.tmp"):
            with suppress(OSError):
                status = path.lstat()
                if _TEMPORARY.fullmatch(path.name) and S_ISREG(status.st_mode) and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()

    def _located(self) -> tuple[Any, str]:
        try:
            filesystem, root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            raise DataError(f"{self.address} needs a package that is not installed: {error}") from error
        except ValueError as error:
            raise DataError(f"cannot use the address {self.address}: {error}") from error
        return filesystem, str(root)

    def _write_and_move(self, path: str, data: bytes) -> None:
        temporary = posixpath.join(posixpath.dirname(path), f".{secrets.token_hex(8)}.tmp")
        self.filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        self.filesystem.pipe_file(temporary, data)
        self.filesystem.mv(temporary, path)


@contextmanager
def _told(attempt: str, kind: type[DctcodecError]) -> Iterator[None]:
    """Have whatever a filesystem raises become an error of ours: stores have exceptions of their own."""
    try:
        yield
    except (DctcodecError, MemoryError):
        raise
    except OSError as error:
        raise kind(f"{attempt}: {reason(error)}") from error
    except Exception as error:
        raise kind(f"{attempt}: {error}") from error


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def absolute(address: str) -> str:
    """A local path made absolute, so that processes with another working folder find it; other addresses as they are."""
    return address.rstrip("/") if "://" in address or "::" in address else os.path.abspath(address)
