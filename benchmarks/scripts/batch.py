"""Measures `dctcodec batch` on images that it draws itself: both engines, one and two workers, small and large images (on Linux).

    python benchmarks/scripts/batch.py --json benchmarks/batch.json --page benchmarks/batch.md

makes what is committed here, the tables of the page too; with --again it makes the tables alone. CPU seconds are those of all
processes together, so they say something on a busy machine as well; the load average says how busy it was.
"""

import ctypes
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from dctcodec.evaluate import machine, report

BLOCK = "<!-- {}: made by benchmarks/scripts/batch.py -->\n", "<!-- end of {} -->\n"
SETS = {
    "small": (2000, (96, 64)),
    "few": (4, (768, 512)),
    "medium": (24, (768, 512)),
    "many": (200, (768, 512)),
    "large": (2, (4000, 3000)),
}
"""Images: how many, and of which size."""
RUNS = (
    ("small", "encode", "local", 2),
    ("small", "encode", "ray", 2),
    ("few", "encode", "local", 1),
    ("few", "encode", "local", 2),
    ("few", "decode", "local", 1),
    ("few", "decode", "local", 2),
    ("medium", "encode", "local", 1),
    ("medium", "encode", "local", 2),
    ("medium", "encode", "ray", 2),
    ("medium", "decode", "local", 1),
    ("medium", "decode", "local", 2),
    ("many", "encode", "local", 2),
    ("many", "encode", "ray", 2),
    ("large", "encode", "local", 1),
    ("large", "encode", "local", 2),
    ("large", "decode", "local", 1),
    ("large", "decode", "local", 2),
)
"""Set, command, engine and workers. The few tell what a start takes."""
ARCHIVE = 1_000_000_000
"""Images of the plan, each as those of the medium set."""
SHARD = 1000
"""Images of one of its shards."""
CORES = 10_000
"""Cores of its cluster."""
SOURCE, CODED = 150e3, 10e3
"""Assumed bytes of a source, a JPEG file of 0.4 megapixels, and of its .dct file at quality 45."""
CORE_HOUR, PUTS, GETS = 0.02, 5.0, 0.4
"""Assumed prices in dollars: of one core's hour on a machine that may be taken back, of a million writes and of a million reads."""
LOST = 0.05
"""Assumed share of machines that are taken back in an hour."""
SUBREAPER = 36
"""Name of prctl's request that orphans become children of this process."""


def draw(folder: Path, count: int, size: tuple[int, int]) -> int:
    """Write PNG files of smooth colours with edges and noise, the same every time; their bytes."""
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    for number in range(count):
        random = np.random.default_rng(number)
        planes = [
            128 + 50 * np.sin(columns / random.uniform(9, 90) + random.uniform(0, 6)) + 40 * np.cos(rows / random.uniform(9, 90))
            for _ in range(3)
        ]
        edge = 40 * (random.uniform(-1, 1) * rows + random.uniform(-1, 1) * columns > random.uniform(0, size[0] / 2))
        pixels = np.stack(planes, -1) + edge[..., None] + random.normal(0, 6, (size[1], size[0], 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.png", compress_level=1)
    return sum(path.stat().st_size for path in folder.iterdir())


def measure(command: str, source: Path, destination: Path, engine: str, workers: int) -> dict[str, Any]:
    """Run one batch in processes of its own: seconds of the clock and of all processes, and the peak memory of the largest."""
    words = [sys.executable, __file__, "--child", command, source, destination, engine, workers]
    output = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def run_as_child(command: str, source: str, destination: str, engine: str, workers: str) -> None:
    """Run a batch, wait for all that it started, and print what it took."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    words = [sys.executable, "-m", "dctcodec", "batch", command, source, destination, "--engine", engine, "--workers", workers]
    start, load = time.monotonic(), os.getloadavg()[0]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = time.monotonic() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    images, skipped = map(int, re.findall(r"^(\d+) images \w+, (\d+) files skipped", out)[0])
    figures = {
        "images": images,
        "skipped": skipped,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
    }
    print(json.dumps(figures | {"peak_mib": round(used.ru_maxrss / 1024), "load": [load, os.getloadavg()[0]]}))


def digest(folder: Path) -> str:
    """The SHA-256 of all outputs and their names."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.*")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def all_runs(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The runs of sets, with the bytes of their inputs and a digest of their outputs; and one that finds all done."""
    sets, runs, again = {}, [], {}
    for name in names:
        count, size = SETS[name]
        sets[name] = {"images": count, "size": size, "bytes": draw(folder / name, count, size)}
    for name, command, engine, workers in RUNS:
        if name in names:
            destination = folder / f"{name}-{command}-{engine}-{workers}"
            source = folder / name if command == "encode" else folder / f"{name}-encode-local-2"
            figures = measure(command, source, destination, engine, workers)
            runs.append(
                {"set": name, "command": command, "engine": engine, "workers": workers, **figures, "sha256": digest(destination)}
            )
            click.echo(json.dumps(runs[-1]), err=True)
    if "small" in names:
        again = {"again": measure("encode", folder / "small", folder / "small-encode-local-2", "local", 2)}
    return {"sets": sets, "runs": runs, **again}


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Figures with those of the sets that were measured anew."""
    for images in old["sets"].values():
        images.setdefault("machine", old["machine"])
    for images in new["sets"].values():
        images["machine"] = new["machine"]
    kept = [run for run in old["runs"] if run["set"] not in new["sets"]]
    runs = sorted(kept + new["runs"], key=lambda run: RUNS.index((run["set"], run["command"], run["engine"], run["workers"])))
    return old | new | {"sets": old["sets"] | new["sets"], "runs": runs}


def page(figures: dict[str, Any]) -> str:
    """The measured part of the page."""
    lines = [
        "| images | command | engine | workers | images/s | MB/s | CPU s per image | peak memory | load |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in figures["runs"]:
        images = figures["sets"][run["set"]]
        megabytes = images["bytes"] / images["images"] / 1e6
        rate = run["images"] / run["seconds"]
        width, height = images["size"]
        cells = [f"{run['images']} of {width}×{height}", run["command"], run["engine"], run["workers"], f"{rate:.2f}"]
        cells += [f"{rate * megabytes:.2f}", f"{run['cpu_seconds'] / run['images']:.2f}", f"{run['peak_mib']} MiB"]
        lines.append("| " + " | ".join(map(str, [*cells, f"{run['load'][0]:.0f}"])) + " |")
    places: dict[str, list[str]] = {}
    for images in figures["sets"].values():
        places.setdefault(described(images["machine"]), []).append("×".join(map(str, images["size"])))
    again = figures["again"]
    machines = " ".join(f"Images of {' and '.join(dict.fromkeys(sizes))}: {place}." for place, sizes in places.items())
    notes = (
        f"{machines} "
        "Each run is a call of its own: its time includes the start and loading the model. Megabytes are those of the PNG files. "
        "Peak memory is that of the largest process. Load is the load average of the machine when the run began; "
        "that of an idle machine is 0."
    )
    kinds = {(run["set"], run["command"]) for run in figures["runs"]}
    outputs = {(run["set"], run["command"], run["sha256"]) for run in figures["runs"]}
    same = "the same, byte for byte" if len(outputs) == len(kinds) else "not the same"
    facts = [
        f"Whatever the engine and the number of workers, the files are {same}.",
        f"A second call on the {again['skipped']} images of {_size('small')} finds that all are done, "
        f"in {again['cpu_seconds']:.1f} s of CPU time.",
    ]
    return "\n".join(lines) + f"\n\n{notes}\n\n" + "\n".join(f"* {fact}" for fact in facts + derived(figures["runs"])) + "\n"


def described(place: dict[str, Any]) -> str:
    """A machine and its versions."""
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    return f"{place['cpu']}, {place['cores']} cores, Python {place['python']}; {versions}"


def plan(figures: dict[str, Any]) -> str:
    """A table of what the archive takes, by the CPU seconds of one worker."""
    of = {(run["set"], run["command"]): run["cpu_seconds"] / run["images"] for run in figures["runs"] if run["workers"] == 1}
    encode, decode = of["medium", "encode"], of["medium", "decode"]
    hours = {"encode": ARCHIVE * encode / 3600, "verify": ARCHIVE * decode / 3600}
    rate = CORES / encode
    shards = ARCHIVE // SHARD
    wasted = LOST * SHARD * encode / 2 / 3600
    memory = max(run["peak_mib"] for run in figures["runs"] if run["set"] == "medium") + SHARD * (SOURCE + CODED) / 2**20
    rows = [
        ("CPU seconds per image, encode and decode", f"{encode:.2f} and {decode:.2f}"),
        ("core hours to encode", f"{hours['encode']:,.0f}"),
        ("core hours to verify (decode and compare)", f"{hours['verify']:,.0f}"),
        (f"hours on {CORES:,} cores, encode and verify", f"{hours['encode'] / CORES:.1f} and {hours['verify'] / CORES:.1f}"),
        (f"cost of the cores at ${CORE_HOUR} per core hour", f"${sum(hours.values()) * CORE_HOUR:,.0f}"),
        ("bytes in and out", f"{ARCHIVE * SOURCE / 1e12:.0f} TB and {ARCHIVE * CODED / 1e12:.0f} TB"),
        (f"images per second on {CORES:,} cores", f"{rate:,.0f}"),
        ("bytes per second from the store", f"{rate * SOURCE / 1e9:.1f} GB"),
        (f"shards of {SHARD:,} images", f"{shards:,}, of {SHARD * SOURCE / 1e6:.0f} MB in and {SHARD * CODED / 1e6:.0f} MB out"),
        ("time of a shard on a core", f"{SHARD * encode / 60:.0f} minutes"),
        ("memory of a worker, shard included", f"{memory:.0f} MiB"),
        ("requests per shard", "2 HEAD, 1 GET, 2 PUT (rows, shard)"),
        ("requests per second, shards", f"{3 * rate / SHARD:.0f} reads, {2 * rate / SHARD:.0f} writes"),
        ("requests per second, single files", f"{3 * rate:,.0f} reads, {rate:,.0f} writes"),
        ("cost of requests, shards", f"${shards / 1e6 * (3 * GETS + 2 * PUTS):,.0f}"),
        ("cost of requests, single files", f"${ARCHIVE / 1e6 * (3 * GETS + PUTS):,.0f}"),
        (f"work lost if {LOST:.0%} of machines are taken back per hour", f"{wasted:.2%}"),
        (
            "listing to resume, 1,000 keys per request",
            f"{2 * shards // 1000:,} requests for shards, {2 * ARCHIVE // 1000:,} for files",
        ),
    ]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def _size(name: str) -> str:
    """The size of the images of a set."""
    return "×".join(map(str, SETS[name][1]))


def derived(runs: list[dict[str, Any]]) -> list[str]:
    """Sentences of scaling and overhead."""
    of = {(run["set"], run["command"], run["engine"], run["workers"]): run for run in runs}
    sentences = []
    for command in ("encode", "decode"):
        rates = {}
        for workers in (1, 2):
            many, few = (of[name, command, "local", workers] for name in ("medium", "few"))
            rates[workers] = (many["images"] - few["images"]) / (many["seconds"] - few["seconds"])
        sentences.append(
            f"Without the start, {command} processes {rates[1]:.2f} images of {_size('medium')} per second with one worker and "
            f"{rates[2]:.2f} with two, {rates[2] / rates[1]:.2f} times as many."
        )
    for name, command in (("medium", "encode"), ("medium", "decode"), ("large", "encode"), ("large", "decode")):
        change = 100 * (of[name, command, "local", 2]["cpu_seconds"] / of[name, command, "local", 1]["cpu_seconds"] - 1)
        sentences.append(
            f"Two workers instead of one change the CPU time of {command} by {change:+.0f} % for images of {_size(name)}."
        )
    local, ray = of["small", "encode", "local", 2], of["small", "encode", "ray", 2]
    extra = (ray["cpu_seconds"] - local["cpu_seconds"]) / ray["images"]
    one = of["medium", "encode", "local", 1]
    share = 100 * extra / (one["cpu_seconds"] / one["images"])
    start = of["medium", "encode", "ray", 2]["cpu_seconds"] - of["medium", "encode", "local", 2]["cpu_seconds"]
    whole, without_start = {}, {}
    for engine in ("local", "ray"):
        many, few = (of[name, "encode", engine, 2] for name in ("many", "medium"))
        whole[engine] = many["seconds"]
        without_start[engine] = (many["seconds"] - few["seconds"]) / (many["images"] - few["images"])
    longer, longer_later = (100 * (seconds["ray"] / seconds["local"] - 1) for seconds in (whole, without_start))
    sentences.append(
        f"Ray's CPU time differs from that of local processes by {1000 * extra:+.1f} ms per image of {_size('small')}, "
        f"its start included. That is {share:+.1f} % of the CPU time of an image of {_size('medium')}. "
        f"The {one['images']} images of {_size('medium')} show the start: {start:.0f} s of CPU time."
    )
    sentences.append(
        f"For {many['images']} images of {_size('many')}, Ray's time differs from that of local processes by {longer:+.1f} %, "
        f"start included, and by {longer_later:+.1f} % without the start."
    )
    return sentences


@click.command()
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="Write the measured part of this page.")
@click.option("--set", "names", type=click.Choice(list(SETS)), multiple=True, help="Measure this anew, and keep the other figures.")
@click.option("--again", is_flag=True, help="Write the page from the figures that are there.")
@click.option("--child", nargs=5, hidden=True)
def main(
    json_path: Path | None, page_path: Path | None, names: tuple[str, ...], again: bool, child: tuple[str, ...] | None
) -> None:
    """Measure both engines."""
    if child:
        run_as_child(*child)
        return
    old = json.loads(json_path.read_text()) if again or names else {"sets": {}, "runs": []}
    figures = old
    if not again:
        with tempfile.TemporaryDirectory() as folder:
            figures = joined(old, {"machine": machine.describe()} | all_runs(Path(folder), names or tuple(SETS)))
        figures["machine"]["versions"]["ray"] = machine.package_version("ray")
        report.emit(figures, json_path)
    if page_path:
        text = page_path.read_text(encoding="utf-8")
        for name, block in (("measured", page(figures)), ("plan", plan(figures))):
            text = with_block(text, name, block)
        page_path.write_text(text, encoding="utf-8")


def with_block(text: str, name: str, block: str) -> str:
    """A page with another block of a name."""
    begin, end = (mark.format(name) for mark in BLOCK)
    before, rest = text.split(begin)
    return before + begin + block + end + rest.split(end)[1]


if __name__ == "__main__":
    main()
