"""Models that nobody trained, with adaptive blocks and without, whose layers all say something, and an image for blocks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dctcodec import Codec, installed
from dctcodec.bands import blocks
from dctcodec.bands.config import BandsConfig, BandsShape
from dctcodec.bands.decoder import Decoder, DecoderShape
from dctcodec.bands.forecast import ForecastShape
from dctcodec.bands.prior import PriorNetwork, PriorShape
from dctcodec.train.checkpoint import AVERAGE
from dctcodec.train.export import export_bands

SMALL = PriorShape(width=16, blocks=1, forecast=ForecastShape(width=8, coarse=1, fine=1))
PLAIN = PriorShape(width=16, blocks=1)
"""Without a forecast."""
NARROW = DecoderShape(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1))


def small_prior(kinds: tuple[int, ...], seed: int = 0, shape: PriorShape = SMALL) -> PriorNetwork:
    torch.manual_seed(seed)
    made = PriorNetwork(shape, kinds)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if any(word in name for word in ("partition", "skip", "paint", "pool")):
                parameter.normal_(0, 0.05)
    return made


def small_decoder(shape: DecoderShape, kinds: tuple[int, ...]) -> Decoder:
    made = Decoder(shape, kinds)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if any(word in name for word in ("partition", "paint", "latent")):
                parameter.normal_(0, 0.05)
    return made


def small_codec(folder: Path, names: tuple[str, ...], prior: PriorShape = SMALL, decoder: DecoderShape = NARROW) -> Codec:
    """A codec of the model `tiny`, with blocks of the sizes `names`, if any, which it makes in a folder."""
    config, kinds = BandsConfig("small", BandsShape(prior, decoder, names)), blocks.kinds_of(names)
    for name, model in (("prior", small_prior(kinds, shape=prior)), ("decoder", small_decoder(decoder, kinds))):
        tensors = {AVERAGE + key: tensor.contiguous() for key, tensor in model.state_dict().items()}
        save_file(tensors, folder / f"{name}.safetensors")
    export_bands(folder / "models" / "tiny", config, folder / "prior.safetensors", folder / "decoder.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed, "_PLACES", (folder / "models",))
        return Codec("tiny", "cpu")


def edges(height: int, width: int) -> torch.Tensor:
    """RGB (1, 3, height, width): a gradient on the left half, small black boxes on white on the right one."""
    random = np.random.default_rng(0)
    levels = np.tile(np.arange(width) * 0.5, (height, 1))
    levels[:, width // 2 :] = 255
    for _ in range(height * width // 500):
        top, left = random.integers(height), random.integers(width // 2, width)
        levels[top : top + random.integers(2, 9), left : left + random.integers(2, 9)] = 0
    return torch.from_numpy(levels.astype(np.float32)).expand(1, 3, -1, -1).contiguous()


def picture_of_edges(height: int, width: int) -> Image.Image:
    """`edges` with the noise of a photograph: without it the tiles would be patched (`flat.py`)."""
    noise = np.random.default_rng(1).integers(-6, 7, (height, width, 3))
    pixels = 0.9 * edges(height, width)[0].permute(1, 2, 0).numpy() + 10 + noise
    return Image.fromarray(pixels.astype(np.uint8))
