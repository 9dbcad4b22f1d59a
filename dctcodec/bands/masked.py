"""The masked-diffusion prior: symbols to bytes and back, part by part (DESIGN section 3)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dctcodec.arrays import to_numpy
from dctcodec.bands import blocks, coder
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.order import BANDS, CHANNELS, PARTS, REVEALS
from dctcodec.bands.partition import PartitionCode
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

    def put(self, symbols: np.ndarray, values: np.ndarray) -> None:
        """Inverse of `of`."""
        block = symbols[self.channels]
        block[:, self.tiles] = values.reshape(len(self.channels), -1)
        symbols[self.channels] = block


class MaskedPrior:
    """A prior over the symbols of an image, int32 (CHANNELS, h, w); where the model has kinds of blocks, (CHANNELS + 4, h, w): the
    image's partition with them, as `blocks.packed` puts it. Everything here is exact."""

    def __init__(self, network: ExactPrior, tables: coder.Tables, partition: PartitionCode | None = None):
        self.network, self.tables, self.partition = network, tables, partition

    def code_length(self, symbols: np.ndarray, step16: int, grey: bool = False) -> float:
        """Code length in bits of symbols under the exact model, without the coder's overhead."""
        symbols, partition = blocks.unpacked(symbols)
        bits = self._partition_bits(symbols, partition, step16).sum()
        return float(bits) + coder.code_length(self._batches(symbols, step16, grey, partition), self.tables)

    def encode(self, symbols: np.ndarray, step16: int, grey: bool = False, tick: Tick = no_tick) -> bytes:
        """Code symbols; `step16`: the step in 1/16; `grey`: the chroma is zero and not sent; `tick` is called after each reveal.
        Raises ValueError for a partition that the model does not have."""
        symbols, partition = blocks.unpacked(symbols)
        first: list[coder.Plain] = []
        if self.partition and partition is not None:
            self.partition.check(partition)
            first = [(entries, sent.keys, sent.table) for sent, _, entries in self.partition.steps(partition, step16)]
        return coder.encode(self._batches(symbols, step16, grey, partition, tick), self.tables, first)

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
    ) -> np.ndarray:
        """Symbols on the CPU, of tiles (height, width). Raises FormatError for bytes that `encode` did not make.

        `partial`: `data` is but the first words; symbols of parts that are not there as a whole are 0, and so is the partition.
        `bands`: stop after so many."""
        reader = coder.Reader(data, self.tables)
        symbols = np.zeros((REVEALS[-1].stop, height, width), np.int32)
        partition = None
        if self.partition:
            partition = blocks.whole(height, width)
            for step, take, _ in self.partition.steps(partition, step16):
                take(reader.take_plain(step.keys, step.table))
            if partial and reader.exhausted():
                return blocks.packed(symbols, blocks.whole(height, width))
        for part, mean, scale in self._distributions(symbols, step16, grey, partition, tick, bands):
            taken = reader.take(mean, scale)
            if partial and reader.exhausted():
                return blocks.packed(symbols, partition)
            part.put(symbols, taken)
        if bands == len(BANDS):
            reader.finish()
        return blocks.packed(symbols, partition)

    def parameters(self, symbols: np.ndarray, step16: int, grey: bool = False) -> tuple[np.ndarray, np.ndarray]:
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
        for part, mean, scale in self._distributions(symbols, step16, grey, partition):
            lengths = coder.lengths(part.of(symbols), mean, scale, self.tables)
            bits[part.tiles] += lengths.reshape(len(part.channels), -1).sum(0)
        return bits

    def _partition_bits(self, symbols: np.ndarray, partition: np.ndarray | None, step16: int) -> np.ndarray:
        """Bits of each tile's part of the partition, float64 (h, w)."""
        if not self.partition or partition is None:
            return np.zeros(symbols.shape[1:])
        return self.partition.tile_bits(partition, step16)

    def _batches(
        self, symbols: np.ndarray, step16: int, grey: bool, partition: np.ndarray | None, tick: Tick = no_tick
    ) -> list[coder.Batch]:
        distributions = self._distributions(symbols, step16, grey, partition, tick)
        return [
            (part.of(symbols).astype(np.int16), mean.astype(np.int16), scale.astype(np.uint8))
            for part, mean, scale in distributions
        ]

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
