"""`tests/arm/run`: golden files on emulated processors against this one. Every symbol, every encoded byte and every pixel of the
default model must be equal; pixels that are floating point may differ a little. Writes record.json beside this file, after each
name, and ends with 1 where anything differs."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arm64
import numpy as np

HERE = Path(__file__).parent
RECORD = HERE / "record.json"
HASHES = ("sha256", "pixels")
EXPECTED = json.loads((HERE.parent / "golden" / "symbols.json").read_text())
MODELS = ("flagship-1", "dct-vae-cifar10")
"""Models that encode an image."""
NATIVE = "native"
"""This machine, without an emulator."""
HASWELL = "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-invpcid,-rtm"
"""Without what the emulator would warn that it lacks."""
Command = tuple[list[str], str | None]
"""A Python, and the folder of its packages, None for this Python's."""


def x86(cpu: str) -> Callable[[Path], Command]:
    return lambda _: (["qemu-x86_64-static", "-cpu", cpu, sys.executable], None)


MACHINES: dict[str, Callable[[Path], Command]] = {"aarch64": arm64.make, "haswell": x86(HASWELL), "nehalem": x86("Nehalem")}


VARIABLES = {"nehalem": {"OPENBLAS_CORETYPE": "Nehalem"}}
"""Of the environment: OpenBLAS may ask the processor under the emulator which instructions there are."""


def lines(machine: str, command: Command, work: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    """What `golden.py` prints on a machine."""
    pixels = work / machine
    pixels.mkdir(exist_ok=True)
    python, site = command
    paths = [str(HERE.parents[1]), *([site] if site else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | VARIABLES.get(machine, {})
    arguments = [*python, str(HERE / "golden.py"), str(pixels), *names]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        for line in process.stdout:
            print(machine, line.decode().strip(), flush=True)
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"{machine}: Python ended with {process.returncode}; see above")


def measure(machine: str, work: Path, names: list[str], expected: dict[str, Any], record: dict[str, Any]) -> Iterator[None]:
    """Put into a machine's record its facts, and of each name the hashes, whether it is equal, and how far pixels are apart. Yields
    after each change."""
    for facts in lines(machine, MACHINES[machine](work), work, names):
        if "name" in facts:
            name = facts.pop("name")
            record["results"][name] = facts | {"equal": _hashes(facts) == _hashes(expected[name]), "commit": _commit()}
            if (work / machine / f"{name}.npy").exists():
                record["results"][name]["largest level difference"] = _levels(work, machine, name)
        else:
            record.update(facts, date=time.strftime("%Y-%m-%d"), results=record.get("results", {}))
        yield


def _hashes(facts: dict[str, Any]) -> list[str | None]:
    return [facts.get(name) for name in HASHES]


def _commit() -> str:
    """The last that changed the codec or a model; with a + where there are changes since."""
    codec = ["--", ":(glob)dctcodec/**/*.py", "models"]
    last, since = (
        subprocess.run(["git", *words, *codec], capture_output=True, text=True, cwd=HERE.parents[1]).stdout.strip()
        for words in (["log", "-1", "--format=%h"], ["status", "--porcelain"])
    )
    return last + "+" * bool(since)


def _levels(work: Path, machine: str, name: str) -> int:
    one, other = (np.load(work / place / f"{name}.npy").astype(int) for place in (machine, NATIVE))
    return int(np.abs(one - other).max())


def different(record: dict[str, dict[str, Any]]) -> list[str]:
    """What is not equal."""
    return [
        f"{name} on {machine}" for machine, facts in record.items() for name, one in facts["results"].items() if not one["equal"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machines", nargs="*", default=list(MACHINES), help=", ".join(MACHINES))
    parser.add_argument(
        "--only", nargs="+", default=[*EXPECTED, *MODELS], help="golden files and models; others stay in the record"
    )
    parser.add_argument("--work", type=Path, help="folder for the Python for Arm, kept; default a temporary one")
    options = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        here = lines(NATIVE, ([sys.executable], None), work, options.only)
        native = {facts["name"]: facts for facts in here if "name" in facts}
        for machine in options.machines:
            for _ in measure(machine, work, options.only, native | EXPECTED, record.setdefault(machine, {})):
                RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(different(record)) or "all equal")
    sys.exit(bool(different(record)))


if __name__ == "__main__":
    main()
