"""The encoder's choice of a patch: tiles of few colours whose pixels, with a palette, cost less than their symbols.

Each tile is patched or not by distortion + weight * bits, as blocks are chosen (`bands/choice.py`). The bits of a pixel are
-log2 of its frequency after its neighbours to the left and above, among all patched pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from dctcodec.image.lossless import WEBP_SIDE
from dctcodec.palette import nearest, palette_of
from dctcodec.tiles import TILE, tiles_across

EVEN, SHARE = 0.6, 0.1
"""A patch is looked for where at least SHARE of the tiles are even and have contrast: photographs have fewer. A tile is even where
at least EVEN of its pixels are like the one to the left or above."""
CONTRAST = 48
"""Levels between the darkest and the brightest pixel of a tile, in one colour."""
ALIKE = 0.2
"""In such an image a tile may be patched where at least this share of its pixels are like the one to the left or above, ..."""
SPAN = 24
"""... and where it has so many levels between its darkest and its brightest pixel, or one colour alone. A palette would draw bands
into others."""
SYMBOLS = 1.6
"""The estimated cost of a tile's symbols counts this many times. Chosen on drawings by real files and painted images."""
WORTH = 0.5
"""What tiles cost with a patch, over what they cost without one: at most so much. Photographs stay above it."""
SIZES = (3, 7, 15, 31, 63, 127, 255)
"""Colours of a palette: with that of pixels without a patch, as many as whole bits tell apart."""
SAMPLE = 1024
"""Tiles by which the size is chosen, at most."""
COLOURS = 2**12
"""The most frequent colours that make a palette."""
KEYS = 2**20 - 3
"""Neighbours and a pixel are told apart up to this number, a prime."""
RARE_BITS = 4.0
"""What it takes to say a pixel that is the first of its kind, over the number of its kind."""
COLOUR_BITS, FILE_BITS = 24, 8 * 80
"""Of a colour of the palette, and of a chunk without pixels, about."""
ROUNDS = 3
"""In each of which a palette is made and tiles are dropped."""


class _Trial(NamedTuple):
    """The pixels of a patch, RGBA uint8 (n, 32, 32, 4), transparent in tiles that have none, and what all n tiles cost with it."""

    pixels: np.ndarray
    cost: float


def choose(image: Image.Image, costs: Callable[[np.ndarray], np.ndarray], weight: float) -> Image.Image | None:
    """The patch of an image, "RGB" or "L"; None where there is none worth its bits. `costs`: what tiles, float32 (n, 3, 32, 32) in
    [0, 255], cost as symbols, float (n,), each the sum over its pixels of the squared error, mean over RGB, + the bits by their
    worth; `weight`: what a bit of the patch costs beside them."""
    if max(image.size) > WEBP_SIDE:
        return None
    tiles = _tiles_of(image)
    candidates = _candidates(image, tiles)
    if candidates is None:
        return None
    drawn = np.zeros_like(tiles)
    tiles = tiles[candidates]
    plain = SYMBOLS * costs(np.moveaxis(tiles[..., :3], -1, 1).astype(np.float32)).astype(np.float64)
    best = _best(tiles, plain, weight)
    if best is None or best.cost >= WORTH * plain.sum():
        return None
    drawn[candidates] = best.pixels
    return Image.fromarray(_joined(drawn)[: image.height, : image.width])


def spread(patch: Image.Image, bits: float) -> np.ndarray:
    """The bits of a patch by tiles, float64 (h, w): in proportion to the pixels that are unlike their neighbours."""
    unlike = 1 - _alike(_keys(np.asarray(patch)))
    found: np.ndarray = bits * unlike / max(unlike.sum(), 1e-9)
    return found


def _best(tiles: np.ndarray, plain: np.ndarray, weight: float) -> _Trial | None:
    """The cheapest trial of tiles (n, 32, 32, 4): sizes are tried, on some of the tiles, up to the second that is worse."""
    some = slice(None, None, -(-len(tiles) // SAMPLE))
    best, best_size, worse = np.inf, 0, 0
    for size in SIZES:
        trial = _trial(tiles[some], plain[some], weight, size)
        if trial and trial.cost < best:
            best, best_size, worse = trial.cost, size, 0
        else:
            worse += 1
        if worse == 2:
            break
    return _trial(tiles, plain, weight, best_size) if best_size else None


def _trial(tiles: np.ndarray, plain: np.ndarray, weight: float, size: int) -> _Trial | None:
    """The best of the rounds with a palette of a size; None where no tile is left."""
    best, patched = None, plain > weight
    for _ in range(ROUNDS):
        if not patched.any():
            break
        index, palette = _indexed(tiles[patched], size)
        drawn = palette[index]
        cost = plain.copy()
        error = np.square(drawn.astype(np.float32) - tiles[patched]).sum((1, 2, 3)) / 3
        cost[patched] = error + weight * _bits(index).sum((1, 2))
        total = cost.sum() + weight * (FILE_BITS + COLOUR_BITS * len(palette))
        if best is None or total < best.cost:
            whole = np.zeros_like(tiles)
            whole[patched] = drawn
            best = _Trial(whole, float(total))
        kept = patched & (cost < plain)
        if (kept == patched).all():
            break
        patched = kept
    return best


def _indexed(tiles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's colour (n, 32, 32), and the colours, uint8 (size, 4), all opaque."""
    found, inverse, counts = np.unique(_keys(tiles), return_inverse=True, return_counts=True)
    colours = found.view(np.uint8).reshape(-1, 4)[:, :3]
    frequent = np.argsort(-counts, kind="stable")[:COLOURS]
    palette = palette_of(colours[frequent], counts[frequent], size)
    index = nearest(colours, palette)[inverse].reshape(tiles.shape[:3])
    return index, np.concatenate([palette, np.full((len(palette), 1), 255, np.uint8)], 1)


def _bits(index: np.ndarray) -> np.ndarray:
    """Bits of each pixel, float64 (n, 32, 32), by colours. Outside its tile all pixels count as one more colour."""
    framed = np.pad(index + 1, ((0, 0), (1, 0), (1, 0)))
    around = framed[:, 1:, :-1] * (int(index.max()) + 2) + framed[:, :-1, 1:]
    joint = (around * (int(index.max()) + 2) + index) % KEYS
    of_around, of_joint = (np.bincount(keys.ravel())[keys] for keys in (around % KEYS, joint))
    return np.log2(of_around / np.minimum(of_joint, of_around)) + RARE_BITS / of_joint


def _candidates(image: Image.Image, tiles: np.ndarray) -> np.ndarray | None:
    """Which tiles (h, w, 32, 32, 4) of an image may be patched, bool (h, w); None for photographs."""
    share = _alike(_keys(np.asarray(image.convert("RGBA"))))
    found = share >= ALIKE
    span = (tiles[found].max((1, 2)).astype(int) - tiles[found].min((1, 2))).max(-1)
    if ((span >= CONTRAST) & (share[found] >= EVEN)).sum() < SHARE * found.size:
        return None
    found[found] = (span == 0) | (span >= SPAN)
    return found


def _alike(keys: np.ndarray) -> np.ndarray:
    """The share of each tile's pixels that are like the one to the left or above: colours (H, W) to float64 (h, w)."""
    alike = np.zeros(keys.shape, bool)
    alike[:, 1:] = keys[:, 1:] == keys[:, :-1]
    alike[1:] |= keys[1:] == keys[:-1]
    sides = np.array(keys.shape)
    counts = np.pad(alike, [(0, side) for side in -sides % TILE])
    counts = counts.reshape(-(-sides[0] // TILE), TILE, -1, TILE).sum((1, 3))
    height, width = (np.minimum(TILE, side - np.arange(0, side, TILE)) for side in sides)
    return counts / np.outer(height, width)


def _keys(pixels: np.ndarray) -> np.ndarray:
    """A number of each colour, uint32 (...), of RGBA uint8 (..., 4)."""
    return pixels.view(np.uint32)[..., 0]


def _tiles_of(image: Image.Image) -> np.ndarray:
    """Pixels as tiles, RGBA uint8 (h, w, 32, 32, 4), opaque, the last row and column repeated to whole ones."""
    width, height = map(tiles_across, image.size)
    rows, columns = height * TILE - image.height, width * TILE - image.width
    pixels = np.pad(np.asarray(image.convert("RGBA")), ((0, rows), (0, columns), (0, 0)), "edge")
    return pixels.reshape(height, TILE, width, TILE, 4).swapaxes(1, 2)


def _joined(tiles: np.ndarray) -> np.ndarray:
    """Inverse of `_tiles_of`."""
    height, width = tiles.shape[:2]
    return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(height * TILE, width * TILE, 4)
