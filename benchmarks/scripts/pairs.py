"""The paper's claim, tested: VAE and DCT-VAE of a data set from nothing, with equal steps, batch, optimiser, ending and size.

    python benchmarks/scripts/pairs.py mnist --data DIR --runs RUNS --json benchmarks/paper/pair-mnist.json

The recipes are models/recipes/pairs/*.toml. Every model is trained from each seed; a run that was broken off is taken up again, and
figures of a run that has ended are kept in its folder. A run of the recipes' full length takes two hours of a core on MNIST and
OMNIGLOT, six on CIFAR-10; `--shorten 10` makes every stage a tenth as long.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import torch

from dctcodec.device import prepare
from dctcodec.evaluate import collapse, likelihood, machine
from dctcodec.evaluate.source import load, test_images
from dctcodec.files import check_output, write_output
from dctcodec.train.model import train_model
from dctcodec.train.recipe import Recipe, read
from dctcodec.train.settings import Settings

RECIPES = Path(__file__).parents[2] / "models" / "recipes" / "pairs"
PATH = click.Path(path_type=Path)
SHOWN = ("steps", "images", "bound", "nll", "kl", "context", "varying", "distinct", "active", "active_one_draw")
"""Figures of a run that the table has: nats, and shares of units in the last two; the second counts the context's symbols too."""
PILOT = {"mnist": (200, 10), "omniglot": (200, 10), "cifar10": (100, 1)}
"""Images with all draws, and draws of each image (`evaluate.likelihood.whole_set`)."""


@click.command()
@click.argument("data_set", type=click.Choice(["mnist", "omniglot", "cifar10"]))
@click.option("--data", type=PATH, required=True, metavar="DIR", help="The data set's usual files.")
@click.option("--runs", type=PATH, required=True, metavar="RUNS", help="A folder for the runs.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True, help="Repeatable.")
@click.option("--rate", is_flag=True, help="Train the DCT-VAE with a rate weight, too.")
@click.option("--shorten", type=click.IntRange(min=1), default=1, show_default=True, help="Divide the steps of every stage.")
@click.option("--images", type=int, help="Test images with all draws.  [default: 200; 100 of CIFAR-10]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=int, help="CPU threads.")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="Write the figures to this file.")
def main(
    data_set: str,
    data: Path,
    runs: Path,
    seeds: Sequence[int],
    rate: bool,
    shorten: int,
    images: int | None,
    device: str,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Train the models of a fair pair and compare them on all test images."""
    if json_path:
        check_output(str(json_path))
    prepare(device, threads)
    names = [f"vae-{data_set}", f"dct-vae-{data_set}", *([f"dct-vae-{data_set}-rate"] if rate else [])]
    rows = []
    for seed in seeds:
        for name in names:
            recipe = shortened(read(RECIPES / f"{name}.toml"), shorten)
            run = runs / f"{name}-{seed}"
            train_model(recipe, data, Settings(run, seed=seed, device=device))
            rows.append({"model": name, "seed": seed} | figures(name, run, data, data_set, images, device))
            click.echo(line(rows[-1]))
    summary = {name: summarised([row for row in rows if row["model"] == name]) for name in names}
    differences = {name: difference(rows, names[0], name) for name in names[1:]}
    click.echo(table(summary, differences))
    if json_path:
        facts = {"data": data_set, "shorten": shorten, "runs": rows, "summary": summary, "less_than_vae": differences}
        write_output(json_path, f"{json.dumps(facts | {'machine': machine.describe()}, indent=1)}\n".encode())


def shortened(recipe: Recipe, by: int) -> Recipe:
    """The recipe with a `by`-th of the steps in every stage."""
    stages = []
    for stage in recipe.stages:
        training = replace(stage.config.training, steps=max(1, stage.config.training.steps // by))
        stages.append(replace(stage, config=replace(stage.config, training=training)))
    return replace(recipe, stages=tuple(stages))


def figures(name: str, run: Path, data: Path, data_set: str, images: int | None, device: str) -> dict[str, Any]:
    """Figures of a run that has ended, measured once."""
    kept = run / "figures.json"
    if not kept.exists():
        torch.manual_seed(0)
        write_output(kept, json.dumps(measured(name, run, data, data_set, images, device), indent=1).encode())
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def measured(name: str, run: Path, data: Path, data_set: str, images: int | None, device: str) -> dict[str, Any]:
    """Bound and likelihood of all test images; KL and active units of the first 1,000."""
    config, model = load(str(RECIPES / f"{name}.toml"), run)
    chosen, pilot = PILOT[data_set]
    test = likelihood.measure(name, config, model, data, images or chosen, None, pilot, None, device)
    rows = collapse.measure(model, test_images(config, data, 1000, device)).rows
    context = next((row for row in rows if row.active is None), None)
    latents = [row for row in rows if row.active is not None]
    units = sum(row.units for row in latents)
    logs = [json.loads(path.read_text().splitlines()[-1]) for path in sorted(run.glob("*/log.jsonl"))]
    return {
        "steps": sum(log["step"] for log in logs),
        "images": sum(log["crops"] for log in logs),
        "seconds": sum(log["seconds"] for log in logs),
        "parameters": test["parameters"],
        "bound": test["elbo_nats"],
        "nll": test["nll_nats"],
        "nll_standard_error": test["nll_nats_standard_error"],
        "nll_estimation_error": test["nll_nats_estimation_error"],
        "kl": test["elbo_divergence_nats"],
        "context": test["elbo_context_nats"],
        "varying": context.varying if context else None,
        "distinct": context.distinct if context else None,
        "symbols": context.units if context else None,
        "active": sum(row.active or 0 for row in latents) / units,
        "active_one_draw": sum(row.active_one_draw for row in rows) / sum(row.units for row in rows),
        "latents": [asdict(row) for row in rows],
    }


def summarised(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the seeds, and standard error of it, of each figure that all have."""
    numbers = {key: [row[key] for row in rows] for key in SHOWN if rows[0][key] is not None}
    return {key: {"mean": mean(values), "standard_error": standard_error(values)} for key, values in numbers.items()}


def difference(rows: Sequence[dict[str, Any]], base: str, other: str) -> dict[str, Any]:
    """By how much nats are lower than those of the VAE of the same seed: positive where the context helps."""
    of = {(row["model"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    pairs = {key: [of[base, seed][key] - of[other, seed][key] for seed in seeds] for key in ("bound", "nll")}
    return {key: {"mean": mean(values), "standard_error": standard_error(values)} for key, values in pairs.items()}


def table(summary: dict[str, dict[str, Any]], differences: dict[str, dict[str, Any]]) -> str:
    """Means over the seeds, and the differences."""
    lines = [line({"model": name, "seed": "all"} | {k: v["mean"] for k, v in row.items()}) for name, row in summary.items()]
    for name, row in differences.items():
        parts = [f"{key} {value['mean']:+.2f} ± {_shown(value['standard_error'])}" for key, value in row.items()]
        lines.append(f"{name} below the VAE, nats: {', '.join(parts)}")
    return "\n".join(lines)


def line(row: dict[str, Any]) -> str:
    """One run."""
    cells = [f"{key} {row[key]:.3f}".rstrip("0").rstrip(".") for key in SHOWN if row.get(key) is not None]
    return f"{row['model']:24}{row['seed']!s:5}{', '.join(cells)}"


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean of values; None of one alone."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
