"""The diffusion prior as a coder of contexts: bits-back rANS along the chain (DESIGN section 3).

A diffusion model has no tractable p(y_0), but its bound -L_vlb can be reached: the noise y_1 .. y_T is not drawn at random but
*decoded* from the bits that are already on rANS's stack, and the decoder recovers those bits. In Bit-Swap's order the encoder,
for t = 1 .. T, pops y_t from q(y_t | y_{t-1}) and pushes y_{t-1} under p(y_{t-1} | y_t); at the end it pushes y_T under p(y_T).
The decoder does the same in reverse order.

The first noise needs bits too. So the first tiles are coded plainly: each coefficient by the frequencies of its values. That costs
little more than the diffusion model. The other tiles are coded in groups, which grow with the number of bits on the stack. The
lowest word of the stack is derived from the seed: a decoder that does not end with it has read damaged bytes.
"""

import math
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from dctcodec import rans
from dctcodec.errors import FormatError, ModelError
from dctcodec.progress import Tick, no_tick
from dctcodec.vae.exact_diffusion import ExactDiffusion
from dctcodec.vae.tables import GaussianTables, Stack

FIRST_PLAIN = 16
"""Number of tiles that are coded plainly at first. The file holds the final number, which is below PLAIN_LIMIT."""
PLAIN_LIMIT = 2**18
FIRST_GROWTH = 48
GROWTH_UNIT = 256
"""A group has floor(growth / GROWTH_UNIT * tiles before it) tiles, 1 at least; the growth, below GROWTH_UNIT, is sent."""
LEAST_GROWTH = 8
"""Slower growth is refused: a reader's time depends on the number of groups."""
RESERVE = 33
"""Valid bits that must be left after a pop: with fewer, the stack has run dry."""
WORDS_A_TILE = 64
"""Bits enough for any tile's noise, where only the bound is measured."""
INITIAL_BITS = 32
"""Size of the word under the stack."""
HASH = 2654435761
_PHILOX_KEY = 0x6269747362616B  # "bitsbak"
_GROWTH_MODEL = rans.Uniform(GROWTH_UNIT)
_PLAIN_MODEL = rans.Uniform(PLAIN_LIMIT)


@dataclass(frozen=True)
class Coded:
    """A payload and what it is made of. `bound_bits`: -L_vlb of the very noise that was drawn, and of the plain tiles with noise
    of their own (NaN unless it was asked for); `plain`: tiles coded plainly, the first; `groups`: sizes of the others' groups."""

    payload: bytes
    bound_bits: float
    plain: int
    groups: list[int]


class _RunDry(Exception):
    """The stack has too few bits for the next group's noise."""

    def __init__(self, group: int):
        self.group = group


class BitsBackPrior:
    """A prior over contexts, symbols int32 (tiles, channels, size, size) in 0 .. 2^bits - 1. Everything here is exact."""

    def __init__(self, network: ExactDiffusion, tables: GaussianTables):
        self.network, self.tables = network, tables
        self._forward_scales = network.forward_scales
        used = [*network.forward_scales, network.last_scale]
        shapes = (network.scales, network.coefficients, 2**network.bits), (len(tables.reach), tables.coefficients, tables.bins)
        if shapes[0] != shapes[1] or not 0 <= min(used) <= max(used) < network.scales:
            raise ModelError("the model's coding tables do not fit its network: it is damaged")
        network.prove_forward([int(tables.reach[scale]) for scale in self._forward_scales])

    def encode(self, symbols: np.ndarray, seed: int, tick: Tick = no_tick) -> bytes:
        """Code symbols; `seed`, below 2^64, makes the word under the stack."""
        return self.code(symbols, seed, tick).payload

    def vlb_bits(self, symbols: np.ndarray, seed: int) -> float:
        """-L_vlb in bits of the noise that `encode` draws: the cost of coding, without the plain tiles and the coder's overhead."""
        return self.code(symbols, seed, measure=True).bound_bits

    def code(self, symbols: np.ndarray, seed: int, tick: Tick = no_tick, measure: bool = False) -> Coded:
        """`encode` with an account of the bits; with `measure`, of the bound too."""
        flat = symbols.reshape(len(symbols), self.network.coefficients)[tile_order(len(symbols))]
        return _Encoder(self, flat, seed, tick, measure).run()

    def decode(self, data: bytes, tiles: int, seed: int, tick: Tick = no_tick) -> np.ndarray:
        """Symbols int32 (tiles, channels, size, size). Raises FormatError for bytes that `encode` did not make."""
        stack = _stack_of(data)
        growth, plain = (int(stack.decode(model, 1)[0]) for model in (_GROWTH_MODEL, _PLAIN_MODEL))
        if growth < LEAST_GROWTH or plain > tiles:
            raise FormatError("the coded contexts are in groups that no encoder writes: the file is damaged")
        flat = np.empty((tiles, self.network.coefficients), np.int32)
        stop = tiles
        for size in reversed(group_sizes(tiles, plain, growth)):
            flat[stop - size : stop] = self._decode_group(stack, size)
            stop -= size
            tick(size / tiles)
        if plain:
            flat[:plain] = self.tables.pop_plain(stack, plain)
            tick(plain / tiles)
        if not np.array_equal(stack.get_compressed(), words_of_seed(seed, 1)):
            raise FormatError("the coded contexts do not end as they began: the file is damaged or was made by another model")
        result = np.empty_like(flat)
        result[tile_order(tiles)] = flat
        return result.reshape(tiles, self.network.channels, self.network.size, self.network.size)

    def _decode_group(self, stack: Stack, size: int) -> np.ndarray:
        """Take a group's symbols (size, coefficients) off the stack and put its noise back."""
        shape = (size, self.network.coefficients)
        y = self.tables.pop(stack, *self._last(shape)).reshape(shape)
        for t in range(self.network.steps, 0, -1):
            mean, scale = (values.ravel() for values in self.network.reverse(y, t))
            take = self.tables.pop if t > 1 else self.tables.pop_bins
            before = take(stack, mean, scale).reshape(shape)
            mean = self.forward_mean(before, t)
            self.tables.push_noise(stack, y.ravel(), mean, self._forward_scales[t - 1])
            y = before
        return y.astype(np.int32)

    def forward_mean(self, before: np.ndarray, t: int) -> np.ndarray:
        """Means (n,) of q(y_t | y_{t-1}), in 1/64 cell, of y_{t-1} = `before`, n values in any shape."""
        return self.network.forward_mean(before, t).ravel()

    def _last(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Means and scale indices of p(y_T)."""
        count = shape[0] * shape[1]
        return np.zeros(count, np.int64), np.full(count, self.network.last_scale)


class _Encoder:
    """One run of `BitsBackPrior.code`. It tries group sizes, and smaller ones where the stack runs dry."""

    def __init__(self, prior: BitsBackPrior, flat: np.ndarray, seed: int, tick: Tick, measure: bool):
        self.prior, self.flat, self.seed, self.tick, self.measure = prior, flat, seed, tick, measure
        self.growth, self.plain = FIRST_GROWTH, min(FIRST_PLAIN, len(flat))
        self.reached = 0
        self.sizes: list[int] = []
        # the stack and the bound before each group: where the next attempt goes on
        self.states: list[tuple[Stack, float]] = []

    def run(self) -> Coded:
        while True:
            try:
                stack, bound = self._attempt()
                break
            except _RunDry as dry:
                self._economise(dry.group)
        for value, model in ((self.plain, _PLAIN_MODEL), (self.growth, _GROWTH_MODEL)):
            stack.encode_reverse(np.zeros(1, np.int32) + value, model)
        payload = stack.get_compressed().astype("<u4").tobytes()
        return Coded(payload, bound + self._plain_bound() if self.measure else math.nan, self.plain, self.sizes)

    def _attempt(self) -> tuple[Stack, float]:
        sizes = group_sizes(len(self.flat), self.plain, self.growth)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(sizes, self.sizes, strict=False)))
        self.sizes, self.states = sizes, self.states[: common + 1]
        if not self.states:
            stack = Stack(words_of_seed(self.seed, 1))
            self.prior.tables.push_plain(stack, self.flat[: self.plain])
            self.states.append((stack, 0.0))
            self._progress(self.plain)
        group = len(self.states) - 1
        start = self.plain + sum(sizes[:group])
        for number, size in enumerate(sizes[group:], group):
            stack, bound = self.states[-1]
            stack = stack.clone()
            bound += self._group(stack, self.flat[start : start + size], number)
            self.states.append((stack, bound))
            start += size
            self._progress(start)
        return self.states[-1]

    def _plain_bound(self) -> float:
        """-L_vlb of the plain tiles, their noise from a stack of its own."""
        stack = Stack(words_of_seed(self.seed, WORDS_A_TILE * (self.plain + 1)))
        return self._group(stack, self.flat[: self.plain], 0) if self.plain else 0.0

    def _progress(self, tiles: int) -> None:
        """Report progress when it goes beyond what was reported before."""
        if tiles > self.reached:
            self.tick((tiles - self.reached) / len(self.flat))
            self.reached = tiles

    def _economise(self, group: int) -> None:
        """Use smaller groups, or more plain tiles where groups are small already."""
        if self.sizes[group] > 1 and self.growth > LEAST_GROWTH:
            self.growth = max(self.growth * 7 // 8, LEAST_GROWTH)
        else:
            self.plain = min(self.plain + 1 + self.plain // 4, len(self.flat))
            self.states = []

    def _group(self, stack: Stack, symbols: np.ndarray, number: int) -> float:
        """Code a group's symbols (n, coefficients) onto the stack; returns its -L_vlb in bits where `measure` is set."""
        prior, tables = self.prior, self.prior.tables
        before, bound = symbols.astype(np.int64), 0.0
        for t in range(1, prior.network.steps + 1):
            forward_mean, forward_scale = prior.forward_mean(before, t), prior._forward_scales[t - 1]
            y = tables.pop_noise(stack, forward_mean, forward_scale).reshape(before.shape)
            if stack.num_valid_bits() < RESERVE:
                raise _RunDry(number)
            mean, scale = (values.ravel() for values in prior.network.reverse(y, t))
            put, bits = (tables.push, tables.bits) if t > 1 else (tables.push_bins, tables.bin_bits)
            put(stack, before.ravel(), mean, scale)
            if self.measure:
                bound += bits(before.ravel(), mean, scale) - tables.noise_bits(y.ravel(), forward_mean, forward_scale)
            before = y
        last = prior._last(before.shape)
        tables.push(stack, before.ravel(), *last)
        return bound + tables.bits(before.ravel(), *last) if self.measure else 0.0


def group_sizes(tiles: int, plain: int, growth: int) -> list[int]:
    """Sizes of the groups after so many plain tiles, in the order they are written."""
    sizes, done = [], plain
    while done < tiles:
        sizes.append(min(max(1, growth * done // GROWTH_UNIT), tiles - done))
        done += sizes[-1]
    return sizes


def tile_order(tiles: int) -> np.ndarray:
    """The order in which tiles are written: by i * HASH mod 2^32, so that every group is spread over the image."""
    return np.argsort(np.arange(tiles, dtype=np.uint64) * np.uint64(HASH) % np.uint64(2**32), kind="stable")


def words_of_seed(seed: int, count: int) -> np.ndarray:
    """`count` words, uint32: the low halves of Philox's output. The last has its top bit set: it may not be 0."""
    raw = np.random.Philox(key=np.array([seed, _PHILOX_KEY], np.uint64)).random_raw(count)
    words = (raw & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    words[-1] |= np.uint32(2**31)
    return words


def _stack_of(data: bytes) -> Stack:
    if len(data) % 4:
        raise FormatError("the coded contexts are not whole 32-bit words: the file is damaged")
    try:
        return Stack(np.frombuffer(data, "<u4").astype(np.uint32))
    except ValueError as error:
        raise FormatError("the coded contexts end in a zero word: the file is damaged") from error
