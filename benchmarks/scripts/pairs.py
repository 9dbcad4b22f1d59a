"""The paper's claim, tested: VAE and DCT-VAE of a data set from nothing, with equal steps, batch, optimiser, ending and size.

    python benchmarks/scripts/pairs.py mnist --data DIR --runs RUNS --json benchmarks/paper/pair-mnist.json

The recipes are models/recipes/pairs/*.toml. Every model is trained from each seed; a run that was broken off is taken up again. The
file is written after each run. Runs that it holds are not made again, so seeds may be added on other days. A run of the full length
takes two hours of a core on MNIST and OMNIGLOT, six on CIFAR-10; `--shorten 10` makes every stage a tenth as long.
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
@click.option("--json", "json_path", type=PATH, required=True, metavar="FILE", help="Write the figures to this file, or add to it.")
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
    json_path: Path,
) -> None:
    """Train the models of a fair pair and compare them on all test images."""
    check_output(str(json_path))
    prepare(device, threads)
    names = [f"vae-{data_set}", f"dct-vae-{data_set}", *([f"dct-vae-{data_set}-rate"] if rate else [])]
    rows = kept(json_path, data_set, shorten)
    for seed in seeds:
        for name in names:
            if any((row["model"], row["seed"]) == (name, seed) for row in rows):
                continue
            recipe = shortened(read(RECIPES / f"{name}.toml"), shorten)
            run = runs / f"{name}-{seed}"
            train_model(recipe, data, Settings(run, seed=seed, device=device))
            measured_run = figures(name, run, data, data_set, images, device)
            rows.append({"model": name, "seed": seed} | measured_run | {"machine": machine.describe()})
            click.echo(line(rows[-1]))
            write_output(json_path, result(data_set, shorten, rows))
    click.echo(table(summaries(rows), all_differences(rows, names[0])))


def kept(path: Path, data_set: str, shorten: int) -> list[dict[str, Any]]:
    """The runs in a file of an earlier call. Raises click.UsageError where they are of another length or data set."""
    if not path.exists():
        return []
    stored = json.loads(path.read_text())
    if (stored["data"], stored["shorten"]) != (data_set, shorten):
        raise click.UsageError(f"{path} is of {stored['data']}, --shorten {stored['shorten']}: give another file")
    rows: list[dict[str, Any]] = stored["runs"]
    return rows


def result(data_set: str, shorten: int, rows: Sequence[dict[str, Any]]) -> bytes:
    """The file."""
    parts = {"summary": summaries(rows), "less_than_vae": all_differences(rows, f"vae-{data_set}")}
    return f"{json.dumps({'data': data_set, 'shorten': shorten, 'runs': rows} | parts, indent=1)}\n".encode()


def summaries(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`summarised` of each model."""
    return {name: summarised([row for row in rows if row["model"] == name]) for name in dict.fromkeys(row["model"] for row in rows)}


def all_differences(rows: Sequence[dict[str, Any]], base: str) -> dict[str, dict[str, Any]]:
    """`difference` of each model that has a seed in common with the VAE."""
    of = {name: {row["seed"] for row in rows if row["model"] == name} for name in dict.fromkeys(row["model"] for row in rows)}
    return {name: difference(rows, base, name) for name, seeds in of.items() if name != base and seeds & of.get(base, set())}


def shortened(recipe: Recipe, by: int) -> Recipe:
    """The recipe with a `by`-th of the steps in every stage."""
    stages = []
    for stage in recipe.stages:
        training = replace(stage.config.training, steps=max(1, stage.config.training.steps // by))
        stages.append(replace(stage, config=replace(stage.config, training=training)))
    return replace(recipe, stages=tuple(stages))


def figures(name: str, run: Path, data: Path, data_set: str, images: int | None, device: str) -> dict[str, Any]:
    """Figures of a run that has ended, measured once."""
    file = run / "figures.json"
    if not file.exists():
        torch.manual_seed(0)
        write_output(file, json.dumps(measured(name, run, data, data_set, images, device), indent=1).encode())
    found: dict[str, Any] = json.loads(file.read_text())
    return found


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
    seeds = sorted({row["seed"] for row in rows if (base, row["seed"]) in of and (other, row["seed"]) in of})
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
