"""Training of the prior: code length of the symbols at random steps, a few random reveals of each image.

Its forecast learns from the code lengths of a band's few symbols that are not zero only once it is of some use. So the squared
error of all that it paints and that is not yet known is a second loss.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dctcodec.bands import coder, masking, rounding
from dctcodec.bands.choice import choose
from dctcodec.bands.config import BandsConfig
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.forecast import Forecasts, known_before
from dctcodec.bands.order import BANDS, REVEALS
from dctcodec.bands.parity import blocks_of
from dctcodec.bands.prior import PriorNetwork, code_bits
from dctcodec.bands.transform import analyse, quantise
from dctcodec.bands.trellis import Draft, settled
from dctcodec.bands.units import checkerboard, tiles_of
from dctcodec.data.photographs import figures_of_sets, training_photos
from dctcodec.device import training_precision
from dctcodec.errors import ConfigError
from dctcodec.modules import channels_last
from dctcodec.tiles import TILE
from dctcodec.train.checkpoint import load_weights, read_weights
from dctcodec.train.loop import train
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.settings import Settings

STEP_RANGE = (10.0, 230.0)
"""Steps are drawn log-uniformly between these."""
ADAM_ONLY = ("partition", "reveal", "conditioning", "input", "head", "skip", "coarse", "up", "fine", "paint", "pool")
"""Layers of the prior that Muon does not train."""
ENERGY_FLOOR = 0.3
"""Mean square of a channel, below which its errors no longer weigh more."""
VALIDATION_STEPS = (24.0, 50.0, 110.0)


def random_steps(count: int) -> Tensor:
    """(count,) steps, log-uniform over STEP_RANGE, one from each of `count` equal parts, shuffled."""
    low, high = (math.log(s) for s in STEP_RANGE)
    return torch.exp(low + (high - low) * (torch.randperm(count) + torch.rand(count)) / count)


def random_reveals(images: int, each: int) -> Tensor:
    """int64 (images, each): every reveal about equally often."""
    rounds = -(-images * each // len(REVEALS))
    drawn = torch.cat([torch.randperm(len(REVEALS)) for _ in range(rounds)])[: images * each]
    return drawn[torch.randperm(len(drawn))].reshape(images, each)


def reveal_bits(symbols: Tensor, reveal: int, mean: Tensor, scale: Tensor) -> Tensor:
    """Code length in bits of the symbols (CHANNELS, h, w) that one reveal sends, a scalar."""
    now = REVEALS[reveal]
    bits = code_bits(symbols[now.start : now.stop], mean, scale)
    _, height, width = bits.shape
    return (bits * tiles_of(now, checkerboard(height, width, bits.device))).sum()


def loss(model: PriorNetwork, batch: Tensor, reveals: int, painter: Decoder | None = None, chosen: float = 0.0) -> Tensor:
    """`objective` of the symbols of uint8 crops (n, 3, H, W) at random steps; `painter`, `chosen`: as for `mixed_symbols_of`."""
    steps = random_steps(len(batch)).to(batch.device)
    symbols, partition = mixed_symbols_of(batch.float(), steps, model.kinds, painter, chosen)
    return objective(model, symbols, steps, reveals, partition)


def mixed_symbols_of(
    rgb: Tensor, steps: Tensor, kinds: tuple[int, ...], painter: Decoder | None, chosen: float, tuned: bool = False
) -> tuple[Tensor, Tensor | None]:
    """`symbols_of`, with the painter for a share `chosen` of the images."""
    symbols, partition = symbols_of(rgb, steps, kinds, tuned=tuned)
    count = int(chosen * len(rgb) + torch.rand(()).item()) if chosen else 0  # on average, however many processes share a batch
    if count and painter is not None:
        told = None if partition is None else partition[:count]
        symbols[:count] += moves(painter, rgb[:count], symbols[:count], steps[:count], told, tuned)
    return symbols, partition


def symbols_of(
    rgb: Tensor, steps: Tensor, kinds: tuple[int, ...], painter: Decoder | None = None, tuned: bool = False
) -> tuple[Tensor, Tensor | None]:
    """What an encoder makes of images (n, 3, H, W), whole tiles, at their steps (n,): symbols (n, CHANNELS, h, w), and the
    partitions (n, 4, h, w), None where a model has no kinds of blocks. Without a decoder as `painter`, that of effort 0; `tuned`:
    for MS-SSIM, partitions (n, 5, h, w)."""
    index = _step_index(rgb, steps) if tuned else None
    partition = choose(rgb, steps, kinds, index) if kinds else None
    symbols = quantise(analyse(rgb, partition), steps[:, None, None, None], partition)
    return symbols if painter is None else symbols + moves(painter, rgb, symbols, steps, partition, tuned), partition


@torch.no_grad()
def moves(
    painter: Decoder, rgb: Tensor, symbols: Tensor, steps: Tensor, partition: Tensor | None = None, tuned: bool = False
) -> Tensor:
    """Moves of the symbols (n, CHANNELS, h, w) of images that an encoder with this decoder makes at the default effort, about: it
    has the prior's distributions for the last round, which are not known here. `tuned`: for MS-SSIM."""
    curvature, moved = rounding.curvatures(steps, steps.device, partition).expand_as(symbols), symbols
    seen = _seen(rgb, symbols, curvature, steps, partition) if tuned else torch.ones((), device=steps.device)
    for left in reversed(range(rounding.ROUNDS)):
        with training_precision(rgb.device):
            painted = painter(moved, steps, partition=partition)
        slope = rounding.slopes(painted.float() - rgb, steps, partition) * seen
        if left:
            moved = moved + rounding.moves(moved, slope, curvature * seen, steps)
        else:
            moved = _settled(moved, slope, rounding.SETTLING_CURVATURE * curvature * seen, steps)
    return moved - symbols


def _seen(rgb: Tensor, symbols: Tensor, curvature: Tensor, steps: Tensor, partition: Tensor | None) -> Tensor:
    """`masking.weights` of each image's rounded symbols."""
    slope = rounding.slopes_of_rounding(symbols, analyse(rgb, partition), steps, partition)
    images = zip(*(values.cpu().numpy() for values in (rgb, slope, curvature)), strict=True)
    found = [masking.weights(masking.seen(pixels), *tells) for pixels, *tells in images]
    return torch.from_numpy(np.stack(found)).to(symbols)


def _step_index(rgb: Tensor, steps: Tensor) -> Tensor:
    """`masking.step_index` of images, int64 (n, h, w)."""
    images = zip(rgb.cpu().numpy(), steps.tolist(), strict=True)
    return torch.from_numpy(np.stack([masking.step_index(masking.seen(pixels), step) for pixels, step in images])).to(rgb.device)


def _settled(symbols: Tensor, slope: Tensor, curvature: Tensor, steps: Tensor) -> Tensor:
    """Symbols after the last round, with implied parities, as if all that an image has were one part, with means of 0 and the
    scales that magnitudes around tell."""
    flat = (values.flatten(1).cpu().numpy() for values in (rounding.scale_index(symbols), symbols.int(), slope, curvature))
    found, tables = [], _tables()
    for step, scale, *values in zip(steps.tolist(), *flat, strict=True):
        centre, keys = tables.split(0 * scale, scale)
        draft = Draft(values[0], values[1], values[2], rounding.BITS_WEIGHT * step**2)
        found.append(settled(draft, np.arange(len(keys)), centre, keys, tables, blocks_of(tables.openness[keys])))
    return torch.from_numpy(np.stack(found)).reshape(symbols.shape).to(symbols)


@cache
def _tables() -> coder.Tables:
    return coder.Tables(**coder.tables_of_prior())


def objective(model: PriorNetwork, symbols: Tensor, steps: Tensor, each: int, partition: Tensor | None = None) -> Tensor:
    """Estimate, from `each` random reveals of each image, of the bits a pixel of symbols (n, CHANNELS, h, w), times step / 50 so
    that all qualities weigh about alike; and the error of the forecasts, where the model makes them."""
    reveals = random_reveals(len(symbols), each)
    with training_precision(symbols.device):
        forecasts = model.forecasts(symbols, torch.log(steps), reveals, partition)
        outputs = model(symbols, torch.log(steps), reveals, forecasts, partition)
    total = symbols.new_zeros(())
    for number, (output, reveal) in enumerate(zip(outputs, reveals.flatten().tolist(), strict=True)):
        image = number // each
        total = total + reveal_bits(symbols[image], reveal, *output) * steps[image] / 50
    if forecasts:
        total = total + forecast_error(forecasts, symbols, steps)
    pixels = symbols.shape[0] * symbols.shape[2] * symbols.shape[3] * TILE**2
    total = total * len(REVEALS) / each / pixels
    if not model.partition or partition is None:
        return total
    return total + model.partition.code.bits(partition, steps) / pixels


def forecast_error(forecasts: Forecasts, symbols: Tensor, steps: Tensor) -> Tensor:
    """Squared error of all that is painted and not yet known, less that of painting nothing, in the scale of bits: each channel's
    over its mean square, times step / 50."""
    known = known_before(torch.ones_like(symbols[forecasts.images]), forecasts.bands)
    truth = symbols[forecasts.images]
    weight = steps[forecasts.images, None, None, None] / 50 / (truth.square().mean((2, 3), keepdim=True) + ENERGY_FLOOR)
    return (forecasts.painted * (forecasts.painted - 2 * truth) * weight * (1 - known)).sum() / len(BANDS)


@torch.no_grad()
def code_lengths(
    model: PriorNetwork, images: Tensor, painter: Decoder | None = None, steps: tuple[float, ...] = VALIDATION_STEPS
) -> dict[str, float]:
    """Bits a pixel of uint8 (n, 3, H, W) images under the float model at each step; `painter`: as for `symbols_of`."""
    figures = {}
    for step in steps:
        total = side = 0.0
        for image in images:
            steps_of = torch.full((1,), step, device=image.device)
            symbols, partition = symbols_of(image[None].float(), steps_of, model.kinds, painter)
            outputs = model(symbols, torch.log(steps_of), torch.arange(len(REVEALS))[None], partition=partition)
            total += sum(reveal_bits(symbols[0], r, *output).item() for r, output in enumerate(outputs))
            if model.partition and partition is not None:
                side += model.partition.code.bits(partition, steps_of).item()
        figures[f"bpp@{step:g}"] = (total + side) / (images.numel() / 3)
        if model.partition:
            figures[f"partition@{step:g}"] = side / (images.numel() / 3)
    return figures


def optimiser_of(model: PriorNetwork, rate: float) -> Optimiser:
    # in races of 3 minutes Muon on all matrices lost to Adam, and to Muon on the trunk alone; the last two never ran equal steps
    return Optimiser(model, rate, 1 / 3, adam_only=ADAM_ONLY)


def expand_prior(network: PriorNetwork, path: Path) -> None:
    """Load the weights of a prior that may have no forecast, and no kinds of blocks: what is told of them begins at 0, and the
    symbols of each kind begin with the one `skip` that there is. Raises ModelError."""
    load_weights(path, network, "prior", new=("forecast.", "partition."))
    if network.partition and "partition.planes.weight" not in read_weights(path, "prior"):
        for skip in network.partition.skips:
            skip.load_state_dict(network.skip.state_dict())


def train_prior(config: BandsConfig, photos: Path, settings: Settings, forecast_alone: bool = False) -> PriorNetwork:
    """Train (or take up) a prior, or its forecast alone, on the photographs of a folder. It may start from one that has none."""
    torch.manual_seed(settings.seed)
    model = PriorNetwork(config.shape.prior, config.shape.kinds)
    if settings.start:
        expand_prior(model, settings.start)
    model.requires_grad_(not forecast_alone)
    if model.forecast:
        model.forecast.requires_grad_()
    model = model.to(settings.device)
    crops, validation = training_photos(photos, config.training.crop, settings.device)
    optimiser, options = optimiser_of(model, settings.learning_rate), config.training
    painter = _painter(config, settings) if options.chosen else None

    def validate(average: PriorNetwork) -> dict[str, float]:
        return figures_of_sets(lambda images: code_lengths(average, images, painter), validation)

    def loss_of(model: PriorNetwork, batch: Tensor, _: Tensor) -> Tensor:
        return loss(model, batch, options.reveals, painter, options.chosen)

    return train(model, optimiser, loss_of, validate, crops.batch, settings)


def _painter(config: BandsConfig, settings: Settings) -> Decoder:
    """The decoder by whose image symbols are moved. Raises ConfigError where the stage names none."""
    if not settings.painter:
        raise ConfigError("chosen is the share of images that a decoder paints: give its stage or file as painter")
    decoder = load_weights(settings.painter, Decoder(config.shape.decoder, config.shape.kinds), "decoder")
    return channels_last(decoder.requires_grad_(False), settings.device)
