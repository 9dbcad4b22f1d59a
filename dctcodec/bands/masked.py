"""The masked-diffusion prior: symbols to bytes and back, part by part (DESIGN section 3)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dctcodec.arrays import to_numpy
from dctcodec.bands import blocks, coder, parity, steps
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.order import BANDS, CHANNELS, PARTS, REVEALS
from dctcodec.bands.parity import Blocks
from dctcodec.bands.partition import Entered, PartitionCode, bits_of_tiles
from dctcodec.bands.trellis import Draft, movable, settled
from dctcodec.bands.units import checkerboard, tiles_of
from dctcodec.progress import Tick, no_tick


class Part(NamedTuple):
    """Symbols that are coded together: some channels, in order, of the tiles (h, w) that are True."""

    channels: list[int]
    tiles: np.ndarray

    def flat(self, values: np.ndarray) -> np.ndarray:
        """Values (channels of the part, h, w) of its symbols, one after another."""
        return values.flatten() if self.tiles.all() else values[:, self.tiles].flatten()

    def of(self, symbols: np.ndarray) -> np.ndarray:
        """Its symbols among all (CHANNELS, h, w)."""
        return self.flat(symbols[self.channels])

    def at(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Those of `of` at some places; values (CHANNELS, 1, 1) are the same in all tiles."""
        sent, flat = np.flatnonzero(self.tiles), values.reshape(len(values), -1)
        channel, tile = np.divmod(places, len(sent))
        return flat[np.array(self.channels)[channel], sent[tile] if flat.shape[1] > 1 else 0]

    def put(self, symbols: np.ndarray, values: np.ndarray) -> None:
        """Inverse of `of`."""
        block = symbols[self.channels]
        block[:, self.tiles] = values.reshape(len(self.channels), -1)
        symbols[self.channels] = block


class Coded(NamedTuple):
    """A part, the whole numbers nearest to the means of its symbols, the keys of their tables, (n,) each, and the blocks whose
    parities are implied."""

    part: Part
    centre: np.ndarray
    keys: np.ndarray
    blocks: Blocks

    @property
    def implied(self) -> np.ndarray:
        """The symbols of the part whose parity is implied, int64."""
        return self.blocks.places[self.blocks.implied]

    @property
    def free(self) -> np.ndarray:
        """Which are the others, bool (n,)."""
        free = np.ones(len(self.keys), bool)
        free[self.implied] = False
        return free


def _narrow(symbols: np.ndarray, centre: np.ndarray, keys: np.ndarray) -> coder.Batch:
    return coder.Batch(symbols.astype(np.int16), centre, keys.astype(np.uint16, copy=False))


class MaskedPrior:
    """A prior over the symbols of an image, int32 (CHANNELS, h, w); where the model has kinds of blocks, (CHANNELS + 4 or 5, h, w):
    the image's partition with them, as `blocks.packed` puts it. Everything here is exact."""

    def __init__(self, network: ExactPrior, tables: coder.Tables, partition: PartitionCode | None = None):
        self.network, self.tables, self.partition = network, tables, partition

    def code_length(self, symbols: np.ndarray, step16: int, grey: bool = False) -> float:
        """Code length in bits of symbols under the exact model, without the coder's overhead."""
        return float(self.tile_bits(symbols, step16, grey).sum())

    def whole_length(self, symbols: np.ndarray, step16: int, grey: bool = False) -> float:
        """`code_length` if every parity were sent."""
        symbols, partition = blocks.unpacked(symbols)
        bits = self._partition_bits(symbols, partition, step16).sum()
        for coded in self._coded(self._distributions(symbols, step16, grey, partition)):
            bits += self.tables.lengths(coded.part.of(symbols) - coded.centre, coded.keys).sum()
        return float(bits)

    def encode(self, draft: Draft, partition: np.ndarray | None, step16: int, grey: bool = False, tick: Tick = no_tick) -> bytes:
        """Code symbols near a draft whose parities hold; they take the place of the draft's. `step16`: the step in 1/16; `grey`:
        the chroma is zero and not sent; `tick` is called after each reveal. Raises ValueError for a partition that the model does
        not have."""
        first: list[coder.Plain] = []
        if self.partition and partition is not None:
            self.partition.check(partition[: blocks.QUADRANTS])
            first = [(entries, sent.keys, sent.table) for sent, _, entries in self._before(self.partition, partition, step16)]
        symbols, batches = draft.symbols, []
        for coded in self._coded(self._distributions(symbols, step16, grey, partition, tick)):
            values = coded.part.of(symbols)
            places = movable(values, coded.blocks)
            rough = Draft(values[places], coded.part.at(draft.slope, places), coded.part.at(draft.curvature, places), draft.weight)
            values[places] = settled(rough, places, coded.centre[places], coded.keys[places], self.tables, coded.blocks)
            coded.part.put(symbols, values)
            batches += self._batches(coded, values)
        return coder.encode(batches, self.tables, first)

    def decode(
        self,
        data: bytes,
        height: int,
        width: int,
        step16: int,
        grey: bool = False,
        tick: Tick = no_tick,
        partial: bool = False,
        bands: int = len(BANDS),
        stepped: bool = False,
    ) -> np.ndarray:
        """Symbols on the CPU, of tiles (height, width), which have steps of their own if `stepped`. Raises FormatError for bytes
        that `encode` did not make.

        `partial`: `data` is but the first words; symbols of parts that are not there as a whole are 0, and so is the partition.
        `bands`: stop after so many."""
        reader = coder.Reader(data, self.tables)
        symbols = np.zeros((REVEALS[-1].stop, height, width), np.int32)
        partition = None
        if self.partition:
            nothing = np.zeros((blocks.QUADRANTS + stepped, height, width), np.int64)
            partition = nothing.copy()
            for step, take, _ in self._before(self.partition, partition, step16):
                take(reader.take_plain(step.keys, step.table))
            if partial and reader.exhausted():
                return blocks.packed(symbols, nothing)
        for coded in self._coded(self._distributions(symbols, step16, grey, partition, tick, bands)):
            taken = self._taken(reader, coded)
            if partial and reader.exhausted():
                return blocks.packed(symbols, partition)
            coded.part.put(symbols, taken)
        if bands == len(BANDS):
            reader.finish()
        return blocks.packed(symbols, partition)

    def _before(self, code: PartitionCode, partition: np.ndarray, step16: int) -> Iterator[Entered]:
        """What is sent before the symbols: the kinds of blocks, and the steps of tiles where they have their own."""
        yield from code.steps(partition, step16)
        index = steps.index_of(partition)
        if index is not None:
            yield from steps.sent(index[0])

    def _taken(self, reader: coder.Reader, coded: Coded) -> np.ndarray:
        """The symbols of a part, int32 (n,): first those that are free, then those whose parities these imply."""
        symbols, free, implied = np.zeros(len(coded.keys), np.int32), coded.free, coded.implied
        symbols[free] = reader.take(coded.centre[free], coded.keys[free])
        centre = coded.centre[implied]
        parities = parity.implied_parities(coded.blocks, symbols) ^ centre & 1
        symbols[implied] = reader.take(centre, self.tables.half(coded.keys[implied], parities))
        return symbols

    def distributions(self, symbols: np.ndarray, step16: int, grey: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Mean (in 1/16) and scale index that each symbol is coded with, int32 (CHANNELS, h, w) each; 0 where it is not sent."""
        symbols, partition = blocks.unpacked(symbols)
        parameters = np.zeros((2, *symbols.shape), np.int32)
        for part, *values in self._distributions(symbols, step16, grey, partition):
            for parameter, value in zip(parameters, values, strict=True):
                part.put(parameter, value)
        return parameters[0], parameters[1]

    def tile_bits(self, symbols: np.ndarray, step16: int, grey: bool = False) -> np.ndarray:
        """Bits of each tile's symbols, float64 (h, w), under the exact model."""
        symbols, partition = blocks.unpacked(symbols)
        bits = self._partition_bits(symbols, partition, step16)
        for coded in self._coded(self._distributions(symbols, step16, grey, partition)):
            lengths = np.zeros(len(coded.keys))
            for where, batch in zip((coded.free, coded.implied), self._batches(coded, coded.part.of(symbols)), strict=True):
                lengths[where] = coder.lengths(batch, self.tables)
            bits[coded.part.tiles] += lengths.reshape(len(coded.part.channels), -1).sum(0)
        return bits

    def _partition_bits(self, symbols: np.ndarray, partition: np.ndarray | None, step16: int) -> np.ndarray:
        """Bits of each tile's part of the partition, float64 (h, w)."""
        if not self.partition or partition is None:
            return np.zeros(symbols.shape[1:])
        return bits_of_tiles(self._before(self.partition, partition, step16), *symbols.shape[1:])

    def _batches(self, coded: Coded, symbols: np.ndarray) -> list[coder.Batch]:
        """The symbols (n,) of a part in the order in which they are sent: those that are free, then the others."""
        free, implied = coded.free, coded.implied
        halves = self.tables.half(coded.keys[implied], (symbols[implied] - coded.centre[implied]) & 1)
        return [
            _narrow(symbols[free], coded.centre[free], coded.keys[free]),
            _narrow(symbols[implied], coded.centre[implied], halves),
        ]

    def _coded(self, distributions: Iterator[tuple[Part, np.ndarray, np.ndarray]]) -> Iterator[Coded]:
        """What `_distributions` gives, as it is coded."""
        for part, mean, scale in distributions:
            centre, keys = self.tables.split(mean, scale)
            del mean, scale  # a part of a large image takes much memory
            yield Coded(part, centre, keys, parity.blocks_of(self.tables.openness[keys]))

    def _distributions(
        self,
        symbols: np.ndarray,
        step16: int,
        grey: bool,
        partition: np.ndarray | None,
        tick: Tick = no_tick,
        bands: int = len(BANDS),
    ) -> Iterator[tuple[Part, np.ndarray, np.ndarray]]:
        """Each part of each reveal, and the means and scales of its symbols. Reads `symbols` as they stand when the iterator comes
        to a part, so a decoder may fill them in between. `tick` is called after each reveal."""
        board = checkerboard(*symbols.shape[1:])
        for number, now in enumerate(REVEALS):
            if now.band >= bands:
                return
            if now.parity != 1:  # both parities of a band have one forecast
                forecast = self.network.forecast(symbols, now.band, step16, partition)
            mean, scale = self.network.means(symbols, number, step16, forecast, partition)
            tiles = tiles_of(now, board)
            for number_of_part, channels in enumerate(PARTS[now.band]):
                rows = [channel - now.start for channel in channels]
                part_scale = to_numpy(self.network.scales(symbols, now.band, number_of_part, scale[rows], partition))
                sent = [place for place, channel in enumerate(channels) if not grey or CHANNELS[channel].plane == 0]
                part = Part([channels[place] for place in sent], tiles)
                part_mean = to_numpy(mean[[rows[place] for place in sent]])
                yield part, part.flat(part_mean), part.flat(part_scale[sent])
            tick(1 / len(REVEALS))
