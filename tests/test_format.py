"""An independent reader of the family dct-bands, written from dctcodec/FORMAT.md alone: NumPy only, nothing of dctcodec, torch or
constriction in sections 1 to 5. The tests at the end hold it against dctcodec."""

import hashlib
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from dctcodec import Codec

MODELS = Path(__file__).parents[1] / "models"

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


CHUNKS = "NSCAdext"


def read_file(data: bytes) -> File:
    if len(data) < 20:
        raise ValueError("too short")
    magic, version, flags, model, width, height, step16, crc = struct.unpack("<4sBB4sHHHI", data[:20])
    if magic != b"DCT\x89" or version != 2 or flags > 3 or crc != zlib.crc32(data[:16]):
        raise ValueError("not a file of this version")
    if not 1 <= width * height <= 2**27:
        raise ValueError("sizes out of range")
    chunks = read_chunks(data)
    if "S" not in chunks or len(chunks.get("N", bytes(4))) != 4:
        raise ValueError("no symbols, or no seed")
    seed, payload = int.from_bytes(chunks.get("N", b""), "little"), chunks["S"]
    if step16 == 0:  # from here on the word taken first is the first
        payload = np.frombuffer(payload, "<u4")[::-1].tobytes() if len(payload) % 4 == 0 else payload
    return File(flags % 2 == 1, model, width, height, step16, seed, payload)


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


# Section 3: the prior


class Prior:
    def __init__(self, model: bytes) -> None:
        self.tensors = {name: tensor.astype(np.int64) for name, tensor in load(model).items()}
        sizes = 16 * (2 * self.tensors["reach"] + 2) + 1
        self.tables = np.split(self.tensors["cumulative"], np.cumsum(sizes)[:-1])

    def layer(self, name: str, a: np.ndarray, rows: slice | list[int] = slice(None)) -> np.ndarray:
        weight, offset, shift = (self.tensors[f"{name}.{part}"][rows] for part in ("weight", "offset", "shift"))
        if weight.shape[1] == 9 * len(a):
            h, w = a.shape[1:]
            padded = np.pad(a, ((0, 0), (1, 1), (1, 1)))
            a = np.concatenate([padded[:, row : row + h, column : column + w] for row in range(3) for column in range(3)])
        up, down = np.maximum(-shift, 0), np.maximum(shift, 0)
        return (np.tensordot(weight, a, 1) + offset[:, None, None]) << up[:, None, None] >> down[:, None, None]

    def __call__(self, known: np.ndarray, odd: np.ndarray, reveal: int, step16: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and scale indices less the skip of the band that this reveal is about, of every tile; symbols yet unknown are 0."""
        tensors = self.tensors
        first, last = ENDS[REVEALS[reveal][0] :][:2]
        bias = tensors["reveal_bias"][reveal] + tensors["step_bias"][np.sum(tensors["step_bounds"] < step16)]

        def act(x: np.ndarray, n: int | None = None) -> np.ndarray:
            return np.clip((x + (0 if n is None else bias[n][:, None, None]) + 8) >> 4, 0, 127)

        s = known[:699]
        asinh = self.magnitude(s)
        terms = [np.clip(4 * s, -127, 127), np.sign(s) * asinh, asinh, np.where(odd, 16, -16)[None]]
        x = self.layer("input", np.concatenate(terms))
        for n in range(4):
            x = x + self.layer(f"second.{n}", act(self.layer(f"first.{n}", act(x, n))))
            x = np.clip(x, -(2**15), 2**15)
        y = self.layer("head", act(x, 4), slice(2 * first, 2 * last))
        mean, scale = np.split(y, 2)
        if "forecast.basis" in tensors and REVEALS[reveal][0] >= 2:
            means, scales = self.forecast(known, REVEALS[reveal][0], step16)
            mean, scale = mean + means, scale + scales
        return np.clip(mean, -32767, 32767), scale + tensors["scale_offset"]

    def magnitude(self, s: np.ndarray) -> np.ndarray:
        return self.tensors["asinh"][np.minimum(abs(s), len(self.tensors["asinh"]) - 1)]

    def scales(self, known: np.ndarray, channels: list[int], scale: np.ndarray) -> np.ndarray:
        """Scale indices of a part's channels, where `known` are the symbols sent before it in each tile, the others 0."""
        return np.clip(scale + self.layer("skip", self.magnitude(known[:699]), channels), 0, 63)

    def forecast(self, known: np.ndarray, band: int, step16: int) -> tuple[np.ndarray, np.ndarray]:
        """What is to be added to means and scale indices of a band."""
        tensors = {name[9:]: tensor for name, tensor in self.tensors.items() if name.startswith("forecast.")}
        bias = tensors["reveal_bias"][band] + tensors["step_bias"][np.sum(self.tensors["step_bounds"] < step16)]
        bias, d, (h, w) = bias[:, :, None, None], tensors["basis"], known.shape[1:]
        s = np.zeros((3, h, w, 32, 32), np.int64)
        before = slice(0, ENDS[band])
        s[PLANE[before], :, :, U[before], V[before]] = np.clip(known[before], -(2**11), 2**11) * tensors["step"][before, None, None]
        picture = np.clip((d.T @ s @ d + 2**18) >> 19, -127, 127).swapaxes(2, 3).reshape(3, 32 * h, 32 * w)

        def cells(k: int) -> np.ndarray:
            squares = picture.reshape(3, 32 * h // k, k, 32 * w // k, k)
            return squares.transpose(0, 2, 4, 1, 3).reshape(3 * k * k, 32 * h // k, 32 * w // k)

        def spread(x: np.ndarray, k: int) -> np.ndarray:
            outputs, rows, columns = x.shape
            squares = x.reshape(outputs // k**2, k, k, rows, columns)
            return squares.transpose(0, 3, 1, 4, 2).reshape(-1, rows * k, columns * k)

        def act(x: np.ndarray) -> np.ndarray:
            return np.clip((x + 8) >> 4, 0, 127)

        def step(n: int, x: np.ndarray) -> np.ndarray:
            hidden = act(self.layer(f"forecast.first.{n}", act(x + bias[n])))
            return np.clip(x + self.layer(f"forecast.second.{n}", hidden), -(2**15), 2**15)

        def sums(x: np.ndarray) -> np.ndarray:
            return x.reshape(len(x), h, x.shape[1] // h, w, -1).sum((2, 4))

        x, blocks, coarse = self.layer("forecast.coarse", cells(8)), len(bias) - 2, tensors["coarse_blocks"]
        for n in range(coarse):
            x = step(n, x)
        c = act(x + bias[blocks])
        x = spread(self.layer("forecast.up", c), 2) + self.layer("forecast.fine", cells(4))
        for n in range(coarse, blocks):
            x = step(n, x)
        f = act(x + bias[blocks + 1])
        painted = spread(np.clip(self.layer("forecast.paint", f), -127, 127), 4)
        q = painted.reshape(3, h, 32, w, 32).swapaxes(2, 3)
        channels = slice(ENDS[band], ENDS[band + 1])
        means = (d @ q @ d.T)[PLANE[channels], :, :, U[channels], V[channels]]
        means = (means * tensors["step_inverse"][channels, None, None] + 2**30) >> 31
        terms = np.minimum(np.concatenate([(sums(c) + 2) >> 2, (sums(f) + 8) >> 4]), 127)
        return means, self.layer("forecast.pool", terms, channels)

    def counts(self, scale: int, f: int) -> np.ndarray:
        """Of the offsets -reach..reach, then of the escape."""
        table, reach = self.tables[scale], self.tensors["reach"][scale]
        edges = table[16 * np.arange(2 * reach + 2) + 8 - f]
        return np.append(np.diff(edges), table[-1] - (edges[-1] - edges[0])) + 1


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


def take_symbols(coder: Coder, prior: Prior, m: np.ndarray, i: np.ndarray) -> np.ndarray:
    """Of means and scale indices."""
    c = (m + 8) >> 4
    keys = 16 * i + m - 16 * c + 8
    reach = prior.tensors["reach"][i]
    entries = np.zeros_like(m)
    for key in np.unique(keys):
        counts = prior.counts(key // 16, key % 16 - 8)
        edges = edges_of(counts / counts.sum())
        entries[keys == key] = [coder.take(edges) for _ in range(np.sum(keys == key))]
    k = entries - reach
    escapes = k == reach + 1
    k[escapes] = [coder.take(ESCAPED) - 2**16 for _ in range(escapes.sum())]
    return c + k


def read_symbols(file: File, model: bytes, broken_off: bool = False) -> np.ndarray:
    if file.model != hashlib.sha256(model).digest()[:4] or file.step16 == 0:
        raise ValueError("another model's file")
    prior, coder = Prior(model), Coder(file.payload)
    symbols = np.zeros((len(PLANE), -(-file.height // 32), -(-file.width // 32)), np.int64)
    odd = np.indices(symbols.shape[1:]).sum(0) % 2
    for reveal, (band, parity) in enumerate(REVEALS):
        means, bases = prior(symbols, odd, reveal, file.step16)
        for part in parts_of(band):
            rows = np.array(part) - ENDS[band]
            mean, scale = means[rows], prior.scales(symbols, part, bases[rows])
            sent = np.broadcast_to(odd == parity if parity is not None else True, mean.shape)
            if file.grey:
                sent = sent & (PLANE[part] == 0)[:, None, None]
            m, i = mean[sent], scale[sent]  # NumPy's order of selection is the order of section 2
            taken = take_symbols(coder, prior, m, i)
            if broken_off and not coder.words and coder.state < 2**32:
                return symbols
            channel, row, column = np.nonzero(sent)
            symbols[np.array(part)[channel], row, column] = taken
    if not coder.is_empty():
        raise ValueError("data left over")
    return symbols


# Section 5: the plain reconstruction


def reconstruct(file: File, symbols: np.ndarray) -> np.ndarray:
    h, w = symbols.shape[1:]
    coefficients = np.zeros((3, h, w, 32, 32))
    rings = np.maximum(U, V)
    luma = np.select([rings <= last for last in (1, 5, 8, 12, 18, 31)], (18, 14, 15, 18, 22, 28))
    chroma = np.select([rings <= last for last in (3, 8, 15)], (15, 21, 24))
    scales = file.step16 / 256 * np.where(PLANE == 0, luma, chroma)
    coefficients[PLANE, :, :, U, V] = symbols * scales[:, None, None]
    u, x = np.mgrid[:32, :32]
    dct = np.where(u == 0, 0.5**0.5, 1) / 4 * np.cos(np.pi * u * (2 * x + 1) / 64)
    tiles = dct.T @ coefficients @ dct
    y, cb, cr = tiles.swapaxes(2, 3).reshape(3, 32 * h, 32 * w)[:, : file.height, : file.width]
    y = y + 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    return rgb.round().clip(0, 255).astype(np.uint8)


# The tests


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


@pytest.fixture(scope="module", params=["dct-bands", "flagship"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return Codec(request.param, device="cpu")


def prior_of(codec: Codec) -> bytes:
    return (MODELS / codec.model.name / "prior.safetensors").read_bytes()


def assert_same_symbols(codec: Codec, data: bytes) -> tuple[File, np.ndarray]:
    file = read_file(data)
    symbols = read_symbols(file, prior_of(codec))
    header, expected = codec.symbols(data)
    for name in ("width", "height", "grey", "step16", "seed"):
        assert getattr(header, name) == getattr(file, name)
    assert np.array_equal(symbols, expected.numpy())
    return file, symbols


SMALL = [(70, 50, "RGB", 30), (40, 33, "L", 80), (1, 1, "RGB", 50), (64, 96, "RGB", 95)]


@pytest.mark.parametrize(("width", "height", "mode", "quality"), SMALL)
def test_the_document_suffices(codec, make_picture: Callable[..., Image.Image], width: int, height: int, mode: str, quality: float):
    picture = make_picture(width, height, mode)
    data = codec.encode(picture, quality, seed=2**32 - 1)
    file, symbols = assert_same_symbols(codec, data)
    assert (file.width, file.height, file.grey) == (width, height, mode == "L")
    plain = reconstruct(file, symbols)
    original, painted = (np.asarray(p.convert("RGB")) for p in (picture, codec.decode(data)))
    assert psnr(plain, painted) > 25
    assert psnr(plain, original) > max(25, psnr(painted, original) - 3)


def test_the_document_suffices_for_the_beginning_of_a_file(codec, make_picture: Callable[..., Image.Image]):
    data = codec.encode(make_picture(100, 70), 70)
    whole = read_file(data)
    for length in (20, 25, 50, 200, len(data) // 2, len(data) - 1):
        there = min(max(length - 25, 0), len(whole.payload))
        words = replace(whole, payload=whole.payload[: there // 4 * 4])
        symbols = read_symbols(words, prior_of(codec), broken_off=True)
        assert np.array_equal(symbols, codec.symbols(data[:length], partial=True)[1].numpy())


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
