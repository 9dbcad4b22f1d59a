"""The paper's appendix F: a downsampling context in place of the DCT's, the same network, equal steps from nothing; and the VAE.

    python benchmarks/scripts/contexts.py --mnist DIR --cifar10 DIR --runs RUNS --json benchmarks/paper/contexts.json

Held-out training images, plain bound, mean over the seeds. A run that was broken off is taken up again. Six hours on a core.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click

from dctcodec.device import prepare
from dctcodec.evaluate import machine
from dctcodec.files import check_output, write_output
from dctcodec.train.model import train_stage
from dctcodec.train.recipe import read
from dctcodec.train.settings import Settings

RECIPES = Path(__file__).parents[2] / "models" / "recipes"
PATH = click.Path(path_type=Path)


@click.command()
@click.option("--mnist", type=PATH, metavar="DIR", help="MNIST's usual files.")
@click.option("--cifar10", type=PATH, metavar="DIR", help="CIFAR-10's binary version.")
@click.option("--runs", type=PATH, required=True, metavar="RUNS", help="A folder for the runs.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True, help="Repeatable.")
@click.option("--threads", type=int, help="CPU threads.")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="Write the figures of all data sets here.")
def main(runs: Path, seeds: Sequence[int], threads: int | None, json_path: Path | None, **data: Path | None) -> None:
    """Train one network with several contexts, equally many steps, and compare their held-out bounds."""
    if json_path:
        check_output(str(json_path))
    prepare("cpu", threads)
    rows = {}
    for name, folder in data.items():
        for seed in seeds if folder else ():
            recipe = read(RECIPES / f"contexts-{name}.toml")
            for stage in recipe.stages:
                run = runs / f"{name}-{seed}"
                train_stage(recipe, stage, folder, Settings(run, seed=seed))
                last = json.loads((run / stage.name / "log.jsonl").read_text().splitlines()[-1])
                rows.setdefault(f"{name}-{stage.name}", []).append({"seed": seed, "images": last.pop("crops")} | last)
                figures = f"{last['bound']:10.2f} nats, of which the context has {last['context']:.2f}"
                click.echo(f"{name}-{stage.name:20}seed {seed}{figures}")
    summary = {name: summarised(of_seeds) for name, of_seeds in rows.items()}
    if json_path:
        facts = {"runs": rows, "summary": summary, "machine": machine.describe()}
        write_output(json_path, f"{json.dumps(facts, indent=1)}\n".encode())


def summarised(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the seeds of bound and context, in nats, and the standard error of the mean of the bound."""
    bounds = [row["bound"] for row in rows]
    error = stdev(bounds) / len(bounds) ** 0.5 if len(bounds) > 1 else None
    return {"seeds": len(rows), "bound": mean(bounds), "standard_error": error, "context": mean(row["context"] for row in rows)}


if __name__ == "__main__":
    main()
