"""Training of prior and decoder together, on the symbols that an encoder, with effort or without, would send.

The analysis has no weights of its own. Symbols are rounded coefficients, and of a share of the crops one round of
`refine.py`'s moves has been made: along the gradient of this very decoder, by the code lengths of this very prior.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dctcodec import configuration
from dctcodec.bands.decoder import Decoder, DecoderShape
from dctcodec.bands.forecast import ForecastShape
from dctcodec.bands.order import REVEALS
from dctcodec.bands.prior import PriorNetwork, PriorShape, checkerboard, tiles_of
from dctcodec.bands.rdo import BITS_WEIGHT, energy, helpful_moves
from dctcodec.bands.transform import analyse, quantise, relative_step
from dctcodec.configuration import check_names, make
from dctcodec.data.photographs import Photos, figures_of_sets, held_out_sets, photo_files
from dctcodec.errors import ConfigError
from dctcodec.family import DECODER, FLOAT_PRIOR
from dctcodec.search import CURVATURE, SHARE
from dctcodec.train import decoder, prior
from dctcodec.train.checkpoint import load_weights
from dctcodec.train.loop import train
from dctcodec.train.settings import Settings


@dataclass(frozen=True)
class FlagshipShape:
    """Sizes of both networks."""

    prior: PriorShape = PriorShape()
    decoder: DecoderShape = DecoderShape()


@dataclass(frozen=True)
class FlagshipTraining:
    """`crop`: side of a training picture, pixels; `batch`: pictures a step, of all processes; `reveals`: of each picture, that the
    prior learns from; `chosen`: the share of the pictures whose symbols are chosen by a round of effort; `learning_rate`: peak, in
    root mean square a step; `crops` and `latent_crops`: pictures of a whole run and of the decoder's latents after it, 0 where that
    is not said; `prior_steps`: lengths, in steps of 8 pictures, of the runs of the prior alone that follow, each from the weights
    of the one before, and `prior_learning_rate`, their peak."""

    crop: int = 256
    batch: int = 8
    reveals: int = 1
    chosen: float = 0.5
    learning_rate: float = 1e-3
    crops: int = 0
    latent_crops: int = 0
    prior_steps: tuple[int, ...] = ()
    prior_learning_rate: float = 7e-4


@dataclass(frozen=True)
class FlagshipConfig:
    description: str
    shape: FlagshipShape = FlagshipShape()
    training: FlagshipTraining = FlagshipTraining()


def read(path: Path) -> FlagshipConfig:
    """The configuration in a TOML file with the tables [prior], [forecast], [decoder] and [training]. Raises ConfigError."""
    return configuration.read(path, _from_table)


def _from_table(table: dict[str, Any]) -> FlagshipConfig:
    check_names(table, {"description", "prior", "forecast", "decoder", "training"}, "the file")
    parts = dict(table)
    prior_shape = make(PriorShape, parts.pop("prior", {}), "prior")
    if prior_shape.forecast is not None:
        raise ConfigError("[prior] cannot hold forecast: it has a table of its own, [forecast]")
    if "forecast" in parts:
        prior_shape = replace(prior_shape, forecast=make(ForecastShape, parts.pop("forecast"), "forecast"))
    shape = FlagshipShape(prior_shape, make(DecoderShape, parts.pop("decoder", {}), "decoder"))
    for name, values in vars(shape.decoder).items():
        if len(values) != 4:
            raise ConfigError(f"[decoder] {name} = {list(values)} should be four numbers, one for each scale")
    training = make(FlagshipTraining, parts.pop("training", {}), "training")
    if training.chosen > 1:
        raise ConfigError(f"[training] chosen = {training.chosen} should be a share, at most 1")
    return make(FlagshipConfig, parts | {"shape": shape, "training": training}, "the file")


class Flagship(nn.Module):
    """Both networks."""

    def __init__(self, shape: FlagshipShape = FlagshipShape()):
        super().__init__()
        self.shape = shape
        self.prior, self.decoder = PriorNetwork(shape.prior), Decoder(shape.decoder)

    def start(self, model: Path) -> None:
        """Take the weights of an exported model; its prior may have no forecast, its decoder fewer blocks. Raises ModelError."""
        load_weights(model / FLOAT_PRIOR, self.prior, new=("forecast.",))
        decoder.expand_weights(self.decoder, model / DECODER)


def loss(model: Flagship, batch: Tensor, chosen: float, reveals: int) -> Tensor:
    """Rate and distortion of uint8 crops (n, 3, H, W) at random steps. No weight is in both, so their sum trains each alone."""
    steps = prior.random_steps(len(batch)).to(batch.device)
    original = batch.float()
    symbols = quantise(analyse(original), steps[:, None, None, None])
    count = int(chosen * len(batch) + torch.rand(()).item())  # on average, however many processes share a batch
    if count:
        symbols[:count] += round_of_effort(model, original[:count], symbols[:count], steps[:count])
    return prior.objective(model.prior, symbols, steps, reveals) + decoder.distortion(model.decoder, original, symbols, steps)


def round_of_effort(model: Flagship, original: Tensor, symbols: Tensor, steps: Tensor) -> Tensor:
    """Moves of symbols (n, CHANNELS, h, w) that an encoder with this model would make: see `refine.py`."""
    leaf = symbols.detach().requires_grad_()
    with torch.autocast(original.device.type, torch.bfloat16):
        error = (model.decoder(leaf, steps) - original).square().sum()
    (slope,) = torch.autograd.grad(error, leaf)
    column = steps[:, None, None, None]
    curvature = CURVATURE * energy().to(steps.device) * (relative_step(steps.device) * column) ** 2
    moves = helpful_moves(symbols, slope, curvature, BITS_WEIGHT * column**2, *_distributions(model.prior, symbols, steps))
    return moves * (torch.rand_like(moves) < SHARE)


@torch.no_grad()
def _distributions(network: PriorNetwork, symbols: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (in 1/16) and scale index of every symbol, (n, CHANNELS, h, w) each."""
    every = torch.arange(len(REVEALS)).expand(len(symbols), -1)
    with torch.autocast(symbols.device.type, torch.bfloat16):
        outputs = iter(network(symbols, torch.log(steps), every))
    result, board = torch.zeros(2, *symbols.shape, device=symbols.device), checkerboard(*symbols.shape[2:], symbols.device)
    for picture in range(len(symbols)):
        for now in REVEALS:
            part = result[:, picture, now.start : now.stop]
            part.copy_(torch.where(tiles_of(now, board), torch.stack(next(outputs)), part))
    return result[0], result[1]


def train_flagship(config: FlagshipConfig, photos: Path, settings: Settings) -> Flagship:
    """Train (or take up) the flagship on the photographs of a folder; `settings.start` is a model's folder."""
    torch.manual_seed(settings.seed)
    training, held_out = photo_files(photos)
    model = Flagship(config.shape)
    if settings.start:
        model.start(settings.start)
    model = model.to(settings.device)
    model.decoder.to(memory_format=torch.channels_last)
    options = config.training
    crops = Photos(training, options.crop, settings.device)
    validation = {name: pictures.to(settings.device) for name, pictures in held_out_sets(held_out).items()}
    optimiser = prior.optimiser_of(model.prior, settings.learning_rate)
    for group in decoder.optimiser_of(model.decoder, settings.learning_rate).param_groups:
        optimiser.add_param_group(group)

    def validate(average: Flagship) -> dict[str, float]:
        def figures(pictures: Tensor) -> dict[str, float]:
            return prior.code_lengths(average.prior, pictures) | decoder.gains(average.decoder, pictures)

        return figures_of_sets(figures, validation)

    return train(model, optimiser, lambda m, b, _: loss(m, b, options.chosen, options.reveals), validate, crops.batch, settings)
