"""Training of prior and decoder together, on the symbols that an encoder would send.

The analysis has no weights of its own. Symbols are rounded coefficients, and of a share of the crops the moves of the default
effort have been made (`rounding.py`), for the image that this very decoder paints.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from dctcodec.bands.config import BandsConfig, BandsShape
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.prior import PriorNetwork
from dctcodec.data.photographs import figures_of_sets, training_photos
from dctcodec.modules import channels_last
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
    symbols, partition = prior.mixed_symbols_of(original, steps, model.prior.kinds, model.decoder, chosen)
    rate = prior.objective(model.prior, symbols, steps, reveals, partition)
    return rate + decoder.distortion(model.decoder, original, symbols, steps, partition=partition)


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
    if settings.start:
        decoder.begin_rounding(model.decoder, crops)
    optimiser = prior.optimiser_of(model.prior, settings.learning_rate)
    for group in decoder.optimiser_of(model.decoder, settings.learning_rate).param_groups:
        optimiser.add_param_group(group)

    def validate(average: PriorAndDecoder) -> dict[str, float]:
        def figures(images: Tensor) -> dict[str, float]:
            painter = average.decoder if options.chosen else None
            return prior.code_lengths(average.prior, images, painter) | decoder.gains(average.decoder, images, moved=bool(painter))

        return figures_of_sets(figures, validation)

    return train(model, optimiser, lambda m, b, _: loss(m, b, options.chosen, options.reveals), validate, crops.batch, settings)
