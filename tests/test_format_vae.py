"""An independent reader of the family dct-vae, written from sections 6 to 8 of dctcodec/FORMAT.md alone: NumPy only, with the file
and the coder of `test_format.py`. The tests at the end hold it against dctcodec."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load
from test_format import Coder, File, edges_of, read_file

MODELS = Path(__file__).parents[1] / "models"
GOLDEN = Path(__file__).parent / "golden"

# Section 6: symbols and prior


class Network:
    """U: int64 (tiles, 3 C, n, n) features to (tiles, C n^2) each of g and l."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.blocks = sum(name.startswith("enter.0.") and name.endswith(".first.shift") for name in tensors)
        self.depth = sum(name.startswith("down.") and name.endswith(".shift") for name in tensors)

    def layer(self, name: str, a: np.ndarray, stride: int = 1, rounded: Callable[..., np.ndarray] = np.floor) -> np.ndarray:
        weight, offset, shift = (self.tensors[f"{name}.{part}"] for part in ("weight", "offset", "shift"))
        if name != "head":
            side = a.shape[2]
            padded = np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)))
            parts = [padded[:, :, r : r + side : stride, c : c + side : stride] for r in range(3) for c in range(3)]
            a = np.concatenate(parts, 1)
        # float64 is exact here, and fast
        sums = np.tensordot(a.astype(float), weight.astype(float), (1, 1)) + offset
        return rounded(sums * 2.0**-shift).astype(np.int64).transpose(0, 3, 1, 2)

    def __call__(self, features: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        uses = iter(range(len(self.tensors["time_bias"][0])))

        def act(x: np.ndarray) -> np.ndarray:
            return np.clip(np.rint(x / 16), 0, 127).astype(np.int64)

        def biased(x: np.ndarray) -> np.ndarray:
            use = next(uses)
            bias = self.tensors["time_bias"][t - 1, use] + self.tensors[f"map.{use}"]
            return act(x + bias.T.reshape(x.shape[1:]))

        def stack(name: str, x: np.ndarray) -> np.ndarray:
            for j in range(self.blocks):
                hidden = np.clip(self.layer(f"{name}.{j}.first", biased(x), rounded=np.rint), 0, 127)
                x = np.clip(x + self.layer(f"{name}.{j}.second", hidden), -(2**15), 2**15)
            return x

        x, skips = stack("enter.0", self.layer("input", features)), []
        for k in range(1, self.depth + 1):
            skips.append(x)
            x = stack(f"enter.{k}", self.layer(f"down.{k - 1}", biased(x), stride=2))
        for k in range(self.depth):
            skip = skips.pop()
            doubled = x.repeat(2, 2).repeat(2, 3)[:, :, : skip.shape[2], : skip.shape[3]]
            x = stack(f"leave.{k}", np.clip(skip + doubled, -(2**15), 2**15))
        outputs = self.layer("head", biased(x)).reshape(len(x), 2, -1)
        assert next(uses, None) is None
        return outputs[:, 0], outputs[:, 1]


class Chain:
    """Means and scale indices, (tiles, C n^2) each."""

    def __init__(self, model: bytes) -> None:
        self.tensors = {name: tensor.astype(np.int64) for name, tensor in load(model).items()}
        self.channels, self.size, self.bits, self.steps, self.scales = self.tensors["shape"].tolist()
        self.network = Network(self.tensors)

    def forward(self, before: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        gain, offset, scale = (self.tensors[f"forward_{part}"][t - 1] for part in ("gain", "offset", "scale"))
        return (before * gain + offset) >> 16, np.full_like(before, scale)

    def reverse(self, y: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        names = ("feature_gain", "feature_offset", "mean_gain", "mean_offset", "mean_step", "scale_base")
        row = {name: self.tensors[name][t - 1] for name in names}
        s = (y * row["feature_gain"] + row["feature_offset"]) >> 16
        coarse = np.clip((s + 8) >> 4, -127, 127)
        parts = [coarse, np.clip(s - 16 * coarse, -127, 127), np.clip((s + 64) >> 7, -127, 127)]
        features = np.concatenate([part.reshape(-1, self.channels, self.size, self.size) for part in parts], 1)
        g, log = self.network(features, t)
        mean = np.clip((y * row["mean_gain"] + row["mean_offset"] + row["mean_step"] * g) >> 16, -64 * 32767, 64 * 32767)
        return mean, np.clip(row["scale_base"] + log, 0, self.scales - 1)

    def last(self, tiles: int) -> tuple[np.ndarray, np.ndarray]:
        mean = np.zeros((tiles, self.channels * self.size**2), np.int64)
        return mean, np.full_like(mean, self.tensors["last_scale"])


# Section 7: the coder


class Stack(Coder):
    def put(self, edges: list[int], entry: int) -> None:
        width = edges[entry + 1] - edges[entry]
        if self.state >> 40 >= width:
            self.words.append(self.state % 2**32)
            self.state >>= 32
        self.state = (self.state // width << 24) + edges[entry] + self.state % width

    def rest(self) -> list[int]:
        return [*self.words, self.state % 2**32, *([self.state >> 32] if self.state >> 32 else [])]


GROWTH = range(0, 2**24 + 1, 2**16)
PLAIN = range(0, 2**24 + 1, 2**6)
ESCAPED = range(0, 2**24 + 1, 2**8)


class Gaussians:
    def __init__(self, chain: Chain) -> None:
        names = ("normal", "reach", "grid_inverse", "bin_inverse")
        self.normal, self.reach, self.grid, self.bin = (chain.tensors[name] for name in names)
        self.bins = 2**chain.bits
        self.escapes = 0  # so many were met
        self._edges: dict[tuple[int, int, bool], list[int]] = {}

    def cumulative(self, x: np.ndarray, r: int) -> np.ndarray:
        return self.normal[np.clip(((x * r + 2**11) >> 12) + len(self.normal) // 2, 0, len(self.normal) - 1)]

    def edges(self, scale: int, f: int, noise: bool) -> list[int]:
        key = (scale, f, noise)
        if key not in self._edges:
            reach = self.reach[scale]
            below = self.cumulative(64 * np.arange(-reach, reach + 2) - 32 - f, self.grid[scale])
            escape = [] if noise else [self.normal[-1] - below[-1] + below[0]]
            self._edges[key] = edges_of(np.append(np.diff(below), escape) + 1.0)
        return self._edges[key]

    def take_cells(self, stack: Stack, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        m, i = mean.ravel(), scale.ravel()
        c, reach = (m + 32) >> 6, self.reach[i]
        k = np.zeros_like(m)
        for place in np.argsort(reach, kind="stable"):
            k[place] = stack.take(self.edges(i[place], m[place] - 64 * c[place], False)) - reach[place]
        y = c + k
        for place in np.flatnonzero(k == reach + 1):
            y[place] = stack.take(ESCAPED) - 2**15
            self.escapes += 1
        return y.reshape(mean.shape)

    def take_bins(self, stack: Stack, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        symbols = np.zeros_like(mean)
        for place, m in np.ndenumerate(mean):
            inner = self.cumulative(64 * np.arange(1, self.bins) - 32 - m, self.bin[scale[place]])
            symbols[place] = stack.take(edges_of(np.diff([0, *inner, self.normal[-1]]) + 1.0))
        return symbols

    def put_noise(self, stack: Stack, y: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> None:
        for cell, m, i in zip(y.ravel()[::-1].tolist(), mean.ravel()[::-1].tolist(), scale.ravel().tolist(), strict=True):
            c = (m + 32) >> 6
            if abs(cell - c) > self.reach[i]:
                raise ValueError("noise that no encoder writes")
            stack.put(self.edges(i, m - 64 * c, True), cell - c + int(self.reach[i]))


def groups(tiles: int, plain: int, growth: int) -> list[range]:
    result, done = [], plain
    while done < tiles:
        result.append(range(done, min(tiles, done + max(1, growth * done // 256))))
        done = result[-1].stop
    return result


def read_symbols(file: File, model: bytes) -> tuple[np.ndarray, Gaussians]:
    if file.model != hashlib.sha256(model).digest()[:4] or file.step16 != 0:
        raise ValueError("another model's file")
    chain, stack = Chain(model), Stack(file.payload)
    gaussians = Gaussians(chain)
    tiles = -(-file.height // 32) * -(-file.width // 32)
    order = sorted(range(tiles), key=lambda number: number * 2654435761 % 2**32)
    symbols = np.zeros((tiles, chain.channels * chain.size**2), np.int64)
    growth, plain = stack.take(GROWTH), stack.take(PLAIN)
    if growth < 8 or plain > tiles:
        raise ValueError("no writer does that")
    for group in reversed(groups(tiles, plain, growth)):
        y = gaussians.take_cells(stack, *chain.last(len(group)))
        for t in range(chain.steps, 0, -1):
            take = gaussians.take_cells if t > 1 else gaussians.take_bins
            before = take(stack, *chain.reverse(y, t))
            gaussians.put_noise(stack, y, *chain.forward(before, t))
            y = before
        symbols[[order[place] for place in group]] = y
    for tile in order[:plain]:
        symbols[tile] = [stack.take(edges_of(counts.astype(float))) for counts in chain.tensors["plain"]]
    if stack.rest() != [philox(file.seed, 0x6269747362616B, 1)[0] % 2**32 | 2**31]:
        raise ValueError("not the word of the seed")
    return symbols.reshape(tiles, chain.channels, chain.size, chain.size), gaussians


def philox(first: int, second: int, count: int) -> list[int]:
    """Philox-4x64-10 of the counters 1, 2, ...: Salmon et al. 2011."""
    outputs: list[int] = []
    while len(outputs) < count:
        x, key = [1 + len(outputs) // 4, 0, 0, 0], [first, second]
        for _ in range(10):
            left, right = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
            x = [right >> 64 ^ x[1] ^ key[0], right % 2**64, left >> 64 ^ x[3] ^ key[1], left % 2**64]
            key = [(key[0] + 0x9E3779B97F4A7C15) % 2**64, (key[1] + 0xBB67AE8584CAA73B) % 2**64]
        outputs += x
    return outputs[:count]


# Section 8: the plain reconstruction


def context_images(symbols: np.ndarray, context: dict, largest: np.ndarray) -> np.ndarray:
    """(tiles, C, 32, 32) in 0..1."""
    values = symbols + 0.5
    if context.get("rate_weight") is not None:
        middle = symbols.shape[1] // 2
        values = (symbols + symbols[:, [middle]] - 2 ** (context["bits"] - 1)) % 2 ** context["bits"]
        values[:, middle] = symbols[:, middle]
    if context["kind"] == "downsample":
        zoom = 32 // symbols.shape[2]
        return (values / 2 ** context["bits"]).repeat(zoom, 2).repeat(zoom, 3)
    u, x = np.mgrid[: symbols.shape[2], :32]
    dct = np.where(u == 0, 0.5**0.5, 1) / 4 * np.cos(np.pi * u * (2 * x + 1) / 64)
    return (dct.T @ (largest * (values * 2.0 ** (1 - context["bits"]) - 1)) @ dct).clip(0, 1)


def reconstruct(file: File, images: np.ndarray) -> np.ndarray:
    tiles = images.reshape(-(-file.height // 32), -(-file.width // 32), 3, 32, 32).transpose(0, 3, 1, 4, 2)
    pixels = tiles.reshape(tiles.shape[0] * 32, -1, 3)[: file.height, : file.width]
    return (255 * pixels).round().astype(np.uint8)


# The tests


class Installed:
    """A model's folder, as a stranger's reader has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prior = (folder / "prior.safetensors").read_bytes()

    @cached_property
    def config(self) -> dict:
        return json.loads((self.folder / "config.json").read_text())

    def plain(self, file: File, symbols: np.ndarray) -> np.ndarray:
        largest = load((self.folder / "vae.safetensors").read_bytes())["context.largest"]
        return reconstruct(file, context_images(symbols, self.config["config"]["context"], largest))


@pytest.fixture
def tiny(tiny_tiles: Path, monkeypatch: pytest.MonkeyPatch):
    """The tiny model as a stranger sees it, and as a codec."""
    from dctcodec import Codec, installed

    monkeypatch.setattr(installed, "_PLACES", (tiny_tiles,))
    return Installed(tiny_tiles / "dct-vae-tiny"), Codec("dct-vae-tiny", "cpu")


@pytest.mark.parametrize(("width", "height", "mode"), [(1, 1, "RGB"), (64, 33, "RGB"), (50, 40, "L"), (130, 170, "RGB")])
def test_the_document_suffices(tiny, make_picture: Callable[..., Image.Image], width: int, height: int, mode: str):
    model, codec = tiny
    picture = make_picture(width, height, mode)
    data = codec.encode(picture, seed=2**32 - 1)
    file = read_file(data)
    assert (file.width, file.height, file.grey, file.step16, file.seed) == (width, height, mode == "L", 0, 2**32 - 1)
    symbols, _ = read_symbols(file, model.prior)
    assert np.array_equal(symbols, codec.symbols(data)[1])
    plain, original = model.plain(file, symbols).astype(float), np.asarray(picture.convert("RGB"), float)
    assert np.abs(plain - original).mean() < 12


def test_the_document_suffices_for_escapes(tiny):
    model, codec = tiny
    noise = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (160, 128, 3))
    data = codec.encode(Image.fromarray(noise))
    symbols, gaussians = read_symbols(read_file(data), model.prior)
    assert np.array_equal(symbols, codec.symbols(data)[1])
    assert gaussians.escapes > 0


def test_the_document_suffices_for_many_groups(tiny, make_picture: Callable[..., Image.Image]):
    model, codec = tiny
    data = codec.encode(make_picture(250, 250))
    symbols, _ = read_symbols(read_file(data), model.prior)
    assert len(symbols) == 64 and np.array_equal(symbols, codec.symbols(data)[1])


@pytest.mark.parametrize(("kind", "rate_weight"), [("dct", None), ("dct", 0.1), ("downsample", None)])
def test_the_document_suffices_for_every_context(kind: str, rate_weight: float | None):
    import torch

    from dctcodec.vae.context import Context
    from dctcodec.vae.shapes import ContextShape

    images = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    context = Context(ContextShape(kind, 8, 5, rate_weight), 3, 32)
    context.fit(images)
    symbols = context.symbols(images)
    settings = {"kind": kind, "bits": 5} | ({} if rate_weight is None else {"rate_weight": rate_weight})
    shown = context_images(symbols.numpy(), settings, context.largest.numpy())
    assert np.allclose(shown, context.image(symbols).numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_word_of_the_seed_is_numpys_philox(seed: int):
    raw = np.random.Philox(key=np.array([seed, 0x6269747362616B], np.uint64)).random_raw(10)
    assert philox(seed, 0x6269747362616B, 10) == raw.tolist()


def golden() -> list[str]:
    """The frozen files of the family."""
    return [name for name, fields in json.loads((GOLDEN / "symbols.json").read_text()).items() if fields["step16"] == 0]


@pytest.mark.parametrize("name", golden())
def test_the_document_suffices_for_frozen_files(name: str):
    file = read_file((GOLDEN / name).read_bytes())
    models = [Installed(path.parent) for path in MODELS.glob("*/prior.safetensors")]
    (model,) = [model for model in models if hashlib.sha256(model.prior).digest()[:4] == file.model]
    assert model.config["family"] == "dct-vae"
    symbols, _ = read_symbols(file, model.prior)
    expected = json.loads((GOLDEN / "symbols.json").read_text())[name]
    assert hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest() == expected["sha256"]


def test_damage_is_refused(tiny, make_picture: Callable[..., Image.Image]):
    model, codec = tiny
    file = read_file(codec.encode(make_picture(20, 40)))
    for position in range(0, len(file.payload), 5):
        damaged = file.payload[:position] + bytes([file.payload[position] ^ 64]) + file.payload[position + 1 :]
        with pytest.raises(ValueError):
            read_symbols(File(False, file.model, 20, 40, 0, file.seed, damaged), model.prior)
