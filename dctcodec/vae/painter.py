"""The decoder of `network.py` without torch: a graph for onnxruntime, made from the same weights. Float32, on the CPU.

It goes top-down from the image that the context shows, draws each latent from its prior, and ends with the mean of the
likelihood. A latent is mean + deviation * noise; what its mean adds to the features is linear in what the prior's features add,
so one layer gives both.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from dctcodec.exact.graph import Graph, Value
from dctcodec.exact.session import Session
from dctcodec.vae.noise import Draw
from dctcodec.vae.shapes import LOG_VARIANCE, MIXTURES, SOFTPLUS_BETA, NetworkShape

_BLOCK = (1, 3, 5, 7)
"""Numbers of the layers in a block; SiLUs are between them."""


class Painter:
    """A network with a context by its shape and its weights, names as in `vae.safetensors` without "vae.". Raises LookupError
    where a weight is missing, ValueError where the likelihood has no colours."""

    def __init__(self, shape: NetworkShape, weights: Mapping[str, np.ndarray]):
        if shape.likelihood != "logistic-mixture":
            raise ValueError(f"its likelihood, {shape.likelihood}, has no colours")
        self.shape, self._weights = shape, _plain({name: values.astype(np.float32) for name, values in weights.items()})
        self._sessions = {drawn: Session(self._graph(drawn)) for drawn in (False, True)}

    def paint(self, images: np.ndarray, temperature: float, draw: Draw) -> np.ndarray:
        """The expected images, float32 (B, 3, side, side) nominally in [0, 1], of tiles whose contexts show `images` of that
        shape. `draw`: noise of the latents, drawn coarse to fine."""
        inputs = {"image": images}
        if temperature:
            for number, shape in enumerate(self._latents()):
                inputs[f"noise{number}"] = np.float32(temperature) * draw((len(images), *shape))
        (painted,) = self._sessions[temperature > 0].run(inputs)
        return painted

    def _latents(self) -> Iterator[tuple[int, int, int]]:
        """The shape of each latent, coarse to fine."""
        for scale in reversed(self.shape.scales):
            for _ in range(scale.latents):
                yield self.shape.latent_width, scale.side, scale.side

    def _graph(self, drawn: bool) -> bytes:
        graph, side = Graph(), self.shape.side
        image = graph.input("image", "float32", "tiles", self.shape.channels, side, side)
        noises = (graph.input(f"noise{number}", "float32", "tiles", *shape) for number, shape in enumerate(self._latents()))
        signed = image * 2.0 - 1.0
        features = self._features(graph, signed, noises if drawn else None)
        graph.output(self._mean(graph, self._head(graph, features), signed), "painted", "float32", "tiles", 3, side, side)
        return graph.model()

    def _features(self, graph: Graph, image: Value, noises: Iterator[Value] | None) -> Value:
        """The decoder's features after the last block. `noises`: of each latent, times the temperature; None for temperature 0."""
        features = graph.constant(self._weights["start"])
        scales = self.shape.scales[::-1]
        for number, scale in enumerate(scales):
            if number:
                features = _enlarged(
                    self._convolution(graph, f"widen.{number - 1}", features), scale.side // scales[number - 1].side
                )
            features = features + self._convolution(graph, f"context.{number}", _pooled(image, self.shape.side // scale.side))
            for block in range(scale.latents):
                name = f"blocks.{number}.{block}"
                features = self._top_down(graph, name, features, next(noises) if noises else None)
        return features

    def _top_down(self, graph: Graph, name: str, features: Value, noise: Value | None) -> Value:
        """One latent (`network.TopDown`)."""
        hidden = _silu(self._layers(graph, f"{name}.prior", features, _BLOCK[:-1]))
        last, width = f"{name}.prior.{_BLOCK[-1]}", self.shape.latent_width
        weight, bias = self._weights[f"{last}.weight"], self._weights[f"{last}.bias"]
        inject, offset = self._weights[f"{name}.inject.weight"], self._weights[f"{name}.inject.bias"]
        from_mean = inject[..., 0, 0]
        features = features + graph.node(
            "Conv",
            hidden,
            weight[2 * width :] + np.tensordot(from_mean, weight[:width], 1),
            bias[2 * width :] + from_mean @ bias[:width] + offset,
        )
        if noise is not None:
            spread = graph.node("Conv", hidden, weight[width : 2 * width], bias[width : 2 * width])
            features = features + graph.node("Conv", _deviation(spread) * noise, inject)
        return features + self._layers(graph, f"{name}.residual", features, _BLOCK)

    def _layers(self, graph: Graph, name: str, values: Value, numbers: tuple[int, ...]) -> Value:
        for number in numbers:
            values = self._convolution(graph, f"{name}.{number}", _silu(values))
        return values

    def _head(self, graph: Graph, features: Value) -> Value:
        """The parameters of the likelihood without its scales, on which the mean does not depend: (B, 7 MIXTURES, side, side)."""
        spread = self._convolution(graph, "head.1", _silu(features))
        zoom = self.shape.side // self.shape.scales[0].side
        if zoom > 1:
            spread = graph.node("DepthToSpace", spread, blocksize=zoom, mode="CRD")
        rows = np.r_[: 4 * MIXTURES, 7 * MIXTURES : 10 * MIXTURES]
        return self._convolution(graph, "head.4", _silu(spread), rows)

    def _mean(self, graph: Graph, parameters: Value, image: Value) -> Value:
        """The expected image (`likelihood.LogisticMixture`)."""
        parts = [_channels(parameters, slice(n * MIXTURES, (n + 1) * MIXTURES)) for n in range(7)]
        logits, means, (of_red, to_blue, of_green) = parts[0], parts[1:4], (graph.node("Tanh", part) for part in parts[4:])
        if self.shape.offset:
            means = [mean + _channels(image, slice(plane, plane + 1)) for plane, mean in enumerate(means)]
        red = _limited(means[0])
        green = _limited(means[1] + of_red * red)
        blue = _limited(means[2] + to_blue * red + of_green * green)
        weights = graph.node("Softmax", logits, axis=1)
        planes = [graph.node("ReduceSum", weights * plane, np.array([1])) for plane in (red, green, blue)]
        return (graph.node("Concat", *planes, axis=1) + 1.0) * 0.5

    def _convolution(self, graph: Graph, name: str, values: Value, rows: np.ndarray | None = None) -> Value:
        """A convolution of the grid's size, or some of its outputs."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        if rows is not None:
            weight, bias = weight[rows], bias[rows]
        return graph.node("Conv", values, weight, bias, pads=(weight.shape[-1] // 2,) * 4)


def _plain(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights without weight norm: a direction and its length, of each output, become one tensor."""
    plain = {name: values for name, values in weights.items() if ".parametrizations." not in name}
    ending = ".parametrizations.weight.original1"
    for name in [name.removesuffix(ending) for name in weights if name.endswith(ending)]:
        direction = weights[name + ending]
        length = np.sqrt(np.square(direction).sum((1, 2, 3), keepdims=True))
        plain[f"{name}.weight"] = weights[f"{name}.parametrizations.weight.original0"] * direction / length
    return plain


def _silu(values: Value) -> Value:
    return values * values.graph.node("Sigmoid", values)


def _deviation(spread: Value) -> Value:
    """The standard deviation of a latent (`network.TopDown`)."""
    softplus = spread.graph.node("Softplus", spread * SOFTPLUS_BETA) * (1 / SOFTPLUS_BETA) + 1e-8
    low, high = (float(np.exp(limit)) for limit in LOG_VARIANCE)
    return spread.graph.node("Sqrt", spread.graph.node("Clip", softplus, low, high))


def _limited(values: Value) -> Value:
    return values.graph.node("Clip", values, -1.0, 1.0)


def _channels(values: Value, which: slice) -> Value:
    return values.graph.node("Slice", values, np.array([which.start]), np.array([which.stop]), np.array([1]))


def _pooled(image: Value, side: int) -> Value:
    """Means of squares."""
    return image if side == 1 else image.graph.node("AveragePool", image, kernel_shape=(side, side), strides=(side, side))


def _enlarged(values: Value, times: int) -> Value:
    """Every position as a square."""
    if times == 1:
        return values
    scales = np.array([1, 1, times, times], np.float32)
    settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return values.graph.node("Resize", values, None, scales, **settings)
