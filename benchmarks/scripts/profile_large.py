"""Where the time of a large image goes: seconds of one thread by part of the code, of encoding and decoding with a loaded model.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/scripts/profile_large.py --json benchmarks/profile.json

adds a run to what is committed here; --label names it. To profile an older commit, check it out elsewhere and set PYTHONPATH to it.
"""

import cProfile
import json
import pstats
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from speed import LARGE, photograph

from dctcodec.codec import Codec
from dctcodec.evaluate import machine

PARTS = {
    "networks (onnxruntime)": ("onnxruntime", "rows.py", "traced.py"),
    "DCTs of the forecast": ("exact_forecast.py",),
    "narrow layers": ("planes.py", "layers.py", "eager.py", "exact_prior.py"),
    "DCTs and colours of the image": ("transform.py", "exact_transform.py", "tiles.py", "painter.py"),
    "DCTs of blocks": ("blocks.py",),
    "choice of blocks and of symbols": ("choice.py", "rounding.py", "masked.py"),
    "implied parities": ("parity.py", "trellis.py"),
    "entropy coding": ("coder.py", "AnsCoder"),
}
"""Parts of the code by what the profiler calls their functions."""
REST = "other work on arrays"


def profiled(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a call returns, and seconds by part."""
    profile = cProfile.Profile()
    result = profile.runcall(call)
    seconds: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        seconds[_part(path, name)] += own
    return result, dict(seconds) | {"all": sum(seconds.values())}


def _part(path: str, name: str) -> str:
    where = f"{Path(path).name} {name}"
    return next((part for part, marks in PARTS.items() if any(mark in where for mark in marks)), REST)


def table(runs: dict[str, Any]) -> str:
    """Seconds of all runs as Markdown."""
    heads = [f"{label}: {what}" for label in runs for what in ("encode", "decode")]
    lines = [f"| seconds | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for part in (*PARTS, REST, "all"):
        cells = [f"{run[what].get(part, 0):.1f}" for run in runs.values() for what in ("encode", "decode")]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--label", default="now", show_default=True, help="Name of this run in the table.")
@click.option(
    "--photo", type=click.Path(exists=True, path_type=Path), help="Photograph to pave the image with; default matplotlib's."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Add the run to this file.")
def main(label: str, photo: Path | None, json_path: Path | None) -> None:
    """Profile encoding and decoding of a large image."""
    codec, image = Codec(device="cpu"), photograph(photo, LARGE)
    codec.decode(codec.encode(image.crop((0, 0, 96, 64))))
    data, encode = profiled(lambda: codec.encode(image))
    _, decode = profiled(lambda: codec.decode(data))
    kept = json.loads(json_path.read_text()) if json_path and json_path.exists() else {}
    runs = kept | {label: {"encode": encode, "decode": decode, "machine": machine.describe()}}
    click.echo(table(runs))
    if json_path:
        json_path.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
