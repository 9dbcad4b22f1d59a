"""Adaptive blocks against blocks of 32x32: prior and decoder of each kind, trained from the same weights on the same crops.

    python benchmarks/scripts/blocks_race.py PHOTOS RUN --minutes 90

The networks take one step each in turn; a run is taken up where it was left. RUN/rows.jsonl has, after each piece, bits a pixel and
PSNR of held-out photographs and of drawings that nobody trained on, and the bits that adaptive blocks need over those of fixed ones
at equal PSNR (BD-rate of the means of a set). RUN/NETWORK-KIND has the checkpoints, from which a stage of a recipe may start.
"""

import json
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.forecast import ForecastShape
from dctcodec.bands.prior import PriorNetwork, PriorShape
from dctcodec.data.drawings import drawings
from dctcodec.data.photographs import Photos, centre_crops, photo_files
from dctcodec.evaluate.bdrate import bd_rate
from dctcodec.family import DECODER, FLOAT_PRIOR
from dctcodec.files import make_folder
from dctcodec.train import decoder, prior
from dctcodec.train.checkpoint import CHECKPOINT, resume, save
from dctcodec.train.export import RECIPES
from dctcodec.train.loop import rate_factor
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.prior import VALIDATION_STEPS
from dctcodec.train.settings import Progress

INTERVAL = (0.02, 4.0)
"""Bits a pixel that the curves are compared in: all."""
CROPS = {"prior": 192, "decoder": 192}
BATCH = 4
AVERAGE = 0.99
DRAWING_SEED = 1
"""As benchmarks/scripts/drawings.py has it; training draws with another."""


@dataclass
class Runner:
    """One network in training. `average`: the moving average of its weights."""

    name: str
    part: str
    model: nn.Module
    average: nn.Module
    optimiser: Optimiser
    progress: Progress
    path: Path

    def step(self, crops: Photos, rate: float, seed: int) -> None:
        started = time.process_time()
        torch.manual_seed(seed + self.progress.step)  # the same crops, steps and reveals for both kinds
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = crops.batch(BATCH)
        value = prior.loss(self.model, batch, 1) if self.part == "prior" else decoder.loss(self.model, batch)
        self.optimiser.zero_grad()
        value.backward()
        self.optimiser.step()
        self.progress.step += 1
        self.progress.crops += BATCH
        weight = 1 - min(AVERAGE, self.progress.step / (self.progress.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), weight)
        self.progress.seconds += time.process_time() - started

    def save(self) -> None:
        save(self.path, self.model, self.average, self.optimiser, self.progress)


def runner(part: str, name: str, kinds: tuple[int, ...], start: Path, run: Path) -> Runner:
    """A network of `kinds` of blocks, with the weights of the model in `start` or those of its checkpoint in `run`."""
    torch.manual_seed(0)
    if part == "prior":
        model = PriorNetwork(PriorShape(forecast=ForecastShape()), kinds)
        prior.expand_prior(model, start.parent / RECIPES / f"{start.name}-{FLOAT_PRIOR}")
        optimiser = prior.optimiser_of(model, 0.0)
    else:
        model = Decoder(kinds=kinds)
        decoder.expand_weights(model, start / DECODER)
        model.to(memory_format=torch.channels_last)
        optimiser = decoder.optimiser_of(model, 0.0)
    average, path = deepcopy(model), run / f"{part}-{name}" / CHECKPOINT
    make_folder(path.parent)
    return Runner(name, part, model, average, optimiser, resume(path, model, average, optimiser), path)


def figures(runners: list[Runner], sets: dict[str, Tensor]) -> dict[str, float]:
    """Bits a pixel and PSNR of each set, of networks of one kind."""
    row, networks = {}, {one.part: one.average for one in runners}
    for name, pictures in sets.items():
        both = prior.code_lengths(networks["prior"], pictures) | decoder.gains(networks["decoder"], pictures)
        row |= {f"{name} {runners[0].name} {figure}": round(value, 4) for figure, value in both.items()}
    return row


def leads(row: dict[str, float], sets: dict[str, Tensor]) -> dict[str, float | None]:
    """The BD-rate of each set."""
    curves = {
        (name, kind): [(row[f"{name} {kind} bpp@{step:g}"], row[f"{name} {kind} psnr@{step:g}"]) for step in VALIDATION_STEPS]
        for name in sets
        for kind in ("fixed", "adaptive")
    }
    return {f"{name} BD-rate": bd_rate(curves[name, "fixed"], curves[name, "adaptive"], INTERVAL) for name in sets}


def before(run: Path) -> dict[str, float]:
    """The last row that an earlier part of the run has written, if any."""
    rows = run / "rows.jsonl"
    return json.loads(rows.read_text().splitlines()[-1]) if rows.exists() else {}


def held_out(photos: Path, count: int) -> dict[str, Tensor]:
    """Centres of some of the held-out photographs of each folder, and drawings."""
    files = photo_files(photos)[1]
    names = sorted({file.parent.name for file in files})
    each = {name: [file for file in files if file.parent.name == name] for name in names}
    sets = {name: centre_crops(some[:: max(1, len(some) // count)][:count]) for name, some in each.items()}
    drawn = drawings(count, 480, DRAWING_SEED)
    return sets | {"drawings": torch.stack([torch.from_numpy(one.transpose(2, 0, 1).copy()) for one in drawn])}


@click.command()
@click.argument("photos", type=click.Path(file_okay=False, path_type=Path))
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option("--start", type=click.Path(path_type=Path), default=Path("models/flagship-1"), show_default=True)
@click.option("--blocks", default="32x32,16x16,8x8,4x4", show_default=True, help="Kinds of the adaptive blocks.")
@click.option(
    "--train",
    type=click.Choice(["both", "adaptive"]),
    default="both",
    show_default=True,
    help="Kinds that are trained; others stay.",
)
@click.option("--minutes", type=float, required=True, help="Length of the run, over all restarts.")
@click.option("--every", type=float, default=20.0, show_default=True, help="Minutes of a piece.")
@click.option("--rate", type=float, default=5e-4, show_default=True, help="Peak, in root mean square a step.")
@click.option("--count", type=int, default=6, show_default=True, help="Held-out images of each set.")
@click.option("--share", type=int, default=5, show_default=True, help="One of so many photographs of `large` is trained on.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    photos: Path,
    run: Path,
    start: Path,
    blocks: str,
    train: str,
    minutes: float,
    every: float,
    rate: float,
    count: int,
    share: int,
    seed: int,
) -> None:
    """Train four networks and write rows of figures to RUN."""
    kinds = {"fixed": (), "adaptive": kinds_of(blocks.split(","))}
    pairs = {name: [runner(part, name, some, start, run) for part in CROPS] for name, some in kinds.items()}
    trained = {name: pair for name, pair in pairs.items() if train in ("both", name)}
    runners = [one for pair in trained.values() for one in pair]
    clock = run / "seconds"
    spent = float(clock.read_text()) if clock.exists() else 0.0
    sets, files = held_out(photos, count), photo_files(photos)[0]
    files = [file for number, file in enumerate(files) if file.parent.name == "bsds" or number % share == 0]
    crops = {part: Photos(files, side) for part, side in CROPS.items()}
    others = [pair for name, pair in pairs.items() if name not in trained]
    constant = before(run) if others else {}
    if others and not constant:
        constant = {name: value for pair in others for name, value in figures(pair, sets).items()}
    while True:
        row = constant | {"minutes": round(spent / 60, 1), "steps": runners[0].progress.step}
        row |= {f"{one.part} {one.name} core seconds": round(one.progress.seconds) for one in runners}
        row |= {name: value for pair in trained.values() for name, value in figures(pair, sets).items()}
        row |= leads(row, sets)
        with open(run / "rows.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        click.echo(f"{row['minutes']} minutes, {row['steps']} steps: " + ", ".join(f"{n} {row[n]:.1f}" for n in row if "BD" in n))
        if spent >= 60 * minutes:
            return
        begun = time.monotonic()
        while (now := time.monotonic() - begun) < min(60 * every, 60 * minutes - spent):
            for one in runners:
                one.step(crops[one.part], rate * rate_factor(one.progress.step, (spent + now) / (60 * minutes)), seed)
        spent += time.monotonic() - begun
        for one in runners:
            one.save()
        clock.write_text(str(spent))


if __name__ == "__main__":
    main()
