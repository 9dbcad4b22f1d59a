"""Whole images through the paper's models on torch, without a file: what figure 9 shows beside the codec."""

import torch
from torch import Tensor

from dctcodec.errors import ModelError
from dctcodec.vae.model import PaperModel
from dctcodec.vae.network import HierarchicalVae
from dctcodec.vae.noise import tile_noise
from dctcodec.vae.tiling import image_of, tiles_of

CHUNK = 32
"""Tiles that are painted together."""


def reconstruct_top(model: HierarchicalVae, rgb: Tensor, given: int, temperature: float, seed: int) -> tuple[Tensor, float]:
    """An image from the top `given` latents of the VAE baseline, as figure 9 shows it.

    `rgb`: float32 (3, H, W) in [0, 255]. The latents are drawn from their posteriors, the others from the prior at `temperature`.
    Returns RGB (3, at least H, at least W) and the latents' KL in nats: they are continuous, so there is no file.
    """
    tiles, size = tiles_of(rgb / 255), (rgb.shape[2], rgb.shape[1])
    images, nats = [], 0.0
    for start, part in zip(range(0, len(tiles), CHUNK), tiles.split(CHUNK), strict=True):
        noise = tile_noise(range(start, start + len(part)), seed, rgb.device)
        parameters, latents = model.top_down(None, len(part), model.encoder(part), temperature, noise, given)
        images.append(model.likelihood.mean(parameters))
        nats += sum(latent.divergence().sum().item() for latent in latents[:given])
    return image_of(torch.cat(images), size) * 255, nats


def reconstruct_context(model: PaperModel, rgb: Tensor, temperature: float, seed: int) -> tuple[Tensor, Tensor, float]:
    """An image from the context of a DCT-VAE, which need not be a codec.

    `rgb`: float32 (3, H, W) in [0, 255]. Latents are drawn from the prior at `temperature`. Returns two images RGB (3, at least H,
    at least W), the VAE's and what the context alone shows, and -L_vlb of the context in nats. Raises ModelError for the VAE."""
    context, prior = model.context, model.prior
    if context is None or prior is None:
        raise ModelError("the model has no context: give a DCT-VAE")
    tiles, size = tiles_of(rgb / 255), (rgb.shape[2], rgb.shape[1])
    painted, bare, nats = [], [], 0.0
    for start, part in zip(range(0, len(tiles), CHUNK), tiles.split(CHUNK), strict=True):
        symbols = context.symbols(part)
        noise = tile_noise(range(start, start + len(part)), seed, rgb.device)
        bare.append(context.image(symbols))
        painted.append(model.vae.generate(bare[-1], len(part), temperature, noise))
        nats += prior.vlb(symbols).sum().item()
    return image_of(torch.cat(painted), size) * 255, image_of(torch.cat(bare), size) * 255, nats
