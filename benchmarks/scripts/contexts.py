"""The paper's appendix F: a downsampling context in place of the DCT's, the same network, equal steps from nothing; and the VAE.

    python benchmarks/scripts/contexts.py --mnist DIR --cifar10 DIR --runs RUNS --json benchmarks/paper/contexts.json

Held-out training images, plain bound. A run that was broken off is taken up again. Two hours on a core.
"""

import json
from pathlib import Path

import click

from dctcodec.evaluate import machine
from dctcodec.files import check_output, write_output
from dctcodec.train.model import train_stage
from dctcodec.train.recipe import read
from dctcodec.train.settings import Settings

RECIPES = Path(__file__).parents[2] / "models" / "recipes"
PATH = click.Path(path_type=Path)


@click.command()
@click.option("--mnist", type=PATH, required=True, metavar="DIR", help="MNIST's usual files.")
@click.option("--cifar10", type=PATH, required=True, metavar="DIR", help="CIFAR-10's binary version.")
@click.option("--runs", type=PATH, required=True, metavar="RUNS", help="A folder for the runs, each in one of its name.")
@click.option("--json", "json_path", type=PATH, required=True, metavar="FILE", help="Write the figures here.")
def main(runs: Path, json_path: Path, **data: Path) -> None:
    """Train one network with several contexts, equally many steps, and compare their held-out bounds."""
    check_output(str(json_path))
    rows = {}
    for name, folder in data.items():
        recipe = read(RECIPES / f"contexts-{name}.toml")
        for stage in recipe.stages:
            train_stage(recipe, stage, folder, Settings(runs / name))
            last = json.loads((runs / name / stage.name / "log.jsonl").read_text().splitlines()[-1])
            rows[f"{name}-{stage.name}"] = {"images": last.pop("crops")} | last
            click.echo(f"{name}-{stage.name:20}{last['bound']:10.2f} nats, of which the context has {last['context']:.2f}")
    write_output(json_path, f"{json.dumps({'runs': rows, 'machine': machine.describe()}, indent=1)}\n".encode())


if __name__ == "__main__":
    main()
