"""Networks of the default model, trained from random weights alike but for one thing: the blocks, or the optimiser.

    python benchmarks/scripts/race.py train PHOTOS RUN --part decoder --blocks fixed --minutes 60 --json RESULTS/decoder-fixed.json
    python benchmarks/scripts/race.py compare RESULTS

`train` trains one network and writes PSNR (a decoder) or bits a pixel (a prior) of held-out photographs, and of drawings that
nobody trained on, with symbols of effort 0. `compare` reads four of these results, a prior and a decoder of each kind of blocks,
and prints the bits that adaptive blocks need over fixed ones at equal PSNR, for each set of images.

The optimiser SOAP (Vyas et al. 2024) is that of the package pytorch-optimizer 4.1.0, which is not among the dependencies.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeAlias

import click
import torch
from torch import Tensor
from torch.optim import Optimizer

from dctcodec.bands.config import BandsShape
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.prior import PriorNetwork
from dctcodec.data.drawings import drawings
from dctcodec.data.photographs import Photos, centre_crops, photo_files
from dctcodec.evaluate import machine
from dctcodec.evaluate.bdrate import bd_rate
from dctcodec.modules import channels_last
from dctcodec.train import decoder, prior, recipe
from dctcodec.train.loop import train
from dctcodec.train.settings import Progress, Settings

Network: TypeAlias = PriorNetwork | Decoder
RECIPE, STAGE = Path("models/recipes/flagship-1.toml"), "prior-with-forecast"
"""Whose sizes both networks have."""
CROP, BATCH, REVEALS = 192, 8, 2
STEPS = (16.0, 26.0, 42.0, 68.0, 110.0)
"""Quantisation steps of the figures."""
INTERVAL = (0.02, 4.0)
"""Bits a pixel that the curves are compared in: all."""
COUNT = 10
"""Held-out images of each set."""
DRAWING_SEED = 1
"""As benchmarks/scripts/drawings.py has it; training draws with another."""
SHARE = 3
"""One of so many photographs of `large` is trained on: they are read anew by each process."""


def held_out(photos: Path) -> dict[str, Tensor]:
    """Centres of some of the held-out photographs of each folder, and drawings; uint8 (n, 3, H, W)."""
    files = photo_files(photos)[1]
    each = {name: [file for file in files if file.parent.name == name] for name in sorted({file.parent.name for file in files})}
    sets = {name: centre_crops(some[:: len(some) // COUNT][:COUNT]) for name, some in each.items()}
    return sets | {
        "drawings": torch.stack([torch.from_numpy(one.transpose(2, 0, 1).copy()) for one in drawings(COUNT, 480, DRAWING_SEED)])
    }


def crops_of(photos: Path) -> Photos:
    """The training photographs, less most of `large`."""
    files = photo_files(photos)[0]
    return Photos([file for number, file in enumerate(files) if file.parent.name == "bsds" or number % SHARE == 0], CROP)


def shape_of(blocks: str) -> BandsShape:
    """The sizes of the default model, with its blocks or with 32x32 alone."""
    shape = recipe.read(RECIPE).stage(STAGE).config.shape
    assert isinstance(shape, BandsShape)
    return shape if blocks == "adaptive" else replace(shape, blocks=())


def optimiser_of(name: str, model: Network, rate: float) -> Optimizer:
    """Today's optimiser, which has Muon for most matrices, or SOAP with its authors' settings, without decay of weights."""
    if name == "soap":
        return soap(model, rate)
    return prior.optimiser_of(model, rate) if isinstance(model, PriorNetwork) else decoder.optimiser_of(model, rate)


def soap(model: Network, rate: float) -> Optimizer:
    from pytorch_optimizer import SOAP  # type: ignore[import-not-found]  # not installed where types are checked

    class Unsaved(SOAP):  # type: ignore[misc]
        """Its state has lists of matrices, which no checkpoint keeps: such a run cannot be taken up."""

        def state_dict(self) -> dict[str, Any]:
            return {"state": {}, "param_groups": []}

    return Unsaved(model.parameters(), rate, weight_decay=0.0)


def figures(model: Network, sets: dict[str, Tensor]) -> dict[str, list[dict[str, float]]]:
    """PSNR or bits a pixel of each image at each step, by sets."""
    measured = partial(prior.code_lengths, model) if isinstance(model, PriorNetwork) else partial(decoder.gains, model)
    return {
        name: [{k: round(v, 5) for k, v in measured(one[None], steps=STEPS).items()} for one in images]
        for name, images in sets.items()
    }


def means(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Of a set's images."""
    return {f"{name} {key}": mean(one[key] for one in images) for name, images in found.items() for key in images[0]}


@click.group()
def main() -> None:
    """Train networks alike but for one thing, and compare them."""


@main.command("train")
@click.argument("photos", type=click.Path(file_okay=False, path_type=Path))
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option("--part", type=click.Choice(["prior", "decoder"]), required=True)
@click.option("--blocks", type=click.Choice(["adaptive", "fixed"]), default="adaptive", show_default=True)
@click.option("--optimiser", type=click.Choice(["muon", "soap"]), default="muon", show_default=True)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Peak of the learning rate.")
@click.option("--minutes", type=float, required=True)
@click.option("--every", type=float, default=15.0, show_default=True, help="Minutes between validations.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), required=True)
def train_one(
    photos: Path, run: Path, part: str, blocks: str, optimiser: str, rate: float, minutes: float, every: float, json_path: Path
) -> None:
    """Train one network for some minutes, on one core, and write its figures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = shape_of(blocks)
    model = PriorNetwork(shape.prior, shape.kinds) if part == "prior" else channels_last(Decoder(shape.decoder, shape.kinds), "cpu")
    sets, crops = held_out(photos), crops_of(photos)
    settings = Settings(run, minutes=minutes, learning_rate=rate, batch=BATCH, validate_every=60 * every)

    def loss(model: Network, batch: Tensor, _: Tensor) -> Tensor:
        return prior.loss(model, batch, REVEALS) if isinstance(model, PriorNetwork) else decoder.loss(model, batch)

    average = train(model, optimiser_of(optimiser, model, rate), loss, lambda m: means(figures(m, sets)), crops.batch, settings)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    result = {
        "part": part,
        "blocks": blocks,
        "optimiser": optimiser,
        "rate": rate,
        "minutes": minutes,
        "curve": [row for row in rows if len(row) > len(vars(Progress())) + 2],
        "images": figures(average, sets),
        "machine": machine.describe(),
    }
    json_path.write_text(json.dumps(result, indent=1) + "\n")


@main.command()
@click.argument("results", type=click.Path(file_okay=False, path_type=Path))
def compare(results: Path) -> None:
    """Print the BD-rate of adaptive blocks against fixed ones, mean and standard error over the images of each set."""
    of = {
        (part, blocks): json.loads((results / f"{part}-{blocks}.json").read_text())["images"]
        for part in ("prior", "decoder")
        for blocks in ("fixed", "adaptive")
    }
    for name in of["prior", "fixed"]:
        found = [
            bd_rate(curve(of, name, number, "fixed"), curve(of, name, number, "adaptive"), INTERVAL) for number in range(COUNT)
        ]
        values = [value for value in found if value is not None]
        click.echo(f"{name}: {mean(values):+.1f} ± {stdev(values) / len(values) ** 0.5:.1f} % ({len(values)} images)")


def curve(of: dict[tuple[str, str], Any], name: str, number: int, blocks: str) -> list[tuple[float, float]]:
    """Points of an image: bits a pixel and PSNR."""
    bits, psnr = (of[part, blocks][name][number] for part in ("prior", "decoder"))
    return [(bits[f"bpp@{step:g}"], psnr[f"psnr@{step:g}"]) for step in STEPS]


if __name__ == "__main__":
    main()
