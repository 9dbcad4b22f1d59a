"""The prior's network in integers: the same bits by every route, and the float network's distributions."""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from dctcodec.arrays import to_numpy
from dctcodec.bands import coder
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.export import to_integers
from dctcodec.bands.forecast import ForecastShape
from dctcodec.bands.masked import MaskedPrior
from dctcodec.bands.order import CHANNELS, PARTS, REVEALS
from dctcodec.bands.prior import PriorNetwork, PriorShape
from dctcodec.bands.units import LOG_SCALE_MIN, SCALE_BITS, SCALES, distribution_function
from dctcodec.errors import ExportError, ModelError
from dctcodec.exact.layers import prove_bound
from dctcodec.exact.planes import Arithmetic, arithmetic_for
from dctcodec.train.prior import reveal_bits

TORCH = torch.device("cpu")
ALL = tuple(range(len(REVEALS)))
SMALL = PriorShape(width=24, blocks=2)
FORECASTING = PriorShape(width=24, blocks=2, forecast=ForecastShape(width=16, coarse=2, fine=1))
SHAPES = [SMALL, FORECASTING]
STEPS16 = (1, 160, 800, 3333, 65535)
ROUTES = [Arithmetic("float32"), Arithmetic("graph"), Arithmetic("float32", TORCH)]
"""By NumPy, onnxruntime and torch."""


def network(gain: float = 1.0, shape: PriorShape = SMALL, seed: int = 0) -> PriorNetwork:
    """A fresh network, its convolutions' weights and biases multiplied by `gain`, its outputs spread over the scales."""
    torch.manual_seed(seed)
    made = PriorNetwork(shape)
    with torch.no_grad():
        made.skip.weight.normal_(0, 0.02)
        if made.forecast:
            made.forecast.paint.weight.normal_(0, 0.02)
            made.forecast.pool.weight.normal_(0, 0.02)
        for name, parameter in made.named_parameters():
            if "conditioning" not in name:
                parameter.mul_(gain)
        for reveal in REVEALS:
            made.head.bias[reveal.start + reveal.stop : 2 * reveal.stop] = torch.linspace(-0.5, 0.5, reveal.stop - reveal.start)
    return made


def integers(made: PriorNetwork) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in to_integers(made).items()}


def grid(height: int, width: int, largest: int = 3, seed: int = 0) -> np.ndarray:
    """Random symbols, few of the fine ones and the rest extreme now and then."""
    random = np.random.default_rng(seed)
    values = random.integers(-largest, largest + 1, (len(CHANNELS), height, width))
    values *= random.random(values.shape) < 0.3
    values[random.random(values.shape) < 0.001] = 32767
    values[random.random(values.shape) < 0.001] = -32767
    return values.astype(np.int32)


def distributions(prior: ExactPrior, symbols: np.ndarray, reveal: int, step16: int) -> np.ndarray:
    """Mean and scale of a reveal, (2, n, h, w)."""
    now = REVEALS[reveal]
    mean, scale = prior.means(symbols, reveal, step16, prior.forecast(symbols, now.band, step16))
    for part, channels in enumerate(PARTS[now.band]):
        rows = [channel - now.start for channel in channels]
        scale[rows] = prior.scales(symbols, now.band, part, scale[rows])
    return np.stack([to_numpy(mean), to_numpy(scale)])


def outputs(prior: ExactPrior, symbols: np.ndarray, step16: int = 800, order: Iterable[int] = ALL) -> list[np.ndarray]:
    """Mean and scale of each reveal, (2, n, h, w), asked for in `order`."""
    got = {reveal: distributions(prior, symbols, reveal, step16) for reveal in order}
    return [got[reveal] for reveal in range(len(REVEALS))]


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def in_integers(tensors: dict[str, np.ndarray], symbols: np.ndarray, reveal: int, step16: int) -> np.ndarray:
    """FORMAT.md section 3 in int64 numpy: what every route must give."""
    parts = {name: tensor.astype(np.int64) for name, tensor in tensors.items()}
    known, (_, height, width) = symbols.astype(np.int64)[: REVEALS[-1].start].copy(), symbols.shape
    now = REVEALS[reveal]
    parity = np.indices((height, width)).sum(0) % 2
    known[now.start : now.stop] *= (parity == 0) if now.parity == 1 else 0
    known[now.stop :] = 0

    def magnitude(values: np.ndarray) -> np.ndarray:
        return parts["asinh"][np.minimum(abs(values), len(parts["asinh"]) - 1)]

    logs = magnitude(known)
    features = np.concatenate([np.clip(4 * known, -127, 127), logs * np.sign(known), logs, parity[None] * 32 - 16])

    def layer(name: str, inputs: np.ndarray, nearest: bool = False) -> np.ndarray:
        weight, offset, shift = (parts[f"{name}.{part}"] for part in ("weight", "offset", "shift"))
        side = math.isqrt(weight.shape[1] // len(inputs))
        padded = np.pad(inputs, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        shifted = [padded[:, r : r + height, c : c + width] for r, c in itertools.product(range(side), repeat=2)]
        sums = np.einsum("ot,thw->ohw", weight, np.concatenate(shifted)) + offset[:, None, None]
        if nearest:
            return np.rint(sums * np.exp2(-shift)[:, None, None]).astype(np.int64)
        left, right = np.maximum(-shift, 0)[:, None, None], np.maximum(shift, 0)[:, None, None]
        return (sums << left) >> right

    def act(stream: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(stream / 16), 0, 127).astype(np.int64)

    row = (parts["step_bounds"] < step16).sum()
    bias = (parts["reveal_bias"][reveal] + parts["step_bias"][row])[:, :, None, None]
    stream = np.clip(layer("input", features), -(2**15), 2**15)
    for block in range(len(bias) - 1):
        hidden = np.clip(layer(f"first.{block}", act(stream + bias[block]), nearest=True), 0, 127)
        stream = stream + (np.clip(layer(f"second.{block}", hidden, nearest=True), -128, 127) << parts["branch_bits"][block])
    mean, scale = layer("head", act(stream + bias[-1]))[2 * now.start : 2 * now.stop].reshape(2, -1, height, width)
    order = np.zeros(len(CHANNELS), int)
    for position, part in enumerate(itertools.chain(*PARTS)):
        order[list(part)] = position
    parts["skip.weight"] *= order[None, : len(known)] < order[:, None]
    every = magnitude(symbols.astype(np.int64)[: len(known)])
    scale = scale + layer("skip", every)[now.start : now.stop] + parts["scale_offset"]
    return np.stack([np.clip(mean, -32767, 32767), np.clip(scale, 0, SCALES - 1)])


@pytest.mark.parametrize("gain", [0.05, 1.0, 4.0])
def test_float64_is_the_arithmetic_of_the_format(gain: float):
    tensors, symbols = integers(network(gain)), grid(3, 4)
    prior = ExactPrior(tensors, Arithmetic("float64"))
    for reveal, step16 in zip(range(len(REVEALS)), itertools.cycle(STEPS16)):
        got = distributions(prior, symbols, reveal, step16)
        assert np.array_equal(got, in_integers(tensors, symbols, reveal, step16))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("gain", [0.02, 1.0, 6.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 3)])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_route_gives_the_same_bits(route: Arithmetic, gain: float, size: tuple[int, int], shape: PriorShape):
    tensors, symbols = integers(network(gain, shape)), grid(*size, largest=30)
    reference = ExactPrior(tensors, Arithmetic("float64"))
    prior = ExactPrior(tensors, route)
    for step16 in (160, 1600):
        assert equal(outputs(prior, symbols, step16), outputs(reference, symbols, step16))


@pytest.mark.parametrize("bits", [[9, 4], [-1, 4], [4]])
@pytest.mark.parametrize("part", ["", "forecast."])
def test_blocks_that_leave_the_exact_range_are_refused(part: str, bits: list[int]):
    tensors = integers(network(shape=FORECASTING)) | {f"{part}branch_bits": np.array(bits, np.int32)}
    with pytest.raises(ModelError, match="exact range"):
        ExactPrior(tensors, Arithmetic("float64"))


@pytest.mark.parametrize("route", ROUTES)
def test_the_largest_weights_and_activations_give_the_same_bits(route: Arithmetic):
    random = np.random.default_rng(3)
    tensors = integers(network(shape=FORECASTING))
    for name, weight in tensors.items():
        if name.endswith(".weight"):
            # as many weights of +-127 in a row as the bound allows, side by side
            signs = random.integers(0, 2, weight.shape) * 2 - 1
            weight[:] = signs * 127 * (np.arange(weight.shape[1]) < 900)
            tensors[name.replace("weight", "offset")][:] = 2**21
    symbols = grid(4, 4, largest=200)
    found = [outputs(ExactPrior(tensors, one), symbols) for one in (route, Arithmetic("float64"))]
    assert equal(*found)
    assert np.array_equal(found[1][3], in_integers(tensors, symbols, 3, 800))


@pytest.mark.parametrize("route", [Arithmetic("float64"), *ROUTES])
def test_threads_precision_and_order_of_calls_make_no_difference(route: Arithmetic, threads):
    shape = PriorShape(blocks=1, forecast=ForecastShape())
    prior, symbols = ExactPrior(integers(network(shape=shape)), route), grid(13, 9)
    threads(1)
    expected = outputs(prior, symbols)
    threads(2)
    assert equal(outputs(prior, symbols, order=reversed(ALL)), expected)
    prior.means(grid(2, 3, seed=1), 4, 160)
    assert equal(outputs(prior, symbols), expected)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert equal(outputs(prior, symbols), expected)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("gain", [1.0, 6.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_gives_the_same_bits(gain: float, shape: PriorShape):
    tensors, symbols = integers(network(gain, shape)), grid(6, 7, largest=30)
    there = ExactPrior(tensors, arithmetic_for(torch.device("cuda")))
    here = ExactPrior(tensors, arithmetic_for(None))
    for step16 in STEPS16:
        assert equal(outputs(there, symbols, step16), outputs(here, symbols, step16))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_distribution_depends_on_what_is_sent_before_and_on_nothing_else(shape: PriorShape):
    prior, symbols = ExactPrior(integers(network(shape=shape)), arithmetic_for(None)), grid(4, 4)
    parity, other = np.indices((4, 4)).sum(0) % 2, grid(4, 4, 50, seed=9)
    seen = np.zeros(symbols.shape, bool)
    for number, now in enumerate(REVEALS):
        tiles = parity == now.parity if now.parity is not None else np.ones_like(parity, bool)
        for part in PARTS[now.band]:
            rows = [channel - now.start for channel in part]
            expected, hidden_changed, seen_changed = (
                distributions(prior, changed, number, 800)[:, rows][..., tiles]
                for changed in (symbols, np.where(seen, symbols, other), np.where(seen, other, symbols))
            )
            assert np.array_equal(hidden_changed, expected)
            assert np.array_equal(seen_changed, expected) == (not seen.any())
            seen[list(part)] |= tiles
    assert seen.all()


def test_the_step_and_the_reveal_matter():
    prior, symbols = ExactPrior(integers(network()), arithmetic_for(None)), np.zeros((len(CHANNELS), 3, 3), np.int32)
    coarse, fine = outputs(prior, symbols, 3200), outputs(prior, symbols, 200)
    assert not equal(coarse, fine)
    assert not np.array_equal(coarse[2], coarse[3])  # two reveals of one band, nothing known


# --- the bound


@pytest.mark.parametrize("value", [1e4, 1e9, math.inf, math.nan])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_export_refuses_what_has_no_exact_form(part: str, value: float):
    made = network()
    with torch.no_grad():
        getattr(made.second[0], part).fill_(value)
    with pytest.raises(ExportError):
        to_integers(made)


def test_export_refuses_conditioning_out_of_range():
    made = network()
    with torch.no_grad():
        made.conditioning.reveal.fill_(1e5)
    with pytest.raises(ExportError):
        to_integers(made)


def test_the_bound_is_on_the_sum_of_absolute_weights_and_the_offset():
    room = 2**24 // (127 * 127)
    weight, offset = np.full((2, room), -127, np.int8), np.zeros(2, np.int32)
    prove_bound(weight, offset)
    offset[1] = -(2**24 - 127 * 127 * room)
    with pytest.raises(ModelError, match="bound"):
        prove_bound(weight, offset)
    offset[1] += 1
    prove_bound(weight, offset)


def test_a_loaded_model_is_proved_again():
    tensors = integers(network())
    tensors["first.0.weight"] = np.full((24, 24 * 9), 127, np.int8)
    tensors["first.0.offset"][:] = 2**24 - 24 * 9 * 127 * 127
    with pytest.raises(ModelError, match="bound"):
        ExactPrior(tensors, Arithmetic("float64"))


def test_exported_weights_are_what_the_network_rounds_to():
    made = network()
    tensors = to_integers(made)
    weight, shift = tensors["input.weight"].double(), tensors["input.shift"]
    assert weight.abs().max() <= 127 and weight.abs().max() > 60
    assert torch.equal(weight * torch.exp2(-4.0 - shift.double())[:, None], made.input.rounded().double())


# --- against the float network


def test_the_forecast_adds_what_it_paints_to_the_bands_after_the_second():
    made, symbols = network(shape=FORECASTING), grid(4, 5)
    plain = outputs(ExactPrior({k: v for k, v in integers(made).items() if "forecast" not in k}, arithmetic_for(None)), symbols)
    both = outputs(ExactPrior(integers(made), arithmetic_for(None)), symbols)
    differ = [not np.array_equal(a, b) for a, b in zip(plain, both, strict=True)]
    assert differ == [reveal.band >= 2 for reveal in REVEALS]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_float_network_has_the_same_distributions_and_code_length(shape: PriorShape):
    made, step, symbols = network(shape=shape), 50.0, grid(8, 10).clip(-5, 5)
    with torch.no_grad():
        for reveal in REVEALS:  # scales of at least a symbol, none far out
            made.head.bias[reveal.start + reveal.stop : 2 * reveal.stop].abs_()
        floats = made(torch.from_numpy(symbols)[None].float(), torch.tensor([math.log(step)]), torch.arange(len(REVEALS))[None])
    exact = outputs(ExactPrior(integers(made), arithmetic_for(None)), symbols, round(step * 16))
    means = np.concatenate([abs(f[0].numpy() - e[0]).flatten() for f, e in zip(floats, exact, strict=True)])
    scales = np.concatenate([abs(f[1].numpy() - e[1]).flatten() for f, e in zip(floats, exact, strict=True)])
    assert np.concatenate([e[0].flatten() for e in exact]).std() > 2, "the network says too little for this test"
    assert means.mean() < 0.25 and scales.mean() < 0.15

    log_scales = LOG_SCALE_MIN + np.arange(SCALES) / 2**SCALE_BITS
    tables = coder.integer_tables(log_scales, distribution_function)
    masked = MaskedPrior(ExactPrior(integers(made), arithmetic_for(None)), coder.Tables(tables["cumulative"], tables["reach"]))
    expected = sum(reveal_bits(torch.from_numpy(symbols), reveal, *output).item() for reveal, output in enumerate(floats))
    assert masked.whole_length(symbols, round(step * 16)) == pytest.approx(expected, rel=0.005)
    assert 0.7 < masked.code_length(symbols, round(step * 16)) / expected < 1
