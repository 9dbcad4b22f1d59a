"""The candidates for a model beyond the fixed DCT, each trained from scratch with equally many floating-point operations.

    python benchmarks/scripts/flagship_search.py C B A --photos PHOTOS --budget 6e12 --json benchmarks/flagship-search.json

`flagship-search.md` tells what came of it. Every candidate maps images and steps to bits and painted images; they share crops,
steps, loss, optimiser and schedule. A step (24, 50, 110) names a quality: its cost is bpp + 15 / step^2 * MSE.
"""

import copy
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dctcodec import installed
from dctcodec.bands import prior
from dctcodec.bands.config import BandsShape
from dctcodec.bands.decoder import INPUT_GAIN, Block, Conditioning
from dctcodec.bands.order import BANDS, REVEALS
from dctcodec.bands.prior import code_bits, symbol_features
from dctcodec.bands.transform import analyse, dequantise, quantise, relative_step, synthesise
from dctcodec.bands.units import checkerboard
from dctcodec.data.photographs import Photos, centre_crops, photo_files
from dctcodec.evaluate import machine
from dctcodec.exact.quantised import Conditioning as Biases
from dctcodec.exact.quantised import ExactConv, activation
from dctcodec.tiles import dct_basis, rgb_to_ycbcr, ycbcr_to_rgb
from dctcodec.train.joint import PriorAndDecoder
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.prior import VALIDATION_STEPS, random_reveals, random_steps, reveal_bits

CROP, BATCH, RATE, WARMUP_STEPS = 128, 4, 1e-3, 20
REVEALS_A_PICTURE = 3
SLOPE = 15.0
"""dMSE/dbpp = -step^2 / SLOPE at the step of a quality."""
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1)
"""Parts of the budget after which a trial is evaluated."""
VALIDATION = 10, 256
"""Held-out images, and the side of what is taken of each."""
LATENTS = 128
CONTEXT = BANDS[3].stop
"""Channels of A's context: the first four bands are 6x6 frequencies of luma and 4x4 of each chroma."""
WIDTHS = (96, 128, 96, 64)
"""Channels of A's networks at 1/32, 1/16, 1/8 and 1/4 of the resolution."""
BLOCKS_UP, BLOCKS_DOWN = (1, 2, 2, 4), (0, 2, 2, 2)
SEPARABLE_BLOCKS = 4
"""Depth-wise separable blocks that cost about as much as one block of full convolutions."""


@dataclass(frozen=True)
class Options:
    """One trial. `context`: A's step of the context over that of the quality, 0 for no context; `quantisation`: what stands for
    rounding in training; `rising`: the transform does not feel the rate for a fifth of the run, and wholly after three fifths;
    `dct`: A's latents begin as a 16x16 DCT; `latent_gain`: 16 makes the latents of an untrained analysis vary about as much as a
    16x16 DCT's; `length`: budgets spent; `shipped`: C with the trained weights of dct-bands."""

    candidate: str
    context: float = 1.0
    quantisation: str = "mixed"
    rising: bool = False
    separable: bool = False
    groups: int = 4
    prior_blocks: int = 2
    dct: bool = False
    latent_gain: float = 16.0
    length: int = 1
    shipped: bool = False
    seed: int = 0


_C, _A = Options("C"), Options("A")
TRIALS = {
    "C": _C,
    "C-seed": replace(_C, seed=1),  # how far two runs of one trial are apart
    "C-depthwise": replace(_C, separable=True),
    "B": Options("B"),
    "A": _A,
    "A-seed": replace(_A, seed=1),
    "A-dct": replace(_A, dct=True),
    "A-gain-1": replace(_A, latent_gain=1.0),
    "A-context-none": replace(_A, context=0.0),
    "A-context-coarse": replace(_A, context=2.0),
    "A-noise": replace(_A, quantisation="noise"),
    "A-ste": replace(_A, quantisation="ste"),
    "A-rising": replace(_A, rising=True),
    "A-depthwise": replace(_A, separable=True),
    "A-groups-2": replace(_A, groups=2, prior_blocks=4),
    "A-groups-8": replace(_A, groups=8, prior_blocks=1),
    "C-shipped": replace(_C, length=0, shipped=True),
    "A-rising-long": replace(_A, rising=True, length=2),
}


class Coded(NamedTuple):
    """Painted images, their bits (B,), and those of them that the context takes."""

    picture: Tensor
    bits: Tensor
    context_bits: Tensor


class Separable(nn.Module):
    """x + mix(act(conditioned widen(depth-wise x)))."""

    def __init__(self, width: int):
        super().__init__()
        self.spread = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.widen, self.mix = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)
        self.conditioning = Conditioning(2 * width)
        with torch.no_grad():
            self.mix.weight.mul_(0.3)

    def forward(self, x: Tensor, log_step: Tensor) -> Tensor:
        scale, shift = self.conditioning(log_step)
        return x + self.mix(F.silu(torch.addcmul(shift.to(x.dtype), self.widen(self.spread(x)), scale.to(x.dtype))))


class Stack(nn.Module):
    """Blocks in a row: `count` full ones, or as many separable ones as cost the same."""

    def __init__(self, width: int, count: int, separable: bool):
        super().__init__()
        kinds = [Separable] * (SEPARABLE_BLOCKS * count) if separable else [Block] * count
        self.blocks = nn.ModuleList(kind(width) for kind in kinds)

    def forward(self, x: Tensor, log_step: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, log_step)
        return x


class TransformC(nn.Module):
    """Candidates C and B: DCT symbols, the prior and the decoder as they are; for B a learned correction of the coefficients."""

    def __init__(self, options: Options):
        super().__init__()
        both = PriorAndDecoder(BandsShape())
        if options.shipped:
            both.start(installed.find("dct-bands").path)
        self.prior, self.synthesis = both.prior, both.decoder
        self.analysis = Correction() if options.candidate == "B" else None
        if options.separable:
            for scale, width in zip(self.synthesis.scales, self.synthesis.shape.widths, strict=True):
                scale.blocks = nn.ModuleList(Stack(width, 1, True) for _ in scale.blocks)

    def forward(self, original: Tensor, steps: Tensor) -> Coded:
        column = steps[:, None, None, None]
        source = original if self.analysis is None else original + self.analysis(original, torch.log(steps)) * column
        coefficients = analyse(source)
        scaled = coefficients / (column * relative_step(original.device))
        symbols = scaled + (quantise(coefficients, column) - scaled).detach()
        bits = self._bits(symbols, steps)
        return Coded(self.synthesis(symbols, steps), bits, torch.zeros_like(bits))

    def _bits(self, symbols: Tensor, steps: Tensor) -> Tensor:
        """(B,) bits; in training an estimate from a few random reveals of each image."""
        every = torch.arange(len(REVEALS)).expand(len(symbols), -1)
        reveals = random_reveals(len(symbols), REVEALS_A_PICTURE) if self.training else every
        outputs = iter(self.prior(symbols, torch.log(steps), reveals))
        totals = [sum(reveal_bits(s, r, *next(outputs)) for r in row) for s, row in zip(symbols, reveals.tolist(), strict=True)]
        return torch.stack(totals) * len(REVEALS) / reveals.shape[1]


class Correction(nn.Module):
    """What B adds to an image before its DCT, in steps; nothing at first."""

    def __init__(self, width: int = 48):
        super().__init__()
        self.input, self.blocks = nn.Conv2d(48, width, 1), Stack(width, 2, False)
        self.last = _zeroed(nn.Conv2d(width, 48, 3, padding=1))

    def forward(self, original: Tensor, log_step: Tensor) -> Tensor:
        features = self.input(F.pixel_unshuffle((original - 128) * INPUT_GAIN, 4).contiguous(memory_format=torch.channels_last))
        return F.pixel_shuffle(self.last(F.silu(self.blocks(features, log_step))), 4).float()


class MaskedPrior(nn.Module):
    """Bits of symbols that are revealed group by group, each on one parity after the other, with the layers of `PriorNetwork`."""

    def __init__(self, groups: list[slice], width: int, blocks: int, above: int = 0):
        super().__init__()
        self.reveals = [(group, parity) for group in groups for parity in (0, 1)]
        channels = groups[-1].stop
        self.input = ExactConv(prior.FEATURES * channels + 1, width, 1)
        self.input_above = ExactConv(prior.FEATURES * above, 4 * width, 1) if above else None
        self.first = nn.ModuleList(ExactConv(width, width, 3) for _ in range(blocks))
        self.second = nn.ModuleList(ExactConv(width, width, 3, gain=0.3) for _ in range(blocks))
        self.head = ExactConv(width, 2 * channels, 1, gain=0.1)
        self.conditioning = Biases(len(self.reveals), blocks + 1, width)

    def forward(self, seen: Tensor, target: Tensor, log_step: Tensor, above: Tensor | None = None) -> Tensor:
        """(B,) bits of `target`, given `seen` as far as it is revealed and symbols `above` at half the resolution."""
        batch, channels, height, width = seen.shape
        count, board = len(self.reveals), checkerboard(height, width)
        index = torch.arange(channels)[:, None, None]
        known = [(index < group.start) | ((index < group.stop) & (board < parity)) for group, parity in self.reveals]
        features = (symbol_features(seen) * torch.stack(known).repeat(1, prior.FEATURES, 1, 1)[:, None]).flatten(0, 1)
        stream = self.input(torch.cat([features, (board * 2.0 - 1).expand(count * batch, 1, -1, -1)], 1)).float()
        if self.input_above is not None:
            stream = stream + F.pixel_shuffle(self.input_above(symbol_features(above)).float(), 2).repeat(count, 1, 1, 1)
        bias = self.conditioning(torch.arange(count).repeat_interleave(batch), log_step.repeat(count))
        for block, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            stream = stream + second(activation(first(activation(stream + bias[:, block]))))
        return self._bits(activation(stream + bias[:, -1]).unflatten(0, (count, batch)), target, board)

    def _bits(self, features: Tensor, target: Tensor, board: Tensor) -> Tensor:
        weight, total = self.head.rounded(), target.new_zeros(len(target))
        for part, (group, parity) in zip(features, self.reveals, strict=True):
            rows = slice(2 * group.start, 2 * group.stop)
            raw = F.conv2d(part, weight[rows, :, None, None]).float() + self.head.bias[rows, None, None]
            mean, log_scale = (raw * prior.HEAD_GAIN).chunk(2, 1)
            scale = ((log_scale - prior.LOG_SCALE_MIN) * 2**prior.SCALE_BITS).clamp(0, prior.SCALES - 1)
            bits = code_bits(target[:, group], _rounded(mean * 2**prior.MEAN_BITS), _rounded(scale))
            total = total + (bits * (board == parity)).sum((1, 2, 3))
        return total


class Analysis(nn.Module):
    """A's analysis: the context image and what it lacks, down to latents at 1/16 of the resolution."""

    def __init__(self, options: Options):
        super().__init__()
        widths, counts = WIDTHS[:0:-1], BLOCKS_DOWN[:0:-1]
        inputs = (6 * 16, 4 * widths[0], 4 * widths[1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(inputs, widths, strict=True))
        self.stacks = nn.ModuleList(Stack(w, n, options.separable) for w, n in zip(widths, counts, strict=True))
        self.last, self.gain = nn.Conv2d(widths[-1], LATENTS, 1), options.latent_gain
        self.linear = dct_layer(inverse=False) if options.dct else None
        if options.dct:
            _zeroed(self.last)

    def forward(self, planes: Tensor, image: Tensor, log_step: Tensor) -> Tensor:
        lacking = planes - image
        x = F.pixel_unshuffle(torch.cat([lacking, image], 1), 2)
        for down, stack in zip(self.down, self.stacks, strict=True):
            x = stack(down(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)), log_step)
        latents = self.gain * self.last(F.silu(x))
        return latents if self.linear is None else latents + self.linear(F.pixel_unshuffle(lacking, 16))


class Synthesis(nn.Module):
    """A's decoder: up from 1/32 of the resolution, the context image added at every scale and the latents at 1/16."""

    def __init__(self, options: Options):
        super().__init__()
        self.up = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in zip(WIDTHS, WIDTHS[1:], strict=False))
        self.context = nn.ModuleList(nn.Conv2d(3 * side**2, w, 1) for side, w in zip((32, 16, 8, 4), WIDTHS, strict=True))
        self.stacks = nn.ModuleList(Stack(w, n, options.separable) for w, n in zip(WIDTHS, BLOCKS_UP, strict=True))
        self.latents = nn.Conv2d(LATENTS, WIDTHS[1], 1)
        self.paint = _zeroed(nn.Conv2d(WIDTHS[-1], 48, 3, padding=1))
        self.linear = dct_layer(inverse=True) if options.dct else None

    def forward(self, latents: Tensor, image: Tensor, log_step: Tensor) -> Tensor:
        """YCbCr planes, scaled by INPUT_GAIN."""
        image = image.contiguous(memory_format=torch.channels_last)
        features = self.stacks[0](self.context[0](F.pixel_unshuffle(image, 32)), log_step)
        for level, side in enumerate((16, 8, 4), 1):
            features = F.pixel_shuffle(self.up[level - 1](features), 2) + self.context[level](F.pixel_unshuffle(image, side))
            features = self.stacks[level](features + self.latents(latents) if side == 16 else features, log_step)
        planes = image + F.pixel_shuffle(self.paint(F.silu(features)), 4).float()
        return planes if self.linear is None else planes + F.pixel_shuffle(self.linear(latents), 16).float()


class TransformA(nn.Module):
    """Candidate A: a DCT context, and latents of a learned transform coded given it."""

    def __init__(self, options: Options):
        super().__init__()
        self.options, self.pressure, size = options, 1.0, LATENTS // options.groups
        self.analysis, self.synthesis = Analysis(options), Synthesis(options)
        self.prior_context = MaskedPrior(list(BANDS[:4]), 96, 1) if options.context else None
        groups = [slice(i, i + size) for i in range(0, LATENTS, size)]
        self.prior_latents = MaskedPrior(groups, 96, options.prior_blocks, CONTEXT)
        self.conditioning = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), _zeroed(nn.Linear(32, LATENTS)))

    def forward(self, original: Tensor, steps: Tensor) -> Coded:
        log_step, planes = torch.log(steps), rgb_to_ycbcr(original) * INPUT_GAIN
        step = steps[:, None, None, None] * (self.options.context or 1.0)
        symbols = quantise(analyse(original), step)
        symbols[:, CONTEXT if self.options.context else 0 :] = 0
        image, symbols = synthesise(dequantise(symbols, step)) * INPUT_GAIN, symbols[:, :CONTEXT]
        gain = torch.exp(self.conditioning((log_step - math.log(50.0))[:, None]) - log_step[:, None])[:, :, None, None] / INPUT_GAIN
        latents = self.analysis(planes, image, log_step).float() * gain
        rounded, noisy = _rounded(latents), latents + torch.rand_like(latents) - 0.5
        kind = self.options.quantisation if self.training else "ste"
        seen, target = (noisy if kind == "noise" else rounded), (rounded if kind == "ste" else noisy)
        picture = ycbcr_to_rgb(self.synthesis(seen / gain, image, log_step).float() / INPUT_GAIN)
        felt = [x.detach().lerp(x, self.pressure) for x in (seen, target)]
        context_bits = self.prior_context(symbols, symbols, log_step) if self.prior_context else torch.zeros_like(steps)
        return Coded(picture, context_bits + self.prior_latents(*felt, log_step, symbols), context_bits)


def _rounded(x: Tensor) -> Tensor:
    return x + (torch.floor(x + 0.5) - x).detach()


def _zeroed(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def dct_layer(inverse: bool) -> nn.Conv2d:
    """The lowest frequencies of a 16x16 DCT, 80 of luma and 24 of each chroma, from or to pixel_unshuffle's channels."""
    basis, order = dct_basis(16, torch.device("cpu")), sorted((u + v, u, v) for u in range(16) for v in range(16))
    rows = torch.zeros(LATENTS, 3, 256)
    wanted = [(plane, u, v) for plane, count in ((0, 80), (1, 24), (2, 24)) for _, u, v in order[:count]]
    for row, (plane, u, v) in zip(rows, wanted, strict=True):
        row[plane] = torch.outer(basis[u], basis[v]).flatten()
    weight = rows.flatten(1).T if inverse else rows.flatten(1)
    layer = nn.Conv2d(*weight.T.shape, 1, bias=False)
    layer.weight.data.copy_(weight[:, :, None, None])
    return layer


@torch.no_grad()
def evaluate(model: nn.Module, pictures: Tensor) -> dict[str, dict[str, float]]:
    """Figures of held-out images at each quality: bits are code lengths of the float prior, images are rounded."""
    model.eval()
    figures = {}
    for step in VALIDATION_STEPS:
        with torch.autocast("cpu", torch.bfloat16):
            coded = model(pictures.float(), torch.full((len(pictures),), step))
        mse = (coded.picture.clamp(0, 255).round() - pictures.float()).square().mean((1, 2, 3))
        row = {"bpp": coded.bits.sum().item() * 3 / pictures.numel(), "mse": mse.mean().item()}
        row |= {"psnr": (10 * torch.log10(255**2 / mse)).mean().item(), "J": row["bpp"] + SLOPE / step**2 * row["mse"]}
        figures[f"{step:g}"] = row | {"context share": (coded.context_bits.sum() / coded.bits.sum()).item()}
    model.train()
    return figures


def multiply_adds(model: nn.Module, pictures: Tensor) -> dict[str, float]:
    """Multiply-adds a pixel of one pass: of analysis, prior, synthesis and all together."""
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        model(pictures.float(), torch.full((len(pictures),), 50.0))
    parts = {name: sum(counts.values()) * 3 / 2 / pictures.numel() for name, counts in counter.get_flop_counts().items()}
    prior = sum(work for name, work in parts.items() if name.split(".")[1:] in (["prior"], ["prior_context"], ["prior_latents"]))
    synthesis = sum(work for name, work in parts.items() if name.split(".")[1:] == ["synthesis"])
    total = parts["Global"]
    return {"analysis": total - prior - synthesis, "prior": prior, "synthesis": synthesis, "total": total}


def train(options: Options, budget: float, crops: Photos, held_out: Tensor) -> dict[str, object]:
    """One trial: its row of the results."""
    torch.manual_seed(options.seed)
    model = (TransformA if options.candidate == "A" else TransformC)(options).to(memory_format=torch.channels_last)
    trained, operations = multiply_adds(model, crops.batch(BATCH))["total"], multiply_adds(model.eval(), held_out[:1])
    average, pixels = copy.deepcopy(model.train()), BATCH * CROP**2
    steps = round(options.length * budget / (6 * trained * pixels))
    optimiser = Optimiser(model, RATE, adam_only=("reveal", "conditioning", "input", "head", "skip", "linear"))
    curve, figures, started, processor = [], {}, time.monotonic(), time.process_time()
    for step in range(steps):
        train_step(model, optimiser, crops, options, step, step / steps)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 10 / (step + 11))
        if step + 1 in {round(fraction * steps) for fraction in FRACTIONS}:
            figures = evaluate(average, held_out)
            curve.append({"pixels": (step + 1) * pixels, "J": mean_cost(figures)})
            print(f"  step {step + 1} of {steps}: J {curve[-1]['J']:.4f}, {time.monotonic() - started:.0f} s", flush=True)
    figures = figures or evaluate(average, held_out)
    row = {"options": asdict(options), "budget": options.length * budget}
    row |= {"MACs a pixel": operations, "MACs a pixel trained": trained}
    row |= {"steps": steps, "crops": steps * BATCH, "pixels": steps * pixels, "seconds": time.monotonic() - started}
    row |= {"cpu seconds": time.process_time() - processor, "J": mean_cost(figures), "b": slope(curve), "curve": curve}
    return row | {"qualities": figures}


def train_step(model: nn.Module, optimiser: Optimiser, crops: Photos, options: Options, step: int, fraction: float) -> None:
    """One step on the mean cost of a batch, each image's times quality / 50 so that all qualities weigh about alike."""
    torch.manual_seed(10**6 * (options.seed + 1) + step)  # the same crops and qualities for every trial
    original, qualities = crops.batch(BATCH).float(), random_steps(BATCH)
    for group in optimiser.param_groups:
        group["lr"] = RATE * min(1.0, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * fraction)) / 2
    if options.rising:
        model.pressure = min(1.0, max(0.0, (fraction - 0.2) / 0.4))
    with torch.autocast("cpu", torch.bfloat16):
        coded = model(original, qualities)
    mse = (coded.picture - original).square().mean((1, 2, 3))
    optimiser.zero_grad()
    ((coded.bits / CROP**2 + SLOPE * mse / qualities**2) * qualities / 50).mean().backward()
    optimiser.step()


def mean_cost(figures: dict[str, dict[str, float]]) -> float:
    return sum(row["J"] for row in figures.values()) / len(figures)


def slope(curve: list[dict[str, float]]) -> float | None:
    """b of the least-squares fit J = a * pixels^-b to a curve, if there is one."""
    if len({point["pixels"] for point in curve}) < 2:
        return None
    x, y = (torch.tensor([math.log(point[name]) for point in curve], dtype=torch.float64) for name in ("pixels", "J"))
    return -((x - x.mean()) * (y - y.mean())).sum().item() / (x - x.mean()).square().sum().item()


@click.command()
@click.argument("trials", nargs=-1, required=True, type=click.Choice(list(TRIALS)))
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder with bsds/ and other JPEGs.")
@click.option("--budget", type=float, default=6e12, show_default=True, help="Floating-point operations of a trial's training.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Put each trial's row into this file.")
def main(trials: tuple[str, ...], photos: Path, budget: float, json_path: Path | None) -> None:
    """Train and measure trials, one after the other, on one thread."""
    torch.set_num_threads(1)
    training, held_out = photo_files(photos)
    crops = Photos(training, CROP)
    pictures = centre_crops(held_out[:: len(held_out) // VALIDATION[0]], VALIDATION[1], VALIDATION[1])
    for name in trials:
        print(name, flush=True)
        row = train(TRIALS[name], budget, crops, pictures) | {"machine": machine.describe()}
        if json_path:
            known = json.loads(json_path.read_text()) if json_path.exists() else {}
            json_path.write_text(json.dumps(known | {name: row}, indent=1) + "\n")


if __name__ == "__main__":
    main()
