"""The diffusion prior as a coder of contexts: bits-back rANS along the chain (DESIGN section 3).

A diffusion model has no tractable p(y_0), but its bound -L_vlb can be reached: the noise y_1 .. y_T is not drawn at random but
*decoded* from the bits that are already on rANS's stack, and the reader gives those bits back. In Bit-Swap's order the encoder,
for t = 1 .. T, pops y_t from q(y_t | y_{t-1}) and pushes y_{t-1} under p(y_{t-1} | y_t); at the end it pushes y_T under p(y_T).
The reader does the same backwards.

The first tile's noise comes from initial words, which cost their size. So tiles go in groups that grow as the stack pays for
them, one tile first. The words derive from the seed: a reader that does not end with them has read damaged bytes.
"""

from dataclasses import dataclass
from itertools import takewhile

import constriction
import numpy as np
import torch
from torch import Tensor

from dctcodec.errors import FormatError, ModelError
from dctcodec.prior.gaussian_exact import ExactDiffusion
from dctcodec.prior.gaussian_tables import GaussianTables, Stack
from dctcodec.progress import Tick, no_tick

FIRST_GROWTH = 80
GROWTH_UNIT = 256
"""A group has floor(1 + growth / GROWTH_UNIT * tiles before it) tiles; the growth, below GROWTH_UNIT, is sent."""
LEAST_GROWTH = 8
"""Slower growth is refused: a reader's time depends on the number of groups."""
RESERVE = 33
"""Valid bits that must be left after a pop: with fewer, the stack has run dry."""
WORDS_LIMIT = 2**15
HASH = 2654435761
_PHILOX_KEY = 0x6269747362616B  # "bitsbak"
_GROWTH_MODEL = constriction.stream.model.Uniform(GROWTH_UNIT)


@dataclass(frozen=True)
class Coded:
    """A payload and what it is made of. `bound_bits`: -L_vlb of the very noise that was drawn (NaN unless it was asked for);
    `initial_bits`: size of the words under it; `groups`: their sizes in tiles."""

    payload: bytes
    bound_bits: float
    initial_bits: int
    groups: list[int]


class _RunDry(Exception):
    """There were too few bits on the stack for the next group's noise."""

    def __init__(self, group: int):
        self.group = group


class GaussianPrior:
    """A prior over contexts, symbols int32 (tiles, channels, size, size) in 0 .. 2^bits - 1. Everything here is exact."""

    def __init__(self, network: ExactDiffusion, tables: GaussianTables):
        self.network, self.tables = network, tables
        self._forward_scales = network.forward_scales
        used = [*network.forward_scales, network.last_scale]
        if network.scales != len(tables.reach) or not 0 <= min(used) <= max(used) < network.scales:
            raise ModelError("the model's coding tables do not fit its network: it is damaged")
        network.prove_forward([int(tables.reach[scale]) for scale in self._forward_scales])

    def encode(self, symbols: Tensor, seed: int, tick: Tick = no_tick) -> bytes:
        """Code symbols; `seed`, below 2^64, makes the initial words."""
        return self.code(symbols, seed, tick).payload

    def vlb_bits(self, symbols: Tensor, seed: int) -> float:
        """-L_vlb in bits of the noise that `encode` draws: what coding costs without initial bits and the coder's overhead."""
        return self.code(symbols, seed, measure=True).bound_bits

    def code(self, symbols: Tensor, seed: int, tick: Tick = no_tick, measure: bool = False) -> Coded:
        """`encode` with an account of the bits; with `measure`, of the bound too."""
        flat = symbols.flatten(1)[torch.from_numpy(tile_order(len(symbols)))]
        return _Encoder(self, flat, seed, tick, measure).run()

    def decode(self, data: bytes, tiles: int, seed: int, tick: Tick = no_tick) -> Tensor:
        """Symbols int32 (tiles, channels, size, size) on the CPU. Raises FormatError for bytes that `encode` did not make."""
        stack = _stack_of(data)
        growth = int(stack.decode(_GROWTH_MODEL, 1)[0])
        if growth < LEAST_GROWTH:
            raise FormatError("the coded contexts are in smaller groups than any writer makes: the file is damaged")
        flat = torch.empty(tiles, self.network.coefficients, dtype=torch.int32)
        sizes, stop = group_sizes(tiles, growth), tiles
        for size in reversed(sizes):
            flat[stop - size : stop] = self._decode_group(stack, size)
            stop -= size
            tick(size / tiles)
        rest = stack.get_compressed()
        if not 0 < len(rest) <= WORDS_LIMIT or not np.array_equal(rest, initial_words(seed, len(rest))):
            raise FormatError("the coded contexts do not end as they began: the file is damaged or was made by another model")
        result = torch.empty_like(flat)
        result[torch.from_numpy(tile_order(tiles))] = flat
        return result.reshape(tiles, self.network.channels, self.network.size, self.network.size)

    def _decode_group(self, stack: Stack, size: int) -> Tensor:
        """Take a group's symbols (size, coefficients) off the stack and put its noise back."""
        shape = (size, self.network.coefficients)
        y = self.tables.pop(stack, *self._last(shape)).reshape(shape)
        for t in range(self.network.steps, 0, -1):
            mean, scale = _flat(*self.network.reverse(torch.from_numpy(y), t))
            take = self.tables.pop if t > 1 else self.tables.pop_bins
            before = take(stack, mean, scale).reshape(shape)
            mean = self.forward_mean(before, t)
            self.tables.push_noise(stack, y.ravel(), mean, self._forward_scales[t - 1])
            y = before
        return torch.from_numpy(y.astype(np.int32))

    def forward_mean(self, before: np.ndarray, t: int) -> np.ndarray:
        """Means (n,) of q(y_t | y_{t-1}), in 1/64 cell, of y_{t-1} = `before`, n values in any shape."""
        return self.network.forward_mean(torch.from_numpy(before), t).numpy().ravel()

    def _last(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Means and scale indices of p(y_T)."""
        count = shape[0] * shape[1]
        return np.zeros(count, np.int64), np.full(count, self.network.last_scale)


class _Encoder:
    """One run of `GaussianPrior.code`: tries group sizes, and takes smaller ones where the stack runs dry."""

    def __init__(self, prior: GaussianPrior, flat: Tensor, seed: int, tick: Tick, measure: bool):
        self.prior, self.flat, self.seed, self.tick, self.measure = prior, flat, seed, tick, measure
        self.growth, self.words = FIRST_GROWTH, self._first_words()
        self.reached = 0
        self.sizes: list[int] = []
        # the stack and the bound before each group: where the next attempt goes on
        self.states: list[tuple[Stack, float]] = []

    def _first_words(self) -> int:
        """Too few by a little: y_1 alone."""
        scale = self.prior._forward_scales[0]
        return 1 + int(self.prior.tables.entropy(scale) * self.prior.network.coefficients) // 32

    def run(self) -> Coded:
        while True:
            try:
                stack, bound = self._attempt()
                break
            except _RunDry as dry:
                self._economise(dry.group)
        stack.encode_reverse(np.zeros(1, np.int32) + self.growth, _GROWTH_MODEL)
        payload = stack.get_compressed().astype("<u4").tobytes()
        return Coded(payload, bound if self.measure else float("nan"), 32 * self.words, self.sizes)

    def _attempt(self) -> tuple[Stack, float]:
        sizes = group_sizes(len(self.flat), self.growth)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(sizes, self.sizes, strict=False)))
        self.sizes, self.states = sizes, self.states[: common + 1]
        if not self.states:
            self.states.append((Stack(initial_words(self.seed, self.words)), 0.0))
        group = len(self.states) - 1
        start = sum(sizes[:group])
        for number, size in enumerate(sizes[group:], group):
            stack, bound = self.states[-1]
            stack = stack.clone()
            bound += self._group(stack, self.flat[start : start + size], number)
            self.states.append((stack, bound))
            start += size
            self._progress(start)
        return self.states[-1]

    def _progress(self, tiles: int) -> None:
        """Tell what was reached for the first time."""
        if tiles > self.reached:
            self.tick((tiles - self.reached) / len(self.flat))
            self.reached = tiles

    def _economise(self, group: int) -> None:
        """Smaller groups, or more initial words where one tile is too much already."""
        if group == 0 or self.growth <= LEAST_GROWTH:
            self.words += 1 + (self.words // 4 if group else 0)
            self.states = []
        else:
            self.growth = max(self.growth * 7 // 8, LEAST_GROWTH)
        if self.words > WORDS_LIMIT:
            raise ValueError("these contexts cannot be coded: the model is not fit for them")

    def _group(self, stack: Stack, symbols: Tensor, number: int) -> float:
        """Code a group's symbols (n, coefficients) onto the stack; returns its -L_vlb in bits if that is asked for."""
        prior, tables = self.prior, self.prior.tables
        before, bound = symbols.numpy().astype(np.int64), 0.0
        for t in range(1, prior.network.steps + 1):
            forward_mean, forward_scale = prior.forward_mean(before, t), prior._forward_scales[t - 1]
            y = tables.pop_noise(stack, forward_mean, forward_scale).reshape(before.shape)
            if stack.num_valid_bits() < RESERVE:
                raise _RunDry(number)
            mean, scale = _flat(*prior.network.reverse(torch.from_numpy(y), t))
            put, bits = (tables.push, tables.bits) if t > 1 else (tables.push_bins, tables.bin_bits)
            put(stack, before.ravel(), mean, scale)
            if self.measure:
                bound += bits(before.ravel(), mean, scale) - tables.noise_bits(y.ravel(), forward_mean, forward_scale)
            before = y
        last = prior._last(before.shape)
        tables.push(stack, before.ravel(), *last)
        return bound + tables.bits(before.ravel(), *last) if self.measure else 0.0


def group_sizes(tiles: int, growth: int) -> list[int]:
    """Sizes of the groups, in the order they are written."""
    sizes, done = [], 0
    while done < tiles:
        sizes.append(min(1 + growth * done // GROWTH_UNIT, tiles - done))
        done += sizes[-1]
    return sizes


def tile_order(tiles: int) -> np.ndarray:
    """The order in which tiles are written: by i * HASH mod 2^32, so that every group is spread over the picture."""
    return np.argsort(np.arange(tiles, dtype=np.uint64) * np.uint64(HASH) % np.uint64(2**32), kind="stable")


def initial_words(seed: int, count: int) -> np.ndarray:
    """`count` words under the stack, uint32: the low halves of Philox's output. The last has its top bit set: it may not be 0."""
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


def _flat(*values: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(value.cpu().numpy().ravel() for value in values)
