"""`dctcodec batch`: the same files whatever runs it, nothing half-written, nothing lost by a kill, a bad image is an entry."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dctcodec import Codec
from dctcodec.batch import local
from dctcodec.batch.manifest import Outcome
from dctcodec.batch.store import Store
from dctcodec.batch.tasks import Task
from dctcodec.cli.main import main

COMMAND = [sys.executable, "-m", "dctcodec", "batch"]
BROKEN = 10


def batch(*words: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["batch", *map(str, words)], input=stdin)


def drawn(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 6, (size[1], size[0], 3)), 1) + 128
    return Image.fromarray(walk.clip(0, 255).astype(np.uint8))


def png(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    buffer = io.BytesIO()
    drawn(seed, size).save(buffer, "PNG")
    return buffer.getvalue()


def broken(number: int) -> bytes:
    """Ten ways in which a file is no image."""
    whole = png(number, (64, 64))
    ways = [
        b"",
        b"no image",
        whole[:20],
        whole[: len(whole) // 2],
        whole[:40] + bytes(50) + whole[90:],
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"GIF89a" + bytes(10),
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"II*\x00\xff\xff\xff\x7f",
        png(number)[:-30] + b"\xff" * 30,
    ]
    return ways[number]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of twelve images."""
    folder = tmp_path_factory.mktemp("batch") / "in"
    for number in range(12):
        path = folder / ("a" if number % 2 else "b/c") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return folder


@pytest.fixture(scope="module")
def expected(source: Path) -> dict[str, bytes]:
    """What one process makes of each of them."""
    codec = Codec(device="cpu")
    return {
        str(path.relative_to(source).with_suffix(".dct")): codec.encode(Image.open(path)) for path in sorted(source.rglob("*.png"))
    }


def made(folder: Path) -> dict[str, bytes]:
    """The outputs in a destination."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("_manifest/")}


def in_shards(folder: Path) -> dict[str, bytes]:
    """The members of all tar files of a folder."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found |= {entry.name: archive.extractfile(entry).read() for entry in archive}
    return found


def rows(folder: Path) -> list[dict]:
    """The manifests of a destination."""
    lines = [path.read_text().splitlines() for path in sorted((folder / "_manifest").rglob("*.jsonl"))]
    return [json.loads(line) for part in lines for line in part]


def test_a_tree_is_encoded_decoded_and_verified(source: Path, expected: dict[str, bytes], tmp_path: Path):
    out, back = tmp_path / "out", tmp_path / "back"
    first = batch("encode", source, out, "--workers", 2, "--psnr", "--report", tmp_path / "report.html")
    assert first.exit_code == 0 and "12 images encoded" in first.stdout
    assert made(out) == expected
    entries = {row["source"]: row for row in rows(out)}
    assert len(entries) == 12 and all(row["error"] is None and row["psnr"] > 20 for row in entries.values())
    assert entries["a/01.png"]["bytes_out"] == len(expected["a/01.dct"]) and entries["a/01.png"]["width"] == 24
    page = (tmp_path / "report.html").read_text()
    assert "12 images encoded" in page and page.count('"name":"dctcodec"') == 8
    again = batch("encode", source, out, "--workers", 1)
    assert again.exit_code == 0 and "0 images encoded, 12 files skipped" in again.stdout
    assert "12 images verified" in batch("verify", source, out, "--workers", 1).stdout
    assert batch("decode", out, back, "--format", "webp", "--workers", 1).exit_code == 0
    codec = Codec(device="cpu")
    for name, data in expected.items():
        assert np.array_equal(Image.open(back / Path(name).with_suffix(".webp")), codec.decode(data))


def test_damaged_outputs_are_made_again_where_they_are_verified(source: Path, expected: dict[str, bytes], tmp_path: Path):
    assert batch("encode", source, tmp_path, "--workers", 1).exit_code == 0
    damaged = tmp_path / "a/01.dct"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert "12 files skipped" in batch("encode", source, tmp_path, "--workers", 1).stdout
    result = batch("verify", source, tmp_path, "--workers", 1, "--delete-source")
    assert result.exit_code == 1 and "11 images verified" in result.stdout
    assert not list(source.rglob("b/c/*.png")) and [path.name for path in source.rglob("a/*.png")] == ["01.png"]
    for number in range(12):  # as it was, for the other tests
        (source / ("a" if number % 2 else "b/c") / f"{number:02}.png").write_bytes(png(number))
    assert "1 images encoded, 11 files skipped" in batch("encode", source, tmp_path, "--workers", 1, "--verify").stdout
    assert made(tmp_path) == expected


def test_lists_patterns_and_single_files(source: Path, expected: dict[str, bytes], tmp_path: Path):
    missing = tmp_path / "missing.txt"
    missing.write_text(f"{source}/a/01.png\n{source}/a/02.png\n")
    result = batch("encode", "--list", missing, tmp_path / "0", "--workers", 1)
    assert result.exit_code == 1 and made(tmp_path / "0") == {"01.dct": expected["a/01.dct"]}
    result = batch("encode", "--list", missing, tmp_path / "00", "--workers", 1, "--shards", 2)
    assert result.exit_code == 1 and made(tmp_path / "00") == {}  # the file may be there another time
    assert [row["source"] for row in rows(tmp_path / "00")] == ["02.png"]
    listed = tmp_path / "list.txt"
    listed.write_text(f"{source}/a/01.png\n\n{source}/a/03.png\n{source}/a/01.png\n")
    assert batch("encode", "-", tmp_path / "1", "--workers", 1, stdin=listed.read_bytes()).exit_code == 0
    assert "2 files skipped" in batch("encode", "--list", listed, tmp_path / "1", "--workers", 1).stdout
    assert made(tmp_path / "1") == {f"{n}.dct": expected[f"a/{n}.dct"] for n in ("01", "03")}
    assert batch("encode", f"{source}/**/0[0-3].png", tmp_path / "2", "--workers", 1).exit_code == 0
    assert made(tmp_path / "2").keys() == {"a/01.dct", "a/03.dct", "b/c/00.dct", "b/c/02.dct"}
    assert batch("encode", source / "a/05.png", tmp_path / "3", "--workers", 1).exit_code == 0
    assert made(tmp_path / "3") == {"05.dct": expected["a/05.dct"]}


def test_what_makes_no_sense_is_told_before_the_first_image(source: Path, tmp_path: Path):
    for words, message in {
        ("encode", tmp_path / "nothing", tmp_path): "no inputs",
        ("encode", "nosuch://bucket", tmp_path): "nosuch",
        ("encode", source, tmp_path, "--address", "auto"): "--engine ray",
        ("encode", source, tmp_path, "--quality", 5, "--target-bpp", 1): "one of",
        ("encode", source, tmp_path, "--model", "none"): "no model",
        ("decode", source, tmp_path, "--format", "xyz"): "xyz",
    }.items():
        result = batch(*words)
        assert result.exit_code in (1, 2) and message in result.stderr and "Traceback" not in result.stderr, words
    (tmp_path / "twice").mkdir()
    for name in ("x.png", "x.jpg"):
        (tmp_path / "twice" / name).write_bytes(png(1))
    result = batch("encode", tmp_path / "twice", tmp_path / "out")
    assert result.exit_code == 1 and "x.jpg and x.png would both be written to x.dct" in result.stderr
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").write_bytes(b"")
    result = batch("encode", tmp_path / "shards", tmp_path / "shards", "--overwrite")
    assert result.exit_code == 1 and "would be written over" in result.stderr
    assert made(tmp_path).keys() == {"twice/x.png", "twice/x.jpg", "shards/a.tar"}


def test_shards_become_shards(source: Path, expected: dict[str, bytes], tmp_path: Path):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "shard-000.tar", "w") as archive:
        for path in sorted(source.rglob("*.png"))[:5]:
            archive.add(path, path.name)
        for name, data in {"bad.png": b"bad", "01.cls": b"7"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    (tmp_path / "in" / "shard-001.tar").write_bytes(b"no tar file")
    result = batch("encode", tmp_path / "in", tmp_path / "in/out", "--workers", 1)
    assert result.exit_code == 1 and "5 images encoded" in result.stdout and "2 errors" in result.stdout
    files = in_shards(tmp_path / "in/out")
    assert files.pop("01.cls") == b"7"
    assert files == {Path(name).name: data for name, data in expected.items() if Path(name).name in files} and len(files) == 5
    assert not (tmp_path / "in/out/shard-001.tar").exists()
    again = batch("encode", tmp_path / "in", tmp_path / "in/out", "--workers", 1)
    assert "0 images encoded, 1 files skipped (their output exists), 1 errors" in again.stdout
    checked = batch("verify", tmp_path / "in", tmp_path / "in/out", "--workers", 1, "--delete-source")
    assert checked.exit_code == 1 and "5 images verified" in checked.stdout and "2 errors" in checked.stdout
    assert len(list((tmp_path / "in").glob("*.tar"))) == 2
    assert batch("decode", tmp_path / "in/out", tmp_path / "back", "--workers", 1).exit_code == 0
    images = in_shards(tmp_path / "back")
    assert images.pop("01.cls") == b"7"
    assert len(images) == 5 and all(Image.open(io.BytesIO(data)).size == (24, 16) for data in images.values())


def test_files_are_grouped_into_shards_that_stay(source: Path, expected: dict[str, bytes], tmp_path: Path):
    own, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(source, own)
    late = own / "a" / "00.png"
    assert batch("encode", own, out, "--shards", 5, "--workers", 2).exit_code == 0
    first = made(out)
    assert first.keys() == {f"shard-00000{n}.tar" for n in range(3)} and in_shards(out) == expected
    assert {row["output"] for row in rows(out)} >= {"shard-000000.tar/a/01.dct"} and len(rows(out)) == 12
    late.write_bytes(png(99))
    (out / "shard-000001.tar").unlink()
    result = batch("encode", own, out, "--shards", 5, "--workers", 1)
    assert "6 images encoded, 2 files skipped" in result.stdout
    more = made(out)
    assert more.pop("shard-000003.tar") and more == first and in_shards(out).keys() == {*expected, "a/00.dct"}
    (own / "a/03.png").write_bytes(png(97))
    result = batch("verify", own, out, "--delete-source", "--workers", 1)
    assert result.exit_code == 1 and {path.name for path in own.rglob("*.png")} == {"03.png"}


def tar_of(path: Path, *entries: tarfile.TarInfo, data: bytes = b"") -> None:
    """A tar file of entries that all have the same bytes."""
    with tarfile.open(path, "w") as archive:
        for entry in entries:
            entry.size = len(data) if entry.isfile() else 0
            archive.addfile(entry, io.BytesIO(data) if entry.isfile() else None)


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_a_destination_that_is_not_there_is_not_verified(source: Path, tmp_path: Path):
    result = batch("verify", source, tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1 and "give the destination" in result.stderr and not (tmp_path / "out").exists()


def test_links_in_a_tar_file_are_the_files_that_they_name(tmp_path: Path):
    (tmp_path / "in").mkdir()
    links = (entry("x/hard.png", tarfile.LNKTYPE, "x/a.png"), entry("x/soft.png", tarfile.SYMTYPE, "a.png"))
    tar_of(tmp_path / "in/a.tar", entry("x", tarfile.DIRTYPE), entry("x/a.png"), *links, data=png(1))
    assert batch("encode", tmp_path / "in", tmp_path / "out", "--workers", 1).exit_code == 0
    files = in_shards(tmp_path / "out")
    assert files.keys() == {"x/a.dct", "x/hard.dct", "x/soft.dct"} and len(set(files.values())) == 1


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [("../a.png", tarfile.REGTYPE, ""), ("/a.png", tarfile.REGTYPE, ""), ("a.png", tarfile.SYMTYPE, "b.png")],
)
def test_tar_files_that_lead_outside_are_errors(name: str, kind: bytes, target: str, tmp_path: Path):
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in/bad.tar", entry(name, kind, target), data=png(1))
    tar_of(tmp_path / "in/good.tar", entry("a.png"), data=png(1))
    result = batch("encode", tmp_path / "in", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1 and "1 images encoded, 1 errors" in result.stdout
    assert "bad.tar" in "".join(row["error"] or "" for row in rows(tmp_path / "out"))
    assert str(tmp_path / "out/_manifest") in result.stderr and "error: bad.tar: cannot read bad.tar" in result.stderr


@pytest.mark.parametrize("claim", ["GNU.sparse.map", "GNU.sparse.size"])
def test_sparse_members_are_errors(claim: str, tmp_path: Path):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/bad.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        sparse = entry("a.png")
        sparse.pax_headers = {"GNU.sparse.size": "99999999999", claim: "0,1" if claim.endswith("map") else "x"}
        sparse.size = 1
        archive.addfile(sparse, io.BytesIO(b"x"))
    result = batch("encode", tmp_path / "in", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1 and "1 errors" in result.stdout and not (tmp_path / "out/bad.tar").exists()


def test_sources_of_which_something_was_not_kept_stay(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    drawn(2).save(tmp_path / "in/b.gif", save_all=True, append_images=[drawn(3)])
    assert batch("encode", tmp_path / "in", tmp_path / "out", "--workers", 1).exit_code == 0
    result = batch("verify", tmp_path / "in", tmp_path / "out", "--delete-source", "--workers", 1)
    assert result.exit_code == 0 and [path.name for path in (tmp_path / "in").iterdir()] == ["b.gif"]


def test_other_files_of_a_destination_stay(tmp_path: Path):
    out, old = tmp_path / "out", time.time() - 9999
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    out.mkdir()
    for name in (".notes-2024-01-01.tmp", ".0123456789abcdef.tmp"):
        (out / name).write_text("text")
        os.utime(out / name, (old, old))
    (out / ".0123456789abcde0.tmp").symlink_to("nowhere")
    (out / ".0123456789abcde1.tmp").mkdir()
    assert batch("encode", tmp_path / "in", out, "--workers", 1).exit_code == 0
    assert {path.name for path in out.glob(".*.tmp")} == {".notes-2024-01-01.tmp", ".0123456789abcde0.tmp", ".0123456789abcde1.tmp"}


def test_a_plan_that_names_other_files_is_refused(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    for plan in ('{"../evil.tar": ["a.png"]}', "[" * 99999):
        (tmp_path / "out/_manifest/plan").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out/_manifest/plan/0000.json").write_text(plan)
        result = batch("encode", tmp_path / "in", tmp_path / "out", "--workers", 1)
        assert result.exit_code == 1 and "is damaged: use another destination" in result.stderr
    assert not (tmp_path / "evil.tar").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_no_input(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    os.mkfifo(tmp_path / "in/b.png")
    assert "1 images encoded, 0 errors" in batch("encode", tmp_path / "in", tmp_path / "out", "--workers", 1).stdout


def test_too_many_bands_are_told_and_no_shard_is_written(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(1))
    batch("encode", tmp_path / "in", tmp_path / "coded", "--shards", 1, "--workers", 1)
    result = batch("decode", tmp_path / "coded", tmp_path / "back", "--bands", 9, "--workers", 1)
    assert result.exit_code == 1 and "8 bands, not 9" in rows(tmp_path / "back")[0]["error"]
    assert batch("decode", tmp_path / "coded", tmp_path / "back", "--bands", 2, "--workers", 1).exit_code == 0
    assert in_shards(tmp_path / "back").keys() == {"a.png"}


def test_an_output_that_is_no_image_is_an_error_of_its_own(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"in/{name}.png").write_bytes(png(1))
    batch("encode", tmp_path / "in", tmp_path / "coded", "--workers", 1)
    (tmp_path / "back").mkdir()
    (tmp_path / "back/a.png").write_text("no image")
    result = batch("decode", tmp_path / "coded", tmp_path / "back", "--workers", 1)
    assert result.exit_code == 1 and "1 images decoded, 1 errors" in result.stdout


def test_images_in_memory_are_encoded_in_this_process(expected: dict[str, bytes]):
    store = Store("memory://batch-in")
    for number in range(2):
        store.write(f"a/{number}.png", png(number))
    assert batch("encode", "memory://batch-in", "memory://batch-out").exit_code == 0
    out = Store("memory://batch-out")
    assert {out.read(f"a/{n}.dct") for n in range(2)} == {expected["b/c/00.dct"], expected["a/01.dct"]}


@dataclass(frozen=True)
class Deadly:
    """An action that kills its process on one task."""

    destination: str = ""

    def __call__(self, task: Task) -> Outcome:
        if task.output == "3":
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome([{"output": task.output, "error": None}])


def test_an_image_on_which_workers_die_is_an_error():
    tasks = [Task("memory://", (str(number),), str(number)) for number in range(8)]
    outcomes = {row["output"]: row["error"] for outcome in local.run(tasks, Deadly(), 2) for row in outcome.rows}
    assert len(outcomes) == 8 and [output for output, error in outcomes.items() if error] == ["3"]
    assert "worker process died" in outcomes["3"]


@pytest.mark.slow
def test_ten_broken_images_of_500_are_entries(tmp_path: Path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(500):
        bad = number % 50 == 7
        (source / f"{number:03}.png").write_bytes(broken(number // 50) if bad else png(number))
    result = batch("encode", source, out, "--model", "dct-vae-cifar10")
    assert result.exit_code == 1 and f"{500 - BROKEN} images encoded" in result.stdout and f"{BROKEN} errors" in result.stdout
    errors = [row for row in rows(out) if row["error"]]
    assert {row["source"] for row in errors} == {f"{50 * n + 7:03}.png" for n in range(BROKEN)}
    assert all(row["source"] in row["error"] and "unexpected" not in row["error"] for row in errors)
    assert len(made(out)) == 500 - BROKEN
    stopped = batch("encode", source, tmp_path / "other", "--max-errors", 2, "--workers", 1, "--model", "dct-vae-cifar10")
    assert stopped.exit_code == 1 and "stopped after 3 errors" in stopped.stderr
    assert len(rows(tmp_path / "other")) < 500


def _started(*words: object) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def _wait_for_files(folder: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(list(folder.rglob("*.dct"))) < count:
        assert time.monotonic() < end, "the run makes no files"
        time.sleep(0.02)


def _workers(driver: int) -> list[int]:
    """The worker processes of a driver: children of its server's."""
    return [worker for child in _children(driver) for worker in _children(child)]


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "in"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:03}.png").write_bytes(png(number, (96, 64)))
    return folder


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert batch("encode", many, out).exit_code == 0
    return made(out)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_killed_worker_is_replaced(many: Path, undisturbed: dict[str, bytes], tmp_path: Path):
    run = _started("encode", many, tmp_path, "--workers", 2)
    _wait_for_files(tmp_path, 3)
    os.kill(_workers(run.pid)[0], signal.SIGKILL)
    out, err = run.communicate(timeout=180)
    assert run.returncode == 0, err.decode()
    assert made(tmp_path) == undisturbed
    assert {row["output"] for row in rows(tmp_path)} == undisturbed.keys()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_killed_driver_leaves_whole_files_and_the_next_call_completes_them(
    many: Path, undisturbed: dict[str, bytes], tmp_path: Path
):
    run = _started("encode", many, tmp_path, "--workers", 2)
    _wait_for_files(tmp_path, 5)
    workers = _workers(run.pid)
    run.kill()
    run.communicate()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{worker}/cmdline").exists() and _alive(worker) for worker in workers):
        assert time.monotonic() < end, "workers outlive their driver"
        time.sleep(0.05)
    partial = {name: data for name, data in made(tmp_path).items() if name.endswith(".dct")}
    assert 5 <= len(partial) < 60 and all(undisturbed[name] == data for name, data in partial.items())
    result = batch("encode", many, tmp_path)
    assert result.exit_code == 0 and f"{len(partial)} files skipped" in result.stdout
    assert {name: data for name, data in made(tmp_path).items() if name.endswith(".dct")} == undisturbed
    assert {row["output"] for row in rows(tmp_path)} == undisturbed.keys()


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_two_drivers_on_one_destination(many: Path, undisturbed: dict[str, bytes], tmp_path: Path):
    runs = [_started("encode", many, tmp_path, "--workers", 1) for _ in range(2)]
    for run in runs:
        _, err = run.communicate(timeout=180)
        assert run.returncode == 0, err.decode()
    assert made(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small file system, which needs root on Linux")
def test_a_disk_that_fills_ends_the_run(many: Path, undisturbed: dict[str, bytes], tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mount.returncode:
        pytest.skip(f"cannot mount a file system here: {mount.stderr.decode()}")
    try:
        result = batch("encode", many, disk / "out", "--workers", 2)
        assert result.exit_code == 1 and "no space left" in result.stderr and "Traceback" not in result.stderr
        left = made(disk / "out")
        assert all(undisturbed[name] == data for name, data in left.items()) and len(left) < 60
    finally:
        subprocess.run(["umount", disk], check=True)


def needed(module: str) -> ModuleType:
    """A module of the extra `test`; without it the test is skipped, but fails in CI."""
    try:
        return import_module(module)
    except ImportError:
        if os.environ.get("CI"):
            raise
        return pytest.skip(f"needs {module}: bin/venv test")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """An S3 server on the loopback; the environment that s3fs needs for it."""
    server = needed("moto.server")
    needed("s3fs")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield settings
    running.stop()


@pytest.mark.slow
def test_an_object_store_is_source_and_destination(s3: dict[str, str], source: Path, expected: dict[str, bytes]):
    store = Store("s3://bucket/images")
    store.filesystem.mkdir("bucket")
    for path in source.rglob("*.png"):
        store.write(str(path.relative_to(source)), path.read_bytes())
    result = batch("encode", "s3://bucket/images", "s3://bucket/coded", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    coded = Store("s3://bucket/coded")
    assert {key: coded.read(key) for key in coded.sizes() if not key.startswith("_manifest")} == expected
    assert "12 files skipped" in batch("encode", "s3://bucket/images", "s3://bucket/coded", "--workers", 1).stdout
    assert "12 images verified" in batch("verify", "s3://bucket/images", "s3://bucket/coded", "--workers", 1).stdout
    result = batch("encode", "s3://no-such-bucket/images", "s3://bucket/coded")
    assert result.exit_code == 1 and "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_ray_makes_the_same_files_though_an_actor_is_killed(many: Path, undisturbed: dict[str, bytes], tmp_path: Path):
    needed("ray.data")
    run = _started("encode", many, tmp_path, "--engine", "ray", "--workers", 2)
    _wait_for_files(tmp_path, 3)
    os.kill(_actors(run.pid)[0], signal.SIGKILL)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err.decode()
    assert made(tmp_path) == undisturbed and err == b""
    assert {row["output"] for row in rows(tmp_path)} == undisturbed.keys()


def _actors(driver: int) -> list[int]:
    """The processes of Ray's actors that work, below a driver."""
    found, left = [], [driver]
    while left:
        children = _children(left.pop())
        left += children
        found += [child for child in children if b"MapWorker" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return found
