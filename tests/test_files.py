"""Output is complete or absent; devices, links and permissions are respected; every failure is one sentence."""

import io
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from dctcodec import files
from dctcodec.errors import InputError, OutputError
from dctcodec.files import check_output, make_folder, read_input, write_output

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
not_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")


class Stream:
    """A stand-in for sys.stdin or sys.stdout."""

    def __init__(self, buffer: io.BufferedIOBase):
        self.buffer = buffer


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_bytes_come_back(tmp_path):
    write_output(tmp_path / "a", b"one")
    write_output(str(tmp_path / "a"), b"two")
    assert read_input(tmp_path / "a") == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_dash_is_stdin_and_stdout(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", Stream(io.BytesIO(b"in")))
    monkeypatch.setattr(sys, "stdout", Stream(out))
    assert read_input("-") == b"in"
    write_output("-", b"out")
    assert out.getvalue() == b"out"


def test_a_standard_output_that_takes_little_at_once_gets_all(monkeypatch):
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data[:7]))

    out = Slow()
    monkeypatch.setattr(sys, "stdout", Stream(out))
    write_output("-", bytes(range(100)))
    assert out.getvalue() == bytes(range(100))


def test_closed_standard_streams_are_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="stdin is closed"):
        read_input("-")
    with pytest.raises(OutputError, match="stdout is closed"):
        write_output("-", b"out")


def test_missing_input_and_directory_are_said(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*gone\.dct: no such file"):
        read_input(tmp_path / "gone.dct")
    with pytest.raises(InputError, match="is a directory"):
        read_input(tmp_path)


def test_endless_input_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_INPUT_BYTES", 10)
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(InputError, match="larger than"):
        read_input(tmp_path / "long")


@posix
def test_permissions_are_those_of_the_umask_or_of_the_file_replaced(tmp_path):
    before = os.umask(0o027)
    try:
        write_output(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert permissions(tmp_path / "new") == 0o640
    (tmp_path / "new").chmod(0o604)
    write_output(tmp_path / "new", b"again")
    assert permissions(tmp_path / "new") == 0o604


@posix
def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "target")
    write_output(tmp_path / "link", b"through")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "target").read_bytes() == b"through"


@posix
def test_devices_are_written_not_replaced():
    write_output("/dev/null", b"nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_said():
    with pytest.raises(OutputError, match="cannot write /dev/full: no space left"):
        write_output("/dev/full", b"too much")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@posix
def test_a_fifo_is_written(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    write_output(tmp_path / "fifo", b"water")
    reader.join()
    assert got == [b"water"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(step, failure, tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_):
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutputError if isinstance(failure, OSError) else KeyboardInterrupt):
        write_output(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "it is a directory"), ("gone/out", "does not exist"), ("file/out", "is not a directory")],
)
@pytest.mark.parametrize("act", [check_output, lambda path: write_output(path, b"new")], ids=["check", "write"])
def test_impossible_places_are_said(act, name, message, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=f"cannot write .*{message}"):
        act(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
def test_folders_that_cannot_be_are_said(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    reasons = {"file": "there is a file of that name; give another", "file/b": "not a directory", "x" * 300: "name too long"}
    for name, message in reasons.items():
        with pytest.raises(OutputError, match=f"cannot make the folder .*{name}: .*{message}"):
            make_folder(tmp_path / name)


@posix
def test_a_name_that_is_too_long_is_said(tmp_path):
    with pytest.raises(OutputError, match="name too long"):
        write_output(tmp_path / ("x" * 300), b"new")
    assert not list(tmp_path.iterdir())


@posix
@not_root
def test_permission_denied_is_said(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o400)
    with pytest.raises(OutputError, match="permission denied"):
        write_output(tmp_path / "a", b"new")
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        check_output(tmp_path / "b")
    tmp_path.chmod(0o700)
