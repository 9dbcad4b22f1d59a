"""The decoder of `decoder.py` in whole numbers: one image from the same symbols on every machine.

The scales but the finest are one network. The finest scale, which has most of the features, is another. Both are made of
`exact.planes`; the DCTs before and after them are those of `exact_transform.py`. At a temperature above 0 the latents are drawn in
float32, and then pixels differ a little from machine to machine.
"""

import math
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Any

import numpy as np

from dctcodec.arrays import Array, placed, to_numpy, zeros
from dctcodec.bands import blocks
from dctcodec.bands.exact_transform import LEVEL_BITS, completed, plain
from dctcodec.bands.units import IMAGE_BITS, LATENTS, PAINTED_SCALES, UP_MOST, noise_of
from dctcodec.errors import ModelError
from dctcodec.exact.fixed_point import STREAM_BITS, STREAM_LIMIT
from dctcodec.exact.layers import Latent, Scaled, Table, prove_bound
from dctcodec.exact.planes import Arithmetic, Operations
from dctcodec.family import EXACT
from dctcodec.tiles import TILE, in_large_strips, joined, scaled

FINEST = len(PAINTED_SCALES) - 1
Arrays = dict[str, Any]


class Painter:
    """A decoder by its tensors, as `decoder_export.to_integers` makes them. `kinds`: numbers of the kinds of blocks that a tile may
    have. Raises LookupError where a tensor is missing, ModelError where sums could leave the exact range."""

    def __init__(self, tensors: Mapping[str, np.ndarray], kinds: tuple[int, ...], arithmetic: Arithmetic):
        self._kinds, self._arithmetic, self._place = kinds, arithmetic, arithmetic.place
        if (f"{EXACT}scales.0.told" in tensors) != bool(kinds):
            raise LookupError("its decoder has other blocks than its config.json")
        self._bounds = tensors[f"{EXACT}step_bounds"]
        self._scales = [_Scale(number, tensors, kinds, arithmetic) for number in range(FINEST + 1)]
        self._table, self._bits = _table(tensors, "entering", arithmetic), _bits(tensors, "entering.before")
        self._paint = _layer(tensors, "paint", self._table.most, arithmetic)
        self._programs: dict[tuple[bool, bool], Any] = {}
        self._program(False, False), self._program(True, False)

    def paint(
        self, symbols: np.ndarray, step16: int, temperature: float, seed: int, partition: np.ndarray | None = None
    ) -> np.ndarray:
        """The image of symbols (CHANNELS, h, w) with a step in 1/16 of a level, and a partition (4 or 5, h, w): RGB float32
        (3, 32 h, 32 w), in 1/64 of a level, not clamped. At a `temperature` above 0 each scale's latent is drawn with noise that
        depends on `seed` and the scale alone."""
        size, row = symbols.shape[1:], int((self._bounds < step16).sum())
        kinds = blocks.whole(*size) if partition is None else partition
        noises = [self._noise(scale, size, temperature, seed) for scale in range(FINEST + 1)]
        image = plain(symbols, step16, kinds, self._place)

        def coarse(inner: slice, outer: slice) -> Array:
            inputs = self._inputs(range(FINEST), outer, kinds, row, noises)
            (found,) = self._program(False, bool(noises[0]))(image=image[:, scaled(outer, TILE)], **inputs)
            return found[:, scaled(inner, TILE // PAINTED_SCALES[-2])]

        above = joined(in_large_strips(coarse, size, self._reach(False), self._place))
        painted = zeros(image.shape, "float32", self._place)

        def finest(inner: slice, outer: slice) -> None:
            inputs = self._inputs([FINEST], outer, kinds, row, noises)
            inputs |= {"image": image[:, scaled(outer, TILE)], "above": above[:, scaled(outer, TILE // PAINTED_SCALES[-2])]}
            (residual,) = self._program(True, bool(noises[0]))(**inputs)
            rows = slice(outer.start + inner.start, outer.start + inner.stop)
            plain_rows, residual = image[:, scaled(rows, TILE)], residual[:, scaled(inner, TILE)]
            painted[:, scaled(rows, TILE)] = completed(plain_rows, residual, step16, kinds[:, rows], self._place)

        in_large_strips(finest, size, self._reach(True), self._place)
        return to_numpy(painted)

    def _inputs(self, scales: Iterable[int], rows: slice, kinds: np.ndarray, row: int, noises: list[Arrays]) -> Arrays:
        """What scales take of some rows of tiles, but for the image and what is above."""
        inputs: Arrays = {}
        for scale in scales:
            inputs |= self._scales[scale].inputs(kinds[:, rows], row)
            inputs |= {name: noise[:, scaled(rows, TILE // PAINTED_SCALES[scale])] for name, noise in noises[scale].items()}
        return inputs

    def _reach(self, finest: bool) -> int:
        """Rows of tiles on either side that a network takes in: two 3x3 layers a block, and what paints."""
        scales = self._scales[FINEST:] if finest else self._scales[:FINEST]
        return -(-sum(scale.pixels * (2 * len(scale.blocks) + finest) for scale in scales) // TILE)

    def _noise(self, scale: int, size: tuple[int, ...], temperature: float, seed: int) -> Arrays:
        """That of a scale's latent, times the temperature; nothing at temperature 0."""
        if not temperature:
            return {}
        pixels = PAINTED_SCALES[scale]
        noise = noise_of(seed, pixels, tuple(side * TILE // pixels for side in size))[0]
        return {f"noise{scale}": placed(np.float32(temperature) * noise, self._place)}

    def _program(self, finest: bool, drawn: bool) -> Any:
        """The network of the finest scale, or of all others, with or without latents."""
        if (finest, drawn) not in self._programs:  # two threads may both make it: one of the two is kept
            scales = self._scales[FINEST:] if finest else self._scales[:FINEST]
            shapes: dict[str, tuple[int | str, ...]] = {}
            for scale in scales:
                shapes |= scale.shapes(drawn)
            shapes["image"] = (3, "height", "width")
            if finest:
                shapes["above"] = (self._scales[-2].width, "over", "along")
            network = self._finest if finest else self._coarse
            program = self._arithmetic.program(network, shapes, small=["above"], reach=self._reach(finest))
            self._programs.setdefault((finest, drawn), program)
        return self._programs[finest, drawn]

    def _coarse(self, run: Operations, image: Any, **inputs: Any) -> tuple[Any]:
        """Bytes for the finest scale, (width, h, w)."""
        stream = None
        for scale in self._scales[:FINEST]:
            above = None if stream is None else run.rounded(stream, scale.up_bits, UP_MOST)
            stream = scale(run, image, above, inputs)
        return (run.rounded(stream, self._scales[-1].up_bits, UP_MOST),)

    def _finest(self, run: Operations, image: Any, above: Any, **inputs: Any) -> tuple[Any]:
        """The residual, (3, 32 h, 32 w)."""
        stream = self._scales[-1](run, image, above, inputs)
        found = run.looked_up(self._table, run.rounded(stream, self._bits, self._table.zero, self._table.size))
        return (run.scaled_shuffled(self._paint, found, PAINTED_SCALES[-1]),)


class _Block:
    """A residual block: bytes of the stream, a table, a layer, a table, a layer, and bytes that are added to the stream.
    They may all be wider numbers, of the tables' size."""

    def __init__(self, name: str, tensors: Mapping[str, np.ndarray], arithmetic: Arithmetic):
        self.entering, self.between = (_table(tensors, f"{name}.{part}", arithmetic) for part in ("entering", "between"))
        self.bits, self.added_bits = (_bits(tensors, f"{name}.{part}") for part in ("entering.before", "added"))
        self.added_zero, self.size = int(tensors[f"{name}.added.zero"]), self.entering.size
        if self.between.size != self.size or not 0 <= self.added_zero < 2**self.size:
            raise ModelError("a block of the model's decoder is of several sizes: it is damaged")
        self.scales, self.offsets = (tensors[f"{EXACT}{name}.first.{part}"] for part in ("scale", "offset"))
        self.first = _layer(tensors, f"{name}.first", self.entering.most, arithmetic, row=0)
        prove_bound(self.first.weight, self.offsets, self.entering.most)
        self.second = _layer(tensors, f"{name}.second", self.between.most, arithmetic)

    def __call__(self, run: Operations, stream: Any, scale: Any, offset: Any) -> Any:
        size = self.size
        found = run.looked_up(self.entering, run.rounded(stream, self.bits, self.entering.zero, size))
        hidden = run.byted(self.first, found, self.between.zero, size, scale, offset)
        added = run.byted(self.second, run.looked_up(self.between, hidden), self.added_zero, size)
        return run.sum(stream, run.lifted(added, self.added_bits))


class _Scale:
    """One scale (`decoder.Scale`)."""

    def __init__(self, number: int, tensors: Mapping[str, np.ndarray], kinds: tuple[int, ...], arithmetic: Arithmetic):
        name = f"scales.{number}"
        self.number, self.pixels, self._kinds, self._arithmetic = number, PAINTED_SCALES[number], kinds, arithmetic
        self._context = _layer(tensors, f"{name}.context", 255 << IMAGE_BITS[number], arithmetic)
        self._up = _layer(tensors, f"{name}.up", UP_MOST, arithmetic) if number else None
        self.up_bits = _bits(tensors, f"{name}.entering") if number else 0
        count = 1 + max(int(key.split(".")[3]) for key in tensors if key.startswith(f"{name}.blocks."))
        self.blocks = [_Block(f"{name}.blocks.{block}", tensors, arithmetic) for block in range(count)]
        self.width = len(tensors[f"{name}.context.weight"])
        self._told = arithmetic.put(tensors[f"{EXACT}{name}.told"].clip(-STREAM_LIMIT, STREAM_LIMIT)) if kinds else None
        sigma, project = (tensors[f"{name}.latent.{part}.weight"][..., 0, 0] for part in ("log_sigma", "project"))
        self._latent = Latent(sigma, tensors[f"{name}.latent.log_sigma.bias"], project, arithmetic.place)

    def shapes(self, drawn: bool) -> dict[str, tuple[int | str, ...]]:
        """Those of what the scale takes but for the image and what is above."""
        number, count = self.number, len(self.blocks)
        shapes: dict[str, tuple[int | str, ...]] = {f"{part}{number}": (count, self.width, 1, 1) for part in ("scale", "offset")}
        if self._kinds:
            shapes |= {f"told{number}.{place}": (f"down{number}", f"across{number}") for place in range(self._places)}
        return shapes | ({f"noise{number}": (LATENTS, f"down{number}", f"across{number}")} if drawn else {})

    def inputs(self, kinds: np.ndarray, row: int) -> Arrays:
        """The step's scales and offsets, and what the partition of some tiles says."""
        number, put = self.number, self._arithmetic.put
        arrays: Arrays = {
            f"{part}{number}": put(np.stack([getattr(block, f"{part}s")[row] for block in self.blocks]))[..., None, None]
            for part in ("scale", "offset")
        }
        if self._kinds:
            numbers = placed(np.asarray(np.searchsorted(self._kinds, blocks.quadrant_map(kinds))), self._arithmetic.place)
            arrays |= {f"told{number}.{place}": rows for place, rows in enumerate(self._rows(numbers))}
        return arrays

    def __call__(self, run: Operations, image: Any, above: Any, inputs: Arrays) -> Any:
        number = self.number
        limited = run.floored(image, LEVEL_BITS - IMAGE_BITS[number], 255 << IMAGE_BITS[number])
        stream = run.unshuffled(self._context, limited, self.pixels)
        for place in range(self._places if self._kinds else 0):
            stream = stream + run.chosen(self._told, inputs[f"told{number}.{place}"])
        if self._up is not None:
            stream = run.sum(stream, run.shuffled(self._up, above, 2))
        stream = run.clamp(stream, STREAM_LIMIT)
        for block, layers in enumerate(self.blocks):
            if f"noise{number}" in inputs and block == len(self.blocks) - 1:
                stream = stream + run.drawn(self._latent, stream, inputs[f"noise{number}"])
            stream = layers(run, stream, inputs[f"scale{number}"][block], inputs[f"offset{number}"][block])
        return stream

    @property
    def _places(self) -> int:
        """Quadrants of a feature, at least 1."""
        return max(1, self.pixels // blocks.QUADRANT) ** 2

    def _rows(self, numbers: Array) -> list[Array]:
        """Rows of `told` at each feature, for each of its quadrants. `numbers`: of kinds, int64 (2 h, 2 w)."""
        coarser = max(1, self.pixels // blocks.QUADRANT)
        if coarser == 1:
            return [blocks.rows_by_place(numbers, blocks.QUADRANT // self.pixels)]
        quadrants = [numbers[row::coarser, column::coarser] for row in range(coarser) for column in range(coarser)]
        return [quadrant + place * len(self._kinds) for place, quadrant in enumerate(quadrants)]


def _layer(
    tensors: Mapping[str, np.ndarray], name: str, most: int, arithmetic: Arithmetic, row: int | EllipsisType = ...
) -> Scaled:
    """The layer of a name, for terms up to `most`; with the scales and offsets of a row where it has several."""
    weight = tensors[f"{name}.weight"]
    terms = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    offset, scale = (tensors[f"{EXACT}{name}.{part}"][row] for part in ("offset", "scale"))
    return Scaled(terms, offset, scale, most, arithmetic)


def _bits(tensors: Mapping[str, np.ndarray], name: str) -> int:
    """The unit of bytes of a stream as 2^bits / 2^STREAM_BITS. Raises ModelError."""
    unit = float(tensors[f"{name}.unit"]) * 2**STREAM_BITS
    if not (2**-STREAM_BITS <= unit <= 2**STREAM_BITS and math.log2(unit).is_integer()):
        raise ModelError("the model's decoder leaves the exact range: it is damaged")
    return round(math.log2(unit))


def _table(tensors: Mapping[str, np.ndarray], name: str, arithmetic: Arithmetic) -> Table:
    units = np.array([tensors[f"{name}.{part}.unit"] for part in ("before", "after")], np.float32)
    return Table(tensors[f"{EXACT}{name}.table"], units, int(tensors[f"{name}.before.zero"]), arithmetic)
