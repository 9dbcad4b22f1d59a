"""Adaptive blocks: their transforms, the encoder's choice, the partition's code, and networks that are told of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from small_blocks import NARROW, SMALL, edges, picture_of_edges, small_codec, small_prior

from dctcodec import Codec, FormatError, ModelError, container
from dctcodec.arrays import to_numpy
from dctcodec.bands import blocks, coder
from dctcodec.bands.choice import LENGTHS, SLOPE, SPLIT_BITS, choose, costs
from dctcodec.bands.config import from_table
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.export import to_integers
from dctcodec.bands.order import BANDS, CHANNELS, PARTS, REVEALS
from dctcodec.bands.partition import PartitionCode, bits_of_tiles
from dctcodec.bands.partition_network import PartitionNetwork
from dctcodec.bands.prior import PriorNetwork
from dctcodec.bands.transform import analyse, coefficients, consistent, dequantise, quantise, synthesise
from dctcodec.errors import ConfigError
from dctcodec.exact.planes import Arithmetic
from dctcodec.family import Parameters
from dctcodec.metrics import psnr
from dctcodec.threads import limited
from dctcodec.tiles import dct_basis, rgb_to_ycbcr
from dctcodec.train import decoder as decoder_training
from dctcodec.train import prior as prior_training
from dctcodec.train.checkpoint import AVERAGE

CPU = torch.device("cpu")
EVERY = tuple(range(len(blocks.KINDS)))
SQUARES = blocks.kinds_of(("32x32", "16x16", "8x8", "4x4"))
SETS = [SQUARES, EVERY, (0, 1), (0, 3)]


def kinds_of_tiles(height: int, width: int, kinds: tuple[int, ...] = EVERY, seed: int = 0) -> np.ndarray:
    """A random partition (4, height, width) of some kinds."""
    random = np.random.default_rng(seed)
    large, small = blocks.large_kinds(kinds), blocks.small_kinds(kinds)
    chosen = np.broadcast_to(random.choice(large, (height, width)), (4, height, width))
    if small:
        split = random.random((height, width)) < 0.6
        chosen = np.where(split, random.choice(small, (4, height, width)), chosen)
    return chosen.astype(np.int64)


def partition_of(height: int, width: int, kinds: tuple[int, ...] = EVERY, seed: int = 0) -> torch.Tensor:
    """The same as a tensor."""
    return torch.from_numpy(kinds_of_tiles(height, width, kinds, seed))


def integers(made: PriorNetwork) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in to_integers(made).items()}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 50, shape).astype(np.float32))


# --- transforms


@pytest.mark.parametrize("kinds", [(kind,) if kind >= blocks.LARGE else (0, kind) for kind in EVERY[1:]] + [EVERY])
def test_a_transform_is_orthonormal(kinds: tuple[int, ...]):
    tiles, matrices = noise(40, 3, 32, 32), blocks.float_matrices(CPU)
    partition = partition_of(5, 8, tuple(sorted({0, *kinds}))).flatten(1).T
    transformed = blocks.forward(tiles, partition, matrices)
    assert torch.allclose(blocks.inverse(transformed, partition, matrices), tiles, atol=1e-3)
    assert torch.allclose(transformed.square().sum((1, 2, 3)), tiles.square().sum((1, 2, 3)), rtol=1e-5)


def test_position_0_is_the_tiles_mean_in_every_partition():
    tiles = noise(40, 3, 32, 32)
    transformed = blocks.forward(tiles, partition_of(5, 8).flatten(1).T, blocks.float_matrices(CPU))
    assert torch.allclose(transformed[..., 0, 0], 32 * tiles.mean((2, 3)), atol=1e-2)


def test_a_flat_tile_is_its_mean_alone():
    tiles = torch.full((40, 3, 32, 32), 7.0)
    transformed = blocks.forward(tiles, partition_of(5, 8).flatten(1).T, blocks.float_matrices(CPU))
    assert torch.allclose(transformed[..., 0, 0], torch.tensor(224.0))
    assert transformed.flatten(2)[..., 1:].abs().max() < 1e-3


def test_a_whole_tile_is_transformed_as_ever():
    rgb, whole = noise(1, 3, 70, 100) + 128, torch.from_numpy(blocks.whole(3, 4))[None]
    assert torch.allclose(analyse(rgb, whole), analyse(rgb), atol=1e-3)
    symbols = quantise(analyse(rgb), 30.0)
    assert torch.allclose(synthesise(symbols, whole), synthesise(symbols), atol=1e-3)


def test_a_blocks_frequency_is_at_its_interleaved_position():
    """A cosine in one 8x8 block of one quadrant excites its own position alone."""
    tile, kind = torch.zeros(1, 3, 32, 32), blocks.KINDS.index((8, 8))
    basis = dct_basis(8, CPU)
    tile[0, 0, 16 + 8 : 32, 0:8] = basis[3][:, None] * basis[2]  # lower left quadrant, its lower left block
    transformed = blocks.forward(tile, torch.full((1, 4), kind), blocks.float_matrices(CPU))[0, 0]
    place = ((3 * 2 + 1) * 2 + 1, (2 * 2 + 0) * 2 + 0)
    assert transformed[place] == pytest.approx(1, abs=1e-4) and transformed.square().sum() == pytest.approx(1, abs=1e-4)


def test_the_first_positions_are_those_of_the_whole():
    tiles, partition, matrices = noise(40, 3, 32, 32), partition_of(5, 8).flatten(1).T, blocks.float_matrices(CPU)
    whole = blocks.forward(tiles, partition, matrices)
    side = blocks.SMALLEST_SIDE
    first = blocks.forward(tiles, partition, matrices, side)
    assert torch.allclose(first, whole[..., :side, :side], atol=1e-3)
    padded = torch.nn.functional.pad(first, (0, 32 - side, 0, 32 - side))
    assert torch.allclose(blocks.inverse(first, partition, matrices), blocks.inverse(padded, partition, matrices), atol=1e-3)


def test_what_is_added_keeps_to_the_symbols_of_each_block():
    partition, step = partition_of(2, 3)[None], 24.0
    kept = consistent(noise(1, 3, 64, 96), torch.tensor([step]), partition)
    assert (quantise(coefficients(kept, partition), step * 1.01).abs() <= 1).all()
    assert (coefficients(kept, partition) / dequantise(torch.ones(1, len(CHANNELS), 2, 3), step)).abs().max() <= 0.501


def test_a_partition_is_packed_with_its_symbols():
    symbols, partition = torch.ones(len(CHANNELS), 2, 3, dtype=torch.int32), partition_of(2, 3)
    packed = blocks.packed(symbols, partition)
    assert packed.dtype == torch.int32 and len(packed) == len(CHANNELS) + 4
    assert all(torch.equal(*pair) for pair in zip(blocks.unpacked(packed), (symbols, partition), strict=True))
    assert blocks.packed(symbols, None) is symbols and blocks.unpacked(symbols)[1] is None


@pytest.mark.parametrize("names", [("16x16",), ("32x32", "64x64"), ("32x32", "8x8", "8x8"), (8, "32x32")])
def test_kinds_are_known_different_and_have_the_whole_tile(names: tuple[str, ...]):
    with pytest.raises(ModelError, match="with 32x32"):
        blocks.kinds_of(names)
    with pytest.raises(ConfigError, match="with 32x32"):
        from_table({"description": "a", "blocks": list(names)})


# --- the encoder's choice


@pytest.mark.parametrize("kinds", SETS)
def test_a_choice_is_a_partition_of_the_kinds_asked_for(kinds: tuple[int, ...]):
    chosen = choose(edges(70, 130), torch.tensor([30.0]), kinds)
    assert chosen.shape == (1, 4, 3, 5) and set(chosen.unique().tolist()) <= set(kinds)
    assert (chosen[0, :, (chosen[0] < blocks.LARGE).any(0)].diff(dim=0) == 0).all()


def test_boxes_are_in_small_blocks_and_gradients_in_large_ones():
    chosen = choose(edges(96, 192), torch.tensor([30.0]), SQUARES)[0]
    assert (chosen[:, :, :2] == 0).all() and (chosen[:, :, 4:] >= blocks.LARGE).all()


def test_a_choice_needs_fewer_bits_and_is_nearer():
    """By the same proxy for bits, and the plain inverse transform."""
    rgb, step = edges(96, 192), 40.0

    def cost(partition: torch.Tensor | None) -> tuple[float, float]:
        symbols = quantise(analyse(rgb, partition), step)
        error = synthesise(dequantise(symbols, step), partition) - rgb_to_ycbcr(rgb)
        return (symbols != 0).sum().item(), error.square().mean().item()

    assert all(new < 0.9 * old for new, old in zip(cost(choose(rgb, torch.tensor([step]), SQUARES)), cost(None), strict=True))


def test_images_of_a_batch_are_chosen_for_apart():
    rgb, steps = torch.cat([edges(64, 96), edges(64, 96).flip(3)]), torch.tensor([20.0, 90.0])
    both = choose(rgb, steps, SQUARES)
    assert all(torch.equal(both[n], choose(rgb[n : n + 1], steps[n : n + 1], SQUARES)[0]) for n in range(2))


def test_what_tiles_without_symbols_cost_is_their_energy():
    rgb = 128 + np.random.default_rng(0).normal(0, 3, (1, 3, 32, 64)).astype(np.float32)
    rgb[:] = rgb[:, :1]  # grey: colours would count by planes
    error = np.square(rgb - 128).reshape(3, 32, 2, 32).sum((0, 1, 3)) / 3
    empty = LENGTHS[0][-1] + SPLIT_BITS
    found = costs(rgb, np.array([5000], np.float32), SQUARES)
    assert np.allclose(found[0, 0], error + 5000**2 / SLOPE * empty, rtol=1e-5)


@pytest.mark.parametrize("step", [10.0, 80.0])
def test_tiles_cost_their_error_and_their_bits(step: float):
    rgb, steps = edges(96, 192), torch.tensor([step])
    symbols = quantise(analyse(rgb, chosen := choose(rgb, steps, SQUARES)), step)
    error = synthesise(dequantise(symbols, step), chosen) - rgb_to_ycbcr(rgb)
    found = costs(rgb, steps, SQUARES).sum().item()
    assert 0.8 * error[:, 0].square().sum() < found - step**2 / SLOPE * 4 * (symbols != 0).sum() < 3 * error[:, 0].square().sum()


def test_costs_are_the_same_of_arrays_and_of_tensors():
    rgb, steps = edges(96, 192), torch.tensor([10.0])
    rgb = rgb + 8 * torch.rand(rgb.shape, generator=torch.Generator().manual_seed(0))  # no coefficient lies between two symbols
    assert np.allclose(costs(rgb.numpy(), steps.numpy(), SQUARES), costs(rgb, steps, SQUARES), rtol=1e-2)


# --- the partition's code


def partition_tensors(kinds: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    network = PartitionNetwork(kinds)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    tensors = {"kinds": torch.tensor(kinds), "bounds": network.bounds, "tiles": network.tiles.counts()}
    tensors |= {"quadrants": network.quadrants.counts()} if network.quadrants else {}
    return {f"partition.{name}": tensor.detach().numpy() for name, tensor in tensors.items()}


CODES = {kinds: PartitionCode(partition_tensors(kinds)) for kinds in SETS}
TABLES = coder.Tables(**coder.integer_tables(np.zeros(1), lambda x: 1 / (1 + np.exp(-x))))


def sent(code: PartitionCode, partition: np.ndarray, step16: int) -> bytes:
    return coder.encode([], TABLES, [(entries, now.keys, now.table) for now, _, entries in code.steps(partition, step16)])


def received(code: PartitionCode, data: bytes, height: int, width: int, step16: int) -> np.ndarray:
    reader, partition = coder.Reader(data, TABLES), blocks.whole(height, width)
    for now, take, _ in code.steps(partition, step16):
        take(reader.take_plain(now.keys, now.table))
    return partition


@given(st.sampled_from(SETS), st.integers(1, 9), st.integers(1, 9), st.integers(1, 65535), st.integers(0, 99))
def test_a_partition_comes_back(kinds: tuple[int, ...], height: int, width: int, step16: int, seed: int):
    code, partition = CODES[kinds], kinds_of_tiles(height, width, kinds, seed)
    data = sent(code, partition, step16)
    assert np.array_equal(received(code, data, height, width, step16), partition)
    bits = bits_of_tiles(code.steps(partition, step16), *partition.shape[1:]).sum().item()
    assert bits - 32 <= 8 * len(data) <= bits + 96


@given(st.binary(min_size=4, max_size=80).filter(lambda data: any(data[:4])), st.sampled_from(SETS))
def test_any_bytes_are_a_partition_of_the_kinds(data: bytes, kinds: tuple[int, ...]):
    code = CODES[kinds]
    code.check(received(code, data[: len(data) // 4 * 4], 3, 5, 480))


def test_a_partition_of_other_kinds_is_not_sent():
    code = CODES[SQUARES]
    for kind, place in ((1, slice(None)), (0, slice(0, 1)), (9, slice(None))):
        partition = np.full((4, 2, 2), SQUARES[1])
        partition[place, 1, 1] = kind
        with pytest.raises(ValueError, match="partition"):
            code.check(partition)


def test_the_trained_model_of_a_partition_is_the_one_in_integers():
    for kinds in SETS:
        torch.manual_seed(0)
        network = PartitionNetwork(kinds)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.03)
        partitions = torch.stack([partition_of(4, 6, kinds, seed) for seed in range(2)])
        steps = torch.tensor([20.0, 120.0])
        whole = sum(
            bits_of_tiles(CODES[kinds].steps(one.numpy(), round(16 * step)), *one.shape[1:]).sum()
            for one, step in zip(partitions, steps.tolist(), strict=True)
        )
        assert network.bits(partitions, steps).item() == pytest.approx(whole.item(), rel=1e-2)


@pytest.mark.parametrize("name", ["tiles", "quadrants", "kinds"])
def test_damaged_tables_are_told(name: str):
    tensors = partition_tensors(SQUARES)
    tensors[f"partition.{name}"] = np.zeros_like(tensors[f"partition.{name}"])
    with pytest.raises(ModelError, match="damaged"):
        PartitionCode(tensors)


# --- the prior


def symbols_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random symbols, few of the fine ones, extreme now and then."""
    random = np.random.default_rng(seed)
    values = random.integers(-4, 5, (len(CHANNELS), height, width)) * (random.random((len(CHANNELS), height, width)) < 0.2)
    values[random.random(values.shape) < 0.0005] = 32767
    return values.astype(np.int32)


def distributions(prior: ExactPrior, symbols: np.ndarray, partition: np.ndarray, step16: int) -> np.ndarray:
    """Mean and scale of every symbol in each reveal, put together."""
    found = []
    for reveal, now in enumerate(REVEALS):
        forecast = prior.forecast(symbols, now.band, step16, partition)
        mean, scale = prior.means(symbols, reveal, step16, forecast, partition)
        for part, channels in enumerate(PARTS[now.band]):
            rows = [channel - now.start for channel in channels]
            scale[rows] = prior.scales(symbols, now.band, part, scale[rows], partition)
        found.append(np.stack([to_numpy(mean), to_numpy(scale)]))
    return np.concatenate(found, 1)


def with_steps(partition: np.ndarray) -> np.ndarray:
    """A partition with step indices of all sizes."""
    index = np.random.default_rng(1).integers(-4, 5, (1, *partition.shape[1:]))
    return np.concatenate([partition, index])


@pytest.mark.parametrize("kinds", [SQUARES, EVERY])
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
@pytest.mark.parametrize("stepped", [False, True])
def test_every_arithmetic_and_number_of_threads_gives_the_same(
    kinds: tuple[int, ...], size: tuple[int, int], stepped: bool, threads: Callable[[int], None]
):
    tensors, symbols, partition = integers(small_prior(kinds)), symbols_of(*size), kinds_of_tiles(*size, kinds)
    partition = with_steps(partition) if stepped else partition
    first = distributions(ExactPrior(tensors, Arithmetic("float64")), symbols, partition, 640)
    for route in (Arithmetic("float32"), Arithmetic("graph"), Arithmetic("float32", CPU)):
        for count in (1, 2):
            threads(count)
            assert np.array_equal(distributions(ExactPrior(tensors, route), symbols, partition, 640), first)


def test_tiles_at_once_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    prior = ExactPrior(integers(small_prior(SQUARES)), Arithmetic("graph"))
    symbols, partition = symbols_of(3, 4), kinds_of_tiles(3, 4, SQUARES)
    whole = distributions(prior, symbols, partition, 640)
    monkeypatch.setattr("dctcodec.tiles.IN_CACHE", 5)
    assert np.array_equal(distributions(prior, symbols, partition, 640), whole)


@pytest.mark.parametrize("stepped", [False, True])
def test_the_float_network_is_the_one_in_integers(stepped: bool):
    made, partition = small_prior(SQUARES), kinds_of_tiles(3, 4, SQUARES)
    partition = with_steps(partition) if stepped else partition
    symbols = symbols_of(3, 4).clip(-9, 9)
    exact = distributions(ExactPrior(integers(made), Arithmetic("float64")), symbols, partition, 800)
    with torch.no_grad():
        pairs = made(
            torch.from_numpy(symbols)[None].float(),
            torch.log(torch.tensor([50.0])),
            torch.arange(len(REVEALS))[None],
            partition=torch.from_numpy(partition)[None],
        )
    difference = abs(torch.cat([torch.stack(pair) for pair in pairs], 1).numpy() - exact)
    assert difference.max() <= 3 and difference.mean() < 0.25


def test_the_partition_matters_to_every_part_of_the_prior():
    prior = ExactPrior(integers(small_prior(SQUARES)), Arithmetic("graph"))
    symbols, split = symbols_of(2, 2), kinds_of_tiles(2, 2, SQUARES[1:2] and SQUARES, seed=1)
    first = distributions(prior, symbols, blocks.whole(2, 2), 640)
    second = distributions(prior, symbols, split, 640)
    assert (first[0] != second[0]).any() and (first[1] != second[1]).any()


def test_networks_of_whole_tiles_begin_those_of_blocks(tmp_path: Path):
    """What they say of tiles that are not split is the same, to the bit."""
    plain, painter = PriorNetwork(SMALL), Decoder(NARROW)
    torch.nn.init.normal_(plain.skip.weight, std=0.02)
    torch.nn.init.normal_(painter.paint.weight, std=0.02)
    save_file({AVERAGE + f"prior.{name}": tensor for name, tensor in plain.state_dict().items()}, tmp_path / "prior.safetensors")
    save_file({AVERAGE + f"decoder.{name}": t for name, t in painter.state_dict().items()}, tmp_path / "decoder.safetensors")
    told, told_painter = PriorNetwork(SMALL, SQUARES), Decoder(NARROW, SQUARES)
    prior_training.expand_prior(told, tmp_path / "prior.safetensors")
    decoder_training.expand_weights(told_painter, tmp_path / "decoder.safetensors")
    symbols, whole = (torch.from_numpy(values)[None] for values in (symbols_of(2, 3).clip(-9, 9), blocks.whole(2, 3)))
    symbols, step = symbols.float(), torch.tensor([40.0])
    every = torch.arange(len(REVEALS))[None]
    with torch.no_grad():
        pairs = zip(plain(symbols, torch.log(step), every), told(symbols, torch.log(step), every, partition=whole), strict=True)
        assert all(torch.equal(one, other) for first, second in pairs for one, other in zip(first, second, strict=True))
        assert torch.allclose(painter(symbols, step), told_painter(symbols, step, partition=whole), atol=1e-2)
    assert all(torch.equal(skip.weight, plain.skip.weight) for skip in told.partition.skips)


def test_every_weight_that_blocks_add_is_trained():
    torch.manual_seed(0)
    batch = edges(96, 96).to(torch.uint8).expand(2, -1, -1, -1)
    prior, painter = small_prior(SQUARES), Decoder(NARROW, SQUARES)
    torch.nn.init.normal_(painter.paint.weight, std=0.02)
    for _ in range(3):  # reveals are drawn
        prior_training.loss(prior, batch, len(REVEALS)).backward()
    decoder_training.loss(painter, batch).backward()
    for model in (prior, painter):
        for name, parameter in model.named_parameters():
            if "partition" in name:
                assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


# --- files


@pytest.fixture(scope="module")
def codec_of_blocks(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return small_codec(tmp_path_factory.mktemp("blocks"), ("32x32", "16x16", "8x8", "4x4"))


@pytest.fixture(scope="module")
def lines() -> Image.Image:
    return picture_of_edges(75, 150)


@pytest.fixture(scope="module")
def data(codec_of_blocks: Codec, lines: Image.Image) -> bytes:
    return codec_of_blocks.encode(lines, quality=60)


def test_a_file_has_its_partition(codec_of_blocks: Codec, lines: Image.Image, data: bytes):
    header, symbols = codec_of_blocks.symbols(data)
    pixels = np.array(lines).transpose(2, 0, 1)[None].astype(np.float32)
    _, partition = blocks.unpacked(symbols)
    assert np.array_equal(partition, choose(pixels, np.array([header.step], np.float32), SQUARES)[0]) and (partition > 0).any()
    assert 0 <= 8 * len(data) - codec_of_blocks.code_length(data) < 8 * 28 + 64 + 0.01 * codec_of_blocks.code_length(data)
    assert codec_of_blocks.tile_bits(data).sum() == pytest.approx(codec_of_blocks.code_length(data), rel=0.05)
    back = codec_of_blocks.decode(data)
    assert back.size == lines.size and psnr(lines, back) > 25


def test_a_grey_file_of_blocks(codec_of_blocks: Codec, lines: Image.Image):
    back = codec_of_blocks.decode(codec_of_blocks.encode(lines.convert("L"), quality=60))
    assert back.mode == "L" and psnr(lines.convert("L"), back) > 25


def test_every_prefix_of_a_file_of_blocks_is_an_image(codec_of_blocks: Codec, lines: Image.Image, data: bytes):
    lengths = [*range(container.HEADER_BYTES, container.HEADER_BYTES + 24), *np.linspace(60, len(data), 9, dtype=int).tolist()]
    found = [psnr(lines, codec_of_blocks.decode(data[:length], partial=True)) for length in lengths]
    assert found[-1] == psnr(lines, codec_of_blocks.decode(data)) and found[-1] - found[0] > 10


def test_coarse_bands_keep_the_partition(codec_of_blocks: Codec, lines: Image.Image, data: bytes):
    whole, coarse = (codec_of_blocks.decode(data, bands=bands) for bands in (len(BANDS), 4))
    assert psnr(lines, coarse) < psnr(lines, whole)


def test_a_preview_knows_the_blocks(codec_of_blocks: Codec, lines: Image.Image, data: bytes):
    family, (header, symbols) = codec_of_blocks.family, codec_of_blocks.symbols(data)
    small = family.preview(container.parse(data).payload, header.size, Parameters(header.step16), 4, False)
    coded, partition = blocks.unpacked(symbols)
    whole = synthesise(dequantise(coded[None].astype(np.float32), header.step), partition[None])
    assert small.shape == (3, whole.shape[2] // 4, whole.shape[3] // 4)
    assert abs(rgb_to_ycbcr(small[None])[:, 0].mean() - whole[:, 0].mean()) < 2


def test_effort_knows_the_blocks(codec_of_blocks: Codec, lines: Image.Image, data: bytes):
    rounded, searched = (codec_of_blocks.encode(lines, quality=60, effort=effort) for effort in (0, 3))
    first, second, third = (blocks.unpacked(codec_of_blocks.symbols(file)[1])[1] for file in (rounded, data, searched))
    assert np.array_equal(first, second) and np.array_equal(first, third) and searched != rounded
    weight = 1 / 5 * codec_of_blocks.symbols(data)[0].step ** 2

    def cost(file: bytes) -> float:
        error = (np.asarray(codec_of_blocks.decode(file), float) - np.asarray(lines, float)) ** 2
        return error.sum() + weight * 8 * len(file)

    # networks of random weights leave little to find
    assert cost(searched) < 1.001 * cost(data) < 1.01 * cost(rounded)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_changed_bytes_are_refused(codec_of_blocks: Codec, data: bytes, place: int, byte: int):
    changed = bytearray(data)
    changed[place % len(data)] ^= byte or 1
    with pytest.raises((FormatError, ModelError)):
        codec_of_blocks.symbols(bytes(changed))


@given(st.binary(min_size=4, max_size=200))
def test_any_payload_is_an_image_or_refused(codec_of_blocks: Codec, data: bytes, payload: bytes):
    header = container.parse(data).header
    file = container.write(header, payload[: len(payload) // 4 * 4])
    try:
        _, symbols = codec_of_blocks.symbols(file)
    except FormatError:
        return
    codec_of_blocks.family.prior.partition.check(blocks.unpacked(symbols)[1])


def test_strips_of_a_large_image_do_not_matter(codec_of_blocks: Codec, lines: Image.Image, monkeypatch: pytest.MonkeyPatch):
    tall = lines.resize((70, 400))
    data = codec_of_blocks.encode(tall, quality=60)
    symbols, back = codec_of_blocks.symbols(data)[1], codec_of_blocks.decode(data, temperature=0.5)
    monkeypatch.setattr("dctcodec.tiles.STRIP", 6)
    monkeypatch.setattr("dctcodec.bands.family.CHOSEN", 6)
    monkeypatch.setattr("dctcodec.exact.rows.CACHED", 1)
    with limited(2):
        assert codec_of_blocks.encode(tall, quality=60) == data
        assert np.array_equal(codec_of_blocks.symbols(data)[1], symbols)
        assert np.abs(np.asarray(codec_of_blocks.decode(data, temperature=0.5), int) - np.asarray(back, int)).max() <= 1
