"""Training of prior and decoder together, on the symbols that an encoder, with effort or without, would send.

The analysis has no weights of its own. Symbols are rounded coefficients, and of a share of the crops one round of
`rdo.py`'s moves has been made: along the gradient of this very decoder, by the code lengths of this very prior.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from dctcodec.bands.config import BandsConfig, BandsShape
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.order import REVEALS
from dctcodec.bands.prior import PriorNetwork
from dctcodec.bands.rdo import BITS_WEIGHT, energy, helpful_moves
from dctcodec.bands.transform import relative_step
from dctcodec.bands.units import checkerboard, tiles_of
from dctcodec.data.photographs import figures_of_sets, training_photos
from dctcodec.device import training_precision
from dctcodec.modules import channels_last
from dctcodec.search import CURVATURE, SHARE
from dctcodec.train import decoder, prior
from dctcodec.train.loop import train
from dctcodec.train.settings import Settings


class PriorAndDecoder(nn.Module):
    """Both networks."""

    def __init__(self, shape: BandsShape):
        super().__init__()
        self.shape = shape
        self.prior, self.decoder = PriorNetwork(shape.prior, shape.kinds), Decoder(shape.decoder, shape.kinds)


def loss(model: PriorAndDecoder, batch: Tensor, chosen: float, reveals: int) -> Tensor:
    """Rate and distortion of uint8 crops (n, 3, H, W) at random steps. No weight is in both, so their sum trains each alone."""
    steps = prior.random_steps(len(batch)).to(batch.device)
    original = batch.float()
    symbols, partition = prior.symbols_of(original, steps, model.prior.kinds)
    count = int(chosen * len(batch) + torch.rand(()).item())  # on average, however many processes share a batch
    if count:
        told = None if partition is None else partition[:count]
        symbols[:count] += round_of_effort(model, original[:count], symbols[:count], steps[:count], told)
    rate = prior.objective(model.prior, symbols, steps, reveals, partition)
    return rate + decoder.distortion(model.decoder, original, symbols, steps, partition=partition)


def round_of_effort(
    model: PriorAndDecoder, original: Tensor, symbols: Tensor, steps: Tensor, partition: Tensor | None = None
) -> Tensor:
    """Moves of symbols (n, CHANNELS, h, w) that an encoder with this model would make: see `rdo.py`."""
    leaf = symbols.detach().requires_grad_()
    with training_precision(original.device):
        error = (model.decoder(leaf, steps, partition=partition) - original).square().sum()
    (slope,) = torch.autograd.grad(error, leaf)
    column = steps[:, None, None, None]
    curvature = CURVATURE * energy().to(steps.device) * (relative_step(steps.device) * column) ** 2
    distributions = _distributions(model.prior, symbols, steps, partition)
    moves = helpful_moves(symbols, slope, curvature, BITS_WEIGHT * column**2, *distributions)
    return moves * (torch.rand_like(moves) < SHARE)


@torch.no_grad()
def _distributions(network: PriorNetwork, symbols: Tensor, steps: Tensor, partition: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean (in 1/16) and scale index of every symbol, (n, CHANNELS, h, w) each."""
    every = torch.arange(len(REVEALS)).expand(len(symbols), -1)
    with training_precision(symbols.device):
        outputs = iter(network(symbols, torch.log(steps), every, partition=partition))
    height, width = symbols.shape[2:]
    result, board = torch.zeros(2, *symbols.shape, device=symbols.device), checkerboard(height, width, symbols.device)
    for picture in range(len(symbols)):
        for now in REVEALS:
            part = result[:, picture, now.start : now.stop]
            part.copy_(torch.where(tiles_of(now, board), torch.stack(next(outputs)), part))
    return result[0], result[1]


def train_joint(config: BandsConfig, photos: Path, settings: Settings) -> PriorAndDecoder:
    """Train (or take up) both networks on the photographs of a folder."""
    torch.manual_seed(settings.seed)
    model = PriorAndDecoder(config.shape)
    if settings.start:
        prior.expand_prior(model.prior, settings.start)
        decoder.expand_weights(model.decoder, settings.start)
    model = model.to(settings.device)
    channels_last(model.decoder)
    options = config.training
    crops, validation = training_photos(photos, options.crop, settings.device)
    optimiser = prior.optimiser_of(model.prior, settings.learning_rate)
    for group in decoder.optimiser_of(model.decoder, settings.learning_rate).param_groups:
        optimiser.add_param_group(group)

    def validate(average: PriorAndDecoder) -> dict[str, float]:
        def figures(images: Tensor) -> dict[str, float]:
            return prior.code_lengths(average.prior, images) | decoder.gains(average.decoder, images)

        return figures_of_sets(figures, validation)

    return train(model, optimiser, lambda m, b, _: loss(m, b, options.chosen, options.reveals), validate, crops.batch, settings)
