"""The paper's appendix F: a downsampling context in place of the DCT's, the same network, equal steps from nothing; and the VAE.

    python benchmarks/scripts/contexts.py mnist --data DIR --runs RUNS --json benchmarks/paper/contexts-mnist.json

Held-out training images, plain bound, mean over the seeds. A run that was broken off is taken up again. Twenty minutes on a core
for MNIST, two hours for CIFAR-10.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import click
from pairs import standard_error

from dctcodec.device import prepare
from dctcodec.evaluate import machine
from dctcodec.files import check_output, write_output
from dctcodec.train.model import train_stage
from dctcodec.train.recipe import read
from dctcodec.train.settings import Settings
from dctcodec.vae.config import Config

RECIPES = Path(__file__).parents[2] / "models" / "recipes"
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("data_set", type=click.Choice(["mnist", "cifar10"]))
@click.option("--data", type=PATH, required=True, metavar="DIR", help="The data set's usual files.")
@click.option("--runs", type=PATH, required=True, metavar="RUNS", help="A folder for the runs.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True, help="Repeatable.")
@click.option("--threads", type=int, help="CPU threads.")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="Write the figures to this file.")
def main(data_set: str, data: Path, runs: Path, seeds: Sequence[int], threads: int | None, json_path: Path | None) -> None:
    """Train one network with several contexts, equally many steps, and compare their held-out bounds."""
    if json_path:
        check_output(str(json_path))
    prepare("cpu", threads)
    recipe = read(RECIPES / f"contexts-{data_set}.toml")
    rows: dict[str, list[dict[str, Any]]] = {stage.name: [] for stage in recipe.stages}
    for seed in seeds:
        run = runs / f"{data_set}-{seed}"
        for stage in recipe.stages:
            train_stage(recipe, stage, data, Settings(run, seed=seed))
            last = json.loads((run / stage.name / "log.jsonl").read_text().splitlines()[-1])
            rows[stage.name].append({"seed": seed, "symbols": symbols_of(stage.config), "images": last.pop("crops")} | last)
            click.echo(f"{stage.name:12} seed {seed} {last['bound']:10.2f} nats, of which the context has {last['context']:.2f}")
    summary = {name: summarised(of_seeds) for name, of_seeds in rows.items()}
    if json_path:
        facts = {"data": data_set, "runs": rows, "summary": summary, "machine": machine.describe()}
        write_output(json_path, f"{json.dumps(facts, indent=1)}\n".encode())


def symbols_of(config: Config) -> list[int] | None:
    """Planes, height, width and bits of the context's symbols, where there is one."""
    shape = config.shape
    return [shape.network.channels, shape.context.size, shape.context.size, shape.context.bits] if shape.context else None


def summarised(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the seeds of bound and context, in nats, and the standard error of the mean of the bound."""
    bounds = [row["bound"] for row in rows]
    context = mean(row["context"] for row in rows)
    return {"seeds": len(rows), "bound": mean(bounds), "standard_error": standard_error(bounds), "context": context}


if __name__ == "__main__":
    main()
