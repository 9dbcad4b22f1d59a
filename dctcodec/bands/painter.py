"""The decoder of `decoder.py` without torch: graphs for onnxruntime, made from the same weights. Float32, on the CPU.

The scales but the finest are one graph, over the whole image. The finest scale, which has most of the features, is another, over
strips of tiles. The rest is arithmetic of arrays: the inverse DCT, what keeps the result consistent with the symbols, and colours.
"""

import math
from collections.abc import Mapping

import numpy as np

from dctcodec.bands import blocks
from dctcodec.bands.transform import consistent, dequantise, synthesise
from dctcodec.bands.units import INPUT_GAIN, LATENTS, PAINTED_SCALES, noise_of
from dctcodec.exact.graph import Graph, Value
from dctcodec.exact.session import Session
from dctcodec.threads import AT_ONCE, together
from dctcodec.tiles import TILE, in_strips, joined, pieces_of, scaled, strips_of, ycbcr_to_rgb

FINEST = len(PAINTED_SCALES) - 1
Inputs = dict[str, np.ndarray]


class Painter:
    """A decoder by its weights. `kinds`: numbers of the kinds of blocks that a tile may have. Raises LookupError where a weight is
    missing."""

    def __init__(self, weights: Mapping[str, np.ndarray], kinds: tuple[int, ...]):
        self._weights = {name: values.astype(np.float32) for name, values in weights.items()}
        self._kinds = kinds
        if ("scales.0.partition.bias.weight" in weights) != bool(kinds):
            raise LookupError("its decoder has other blocks than its config.json")
        self._blocks = [self._count(f"scales.{scale}.blocks.") for scale in range(FINEST + 1)]
        self._sessions: dict[tuple[bool, bool], Session] = {}
        self._session(finest=False, drawn=False), self._session(finest=True, drawn=False)

    def paint(
        self, symbols: np.ndarray, step: float, temperature: float, seed: int, partition: np.ndarray | None = None
    ) -> np.ndarray:
        """The image of symbols (CHANNELS, h, w) and a partition (4 or 5, h, w): RGB float32 (3, 32 h, 32 w), not clamped. At a
        `temperature` above 0 each scale's latent is drawn with noise that depends on `seed` and the scale alone."""
        image, size, drawn = _plain(symbols, step, partition), symbols.shape[1:], temperature > 0
        noises = [self._noise(scale, size, temperature, seed) for scale in range(FINEST + 1)]
        told = self._told(partition)
        inputs = {"image": image[None], **told}
        for scale in range(FINEST):
            inputs |= self._conditioning(scale, step) | noises[scale]
        (above,) = self._session(False, drawn).run(inputs)

        # rows of tiles on either side that the finest scale takes in: two 3x3 layers a block, and what paints
        reach = -(-PAINTED_SCALES[-1] * (2 * self._blocks[-1] + 1) // TILE)
        upper = image[:, :0]  # rows above a strip before they were painted: the image is painted in place, to save memory
        for inner, outer in strips_of(size, reach, AT_ONCE):
            rows = slice(outer.start + inner.start, outer.start + inner.stop)
            plain = np.concatenate([upper, image[:, scaled(slice(rows.start, outer.stop), TILE)]], 1)
            kept = slice(max(0, rows.stop - reach) - outer.start, rows.stop - outer.start)
            upper = plain[:, scaled(kept, TILE)].copy()
            inputs = {"image": plain[None], "above": above[:, :, scaled(outer, TILE // PAINTED_SCALES[-2])]}
            inputs |= self._conditioning(FINEST, step)
            inputs |= {name: values[:, :, scaled(outer, 2)] for name, values in told.items()}
            inputs |= {name: values[:, :, scaled(outer, TILE // PAINTED_SCALES[-1])] for name, values in noises[-1].items()}
            (residual,) = self._session(True, drawn).run(inputs)
            there = None if partition is None else partition[:, rows]
            _complete(image[:, scaled(rows, TILE)], residual[0, :, scaled(inner, TILE)], step, there)
        return image

    def _told(self, partition: np.ndarray | None) -> Inputs:
        return {} if partition is None else {"told": blocks.planes(partition[None], self._kinds)}

    def _noise(self, scale: int, size: tuple[int, ...], temperature: float, seed: int) -> Inputs:
        """That of a scale's latent, times the temperature; nothing at temperature 0."""
        if not temperature:
            return {}
        pixels = PAINTED_SCALES[scale]
        return {f"noise{scale}": np.float32(temperature) * noise_of(seed, pixels, tuple(side * TILE // pixels for side in size))}

    def _conditioning(self, scale: int, step: float) -> Inputs:
        """Scale and shift of each block's channels: (1, blocks, 2, width, 1, 1)."""
        log_step = np.full(1, (math.log(step) - math.log(50.0)) * 2, np.float32)
        rows = []
        for block in range(self._blocks[scale]):
            name = f"scales.{scale}.blocks.{block}.conditioning"
            hidden = np.sin(self._linear(f"{name}.hidden", log_step))
            rows.append(self._linear(f"{name}.out", hidden).reshape(2, -1, 1, 1) + np.array([1, 0], np.float32).reshape(2, 1, 1, 1))
        return {f"conditioning{scale}": np.stack(rows)[None]}

    def _linear(self, name: str, values: np.ndarray) -> np.ndarray:
        product: np.ndarray = self._weights[f"{name}.weight"] @ values + self._weights[f"{name}.bias"]
        return product

    def _count(self, start: str) -> int:
        return 1 + max(int(name.removeprefix(start).split(".")[0]) for name in self._weights if name.startswith(start))

    def _session(self, finest: bool, drawn: bool) -> Session:
        """The graph of the finest scale, or of all others, with or without latents."""
        if (finest, drawn) not in self._sessions:
            self._sessions[finest, drawn] = Session(self._finest(drawn) if finest else self._coarse(drawn))
        return self._sessions[finest, drawn]

    def _coarse(self, drawn: bool) -> bytes:
        graph = Graph()
        image, told = self._received(graph)
        features = None
        for scale in range(FINEST):
            features = self._scale(graph, scale, features, image, told, drawn)
        assert features is not None
        graph.output(features, "features", "float32", 1, "width", "down", "across")
        return graph.model()

    def _finest(self, drawn: bool) -> bytes:
        graph = Graph()
        image, told = self._received(graph)
        above = graph.input("above", "float32", 1, self._weights[f"scales.{FINEST}.up.weight"].shape[1], "down", "across")
        features = self._scale(graph, FINEST, above, image, told, drawn)
        painted = _spread(self._convolution(graph, "paint", _silu(features), 1), PAINTED_SCALES[-1])
        graph.output(painted, "residual", "float32", 1, 3, "height", "width")
        return graph.model()

    def _received(self, graph: Graph) -> tuple[Value, Value | None]:
        image = graph.input("image", "float32", 1, 3, "height", "width")
        return image, graph.input("told", "float32", 1, len(self._kinds) - 1, "quadrants", "along") if self._kinds else None

    def _scale(self, graph: Graph, scale: int, above: Value | None, image: Value, told: Value | None, drawn: bool) -> Value:
        """One scale's features (`decoder.Scale`)."""
        name, pixels = f"scales.{scale}", PAINTED_SCALES[scale]
        features = self._convolution(graph, f"{name}.context", image, 0, pixels)
        if told is not None:
            coarser, finer = max(1, pixels // blocks.QUADRANT), max(1, blocks.QUADRANT // pixels)
            features = features + _spread(self._convolution(graph, f"{name}.partition.bias", told, 0, coarser), finer)
        if above is not None:
            features = _spread(self._convolution(graph, f"{name}.up", above, 0), 2) + features
        count, width = self._blocks[scale], self._weights[f"{name}.context.weight"].shape[0]
        conditioning = graph.input(f"conditioning{scale}", "float32", 1, count, 2, width, 1, 1)
        for block in range(count):
            if drawn and block == count - 1:
                features = features + self._drawn(graph, scale, features)
            features = self._block(graph, f"{name}.blocks.{block}", features, conditioning[block])
        return features

    def _block(self, graph: Graph, name: str, features: Value, conditioning: Value) -> Value:
        hidden = self._convolution(graph, f"{name}.first", _silu(features), 1) * conditioning[0] + conditioning[1]
        return features + self._convolution(graph, f"{name}.second", _silu(hidden), 1)

    def _drawn(self, graph: Graph, scale: int, features: Value) -> Value:
        """What the latent of a scale adds to its features."""
        name = f"scales.{scale}.latent"
        log_sigma = graph.node("Clip", self._convolution(graph, f"{name}.log_sigma", features, 0), -5.0, 2.0)
        noise = graph.input(f"noise{scale}", "float32", 1, LATENTS, f"down{scale}", f"across{scale}")
        return self._convolution(graph, f"{name}.project", graph.node("Exp", log_sigma) * noise, 0)

    def _convolution(self, graph: Graph, name: str, values: Value, padding: int, side: int = 1) -> Value:
        """A convolution, or one of cells of `side` x `side` where that is given."""
        weight, bias = self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias")
        if side > 1:
            weight = weight.reshape(len(weight), -1, side, side)
        return graph.node("Conv", values, weight, bias, pads=(padding,) * 4, strides=(side, side))


def _plain(symbols: np.ndarray, step: float, partition: np.ndarray | None) -> np.ndarray:
    """The plain image of symbols, YCbCr in units of 1 / INPUT_GAIN: (3, 32 h, 32 w)."""

    def work(_: slice, rows: slice) -> np.ndarray:
        told = None if partition is None else partition[None, :, rows]
        coded = dequantise(symbols[None, :, rows].astype(np.float32), np.float32(step), told) * np.float32(INPUT_GAIN)
        return synthesise(coded, told)[0]

    return joined(in_strips(work, symbols.shape[1:], 0, None))


def _complete(image: np.ndarray, residual: np.ndarray, step: float, partition: np.ndarray | None) -> None:
    """Add the network's residual to a plain image (3, 32 h, 32 w), and turn it into RGB, in place."""

    def work(rows: slice) -> None:
        pixels = scaled(rows, TILE)
        # the residual grows with the quantisation error; the root keeps its scale near one for all steps
        wanted = residual[None, :, pixels] * np.float32(4 * math.sqrt(step))
        there = None if partition is None else partition[None, :, rows]
        added = consistent(wanted, np.array([step], np.float32), there)[0]
        image[:, pixels] = ycbcr_to_rgb(image[:, pixels] / np.float32(INPUT_GAIN) + added)

    together(work, pieces_of(*(length // TILE for length in image.shape[1:])))


def _silu(values: Value) -> Value:
    return values * values.graph.node("Sigmoid", values)


def _spread(values: Value, side: int) -> Value:
    return values if side == 1 else values.graph.node("DepthToSpace", values, blocksize=side, mode="CRD")
