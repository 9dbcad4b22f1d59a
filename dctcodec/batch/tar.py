"""Tar files in memory: the members of one, and one of members."""

import io
import tarfile
from collections.abc import Iterator

from dctcodec.errors import FormatError


def members(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in a tar file; `name` is for messages. Raises FormatError for a damaged one."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() else None
                if file:
                    yield entry.name, file.read()
    except tarfile.TarError as error:
        raise FormatError(f"cannot read {name}: it is not a whole tar file ({error})") from error


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
