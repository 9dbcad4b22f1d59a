"""The noise of the latents that a file does not hold."""

from collections.abc import Callable

import numpy as np

from dctcodec.arrays import Array, Place, placed

Draw = Callable[[tuple[int, ...]], Array]
"""Standard normal numbers of a shape (tiles, ...)."""


def tile_noise(tiles: range, seed: int, place: Place = None) -> Draw:
    """Standard normal numbers, float32, for the latents of some tiles, from a counter-based generator for each tile: those of a
    tile depend on `seed` and its number alone, not on which tiles are drawn with it."""
    generators = [np.random.Generator(np.random.Philox(key=[seed, tile])) for tile in tiles]

    def draw(shape: tuple[int, ...]) -> Array:
        return placed(np.stack([g.standard_normal(shape[1:], dtype=np.float32) for g in generators]), place)

    return draw
