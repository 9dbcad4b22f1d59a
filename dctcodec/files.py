"""Whole files in and out: output appears complete under its name or not at all; `-` is stdin or stdout."""

import errno
import os
import secrets
import stat
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from dctcodec.errors import InputError, OutputError

STANDARD_STREAM = "-"
"""The name that means stdin for an input and stdout for an output."""
MAX_INPUT_BYTES = 1 << 30
"""No .dct file comes near this, nor most images; a larger input is refused before it fills the memory."""


def read_input(source: str | Path) -> bytes:
    """All bytes of a .dct file, or of stdin for `-`. Raises InputError."""
    try:
        with open_input(source) as file:
            data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {source}: {reason(error)}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise InputError(f"cannot read {source}: it is larger than {MAX_INPUT_BYTES >> 20} MiB, no .dct file is")
    return data


def open_input(source: str | Path) -> AbstractContextManager[BinaryIO]:
    """A file opened for reading bytes, or stdin for `-`, which stays open. Raises OSError."""
    if str(source) != STANDARD_STREAM:
        if os.path.isdir(source):  # Windows would say that permission is denied
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return open(source, "rb")
    if sys.stdin is None:
        raise OSError("stdin is closed")
    return nullcontext(sys.stdin.buffer)


def check_output(destination: str | Path) -> None:
    """Raise OutputError where it is already plain that `destination` cannot be written. Creates nothing."""
    if str(destination) == STANDARD_STREAM:
        return
    path = _final_path(destination)
    folder = path.parent
    if os.path.isdir(path):
        raise OutputError(f"cannot write {destination}: it is a directory")
    if not os.path.exists(folder):
        raise OutputError(f"cannot write {destination}: the directory {folder} does not exist")
    if not os.path.isdir(folder):
        raise OutputError(f"cannot write {destination}: {folder} is not a directory")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise OutputError(f"cannot write {destination}: permission denied")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"cannot make the folder {folder}: there is a file of that name; give another") from error
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason(error)}") from error


def write_output(destination: str | Path, data: bytes) -> None:
    """Write `data` to a file, or to stdout for `-`.

    A file appears under its name only when it is complete; on failure an earlier file of that name is untouched and
    nothing is left behind. Devices and FIFOs are written straight. An existing file keeps its permissions, a new one
    gets those of the umask; a symbolic link keeps pointing at its target, which is replaced.
    Raises OutputError; BrokenPipeError where the reader of stdout or of a FIFO has gone.
    """
    check_output(destination)
    try:
        if str(destination) == STANDARD_STREAM:
            _write_stdout(data)
        elif _is_special(destination):
            with open(destination, "wb") as file:
                file.write(data)
        else:
            _replace(_final_path(destination), data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {destination}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """The operating system's sentence for an error, as the end of a sentence: 'no such file or directory'."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def _final_path(destination: str | Path) -> Path:
    """The path behind symbolic links, except of a device or FIFO: /dev/stdout resolves to no usable name."""
    return Path(destination) if _is_special(destination) else Path(os.path.realpath(destination))


def _is_special(destination: str | Path) -> bool:
    try:
        mode = os.stat(destination).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("cannot write -: stdout is closed")
    try:
        left = memoryview(data)
        while left:  # unbuffered, it may take a part
            left = left[sys.stdout.buffer.write(left) or 0 :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError:
        sys.stdout = None  # else the interpreter tries again to flush it at exit, and complains
        raise


def _replace(path: Path, data: bytes) -> None:
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    # os.open, unlike tempfile, gives a new file the permissions of the umask
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.exists():
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
