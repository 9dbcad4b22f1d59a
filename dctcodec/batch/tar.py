"""Tar files in memory: the members of one, and one of members."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from dctcodec.errors import FormatError


def members(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in a tar file, links to files in it included; `name` is for messages. Raises FormatError for a
    damaged one, and one whose names lead outside or whose files are larger than it."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                _check(entry, len(data), name)
                file = archive.extractfile(entry)
                if file:
                    yield entry.name, file.read()
    except KeyError as error:
        raise FormatError(f"cannot read {name}: it has a link to a file that it does not hold; pack that file, too") from error
    except (tarfile.TarError, ValueError, OSError, RecursionError) as error:
        raise FormatError(f"cannot read {name}: it is not a whole tar file ({error})") from error


def _check(entry: tarfile.TarInfo, most: int, name: str) -> None:
    """Raise FormatError for a member that is not to be read."""
    if ".." in PurePosixPath(entry.name).parts or entry.name.startswith("/"):
        raise FormatError(f"cannot read {name}: the path of its file {entry.name} leads outside; pack it with relative paths")
    if entry.size > most or entry.issparse():
        raise FormatError(f"cannot read {name}: its file {entry.name} is sparse or damaged ({entry.size} bytes); pack it anew")


class Writer:
    """A tar file that is the same for the same members: no times, no owners."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._archive = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)
        self._names: set[str] = set()

    def add(self, name: str, data: bytes) -> None:
        """Append a member. Raises FormatError where there is one of its name."""
        if name in self._names:
            raise FormatError(f"the shard has two files that become {name}")
        self._names.add(name)
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self._archive.addfile(entry, io.BytesIO(data))

    def data(self) -> bytes:
        """The whole tar file; nothing can be added after it."""
        self._archive.close()
        return self._buffer.getvalue()
