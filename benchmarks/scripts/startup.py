"""Times whole processes of the command line, and others beside them: start-up, memory, busy machines, many files, large images.

    python benchmarks/scripts/startup.py --json benchmarks/startup.json --page benchmarks/startup.md

on an idle machine with 2 cores makes what is committed here (an hour; --only ROW... for a part; Linux only). Each round runs every
command of a row once, one after another; the figure is a ratio of medians or a median.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
from speed import LARGE, SMALL, photograph

from dctcodec.evaluate import machine

ROOT = Path(__file__).parents[2]
MEGAPIXEL = (1224, 817)
FILES, SINGLE = 100, 10
"""Images of one call, and calls of one image each, that are compared by images a second."""
DCTCODEC = [sys.executable, "-m", "dctcodec"]
AVIF = "from PIL import Image; Image.open({!r}).save({!r}, quality=60, subsampling='4:4:4', speed=4)"
BUSY = "while True: pass"


class Use(NamedTuple):
    """What a process used: seconds on the wall, MiB at most, and what it printed."""

    seconds: float
    memory: float
    printed: str


@dataclass
class Row:
    """A measured figure. It should reach `goal`, or at least `least`, from above; from below where `more` is better. `medians`: the
    seconds or MiB that it is made of, of `runs` runs."""

    what: str
    unit: str
    value: float
    goal: float
    least: float
    medians: dict[str, float]
    more: bool = False
    runs: int = 1

    @property
    def verdict(self) -> str:
        sign = -1 if self.more else 1
        return "goal" if sign * self.value <= sign * self.goal else "least" if sign * self.value <= sign * self.least else "neither"


def use(command: list[str], folder: Path = ROOT, **variables: str) -> Use:
    """Run a command to its end. Raises CalledProcessError."""
    environment = os.environ | {"PYTHONPATH": str(folder)} | variables
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled modules are kept, as after an installation
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Use(seconds, usage.ru_maxrss / 1024, printed)


def rounds(calls: dict[str, Callable[[], Use]], runs: int) -> dict[str, list[Use]]:
    """Every call once in each round, after a first round that does not count."""
    found: dict[str, list[Use]] = {name: [] for name in calls}
    for number in range(runs + 1):
        for name, call in calls.items():
            result = call()
            if number:
                found[name].append(result)
    return found


def seconds(uses: list[Use]) -> float:
    return statistics.median(one.seconds for one in uses)


def memory(uses: list[Use]) -> float:
    return statistics.median(one.memory for one in uses)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Two other processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


class Files:
    """Images, and commands on them, in a folder."""

    def __init__(self, folder: Path, source: Path | None):
        self.folder, self.source = folder, source
        for name, size in (("small", SMALL), ("large", LARGE)):
            photograph(source, size).save(folder / f"{name}.png", compress_level=1)

    def many(self) -> list[str]:
        """Paths of FILES images of a megapixel."""
        image, folder = photograph(self.source, MEGAPIXEL), self.folder / "many"
        folder.mkdir()
        for number in range(FILES):
            image.rotate(number % 4 * 90, expand=True).save(folder / f"{number:03}.jpg", quality=95)
        return sorted(map(str, folder.iterdir()))

    def encode(self, name: str) -> list[str]:
        return [*DCTCODEC, "encode", str(self.folder / f"{name}.png"), "-o", str(self.folder / f"{name}.dct")]

    def decode(self, name: str) -> list[str]:
        return [*DCTCODEC, "decode", str(self.folder / f"{name}.dct"), "-o", str(self.folder / f"{name}-back.png")]

    def avif(self, name: str) -> list[str]:
        return [sys.executable, "-c", AVIF.format(str(self.folder / f"{name}.png"), str(self.folder / f"{name}.avif"))]


def installed(files: Files, runs: int) -> list[Row]:
    """Bytes that `pip install .` adds to a fresh environment."""
    environment = files.folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    before = _bytes(environment)
    subprocess.run([environment / "bin/pip", "install", "-q", ROOT], check=True)
    size = (_bytes(environment) - before) / 1e6
    return [Row("installed size of `pip install .`, models included", "MB", size, 150, 250, {})]


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def small(files: Files, runs: int) -> list[Row]:
    """A 768x512 image."""
    calls = {
        "encode": lambda: use(files.encode("small")),
        "AVIF": lambda: use(files.avif("small")),
        "decode": lambda: use(files.decode("small")),
        "import torch": lambda: use([sys.executable, "-c", "import torch"]),
    }
    found = rounds(calls, runs)
    times = {name: seconds(uses) for name, uses in found.items()}
    spaces = {name: memory(found[name]) for name in ("encode", "decode")}
    return [
        Row("encode 768x512 over Pillow's AVIF (4:4:4, speed 4)", "times", times["encode"] / times["AVIF"], 0.6, 1.0, times),
        Row("decode 768x512 over `import torch`", "times", times["decode"] / times["import torch"], 0.3, 0.6, times),
        Row("peak memory of the two", "MiB", max(spaces.values()), 200, 300, spaces),
    ]


def busy(files: Files, runs: int) -> list[Row]:
    """Both cores kept busy by two other processes; idle beside it."""
    use(files.encode("small"))
    commands = {"encode": files.encode("small"), "decode": files.decode("small")}
    idle = rounds({name: lambda command=command: use(command) for name, command in commands.items()}, runs)
    calls = {name: lambda command=command: use(command) for name, command in commands.items()}
    calls |= {f"{name}, 1": lambda command=command: use(command, OMP_NUM_THREADS="1") for name, command in commands.items()}
    with busy_cores():
        other = rounds(calls, runs)
    rows = []
    for name in commands:
        medians = {"idle": seconds(idle[name]), "busy": seconds(other[name]), "busy, one thread": seconds(other[f"{name}, 1"])}
        rows.append(Row(f"{name} 768x512, both cores busy, over idle", "times", medians["busy"] / medians["idle"], 2, 3, medians))
        share = medians["busy"] / medians["busy, one thread"]
        rows.append(Row(f"{name} 768x512, both cores busy, over OMP_NUM_THREADS=1", "times", share, 1.5, 1.5, medians))
    return rows


def many(files: Files, runs: int) -> list[Row]:
    """Images a second."""
    inputs = files.many()
    together = [*DCTCODEC, "encode", *inputs, "-o", str(files.folder / "together")]

    def one_by_one() -> Use:
        start = time.perf_counter()
        for path in inputs[:SINGLE]:
            use([*DCTCODEC, "encode", path, "-o", str(files.folder / "one.dct")])
        return Use(time.perf_counter() - start, 0, "")

    found = rounds({"one call": lambda: use(together), "calls": one_by_one}, runs)
    rates = {"images/s, one call": FILES / seconds(found["one call"]), "images/s, calls": SINGLE / seconds(found["calls"])}
    value = rates["images/s, one call"] / rates["images/s, calls"]
    return [Row(f"encode {FILES} images of 1 megapixel in one call over one-by-one calls", "times", value, 5, 3, rates, more=True)]


def large(files: Files, runs: int) -> list[Row]:
    """12 megapixels."""
    calls = {"encode": lambda: use(files.encode("large")), "decode": lambda: use(files.decode("large"))}
    found = rounds(calls, runs)
    times, spaces = ({name: f(uses) for name, uses in found.items()} for f in (seconds, memory))
    return [
        Row("encode 4000x3000", "s", times["encode"], 5, 9, times),
        Row("decode 4000x3000", "s", times["decode"], 6, 12, times),
        Row("peak memory of these", "GiB", max(spaces.values()) / 1024, 0.6, 1.2, spaces),
    ]


ROWS: dict[str, Callable[[Files, int], list[Row]]] = {
    "installed": installed,
    "small": small,
    "busy": busy,
    "many": many,
    "large": large,
}


def page(document: dict[str, Any]) -> str:
    """The figures as Markdown."""
    host, rows = document["machine"], [Row(**row) for row in document["rows"]]
    lines = [
        "# Start-up, threads and large images",
        "",
        f"Medians of whole processes on an {host['cpu']} ({host['cores']} cores). Made by `python benchmarks/scripts/startup.py`.",
        '"A over B" is a ratio. Goal and least are what the project aims at and what it accepts; "met" says which of them is met.',
        "",
        "| what | measured | goal | least | met | runs |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.what} | {row.value:.2f} {row.unit} | {row.goal:g} | {row.least:g} | {row.verdict} | {row.runs} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="Rows to measure; default all.")
@click.option("--runs", default=9, show_default=True)
@click.option("--photo", type=click.Path(exists=True, path_type=Path), help="Photograph to pave images with; default matplotlib's.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where the figures go; rows of an earlier run are kept.")
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="Where they go as Markdown.")
def main(only: tuple[str, ...], runs: int, photo: Path | None, json_path: Path | None, page_path: Path | None) -> None:
    """Measure start-up, memory and time of whole processes."""
    rows: dict[str, dict[str, Any]] = {}
    if only and json_path and json_path.exists():
        rows = {row["what"]: row for row in json.loads(json_path.read_text())["rows"]}
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), photo)
        for name in only or ROWS:
            for row in ROWS[name](files, runs):
                rows[row.what] = asdict(row) | {"runs": 1 if name == "installed" else runs}
                click.echo(f"{row.what}: {row.value:.2f} {row.unit} (goal {row.goal:g}, least {row.least:g}): {row.verdict}")
    document = {"machine": machine.describe(), "rows": list(rows.values())}
    if json_path:
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    if page_path:
        page_path.write_text(page(document))


if __name__ == "__main__":
    main()
