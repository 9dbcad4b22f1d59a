"""The diffusion prior in integers and its bits-back coder: exact by every route, lossless, within 3 % of the bound."""

import math

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dctcodec.errors import ExportError, FormatError, ModelError
from dctcodec.exact.planes import Arithmetic, arithmetic_for
from dctcodec.vae.bits_back import FIRST_GROWTH, FIRST_PLAIN, LEAST_GROWTH, BitsBackPrior, group_sizes, tile_order, words_of_seed
from dctcodec.vae.diffusion import ContextPrior
from dctcodec.vae.exact_diffusion import ExactDiffusion
from dctcodec.vae.export import to_integers as exported
from dctcodec.vae.shapes import DiffusionShape
from dctcodec.vae.tables import GaussianTables, Stack, split

SMALL = DiffusionShape(channels=2, size=3, bits=3, steps=4, width=8, blocks=1)
CIFAR = DiffusionShape(steps=10, width=24, blocks=1)
KINDS = ["float32", "graph"]


def symbols_of(shape: DiffusionShape, count: int, spread: float = 0.2, seed: int = 0) -> np.ndarray:
    """Bell-shaped symbols of a standard deviation of `spread` in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, shape.channels, shape.size, shape.size, generator=generator) * spread
    return ((values + 1) * 2**shape.bits / 2).floor().clamp(0, 2**shape.bits - 1).int().numpy()


def network(shape: DiffusionShape = SMALL, gain: float = 3.0, spread: float = 0.2) -> ContextPrior:
    """A fitted prior with fresh weights, of a head too; `gain` multiplies its outputs."""
    torch.manual_seed(0)
    prior = ContextPrior(shape)
    prior.fit(torch.from_numpy(symbols_of(shape, 500, spread)))
    with torch.no_grad():
        prior.network.head.weight.normal_(0, 0.07 * gain * shape.width**-0.5)
        prior.network.head.bias.normal_(0, 0.1)
    return prior


def to_integers(prior: ContextPrior) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in exported(prior).items()}


def coder(shape: DiffusionShape = SMALL, gain: float = 3.0, kind: str | None = None) -> BitsBackPrior:
    tensors = to_integers(network(shape, gain))
    arithmetic = Arithmetic(kind) if kind else arithmetic_for(None)
    return BitsBackPrior(ExactDiffusion(tensors, arithmetic), GaussianTables(tensors))


@pytest.fixture(scope="module")
def small() -> BitsBackPrior:
    return coder()


def cells(shape: DiffusionShape, count: int, largest: int = 60, seed: int = 0) -> np.ndarray:
    """y_t, extreme now and then."""
    random = np.random.default_rng(seed)
    values = random.integers(-largest, largest + 1, (count, shape.channels * shape.size**2))
    values[random.random(values.shape) < 0.01] = 32767
    values[random.random(values.shape) < 0.01] = -33022
    return values


def outputs(exact: ExactDiffusion, y: np.ndarray) -> np.ndarray:
    return np.stack([np.stack(exact.reverse(y, t)) for t in range(1, exact.steps + 1)])


# --- exactness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain", [0.1, 3.0, 100.0])
@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        DiffusionShape(channels=1, size=7, bits=2, steps=3, width=12, scales=1, blocks=2),
        DiffusionShape(channels=3, size=6, steps=3, width=16, scales=3, blocks=1),
        DiffusionShape(channels=1, size=1, steps=2, width=5, scales=2, blocks=1),
    ],
)
def test_every_route_gives_the_same_bits(kind: str, gain: float, shape: DiffusionShape):
    tensors = to_integers(network(shape, gain))
    reference, other = (ExactDiffusion(tensors, Arithmetic(k)) for k in ("float64", kind))
    for count in (1, 3, 40):
        y = cells(shape, count)
        assert np.array_equal(outputs(reference, y), outputs(other, y))


@pytest.mark.parametrize("kind", ["float64", *KINDS])
def test_threads_and_neighbours_in_the_batch_make_no_difference(kind: str, threads):
    shape = DiffusionShape(steps=2, width=24, blocks=1)
    exact, y = ExactDiffusion(to_integers(network(shape)), Arithmetic(kind)), cells(shape, 70)
    threads(1)
    expected = outputs(exact, y)
    threads(2)
    assert np.array_equal(outputs(exact, y), expected)
    order = np.random.default_rng(1).permutation(70)
    assert np.array_equal(outputs(exact, y[order]), expected[:, :, order])
    assert np.array_equal(outputs(exact, y[5:6]), expected[:, :, 5:6])


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_weights_give_the_same_bits(kind: str):
    random, tensors = np.random.default_rng(3), to_integers(network())
    for name, weight in tensors.items():
        if name.endswith(".weight"):
            weight[...] = random.integers(0, 2, weight.shape) * 254 - 127
    y = cells(SMALL, 20)
    assert np.array_equal(*(outputs(ExactDiffusion(tensors, Arithmetic(k)), y) for k in (kind, "float64")))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_cuda_gives_the_same_bits():
    tensors, y = to_integers(network(CIFAR)), cells(CIFAR, 40)
    there = ExactDiffusion(tensors, arithmetic_for(torch.device("cuda")))
    assert np.array_equal(outputs(there, y), outputs(ExactDiffusion(tensors, arithmetic_for(None)), y))


@pytest.mark.parametrize("shape", [SMALL, CIFAR])
@torch.no_grad()
def test_the_float_network_has_the_same_distributions(shape: DiffusionShape):
    prior, generator = network(shape), torch.Generator().manual_seed(1)
    exact = ExactDiffusion(to_integers(prior), arithmetic_for(None))
    values = prior.centres(torch.from_numpy(symbols_of(shape, 50)).float())
    for t in range(1, shape.steps + 1):
        steps = torch.full((50,), t)
        y = prior.noisy(values, steps, generator)
        mean, log = (part.flatten(1) for part in prior(y, steps))
        in_y = (y / prior.schedule.cell(t)).round().long().flatten(1).numpy()
        got_mean, got_scale = (torch.from_numpy(part) for part in exact.reverse(in_y, t))
        cell = prior.schedule.cell(t - 1)
        in_cells = (mean - (cell / 2 - 1)) / cell if t == 1 else mean / cell
        off = (got_mean / 64 - in_cells).abs() / (log.exp() / cell)
        assert off.square().mean().sqrt() < 0.05
        assert ((log - prior.log_origin(t)) * 32 - got_scale).abs().mean() < 0.3


@torch.no_grad()
def test_the_float_network_has_the_same_code_length():
    prior, symbols = network(CIFAR, gain=1.0), symbols_of(CIFAR, 400)
    tensors = to_integers(prior)
    exact = BitsBackPrior(ExactDiffusion(tensors, arithmetic_for(None)), GaussianTables(tensors))
    generator = torch.Generator().manual_seed(1)
    expected = torch.stack([prior.vlb(torch.from_numpy(symbols), generator) for _ in range(4)]).mean(0).sum().item() / math.log(2)
    got = np.mean([exact.vlb_bits(symbols, seed) for seed in range(4)])
    assert got == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("value", [1e4, 1e9, math.inf, math.nan])
def test_export_refuses_what_has_no_exact_form(value: float):
    for part in ("weight", "bias"):
        prior = network()
        with torch.no_grad():
            getattr(prior.network.enter[0][0].second, part).fill_(value)
        with pytest.raises(ExportError):
            to_integers(prior)
    prior = network()
    with torch.no_grad():
        prior.network.biases.table.fill_(value * 100)
    with pytest.raises(ExportError):
        to_integers(prior)


@pytest.mark.parametrize(
    ("name", "value"),
    [("normal", -1), ("grid_inverse", 0), ("reach", 10**6), ("time_bias", 2**30), ("mean_gain", 2**50), ("forward_gain", 2**50)],
)
def test_damaged_models_are_refused(name: str, value: int):
    tensors = to_integers(network())
    tensors[name] = np.full_like(tensors[name], value)
    with pytest.raises(ModelError):
        BitsBackPrior(ExactDiffusion(tensors, arithmetic_for(None)), GaussianTables(tensors))


# --- the tables


def test_noise_has_the_variance_of_its_scale(small: BitsBackPrior):
    for scale in (10, 40, 90, 127):
        rows, reach = small.tables.noise_rows(scale), int(small.tables.reach[scale])
        share, offsets = rows / rows.sum(1, keepdims=True), np.arange(-reach, reach + 1)
        mean = share @ offsets
        variance = share @ offsets**2 - mean**2
        assert np.allclose(mean, (np.arange(64) - 32) / 64, atol=0.002)
        assert np.allclose(variance, (0.5 * math.exp(scale / 32)) ** 2, rtol=0.002)


def test_bins_are_differences_of_the_normal_distribution(small: BitsBackPrior):
    mean, scale = np.array([-500, 0, 100, 448, 2000]), np.array([0, 30, 60, 100, 127])
    rows = small.tables.bin_rows(mean, scale)
    edges = np.concatenate([[-np.inf], np.arange(7) + 0.5, [np.inf]])
    points = (edges - mean[:, None] / 64) / (0.1 * np.exp(scale / 32))[:, None]
    expected = torch.special.ndtr(torch.from_numpy(points)).diff().numpy()
    assert rows.min() == 1
    assert np.allclose(rows / rows.sum(1, keepdims=True), expected, atol=1e-3)


def test_any_cell_is_coded_under_any_gaussian(small: BitsBackPrior):
    random = np.random.default_rng(0)
    far = random.integers(-32768, 32768, 500)
    mean, scale = random.integers(-32767 * 64, 32767 * 64, 5000), random.integers(0, 128, 5000)
    near = (mean >> 6) + random.integers(-5, 6, 5000)
    near[:500] = far
    near = near.clip(-32768, 32767)
    stack = Stack(words_of_seed(0, 50))
    small.tables.push(stack, near, mean, scale)
    assert np.array_equal(small.tables.pop(stack, mean, scale), near)
    assert np.array_equal(stack.get_compressed(), words_of_seed(0, 50))


def test_bits_are_what_the_stack_grows_by(small: BitsBackPrior):
    random, tables = np.random.default_rng(0), small.tables
    mean, scale = random.integers(-2000, 2000, 5000), random.integers(0, 128, 5000)
    near = np.round(mean / 64 + random.normal(size=5000) * 0.5 * np.exp(scale / 32)).astype(np.int64)
    stack = Stack(words_of_seed(0, 2))
    tables.push(stack, near, mean, scale)
    assert stack.num_valid_bits() - 64 == pytest.approx(tables.bits(near, mean, scale), rel=1e-3)
    before = stack.num_valid_bits()
    noise = tables.pop_noise(stack, mean, 40)
    assert before - stack.num_valid_bits() == pytest.approx(tables.noise_bits(noise, mean, 40), rel=1e-3)
    before, mean = stack.num_valid_bits(), random.integers(0, 8 * 64, 5000)
    symbols = np.round(mean / 64 + random.normal(size=5000) * 0.1 * np.exp(scale / 32)).clip(0, 7).astype(np.int64)
    tables.push_bins(stack, symbols, mean, scale)
    assert stack.num_valid_bits() - before == pytest.approx(tables.bin_bits(symbols, mean, scale), rel=1e-3)
    assert np.array_equal(tables.pop_bins(stack, mean, scale), symbols)


def test_rows_of_counts_are_coded_as_tables_of_probabilities_are(small: BitsBackPrior):
    # FORMAT.md section 4 gives constriction's cuts for one table; a row among many must be cut alike
    rows, keys = small.tables.noise_rows(60), np.arange(64).repeat(2)
    stack = Stack(words_of_seed(3, 200))
    family = constriction.stream.model.Categorical(perfect=False)
    together = stack.clone().decode(family, rows[keys])
    alone = [int(stack.decode(constriction.stream.model.Categorical(rows[key], perfect=False))) for key in keys]
    assert together.tolist() == alone


def test_the_nearest_whole_number_and_the_phase_give_the_mean_back():
    mean = np.arange(-100, 100)
    centre, key = split(mean)
    assert np.array_equal(centre * 64 + key - 32, mean) and key.min() == 0 and key.max() == 63


def test_noise_out_of_its_table_is_refused(small: BitsBackPrior):
    with pytest.raises(FormatError):
        small.tables.push_noise(Stack(), np.array([500]), np.array([0]), 30)


# --- bits back


@settings(max_examples=12)
@given(
    st.builds(
        DiffusionShape,
        channels=st.sampled_from([1, 3]),
        size=st.integers(1, 4),
        bits=st.integers(1, 5),
        steps=st.integers(2, 6),
        width=st.just(6),
        scales=st.integers(1, 2),
        blocks=st.just(1),
        schedule=st.sampled_from(["linear", "cosine", "geometric"]),
    ),
    st.integers(0, 30),
    st.integers(0, 2**64 - 1),
)
def test_contexts_come_back_and_leave_the_word_of_the_seed(shape: DiffusionShape, tiles: int, seed: int):
    prior, symbols = coder(shape), symbols_of(shape, tiles, spread=0.3, seed=1)
    data = prior.encode(symbols, seed)
    assert len(data) % 4 == 0
    # decode itself checks that exactly the word of the seed is left
    decoded = prior.decode(data, tiles, seed)
    assert decoded.dtype == np.int32 and np.array_equal(decoded, symbols)


@pytest.mark.parametrize("kind", ["all 0", "all 31", "noise", "checkers", "one odd tile"])
def test_extreme_symbols_come_back(kind: str):
    symbols = np.full((20, 3, 6, 6), 16, np.int32)
    symbols = {
        "all 0": symbols * 0,
        "all 31": symbols * 0 + 31,
        "noise": np.random.default_rng(0).integers(0, 32, symbols.shape, np.int32),
        "checkers": (np.arange(20 * 108).reshape(symbols.shape) % 2 * 31).astype(np.int32),
        "one odd tile": np.concatenate([symbols[1:], symbols[:1] * 0]),
    }[kind]
    prior = coder(CIFAR)
    assert np.array_equal(prior.decode(prior.encode(symbols, 5), 20, 5), symbols)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_by_every_route(kind: str):
    symbols = symbols_of(SMALL, 40, seed=2)
    data = coder(kind="float64").encode(symbols, 1)
    assert coder(kind=kind).encode(symbols, 1) == data
    assert np.array_equal(coder(kind=kind).decode(data, 40, 1), symbols)


def test_the_size_is_the_bound_and_what_the_plain_tiles_cost_more():
    prior, symbols = coder(CIFAR, gain=0.5), symbols_of(CIFAR, 300, spread=0.1)
    coded = prior.code(symbols, 9, measure=True)
    bits = 8 * len(coded.payload)
    assert bits == pytest.approx(coded.bound_bits, rel=0.02)
    assert coded.plain + sum(coded.groups) == 300 and coded.groups[0] < 10 < coded.groups[-1]
    assert prior.encode(symbols, 9) == coded.payload and prior.vlb_bits(symbols, 9) == coded.bound_bits


@pytest.mark.parametrize("times", [1, 100])
def test_cheap_tiles_take_smaller_groups_and_more_plain_tiles(times: int):
    # a model that knows what comes: next to nothing is pushed, so hardly any tile pays for another's noise
    float_prior, symbols = network(gain=0.1), np.full((60, 2, 3, 3), 3, np.int32)
    float_prior.fit(torch.from_numpy(symbols.repeat(times, 0)))
    tensors = to_integers(float_prior)
    prior = BitsBackPrior(ExactDiffusion(tensors, arithmetic_for(None)), GaussianTables(tensors))
    coded = prior.code(symbols, 1)
    assert coded.plain > FIRST_PLAIN if times > 1 else coded.groups != group_sizes(60, FIRST_PLAIN, FIRST_GROWTH)
    assert np.array_equal(prior.decode(coded.payload, 60, 1), symbols)


def test_progress_adds_up_to_one(small: BitsBackPrior):
    encoding, decoding = [], []
    data = small.encode(symbols_of(SMALL, 60), 0, encoding.append)
    small.decode(data, 60, 0, decoding.append)
    for shares in (encoding, decoding):
        assert sum(shares) == pytest.approx(1) and min(shares) > 0 and len(shares) > 5


def test_groups_cover_the_tiles_and_grow():
    assert group_sizes(0, 0, 80) == group_sizes(7, 7, 80) == []
    assert group_sizes(10, 0, 128) == [1, 1, 1, 1, 2, 3, 1]
    assert group_sizes(10, 4, 128) == [2, 3, 1]
    for growth in (LEAST_GROWTH, 80, 255):
        sizes = group_sizes(384, 16, growth)
        assert sum(sizes) == 368 and sizes[:-1] == sorted(sizes[:-1])
    assert len(group_sizes(384, 0, LEAST_GROWTH)) < 160


def test_tiles_are_written_in_an_order_that_is_fixed():
    assert tile_order(8).tolist() == [0, 5, 2, 7, 4, 1, 6, 3]
    assert sorted(tile_order(1000).tolist()) == list(range(1000))


def test_the_words_of_a_seed_are_fixed():
    assert words_of_seed(7, 3).tolist() == [605794941, 4097176269, 3513026672]
    assert words_of_seed(2**64 - 1, 100)[-1] >= 2**31


# --- damage


def test_any_damaged_byte_is_refused_or_gives_symbols(small: BitsBackPrior):
    symbols = symbols_of(SMALL, 25)
    data, random, refused = small.encode(symbols, 3), np.random.default_rng(0), 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= int(random.integers(1, 256))
        try:
            assert small.decode(bytes(damaged), 25, 3).shape == symbols.shape
        except FormatError:
            refused += 1
    assert refused == len(data)


@pytest.mark.parametrize("data", [b"", b"\1\2\3", bytes(8), b"\xff" * 40, b"\0\0\0\x80" * 30])
def test_foreign_bytes_are_refused(small: BitsBackPrior, data: bytes):
    with pytest.raises(FormatError):
        small.decode(data, 5, 0)


def test_truncated_bytes_and_other_numbers_are_refused(small: BitsBackPrior):
    data = small.encode(symbols_of(SMALL, 12), 3)
    attempts = [(data[:-4], 12, 3), (data[4:], 12, 3), (data, 11, 3), (data, 13, 3), (data, 12, 4), (data + data, 12, 3)]
    for attempt in attempts:
        with pytest.raises(FormatError):
            small.decode(*attempt)


@pytest.mark.parametrize(("name", "value"), [("last_scale", -1), ("last_scale", 10_000), ("forward_scale", 10_000)])
def test_tables_that_do_not_fit_the_network_are_refused(name: str, value: int):
    tensors = to_integers(network())
    tensors[name] = np.full_like(tensors[name], value)
    with pytest.raises(ModelError, match="damaged"):
        BitsBackPrior(ExactDiffusion(tensors, arithmetic_for(None)), GaussianTables(tensors))
