"""An image as a batch of its tiles, and back, on NumPy or torch."""

from dctcodec.arrays import Array
from dctcodec.tiles import TILE, from_tiles, pad_to_tiles, tiles_across, to_tiles


def tiles_of(rgb: Array) -> Array:
    """(3, H, W) to (tiles, 3, 32, 32), row by row, edges replicated."""
    return to_tiles(pad_to_tiles(rgb[None])).reshape(-1, 3, TILE, TILE)


def image_of(tiles: Array, size: tuple[int, int]) -> Array:
    """Tiles (n, 3, 32, 32) of an image of `size`, width and height, to (3, at least H, at least W)."""
    width, height = map(tiles_across, size)
    return from_tiles(tiles.reshape(1, height, width, 3, TILE, TILE))[0]
