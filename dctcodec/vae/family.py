"""The paper's models as a codec. Each 32x32 RGB tile is coded alone: the file holds its context, other latents are drawn."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from dctcodec.arrays import Array, Place, cast, placed, to_numpy
from dctcodec.device import needing_torch
from dctcodec.errors import ModelError
from dctcodec.exact.planes import arithmetic_for
from dctcodec.family import PRIOR, TUNES, VAE, Family, Parameters
from dctcodec.installed import ModelInfo, told_as_damage
from dctcodec.progress import Tick, share_of
from dctcodec.search import ROUNDS
from dctcodec.tiles import TILE, tiles_across
from dctcodec.vae.bits_back import BitsBackPrior
from dctcodec.vae.choice import Choice
from dctcodec.vae.config import from_table
from dctcodec.vae.exact_diffusion import ExactDiffusion
from dctcodec.vae.noise import tile_noise
from dctcodec.vae.painter import Painter
from dctcodec.vae.shapes import ModelShape
from dctcodec.vae.tables import GaussianTables
from dctcodec.vae.tiling import image_of, tiles_of
from dctcodec.vae.transform import Transform

if TYPE_CHECKING:
    from dctcodec.vae.model import PaperModel

CHUNK = 16
"""Tiles that are painted together: they stay in the processor's cache."""
SEARCHED = 32
"""Tiles that are optimised together."""
SEARCH_SHARE = 0.9
"""Of the time of encoding that a search takes."""
ANALYSED = 1024
"""Tiles that are analysed together, for the memory."""


class DctVae(Family):
    """Symbols: int32 (tiles, 3, size, size), row by row of the image."""

    one_quality = True
    bands = 1
    effort = 0
    tunes = TUNES[:1]

    def __init__(self, model: ModelInfo, place: Place):
        self.place, self.model = place, model
        self.temperature: float = model.config["temperature"]
        self.shape = _shape(model)
        with told_as_damage(model):
            self.transform = _transform(self.shape, _weights(model, "context."), place)
            integers = load_file(model.path / PRIOR)
            self.prior = BitsBackPrior(ExactDiffusion(integers, arithmetic_for(place)), GaussianTables(integers))
        self.most_effort = len(ROUNDS) - 1 if self.transform.choice else 0
        self._painter: Painter | None = None
        self._torch_model: PaperModel | None = None

    def step16(self, quality: float | None) -> int:
        if quality is not None:
            raise ValueError("the model has one quality: do not pass quality")
        return 0

    def analyse(self, rgb: np.ndarray, parameters: Parameters) -> np.ndarray:
        return np.concatenate([self._analysed(part) for part in _split(tiles_of(rgb) / 255, ANALYSED)])

    def encode(self, rgb: np.ndarray, parameters: Parameters, effort: int, tick: Tick) -> bytes:
        if effort:
            symbols = self._searched(tiles_of(rgb) / 255, ROUNDS[effort], share_of(tick, SEARCH_SHARE))
            return self.prior.encode(symbols, parameters.seed, share_of(tick, 1 - SEARCH_SHARE))
        return self.prior.encode(self.analyse(rgb, parameters), parameters.seed, tick)

    def _analysed(self, tiles: np.ndarray) -> np.ndarray:
        return to_numpy(cast(self.transform.symbols(placed(tiles, self.place)), "int32"))

    def _searched(self, tiles: np.ndarray, rounds: int, tick: Tick) -> np.ndarray:
        with needing_torch("--effort"):
            import torch

            from dctcodec.vae.rdo import TileOptimiser
        model, device, found = self.torch_model(), self.place or "cpu", []
        for part in _split(tiles, SEARCHED):
            some, symbols = (torch.from_numpy(values).to(device) for values in (part, self._analysed(part)))
            best = TileOptimiser(model, some).optimise(symbols.long(), rounds, share_of(tick, len(part) / len(tiles)))
            found.append(best.int().cpu().numpy())
        return np.concatenate(found)

    def decode(self, payload: bytes, size: tuple[int, int], parameters: Parameters, partial: bool, tick: Tick) -> np.ndarray:
        width, height = map(tiles_across, size)
        return self.prior.decode(payload, height * width, parameters.seed, tick)

    def code_length(self, symbols: np.ndarray, parameters: Parameters) -> float:
        """-L_vlb in bits of the noise that the encoder drew."""
        return self.prior.vlb_bits(symbols, parameters.seed)

    def coarse(self, symbols: np.ndarray, bands: int) -> np.ndarray:
        return symbols

    def paint(self, symbols: np.ndarray, size: tuple[int, int], parameters: Parameters, temperature: float) -> np.ndarray:
        paint = self._paint if self.place is None else self._paint_by_torch
        starts = range(0, len(symbols), CHUNK)
        tiles = [paint(symbols[start : start + CHUNK], start, temperature, parameters.seed) for start in starts]
        return image_of(np.concatenate(tiles), size) * 255

    def bare(self, symbols: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """What the context alone shows, its inverse DCT or its pixels, without the VAE: RGB float32 (3, at least H, at least W) in
        [0, 255] of an image of `size`, width and height."""
        return image_of(to_numpy(self._shown(symbols)), size) * 255

    def _shown(self, symbols: np.ndarray) -> Array:
        return self.transform.image(placed(symbols, self.place))

    def _paint(self, symbols: np.ndarray, first: int, temperature: float, seed: int) -> np.ndarray:
        if self._painter is None:
            with told_as_damage(self.model):
                self._painter = Painter(self.shape.network, _weights(self.model, "vae."))
        return self._painter.paint(self._shown(symbols), temperature, tile_noise(range(first, first + len(symbols)), seed))

    def _paint_by_torch(self, symbols: np.ndarray, first: int, temperature: float, seed: int) -> np.ndarray:
        import torch

        noise, vae = tile_noise(range(first, first + len(symbols)), seed, self.place), self.torch_model().vae
        with torch.no_grad():
            return to_numpy(vae.generate(self._shown(symbols), len(symbols), temperature, noise))

    def torch_model(self) -> "PaperModel":
        """The model as a network of torch, at the place of the codec."""
        from dctcodec.vae.files import load_model

        if self._torch_model is None:
            self._torch_model = load_model(self.model.name, self.place or "cpu")[1]
        return self._torch_model


def _shape(model: ModelInfo) -> ModelShape:
    """Of a model that codes tiles. Raises ModelError for others."""
    shape = from_table(model.config["config"]).shape
    if shape.context is None:
        raise ModelError(f"the model {model.name} has no context to code")
    network = shape.network
    if (network.channels, network.side) != (3, TILE):
        raise ModelError(f"the model {model.name} codes no colour images of {TILE}x{TILE}: use it with `dctcodec eval`")
    return shape


def _weights(model: ModelInfo, start: str) -> dict[str, np.ndarray]:
    """The weights whose names begin so, without that."""
    with safe_open(model.path / VAE, "numpy") as file:
        return {name.removeprefix(start): file.get_tensor(name) for name in file.keys() if name.startswith(start)}


def _transform(shape: ModelShape, weights: dict[str, np.ndarray], place: Place) -> Transform:
    assert shape.context
    largest, context = placed(weights["largest"].astype(np.float32), place), shape.context
    choice = None
    if context.rate_weight is not None:
        bits = placed(weights["choice.bits"].astype(np.float32), place)
        choice = Choice(context.rate_weight, 2 ** (context.bits - 1), bits)
    return Transform(context, TILE, largest, choice)


def _split(tiles: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Parts of at most so many tiles."""
    return (tiles[start : start + count] for start in range(0, len(tiles), count))
