"""The paper's models as a codec. Each 32x32 RGB tile is coded alone: the file holds its context, other latents are drawn."""

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from dctcodec.arrays import Place
from dctcodec.errors import ModelError
from dctcodec.exact.planes import arithmetic_for
from dctcodec.family import PRIOR, TUNES, Family, Parameters
from dctcodec.installed import ModelInfo
from dctcodec.progress import Tick
from dctcodec.search import ROUNDS
from dctcodec.tiles import TILE, pad_to_tiles, tiles_across
from dctcodec.vae.bits_back import BitsBackPrior
from dctcodec.vae.exact_diffusion import ExactDiffusion
from dctcodec.vae.files import load_model
from dctcodec.vae.model import PaperModel
from dctcodec.vae.network import HierarchicalVae, Noise
from dctcodec.vae.rdo import TileOptimiser
from dctcodec.vae.tables import GaussianTables

CHUNK = 32
"""Tiles that are decoded together."""


class DctVae(Family):
    """Symbols: int32 (tiles, 3, size, size), row by row of the image."""

    one_quality = True
    bands = 1
    tunes = TUNES[:1]

    def __init__(self, info: ModelInfo, place: Place):
        self.device = device = place or torch.device("cpu")
        self.temperature: float = info.config["temperature"]
        config, model = load_model(info.name, device)
        if model.context is None:
            raise ModelError(f"the model {info.name} has no context to code")
        self.model, self.context = model, model.context
        network = config.shape.network
        if (network.channels, network.side) != (3, TILE):
            raise ModelError(f"the model {info.name} is of {network.side}x{network.side} images, not of {TILE}x{TILE} in colour")
        self.prior = _prior(info, place)
        self.most_effort = len(ROUNDS) - 1 if self.context.choice else 0

    def step16(self, quality: float | None) -> int:
        if quality is not None:
            raise ValueError("the model has one quality: do not pass quality")
        return 0

    @torch.no_grad()
    def symbols(self, rgb: np.ndarray, parameters: Parameters, effort: int, tick: Tick) -> np.ndarray:
        tiles = _tiles(torch.from_numpy(rgb).to(self.device) / 255)
        symbols = self.context.symbols(tiles)
        if effort:
            parts = zip(tiles.split(CHUNK), symbols.split(CHUNK), strict=True)
            symbols = torch.cat([self._refined(*part, ROUNDS[effort], len(tiles), tick) for part in parts])
        return symbols.to("cpu", torch.int32).numpy()

    def _refined(self, tiles: Tensor, symbols: Tensor, rounds: int, all_tiles: int, tick: Tick) -> Tensor:
        share = len(tiles) / all_tiles
        return TileOptimiser(self.model, tiles).optimise(symbols, rounds, lambda part: tick(part * share))

    def encode(self, symbols: np.ndarray, parameters: Parameters, tick: Tick) -> bytes:
        return self.prior.encode(symbols, parameters.seed, tick)

    def decode(self, payload: bytes, size: tuple[int, int], parameters: Parameters, partial: bool, tick: Tick) -> np.ndarray:
        width, height = map(tiles_across, size)
        return self.prior.decode(payload, height * width, parameters.seed, tick)

    def code_length(self, symbols: np.ndarray, parameters: Parameters) -> float:
        """-L_vlb in bits of the noise that the encoder drew."""
        return self.prior.vlb_bits(symbols, parameters.seed)

    def coarse(self, symbols: np.ndarray, bands: int) -> np.ndarray:
        return symbols

    @torch.no_grad()
    def paint(self, symbols: np.ndarray, size: tuple[int, int], parameters: Parameters, temperature: float) -> np.ndarray:
        images = [
            self._paint(part.to(self.device), range(start, start + len(part)), parameters.seed, temperature)
            for start, part in zip(range(0, len(symbols), CHUNK), torch.from_numpy(symbols).split(CHUNK), strict=True)
        ]
        width, height = map(tiles_across, size)
        return (_picture(torch.cat(images), height, width) * 255).cpu().numpy()

    @torch.no_grad()
    def bare(self, symbols: Tensor, size: tuple[int, int]) -> Tensor:
        """What the context alone shows, its inverse DCT or its pixels, without the VAE: RGB (3, at least H, at least W) in [0, 255]
        of an image of `size`, width and height."""
        width, height = map(tiles_across, size)
        return _picture(self.context.image(symbols.to(self.device)), height, width) * 255

    def _paint(self, symbols: Tensor, tiles: range, seed: int, temperature: float) -> Tensor:
        noise = tile_noise(tiles, seed, self.device)
        return self.model.vae.generate(self.context.image(symbols), len(symbols), temperature, noise)


def tile_noise(tiles: range, seed: int, device: torch.device) -> Noise:
    """Standard normal numbers for the latents of some tiles, from a counter-based generator a tile: those of a tile depend on
    `seed` and its number alone, not on which tiles are drawn with it."""
    generators = [np.random.Generator(np.random.Philox(key=[seed, tile])) for tile in tiles]

    def draw(shape: tuple[int, ...]) -> Tensor:
        values = np.stack([g.standard_normal(shape[1:], dtype=np.float32) for g in generators])
        return torch.from_numpy(values).to(device)

    return draw


def reconstruct_top(model: HierarchicalVae, rgb: Tensor, given: int, temperature: float, seed: int) -> tuple[Tensor, float]:
    """An image from the top `given` latents of the VAE baseline, as figure 9 shows it.

    `rgb`: float32 (3, H, W) in [0, 255]. The latents are drawn from their posteriors, the others from the prior at `temperature`.
    Returns RGB (3, at least H, at least W) and the latents' KL in nats: they are continuous, so there is no file.
    """
    tiles, height, width = _tiles(rgb / 255), tiles_across(rgb.shape[1]), tiles_across(rgb.shape[2])
    images, nats = [], 0.0
    for start, part in zip(range(0, len(tiles), CHUNK), tiles.split(CHUNK), strict=True):
        noise = tile_noise(range(start, start + len(part)), seed, rgb.device)
        parameters, latents = model.top_down(None, len(part), model.encoder(part), temperature, noise, given)
        images.append(model.likelihood.mean(parameters))
        nats += sum(latent.divergence().sum().item() for latent in latents[:given])
    return _picture(torch.cat(images), height, width) * 255, nats


def reconstruct_context(model: PaperModel, rgb: Tensor, temperature: float, seed: int) -> tuple[Tensor, Tensor, float]:
    """An image from the context of a DCT-VAE, which need not be a codec.

    `rgb`: float32 (3, H, W) in [0, 255]. Latents are drawn from the prior at `temperature`. Returns two images RGB (3, at least H,
    at least W), the VAE's and what the context alone shows, and -L_vlb of the context in nats. Raises ModelError for the VAE."""
    context, prior = model.context, model.prior
    if context is None or prior is None:
        raise ModelError("the model has no context: give a DCT-VAE")
    tiles, height, width = _tiles(rgb / 255), tiles_across(rgb.shape[1]), tiles_across(rgb.shape[2])
    painted, bare, nats = [], [], 0.0
    for start, part in zip(range(0, len(tiles), CHUNK), tiles.split(CHUNK), strict=True):
        symbols = context.symbols(part)
        noise = tile_noise(range(start, start + len(part)), seed, rgb.device)
        bare.append(context.image(symbols))
        painted.append(model.vae.generate(bare[-1], len(part), temperature, noise))
        nats += prior.vlb(symbols).sum().item()
    return _picture(torch.cat(painted), height, width) * 255, _picture(torch.cat(bare), height, width) * 255, nats


def _tiles(rgb: Tensor) -> Tensor:
    """(3, H, W) to (tiles, 3, 32, 32), edges replicated."""
    planes = pad_to_tiles(rgb[None])
    return F.unfold(planes, TILE, stride=TILE)[0].T.reshape(-1, 3, TILE, TILE)


def _picture(tiles: Tensor, height: int, width: int) -> Tensor:
    """(height * width, 3, 32, 32) to (3, 32 height, 32 width)."""
    return tiles.reshape(height, width, 3, TILE, TILE).permute(2, 0, 3, 1, 4).reshape(3, height * TILE, width * TILE)


def _prior(info: ModelInfo, place: Place) -> BitsBackPrior:
    try:
        integers = load_file(info.path / PRIOR)
        return BitsBackPrior(ExactDiffusion(integers, arithmetic_for(place)), GaussianTables(integers))
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise ModelError(f"the model {info.name} is damaged ({error}): install dctcodec again") from error
