"""Training of the decoder: squared error of the image, or MS-SSIM and SSIMULACRA2, at random steps."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dctcodec.bands.config import BandsConfig
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.transform import dequantise, synthesise
from dctcodec.data.photographs import Photos, figures_of_sets, training_photos
from dctcodec.device import training_precision
from dctcodec.exact.byte_layers import Bytes, corrected, measured
from dctcodec.family import TUNES
from dctcodec.metrics import log_dissimilarity, log_ssimulacra2_error, ms_ssim_db
from dctcodec.modules import channels_last
from dctcodec.tiles import ycbcr_to_rgb
from dctcodec.train.checkpoint import load_weights, read_weights
from dctcodec.train.loop import train
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.prior import VALIDATION_STEPS, mixed_symbols_of, random_steps, symbols_of
from dctcodec.train.settings import Settings

TUNED_SHARE = 0.4
"""Of ln(1 - MS-SSIM), and as much of the logarithm of SSIMULACRA2's error, in the loss of a decoder tuned for them; the rest is
ln MSE, which keeps colours and brightness."""
MEASURED = 64
"""Crops that units are measured on."""
LARGEST_GRADIENT = 1e6
"""A step is not taken where MS-SSIM has no gradient: a structure that is as if inverted has similarity 0 to a root."""


def loss(model: Decoder, batch: Tensor, tune: str = TUNES[0], chosen: float = 0.0) -> Tensor:
    """`distortion` of uint8 crops (n, 3, H, W) at random steps; of a share `chosen` with symbols of the default effort."""
    steps = random_steps(len(batch)).to(batch.device)
    original = batch.float()
    symbols, partition = mixed_symbols_of(original, steps, model.kinds, model, chosen, tune != TUNES[0])
    return distortion(model, original, symbols, steps, tune, partition)


def distortion(
    model: Decoder, original: Tensor, symbols: Tensor, steps: Tensor, tune: str = TUNES[0], partition: Tensor | None = None
) -> Tensor:
    """Mean over images (n, 3, H, W) of ln MSE, so that every step weighs alike; for "ms-ssim" mostly of what
    MS-SSIM and SSIMULACRA2 see."""
    with training_precision(original.device):
        painted = model(symbols, steps, partition=partition)
    squared = torch.log((painted - original).square().mean((1, 2, 3)) + 0.5).mean()
    if tune == TUNES[0]:
        return squared
    seen = log_dissimilarity(painted, original) + log_ssimulacra2_error(original, painted)
    return (1 - 2 * TUNED_SHARE) * squared + TUNED_SHARE * seen.mean()


@torch.no_grad()
def gains(
    model: Decoder, images: Tensor, tuned: bool = False, moved: bool = False, steps: tuple[float, ...] = VALIDATION_STEPS
) -> dict[str, float]:
    """PSNR in dB of uint8 (n, 3, H, W) images at each step, and its gain over the plain inverse DCT; for a model `tuned` for
    it MS-SSIM in dB. `moved`: of symbols of the default effort, not of effort 0."""
    figures = {}
    for step in steps:
        total = plain = similarity = 0.0
        for image in images:
            original = image[None].float()
            steps_of = torch.full((1,), step, device=original.device)
            symbols, partition = symbols_of(original, steps_of, model.kinds, model if moved else None, tuned)
            painted = model(symbols, steps_of, partition=partition)
            total += _psnr(painted, original)
            if tuned:
                similarity += ms_ssim_db(1 - log_dissimilarity(painted.clamp(0, 255).round(), original).exp().item())
            plain += _psnr(ycbcr_to_rgb(synthesise(dequantise(symbols, step, partition), partition)), original)
        figures[f"psnr@{step:g}"] = total / len(images)
        figures[f"gain@{step:g}"] = (total - plain) / len(images)
        if tuned:
            figures[f"ms-ssim@{step:g}"] = similarity / len(images)
    return figures


def _psnr(image: Tensor, original: Tensor) -> float:
    error = (image.clamp(0, 255).round() - original).square().mean()
    return 10 * torch.log10(255**2 / error).item()


def optimiser_of(model: Decoder, rate: float) -> Optimiser:
    return Optimiser(model, rate, adam_only=("conditioning", "partition"))


def expand_weights(network: Decoder, path: Path) -> None:
    """Load the weights of a decoder that may have fewer residual blocks at the end of each scale: new ones begin as the identity.
    It may have no kinds of blocks: what is told of them begins at 0. Raises ModelError."""
    load_weights(path, network, "decoder", new=("scales.", "entering.", "paint.unit"))
    with torch.no_grad():
        known = read_weights(path, "decoder").keys()
        for name, parameter in network.named_parameters():
            if ".second." in name and name not in known:
                parameter.zero_()


def begin_rounding(model: Decoder, crops: Photos) -> None:
    """Choose the units of a decoder's bytes for the values that it has on photographs, and correct its biases for their rounding,
    unless the units have been chosen."""
    if all(layer.is_measured for layer in model.modules() if isinstance(layer, Bytes)):
        return
    batch = crops.batch(MEASURED).float()
    steps = random_steps(len(batch)).to(batch.device)
    symbols, partition = symbols_of(batch, steps, model.kinds)
    for change in (measured, corrected):
        change(model, lambda: model(symbols, steps, partition=partition))


def train_decoder(config: BandsConfig, photos: Path, settings: Settings, tune: str = TUNES[0]) -> Decoder:
    """Train (or take up) the mean path of a decoder on the photographs of a folder. It may start from one of fewer blocks."""
    tuned = tune != TUNES[0]
    if tuned:
        settings = replace(settings, skip=LARGEST_GRADIENT)
    torch.manual_seed(settings.seed)
    model = Decoder(config.shape.decoder, config.shape.kinds)
    if settings.start:
        expand_weights(model, settings.start)
    model = channels_last(model, settings.device)
    crops, validation = training_photos(photos, config.training.crop, settings.device)
    if settings.start:
        begin_rounding(model, crops)
    optimiser, chosen = optimiser_of(model, settings.learning_rate), config.training.chosen

    def validate(average: Decoder) -> dict[str, float]:
        return figures_of_sets(lambda images: gains(average, images, tuned, chosen > 0), validation)

    return train(model, optimiser, lambda m, b, _: loss(m, b, tune, chosen), validate, crops.batch, settings)
