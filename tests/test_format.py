"""An independent reader of the family dct-bands, written from dctcodec/FORMAT.md alone: NumPy only, nothing of dctcodec, torch or
constriction in sections 1 to 5; Pillow reads the WebP file of a patch. The tests at the end hold it against dctcodec."""

import hashlib
import io
import math
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import EllipsisType

import numpy as np
import pytest
from page import page
from PIL import Image
from safetensors.numpy import load
from small_blocks import PLAIN, SMALL, picture_of_edges, small_codec

from dctcodec import Codec
from dctcodec.family import Parameters

GOLDEN = Path(__file__).parent / "golden"

# Section 1: the file


@dataclass
class File:
    grey: bool
    model: bytes
    width: int
    height: int
    step16: int
    seed: int
    payload: bytes
    tuned: bool = False
    stepped: bool = False
    patch: bytes | None = None


CHUNKS = "NPSCAdext"


def read_file(data: bytes) -> File:
    if len(data) < 20:
        raise ValueError("too short")
    magic, version, flags, model, width, height, step16, crc = struct.unpack("<4sBB4sHHHI", data[:20])
    if magic != b"DCT\x89" or version != 2 or flags > 7 or crc != zlib.crc32(data[:16]):
        raise ValueError("not a file of this version")
    if not 1 <= width * height <= 2**27:
        raise ValueError("sizes out of range")
    chunks = read_chunks(data)
    if "S" not in chunks or len(chunks.get("N", bytes(4))) != 4:
        raise ValueError("no symbols, or no seed")
    seed, payload = int.from_bytes(chunks.get("N", b""), "little"), chunks["S"]
    if step16 == 0:  # from here on the word taken first is the first
        payload = np.frombuffer(payload, "<u4")[::-1].tobytes() if len(payload) % 4 == 0 else payload
    return File(flags % 2 == 1, model, width, height, step16, seed, payload, bool(flags & 2), bool(flags & 4), chunks.get("P"))


def read_chunks(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    position, last = 20, False
    while not last:
        if position + 5 > len(data):
            raise ValueError("truncated")
        kind, length = struct.unpack_from("<BI", data, position)
        end = position + 5 + length
        if end + 4 > len(data) or (zlib.crc32(data[position:end]),) != struct.unpack_from("<I", data, end):
            raise ValueError("damaged")
        last, letter = kind >= 128, chr(kind & 127)
        if letter in CHUNKS:
            if found and CHUNKS.index(letter) <= max(map(CHUNKS.index, found)):
                raise ValueError("chunks out of order")
            found[letter] = data[position + 5 : end]
        elif not kind & 32:
            raise ValueError("an unknown chunk that is not ancillary")
        position = end + 4
    if position != len(data):
        raise ValueError("bytes after the end")
    return found


# Section 2: the symbols


def ring(low: int, high: int) -> list[tuple[int, int]]:
    frequencies = [(u, v) for u in range(32) for v in range(32) if low <= max(u, v) <= high]
    return sorted(frequencies, key=lambda f: (max(f), sum(f), f[0]))


LUMA = [ring(*ends) for ends in [(0, 0), (1, 1), (2, 3), (4, 5), (6, 8), (9, 12), (13, 18), (19, 31)]]
CHROMA = [[]] + [ring(*ends) for ends in [(0, 0), (1, 1), (2, 3), (4, 5), (6, 8), (9, 12), (13, 15)]]
BANDS = [[(plane, u, v) for plane, part in enumerate((y, c, c)) for u, v in part] for y, c in zip(LUMA, CHROMA, strict=True)]
PLANE, U, V = np.array(sum(BANDS, [])).T  # of each channel
ENDS = np.cumsum([0] + [len(band) for band in BANDS])
REVEALS = [(b, parity) for b in range(8) for parity in ((0, 1) if b < 4 else (None,))]


def parts_of(band: int) -> list[list[int]]:
    """Channels of each part of a band."""
    channels = list(range(ENDS[band], ENDS[band + 1]))
    if not 2 <= band <= 6:
        return [channels]
    return [[c for c in channels if (U[c] % 2, V[c] % 2) == odd] for odd in ((0, 0), (1, 1), (0, 1), (1, 0))]


KINDS = ((32, 32), (32, 16), (16, 32), (16, 16), (16, 8), (8, 16), (8, 8), (4, 4))
LARGE = 3  # kinds below are of whole tiles


def interleaved(basis: np.ndarray, side: int) -> np.ndarray:
    """The DCTs of the blocks of a side of a unit: a row for each position."""
    blocks = side // len(basis)
    rows = np.zeros((side, side), basis.dtype)
    for position in range(side):
        block = position % blocks
        rows[position, block * len(basis) : (block + 1) * len(basis)] = basis[position // blocks]
    return rows


Rounding = Callable[[np.ndarray], np.ndarray]


class Blocks:
    """The transform of a tile's blocks and its inverse, with DCTs `basis[size]`. `settle`: after each transform of a corner;
    `finish`: after that of the blocks of a unit."""

    def __init__(self, basis: dict[int, np.ndarray], settle: Rounding, finish: Rounding = lambda x: x) -> None:
        self.basis, self.settle, self.finish = basis, settle, finish

    def forward(self, tile: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Coefficients at the positions of a tile (32, 32), whose quadrants have the kinds (4,)."""
        if kinds[0] < LARGE:
            return self.unit_forward(tile, kinds[0])
        result = np.empty_like(tile)
        for quadrant, kind in enumerate(kinds):
            row, column = divmod(quadrant, 2)
            pixels = tile[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            result[row::2, column::2] = self.unit_forward(pixels, kind)
        return self.on_corner(result, self.basis[2], self.basis[2])

    def inverse(self, coefficients: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        if kinds[0] < LARGE:
            return self.unit_inverse(coefficients, kinds[0])
        coefficients = self.on_corner(coefficients, self.basis[2].T, self.basis[2].T)
        result = np.empty_like(coefficients)
        for quadrant, kind in enumerate(kinds):
            row, column = divmod(quadrant, 2)
            unit = self.unit_inverse(coefficients[row::2, column::2], kind)
            result[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = unit
        return result

    def unit_forward(self, pixels: np.ndarray, kind: int) -> np.ndarray:
        height, width = KINDS[kind]
        down, across = (interleaved(self.basis[length], len(pixels)) for length in (height, width))
        coefficients = self.finish(down @ pixels @ across.T)
        if (height, width) == pixels.shape:
            return coefficients
        return self.on_corner(coefficients, self.basis[len(pixels) // height], self.basis[len(pixels) // width])

    def unit_inverse(self, coefficients: np.ndarray, kind: int) -> np.ndarray:
        height, width = KINDS[kind]
        side = len(coefficients)
        if (height, width) != coefficients.shape:
            coefficients = self.on_corner(coefficients, self.basis[side // height].T, self.basis[side // width].T)
        down, across = (interleaved(self.basis[length], side) for length in (height, width))
        return self.finish(down.T @ coefficients @ across)

    def on_corner(self, coefficients: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
        result = coefficients.copy()
        corner = result[: len(down), : len(across)]
        corner[:] = self.settle(down @ corner @ across.T)
        return result

    def on_tiles(self, transform: Callable, tiles: np.ndarray, partition: np.ndarray) -> np.ndarray:
        """`forward` or `inverse` of tiles (planes, h, w, 32, 32), partition (4, h, w)."""
        result = np.empty_like(tiles)
        for plane, row, column in np.ndindex(tiles.shape[:3]):
            result[plane, row, column] = transform(tiles[plane, row, column], partition[:4, row, column])
        return result


QUADRANT = 2 * (U % 2) + V % 2  # of each channel, in a split tile
FACTORS = np.array([94, 121, 155, 199, 256, 329, 422, 542, 696])  # in 1/256, of step indices from -4 on


def factors_of(partition: np.ndarray) -> np.ndarray:
    """Of the steps of tiles, (h, w), in 1/256. A partition of a stepped file has five rows: the step indices are the last one."""
    return FACTORS[partition[4] + 4] if len(partition) == 5 else np.full(partition.shape[1:], 256)


# Planes, tiles, and squares


def joined(tiles: np.ndarray) -> np.ndarray:
    """Tiles (planes, h, w, 32, 32) as planes."""
    _, h, w, *_ = tiles.shape
    return tiles.swapaxes(2, 3).reshape(-1, 32 * h, 32 * w)


def tiles_of(planes: np.ndarray) -> np.ndarray:
    count, height, width = planes.shape
    return planes.reshape(count, height // 32, 32, width // 32, 32).swapaxes(2, 3)


def cells(planes: np.ndarray, k: int) -> np.ndarray:
    count, height, width = planes.shape
    squares = planes.reshape(count, height // k, k, width // k, k)
    return squares.transpose(0, 2, 4, 1, 3).reshape(count * k * k, height // k, width // k)


def spread(x: np.ndarray, k: int) -> np.ndarray:
    outputs, rows, columns = x.shape
    squares = x.reshape(outputs // k**2, k, k, rows, columns)
    return squares.transpose(0, 3, 1, 4, 2).reshape(-1, rows * k, columns * k)


def quadrant_grid(partition: np.ndarray) -> np.ndarray:
    """The kinds of quadrants as they lie in the image, (2 h, 2 w)."""
    h, w = partition.shape[1:]
    return partition[:4].reshape(2, 2, h, w).transpose(2, 0, 3, 1).reshape(2 * h, 2 * w)


# Section 3: the prior


def act(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x / 16), 0, 127).astype(np.int64)


def multiplied(weight: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """In float64, which is exact here, and fast."""
    return np.tensordot(weight.astype(float), terms.astype(float), 1).astype(np.int64)


class Prior:
    def __init__(self, model: bytes) -> None:
        self.tensors = {name: tensor.astype(np.int64) for name, tensor in load(model).items()}
        sizes = 16 * (2 * self.tensors["reach"] + 2) + 1
        self.tables = np.split(self.tensors["cumulative"], np.cumsum(sizes)[:-1])
        self.openness = [self.openness_of(key) for key in range(16 * len(self.tables))]

    def layer(self, name: str, a: np.ndarray, rows: slice | list[int] = slice(None), nearest: bool = False) -> np.ndarray:
        weight, offset, shift = (self.tensors[f"{name}.{part}"][rows] for part in ("weight", "offset", "shift"))
        if weight.shape[1] == 9 * len(a):
            h, w = a.shape[1:]
            padded = np.pad(a, ((0, 0), (1, 1), (1, 1)))
            a = np.concatenate([padded[:, row : row + h, column : column + w] for row in range(3) for column in range(3)])
        sums = multiplied(weight, a) + offset[:, None, None]
        if nearest:
            return np.rint(sums * np.exp2(-shift)[:, None, None]).astype(np.int64)
        up, down = np.maximum(-shift, 0), np.maximum(shift, 0)
        return sums << up[:, None, None] >> down[:, None, None]

    def step(self, prefix: str, n: int, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
        hidden = np.clip(self.layer(f"{prefix}first.{n}", act(x + bias[n]), nearest=True), 0, 127)
        added = np.clip(self.layer(f"{prefix}second.{n}", hidden, nearest=True), -128, 127)
        return x + (added << self.tensors[f"{prefix}branch_bits"][n])

    def __call__(
        self, known: np.ndarray, odd: np.ndarray, reveal: int, step16: int, partition: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and scale indices less the skip of the band that this reveal is about, of every tile; symbols yet unknown are 0."""
        tensors = self.tensors
        first, last = ENDS[REVEALS[reveal][0] :][:2]
        steps = (step16 * factors_of(partition) + 128) >> 8
        rows = np.sum(tensors["step_bounds"][:, None, None] < steps, 0)
        bias = tensors["reveal_bias"][reveal][:, :, None, None] + tensors["step_bias"][rows].transpose(2, 3, 0, 1)

        s = known[:699]
        asinh = self.magnitude(s)
        terms = [np.clip(4 * s, -127, 127), np.sign(s) * asinh, asinh, np.where(odd, 16, -16)[None]]
        x = self.layer("input", np.concatenate(terms))
        if "partition.kinds" in tensors:
            kinds = np.concatenate([16 * (partition[:4] == kind) for kind in tensors["partition.kinds"][1:]])
            x = x + np.clip(self.layer("partition.split", asinh * (partition[0] >= LARGE)), -(2**13), 2**13)
            x = x + np.clip(self.layer("partition.planes", kinds), -(2**13), 2**13)
        x = np.clip(x, -(2**15), 2**15)
        for n in range(len(bias) - 1):
            x = self.step("", n, x, bias)
        y = self.layer("head", act(x + bias[-1]), slice(2 * first, 2 * last))
        mean, scale = np.split(y, 2)
        if "forecast.basis" in tensors and REVEALS[reveal][0] >= 2:
            means, scales = self.forecast(known, REVEALS[reveal][0], step16, partition)
            mean, scale = mean + means, scale + scales
        return np.clip(mean, -32767, 32767), scale + tensors["scale_offset"]

    def magnitude(self, s: np.ndarray) -> np.ndarray:
        return self.tensors["asinh"][np.minimum(abs(s), len(self.tensors["asinh"]) - 1)]

    def scales(self, known: np.ndarray, channels: list[int], scale: np.ndarray, partition: np.ndarray) -> np.ndarray:
        """Scale indices of a part's channels, where `known` are the symbols sent before it in each tile, the others 0."""
        magnitude = self.magnitude(known[:699])
        more = self.layer("skip", magnitude, channels)
        for n, kind in enumerate(self.tensors.get("partition.kinds", [])[1:]):
            is_of_kind = partition[QUADRANT[channels]] == kind
            more = np.where(is_of_kind, self.layer(f"partition.skips.{n}", magnitude, channels), more)
        return np.clip(scale + more, 0, 63)

    def forecast(self, known: np.ndarray, band: int, step16: int, partition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is to be added to means and scale indices of a band."""
        tensors = {name[9:]: tensor for name, tensor in self.tensors.items() if name.startswith("forecast.")}
        kinds = tensors.get("partition.kinds", [])[1:]
        bias = tensors["reveal_bias"][band] + tensors["step_bias"][np.sum(self.tensors["step_bounds"] < step16)]
        bias, d, (h, w) = bias[:, :, None, None], tensors["basis"], known.shape[1:]
        s = np.zeros((3, h, w, 32, 32), np.int64)
        before = slice(0, ENDS[band])
        factors = factors_of(partition)
        entries = np.clip(known[before], -(2**11), 2**11) * tensors["step"][before, None, None]
        s[PLANE[before], :, :, U[before], V[before]] = (entries * factors + 128) >> 8
        if len(kinds):
            basis = {2**n: tensors[f"partition.basis.{2**n}"] for n in range(5)} | {32: d}
            blocks = Blocks(basis, lambda x: (x + 2**17) >> 18)
            pixels = (blocks.on_tiles(blocks.inverse, 16 * s, partition) + 2**22) >> 23
        else:
            pixels = (d.T @ s @ d + 2**18) >> 19
        image = joined(np.clip(pixels, -127, 127))

        def told(scale: str, side: int) -> np.ndarray | int:
            """What the partition adds, where a quadrant has `side` positions in each direction."""
            if not len(kinds):
                return 0
            terms = np.stack([16 * (quadrant_grid(partition) == kind) for kind in kinds])
            return spread(np.clip(self.layer(f"forecast.partition.{scale}", terms), -(2**13), 2**13), side)

        def sums(x: np.ndarray) -> np.ndarray:
            return x.reshape(len(x), h, x.shape[1] // h, w, -1).sum((2, 4))

        steps, coarse = len(bias) - 2, tensors["coarse_blocks"]
        x = np.clip(self.layer("forecast.coarse", cells(image, 8)) + told("coarse", 2), -(2**15), 2**15)
        for n in range(coarse):
            x = self.step("forecast.", n, x, bias)
        c = act(x + bias[steps])
        x = spread(self.layer("forecast.up", c), 2) + self.layer("forecast.fine", cells(image, 4)) + told("fine", 4)
        x = np.clip(x, -(2**15), 2**15)
        for n in range(coarse, steps):
            x = self.step("forecast.", n, x, bias)
        f = act(x + bias[steps + 1])
        painted = spread(np.clip(self.layer("forecast.paint", f, nearest=True), -128, 127), 4)
        q = tiles_of(painted)
        channels = slice(ENDS[band], ENDS[band + 1])
        transformed = blocks.on_tiles(blocks.forward, q, partition) if len(kinds) else d @ q @ d.T
        means = transformed[PLANE[channels], :, :, U[channels], V[channels]]
        means = means * tensors["step_inverse"][channels, None, None]
        of_tiles = (2 * ((means + 2**22) >> 23) + factors) // (2 * factors)
        means = of_tiles if len(partition) == 5 else (means + 2**30) >> 31
        terms = np.minimum(np.concatenate([(sums(c) + 2) >> 2, (sums(f) + 8) >> 4]), 127)
        return means, self.layer("forecast.pool", terms, channels)

    def counts(self, scale: int, f: int, offsets: slice = slice(None)) -> np.ndarray:
        """Of the offsets -reach..reach, or some of them, then of the escape."""
        table, reach = self.tables[scale], self.tensors["reach"][scale]
        edges = table[16 * np.arange(2 * reach + 2) + 8 - f]
        return np.append(np.diff(edges)[offsets], table[-1] - (edges[-1] - edges[0])) + 1

    def openness_of(self, key: int) -> int:
        counts = self.counts(key // 16, key % 16 - 8)[:-1]
        sums = [int(counts[first::2].sum()) for first in (0, 1)]
        return 256 * min(sums) // sum(sums)


# Section 4: the coder


class Coder:
    def __init__(self, payload: bytes) -> None:
        self.words = np.frombuffer(payload, "<u4")[::-1].tolist()
        if self.words and self.words[-1] == 0:
            raise ValueError("damaged")
        self.state = 0
        self.refill()

    def refill(self) -> None:
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def take(self, edges: Sequence[int]) -> int:
        rest, z = divmod(self.state, 2**24)
        entry = bisect_right(edges, z) - 1
        self.state = rest * (edges[entry + 1] - edges[entry]) + z - edges[entry]
        self.refill()
        return entry

    def is_empty(self) -> bool:
        return self.state == 0 and not self.words


ESCAPED = range(0, 2**24 + 1, 2**7)


def edges_of(q: np.ndarray) -> list[int]:
    sums = np.cumsum(np.append(0, q))
    edges = np.floor(sums * ((2**24 - len(q)) / sums[-1])).astype(np.int64) + np.arange(len(sums))
    return [*edges[:-1].tolist(), 2**24]


COLUMNS = (17, 31, 23, 27, 19, 29, 25, 21)


def take_part(coder: Coder, prior: Prior, m: np.ndarray, i: np.ndarray) -> np.ndarray:
    """The symbols of a part, of means and scale indices."""
    c = (m + 8) >> 4
    keys = 16 * i + m - 16 * c + 8
    symbols, blocks, total = np.zeros_like(m), [[]], 0
    for place, key in enumerate(keys.tolist()):
        if openness := prior.openness[key]:
            total += openness
            blocks += [[] for _ in range(total // 512 + 1 - len(blocks))]
            blocks[-1].append((place, openness))
    columns = {place: COLUMNS[number % 8] for number, (place, _) in enumerate(one for block in blocks for one in block)}
    implied = [max(block, key=lambda one: one[1])[0] for block in blocks[:-1]]
    free = np.delete(np.arange(len(m)), implied)
    symbols[free] = take_symbols(coder, prior, c[free], keys[free], np.full(len(free), -1))
    parities, r = [], 0
    for block, (members, last) in enumerate(zip(blocks, implied, strict=False)):
        r = 0 if block % 256 == 0 else r
        for place, _ in members:
            if place != last and symbols[place] % 2:
                r ^= columns[place]
        parities.append(r % 2)
        r = (r ^ columns[last] if r % 2 else r) // 2
    symbols[implied] = take_symbols(coder, prior, c[implied], keys[implied], (np.array(parities, int) + c[implied]) % 2)
    return symbols


def take_symbols(coder: Coder, prior: Prior, c: np.ndarray, keys: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Of whole numbers near the means, keys, and parities of the offsets, -1 where they are not known."""
    reach = prior.tensors["reach"][keys // 16]
    first = np.where(e < 0, -reach, (reach + e) % 2 - reach)
    step = np.where(e < 0, 1, 2)
    k = np.zeros_like(c)
    for parity, key in sorted({*zip(e.tolist(), keys.tolist(), strict=True)}):
        mine = (keys == key) & (e == parity)
        start = first[mine][0] + reach[mine][0]
        edges = edges_of((counts := prior.counts(key // 16, key % 16 - 8, slice(start, None, step[mine][0]))) / counts.sum())
        entries = np.array([coder.take(edges) for _ in range(mine.sum())])
        k[mine] = np.where(entries == len(counts) - 1, 2**20, first[mine] + step[mine] * entries)
    escapes = k == 2**20
    k[escapes] = [coder.take(ESCAPED) - 2**16 for _ in range(escapes.sum())]
    return c + k


SIZES = np.array([1, 2, 2, 3, 4, 4, 5, 6])


def take_partition(coder: Coder, prior: Prior, h: int, w: int, step16: int) -> np.ndarray:
    """The kind of each quadrant, (4, h, w)."""
    partition = np.zeros((4, h, w), np.int64)
    if "partition.kinds" not in prior.tensors:
        return partition
    large, small = (
        [k for k in prior.tensors["partition.kinds"].tolist() if k in numbers] for numbers in (range(LARGE), range(LARGE, 8))
    )
    row = np.sum(prior.tensors["partition.bounds"] < step16)
    fine = np.zeros((2 * h + 1, 2 * w + 1), np.int64)  # sizes of quadrants, a border above and to the left
    tiles = np.zeros((h + 1, w + 1), np.int64)

    def key(sizes: np.ndarray, y: int, x: int) -> int:
        return 49 * int(sizes[y + 1, x]) + 7 * int(sizes[y, x + 1]) + int(sizes[y, x])

    def take(table: str, keys: list[int]) -> list[int]:
        entries = [0] * len(keys)
        for place in sorted(range(len(keys)), key=keys.__getitem__):
            counts = prior.tensors[f"partition.{table}"][row][keys[place]]
            entries[place] = coder.take(edges_of(counts / counts.sum()))
        return entries

    for diagonal in range(h + w - 1):
        places = [(y, diagonal - y) for y in range(h) if 0 <= diagonal - y < w]
        split = []
        for (y, x), entry in zip(places, take("tiles", [key(tiles, *place) for place in places]), strict=True):
            partition[:, y, x] = large[entry] if entry < len(large) else small[0]
            split += [(y, x)] if entry == len(large) else []
        for quadrant in range(4 if len(small) > 1 else 0):
            units = [(2 * y + quadrant // 2, 2 * x + quadrant % 2) for y, x in split]
            entries = take("quadrants", [343 * quadrant + key(fine, *unit) for unit in units])
            for (y, x), unit, entry in zip(split, units, entries, strict=True):
                partition[quadrant, y, x] = small[entry]
                fine[unit[0] + 1, unit[1] + 1] = SIZES[small[entry]]
        for y, x in places:
            sizes = SIZES[partition[:, y, x]]
            tiles[y + 1, x + 1] = (sizes.sum() + 2) // 4
            fine[2 * y + 1 : 2 * y + 3, 2 * x + 1 : 2 * x + 3] = sizes.reshape(2, 2)
    return partition


INDEX_COUNTS = np.array([15000, 2400, 800, 80, 60, 6, 6, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1])


def take_indices(coder: Coder, h: int, w: int) -> np.ndarray:
    """The step index of each tile, (1, h, w)."""
    index = np.zeros((1, h, w), np.int64)
    for diagonal in range(h + w - 1):
        keyed = []
        for y, x in ((y, diagonal - y) for y in range(h) if 0 <= diagonal - y < w):
            around = ([index[0, y, x - 1]] if x else []) + ([index[0, y - 1, x]] if y else [])
            keyed.append((int(2 * np.mean(around or [0])), y, x))
        for key, y, x in sorted(keyed):
            counts = INDEX_COUNTS[abs(2 * np.arange(-4, 5) - key)]
            index[0, y, x] = coder.take(edges_of(counts / counts.sum())) - 4
    return index


def read_symbols(file: File, model: bytes, broken_off: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (channels, h, w), and kinds of quadrants (4, h, w), in a stepped file with the step indices (5, h, w)."""
    if file.model != hashlib.sha256(model).digest()[:4] or file.step16 == 0:
        raise ValueError("another model's file")
    prior, coder = Prior(model), Coder(file.payload)
    symbols = np.zeros((len(PLANE), -(-file.height // 32), -(-file.width // 32)), np.int64)
    odd = np.indices(symbols.shape[1:]).sum(0) % 2
    partition = take_partition(coder, prior, *symbols.shape[1:], file.step16)
    if file.stepped:
        partition = np.concatenate([partition, take_indices(coder, *symbols.shape[1:])])
    if broken_off and not coder.words and coder.state < 2**32 and "partition.kinds" in prior.tensors:
        return symbols, 0 * partition
    for reveal, (band, parity) in enumerate(REVEALS):
        means, bases = prior(symbols, odd, reveal, file.step16, partition)
        for part in parts_of(band):
            rows = np.array(part) - ENDS[band]
            mean, scale = means[rows], prior.scales(symbols, part, bases[rows], partition)
            sent = np.broadcast_to(odd == parity if parity is not None else True, mean.shape)
            if file.grey:
                sent = sent & (PLANE[part] == 0)[:, None, None]
            m, i = mean[sent], scale[sent]  # NumPy's order of selection is the order of section 2
            taken = take_part(coder, prior, m, i)
            if broken_off and not coder.words and coder.state < 2**32:
                return symbols, partition
            channel, row, column = np.nonzero(sent)
            symbols[np.array(part)[channel], row, column] = taken
    if not coder.is_empty():
        raise ValueError("data left over")
    return symbols, partition


# Section 5: pixels


class Network:
    """The decoder network."""

    def __init__(self, model: bytes, kinds: np.ndarray) -> None:
        self.tensors, self.kinds = load(model), kinds

    def layer(self, name: str, a: np.ndarray, row: int | EllipsisType = ...) -> np.ndarray:
        """`row`: of the scales and offsets, where a layer has several."""
        weight = self.tensors[f"{name}.weight"]
        offset, scale = (self.tensors[f"exact.{name}.{part}"][row][:, None, None] for part in ("offset", "scale"))
        side, (h, w) = weight.shape[2], a.shape[1:]
        padded = np.pad(a, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        places = [(r, c) for r in range(side) for c in range(side)]
        sums = sum(multiplied(weight[:, :, r, c], padded[:, r : r + h, c : c + w]) for r, c in places)
        return np.rint((sums + offset).astype(np.float32) * scale)

    def cut(self, name: str, x: np.ndarray, n: int) -> np.ndarray:
        zero = int(self.tensors[f"{name}.zero"])
        return np.clip(x, -zero, n - 1 - zero)

    def byte(self, name: str, x: np.ndarray, n: int = 256) -> np.ndarray:
        return self.cut(name, np.rint(x / self.unit(name)), n)

    def entries(self, name: str) -> int:
        return len(self.tensors[f"exact.{name}.table"])

    def unit(self, name: str) -> float:
        return 256 * float(self.tensors[f"{name}.unit"])

    def look_up(self, name: str, b: np.ndarray) -> np.ndarray:
        table, zero = self.tensors[f"exact.{name}.table"].astype(float), int(self.tensors[f"{name}.before.zero"])
        return table[b.astype(int) + zero] - table[zero]

    def block(self, name: str, x: np.ndarray, row: int) -> np.ndarray:
        n = self.entries(f"{name}.entering")
        a = self.look_up(f"{name}.entering", self.byte(f"{name}.entering.before", x, n))
        h = self.cut(f"{name}.between.before", self.layer(f"{name}.first", a, row), n)
        b = self.layer(f"{name}.second", self.look_up(f"{name}.between", h))
        return x + self.cut(f"{name}.added", b, n) * self.unit(f"{name}.added")

    def told(self, name: str, pixels: int, partition: np.ndarray) -> np.ndarray | int:
        """What the partition adds to a scale."""
        if not len(self.kinds):
            return 0
        rows, grid = self.tensors[f"exact.{name}.told"].T, np.searchsorted(self.kinds, quadrant_grid(partition))
        if pixels == 32:
            return sum(rows[:, grid[q // 2 :: 2, q % 2 :: 2] + q * len(self.kinds)] for q in range(4))
        m = 16 // pixels
        places = np.tile(np.arange(m * m).reshape(m, m), grid.shape)
        return rows[:, m * m * grid.repeat(m, 0).repeat(m, 1) + places]

    def __call__(self, plain: np.ndarray, step16: int, partition: np.ndarray) -> np.ndarray:
        """The residual of a plain image, planes in 1/1024 of the root of step16."""
        x, row = None, np.sum(self.tensors["exact.step_bounds"] < step16)
        for n, (pixels, bits) in enumerate(zip((32, 16, 8, 4), (0, 0, 3, 3), strict=True)):
            name, above, limit = f"scales.{n}", x, 255 << bits
            image = np.clip(np.floor(plain * 2.0**bits / 64 + 0.5), -limit, limit)
            x = self.layer(f"{name}.context", cells(image, pixels)) + self.told(name, pixels, partition)
            if above is not None:
                x = x + spread(self.layer(f"{name}.up", self.byte(f"{name}.entering", above)), 2)
            x = np.clip(x, -(2**15), 2**15)
            for k in range(sum(key.startswith(f"{name}.blocks.") and key.endswith(".first.weight") for key in self.tensors)):
                x = self.block(f"{name}.blocks.{k}", x, row)
        found = self.look_up("entering", self.byte("entering.before", x, self.entries("entering")))
        return spread(self.layer("paint", found), 4).astype(np.int64)


def steps_of_frequencies() -> np.ndarray:
    """In 1/16 of the image's, (3, 32, 32)."""
    rings = np.maximum(*np.indices((32, 32)))
    luma = np.select([rings <= last for last in (1, 5, 8, 12, 18)], (18, 14, 15, 18, 22), 28)
    chroma = np.select([rings <= last for last in (3, 8)], (15, 21), 24)
    return np.stack([luma, chroma, chroma])


def dct(size: int) -> np.ndarray:
    u, x = np.mgrid[:size, :size]
    basis = np.where(u == 0, 0.5**0.5, 1) * (2 / size) ** 0.5 * np.cos(np.pi * u * (2 * x + 1) / (2 * size))
    return np.rint(2**13 * basis).astype(np.int64)


def once_more(product: np.ndarray) -> np.ndarray:
    """In the unit that it was in before two of the matrices."""
    return (product + 2**25) >> 26


def paint(symbols: np.ndarray, step16: int, partition: np.ndarray, network: Network) -> np.ndarray:
    """RGB in 1/64 of a level, (3, 32 h, 32 w), not limited."""
    blocks, factors = Blocks({2**n: dct(2**n) for n in range(6)}, once_more, once_more), factors_of(partition)[:, :, None, None]
    r, coefficients = steps_of_frequencies(), np.zeros((3, *symbols.shape[1:], 32, 32), np.int64)
    coefficients[PLANE, :, :, U, V] = symbols
    coefficients = np.clip((coefficients * step16 * factors * r[:, None, None] + 2**9) >> 10, -(2**19), 2**19)
    plain = blocks.on_tiles(blocks.inverse, coefficients, partition)

    residual = tiles_of(network(joined(plain), step16, partition))
    wanted = np.clip(blocks.on_tiles(blocks.forward, residual, partition), -(2**19), 2**19)
    root = math.sqrt(step16)
    most = np.floor(r[:, None, None] * (2 * (step16 / root)) * (factors / 256)).astype(np.int64)
    allowed = np.clip(wanted, -most, most)
    left = (np.sum(allowed**2, (0, 3, 4)) + 1) / (np.sum(wanted**2, (0, 3, 4)) + 1)
    added = np.floor(allowed * (left * left * root)[:, :, None, None] / 16 + 0.5).astype(np.int64)

    y, cb, cr = joined(plain + blocks.on_tiles(blocks.inverse, added, partition))
    y = 2**16 * (y + 2**13)
    return (np.stack([y + 91881 * cr, y - 22554 * cb - 46802 * cr, y + 116130 * cb]) + 2**15) >> 16


def pixels_of(file: File, symbols: np.ndarray, partition: np.ndarray, network: Network) -> np.ndarray:
    """uint8 (height, width, 3), or (height, width, 1) of a grey file."""
    rgb = paint(symbols, file.step16, partition, network)[:, : file.height, : file.width].transpose(1, 2, 0)
    levels = (rgb @ [299, 587, 114])[..., None] / 64000 if file.grey else rgb / 64
    levels = np.rint(levels).clip(0, 255).astype(np.uint8)
    if file.patch is None:
        return levels
    patch = np.asarray(Image.open(io.BytesIO(file.patch), formats=["WEBP"]).convert("RGBA"))
    return np.where(patch[..., 3:] == 255, patch[..., 1:2] if file.grey else patch[..., :3], levels)


# The tests

BLOCKS = {
    "squares": ("32x32", "16x16", "8x8", "4x4"),
    "every kind": tuple(f"{height}x{width}" for height, width in KINDS),
    "one small kind": ("32x32", "16x32", "8x16"),
}
"""Models of adaptive blocks, made by the test."""


@pytest.fixture(scope="module", params=["flagship-1", "no forecast", "no blocks", *BLOCKS])
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    if request.param == "flagship-1":
        return Codec(request.param, device="cpu")
    prior = PLAIN if request.param == "no forecast" else SMALL
    return small_codec(tmp_path_factory.mktemp("models"), BLOCKS.get(request.param, ()), prior)


def prior_of(codec: Codec) -> bytes:
    return (codec.model.path / "prior.safetensors").read_bytes()


def network_of(codec: Codec, tuned: bool = False) -> Network:
    kinds = load(prior_of(codec)).get("partition.kinds", np.zeros(0, int))
    return Network((codec.model.path / f"decoder{'-ms-ssim' * tuned}.safetensors").read_bytes(), kinds)


def assert_same_symbols(codec: Codec, data: bytes) -> tuple[File, np.ndarray, np.ndarray]:
    file = read_file(data)
    symbols, partition = read_symbols(file, prior_of(codec))
    header, expected = codec.symbols(data)
    for name in ("width", "height", "grey", "step16", "seed"):
        assert getattr(header, name) == getattr(file, name)
    assert np.array_equal(symbols, expected[: len(symbols)])
    if len(expected) > len(symbols):
        assert np.array_equal(partition, expected[len(symbols) :])
    return file, symbols, partition


def assert_same_pixels(codec: Codec, data: bytes) -> tuple[File, np.ndarray]:
    """Returns the file and its partition."""
    file, symbols, partition = assert_same_symbols(codec, data)
    found, expected = pixels_of(file, symbols, partition, network_of(codec, file.tuned)), np.asarray(codec.decode(data, 0))
    assert np.array_equal(found, expected.reshape(found.shape))
    return file, partition


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("flagship-*.dct")), ids=lambda path: path.stem)
def test_the_document_suffices_for_golden_files(path: Path):
    assert_same_pixels(Codec("flagship-1", device="cpu"), path.read_bytes())


IMAGES = [(70, 50, "RGB", 30), (40, 33, "L", 80), (1, 1, "RGB", 50), (64, 96, "RGB", 95)]


@pytest.mark.parametrize(("width", "height", "mode", "quality"), IMAGES)
def test_the_document_suffices(codec, make_picture: Callable[..., Image.Image], width: int, height: int, mode: str, quality: float):
    file, _ = assert_same_pixels(codec, codec.encode(make_picture(width, height, mode), quality, seed=2**32 - 1))
    assert (file.width, file.height, file.grey) == (width, height, mode == "L")


def test_the_document_suffices_for_the_beginning_of_a_file(codec, make_picture: Callable[..., Image.Image]):
    data = codec.encode(make_picture(100, 70), 70)
    whole = read_file(data)
    for length in (20, 25, 50, 200, len(data) // 2, len(data) - 1):
        there = min(max(length - 25, 0), len(whole.payload))
        words = replace(whole, payload=whole.payload[: there // 4 * 4])
        symbols, partition = read_symbols(words, prior_of(codec), broken_off=True)
        expected = codec.symbols(data[:length], partial=True)[1]
        assert np.array_equal(np.concatenate([symbols, partition])[: len(expected)], expected)


@pytest.mark.parametrize("step16", [1, 699, 65535])
def test_the_document_suffices_for_symbols_that_no_writer_chooses(codec, step16: int):
    """Coefficients beyond the limit, all kinds of blocks next to each other, and all steps of tiles."""
    random, network, size = np.random.default_rng(step16), network_of(codec), (4, 5)
    packed = symbols = (30 * random.standard_cauchy((len(PLANE), *size))).clip(-32767, 32767).astype(np.int32)
    partition = np.zeros((4, *size), np.int32)
    if len(network.kinds):
        kinds = random.choice(network.kinds, (4, *size))
        kinds = np.where(kinds.min(0) < LARGE, kinds.min(0), kinds)
        partition = np.concatenate([kinds, random.integers(-4, 5, (1, *size), np.int32)])
        packed = np.concatenate([symbols, partition])
    expected = codec.family.paint(packed, (32 * size[1], 32 * size[0]), Parameters(step16), 0.0)
    assert np.array_equal(paint(symbols, step16, partition, network), 64 * expected.astype(float))


@pytest.mark.parametrize("name", BLOCKS)
def test_the_document_suffices_for_every_kind_of_block(name: str, tmp_path: Path):
    codec, boxes = small_codec(tmp_path, BLOCKS[name]), picture_of_edges(130, 260)
    _, partition = assert_same_pixels(codec, codec.encode(boxes, 70))
    small = {KINDS.index(tuple(map(int, one.split("x")))) for one in BLOCKS[name]} - {1, 2}
    assert small <= {*np.unique(partition).tolist()}


@pytest.mark.parametrize("width", [200, 20])
def test_the_document_suffices_for_a_step_for_each_tile(width: int):
    """On the left a gradient, on the right noise: their steps differ. A narrow image has one tile in a row."""
    pixels = np.broadcast_to(np.linspace(60, 180, 130)[:, None, None], (130, width, 3)).copy()
    pixels[:, 100:] += np.random.default_rng(0).normal(0, 40, (130, width, 3))[:, 100:]
    codec, picture = Codec("flagship-1", device="cpu"), Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    file, partition = assert_same_pixels(codec, codec.encode(picture, 60, tune="ms-ssim"))
    assert file.stepped and len(partition) == 5 and (partition[4].min() < 0 < partition[4].max()) == (width == 200)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_document_suffices_for_a_patch(mode: str):
    codec, image = Codec("flagship-1", device="cpu"), page(130, 70).convert(mode)
    file, _ = assert_same_pixels(codec, codec.encode(image, 60))
    assert file.patch


@pytest.mark.parametrize("quality", [1, 49.75, 100])  # 49.75: step16 is one of `step_bounds`
def test_the_document_suffices_for_escapes(codec, quality: float):
    noise = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (40, 70, 3))
    assert_same_symbols(codec, codec.encode(Image.fromarray(noise), quality))


def test_damage_is_refused(codec, make_picture: Callable[..., Image.Image]):
    data = codec.encode(make_picture(20, 20))
    assert read_file(data).width == 20
    for position in range(len(data)):
        with pytest.raises(ValueError):
            read_file(data[:position])
        with pytest.raises(ValueError):
            read_file(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
