"""Painters: that of the default model in whole numbers, and that of the paper's models by onnxruntime."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_blocks import NARROW

from dctcodec import Codec, device, tiles
from dctcodec.bands import blocks
from dctcodec.bands.decoder import Decoder, loaded, reconstruct
from dctcodec.bands.decoder_export import to_integers
from dctcodec.bands.exact_transform import plain
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.painter import Painter
from dctcodec.bands.transform import coefficients, dequantise, relative_step, synthesise
from dctcodec.codec import family_of
from dctcodec.errors import ExportError, ModelError
from dctcodec.exact import integer, rows
from dctcodec.exact.byte_layers import measured
from dctcodec.exact.planes import Arithmetic
from dctcodec.family import EXACT, Parameters
from dctcodec.installed import find
from dctcodec.threads import limited
from dctcodec.tiles import rgb_to_ycbcr
from dctcodec.vae import painter as vae_painter
from dctcodec.vae.network import HierarchicalVae
from dctcodec.vae.noise import tile_noise
from dctcodec.vae.shapes import NetworkShape, Scale

SQUARES = blocks.kinds_of(("32x32", "32x16", "16x16", "8x8", "4x4"))
STEP16 = 640
CPU = torch.device("cpu")
ROUTES = [Arithmetic("graph"), Arithmetic("float32"), Arithmetic("float32", CPU), Arithmetic("float64", CPU)]
"""By onnxruntime, NumPy and torch."""


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bfloat16, in which torch computes where the processor multiplies it, is farther off."""
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda: False)


def symbols(height: int, width: int, largest: int = 6) -> np.ndarray:
    values = np.random.default_rng(0).integers(-largest, largest + 1, (len(CHANNELS), height, width))
    return (values // (1 + np.arange(len(CHANNELS)) // 20)[:, None, None]).astype(np.int32)


def partition_of(kinds: tuple[int, ...], grid: tuple[int, int], stepped: bool = False) -> np.ndarray | None:
    """Random kinds of tiles and of quadrants, and steps of tiles."""
    if not kinds:
        return None
    random = np.random.default_rng(1)
    made = random.choice(blocks.small_kinds(kinds), (4, *grid))
    large = random.choice(blocks.large_kinds(kinds), grid)
    made = np.where(random.random(grid) < 0.5, large, made)
    return np.concatenate([made, random.integers(-4, 5, (1, *grid))]) if stepped else made


def decoder(kinds: tuple[int, ...], gain: float = 1.0) -> Decoder:
    """A small decoder of random weights, none of them zero, its units measured."""
    torch.manual_seed(0)
    made = Decoder(NARROW, kinds)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        made.paint.weight.mul_(gain)
    grid = (3, 2)
    told = None if (partition := partition_of(kinds, grid)) is None else torch.from_numpy(partition)[None]
    measured(made, lambda: made(torch.from_numpy(symbols(*grid))[None].float(), torch.tensor([40.0]), None, told))
    return made


def tensors(made: Decoder) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in to_integers(made).items()}


def painted(
    arithmetic: Arithmetic, made: dict[str, np.ndarray], kinds: tuple[int, ...], values: np.ndarray, **options
) -> np.ndarray:
    given = {"step16": STEP16, "temperature": 0.0, "seed": 7, "partition": partition_of(kinds, values.shape[1:])} | options
    return Painter(made, kinds, arithmetic).paint(values, **given)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kinds", [(), SQUARES])
@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (9, 2)])
def test_every_route_paints_the_same_bits(route: Arithmetic, kinds, grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dctcodec.tiles.STRIP", 8)  # several strips
    made = tensors(decoder(kinds))
    for values, step16 in ((symbols(*grid), STEP16), (symbols(*grid, largest=40_000), 4000), (0 * symbols(*grid), 128)):
        expected = painted(Arithmetic("float64"), made, kinds, values, step16=step16)
        assert expected.shape == (3, 32 * grid[0], 32 * grid[1]) and np.isfinite(expected).all()
        assert np.array_equal(painted(route, made, kinds, values, step16=step16), expected)


@pytest.mark.parametrize("route", ROUTES)
def test_tiles_with_steps_of_their_own_are_the_same_bits(route: Arithmetic):
    made, values = tensors(decoder(SQUARES)), symbols(3, 4)
    first, second = (partition_of(SQUARES, (3, 4), stepped) for stepped in (True, False))
    expected = painted(Arithmetic("float64"), made, SQUARES, values, partition=first)
    assert np.array_equal(painted(route, made, SQUARES, values, partition=first), expected)
    assert not np.array_equal(painted(route, made, SQUARES, values, partition=second), expected)


@pytest.fixture
def a_narrow_product(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that multiplies no bytes above 127, and whose silu is another."""
    monkeypatch.setattr(integer, "takes_all_bytes", lambda: False)
    monkeypatch.setattr(integer, "_is_silu", lambda *_: False)
    yield


def test_a_machine_whose_products_are_narrow_paints_the_same_bits(a_narrow_product: None):
    made, values = tensors(decoder(SQUARES)), symbols(3, 4)
    assert np.array_equal(painted(ROUTES[0], made, SQUARES, values), painted(Arithmetic("float64"), made, SQUARES, values))


@pytest.mark.parametrize("kinds", [(), SQUARES])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_trained_network_is_near(kinds, temperature: float):
    made, values, partition = decoder(kinds).eval(), symbols(4, 3), partition_of(kinds, (4, 3))
    told = None if partition is None else torch.from_numpy(partition)
    expected = reconstruct(made, torch.from_numpy(values), STEP16 / 16, temperature, 7, told).numpy()
    for route in ROUTES:
        found = painted(route, tensors(made), kinds, values, temperature=temperature)
        error, added = found - expected, expected - image_of(values, partition)
        assert error.std() < 0.1 * added.std() and added.std() > 1


def image_of(values: np.ndarray, partition: np.ndarray | None) -> np.ndarray:
    """RGB of the inverse DCT in float32."""
    told = None if partition is None else partition[None]
    planes = synthesise(dequantise(values[None].astype(np.float32), np.float32(STEP16 / 16), told), told)
    return tiles.ycbcr_to_rgb(planes)[0]


@pytest.mark.parametrize("stepped", [False, True])
def test_the_plain_image_is_the_inverse_dct(stepped: bool):
    values, partition = symbols(3, 4), partition_of(SQUARES, (3, 4), stepped)
    expected = synthesise(dequantise(values[None].astype(np.float32), np.float32(STEP16 / 16), partition[None]), partition[None])[0]
    found = plain(values, STEP16, partition, None) / 64
    assert np.abs(found - expected).max() < 0.2 and np.abs(found - expected).mean() < 0.02 and expected.std() > 20


def test_what_is_painted_contradicts_no_symbol():
    values, partition = symbols(3, 4), partition_of(SQUARES, (3, 4))
    image = painted(ROUTES[0], tensors(decoder(SQUARES, gain=3)), SQUARES, values)
    found = coefficients(rgb_to_ycbcr(image[None]), partition[None])[0]
    distance = np.abs(found / (STEP16 / 16 * relative_step(None)) - values)
    assert 0.3 < distance.max() < 0.502


def test_a_temperature_draws_by_the_seed():
    made, values = tensors(decoder(SQUARES)), symbols(2, 3)
    images = [
        painted(ROUTES[0], made, SQUARES, values, temperature=tau, seed=seed) for tau, seed in ((0, 7), (1, 7), (1, 7), (1, 8))
    ]
    assert np.array_equal(images[1], images[2])
    assert not np.array_equal(images[0], images[1]) and not np.array_equal(images[1], images[3])


@pytest.mark.parametrize("quality", [5, 50, 100])
def test_the_shipped_decoders_paint_about_what_their_networks_do(codec: Codec, photo, quality: float):
    image = photo.crop((100, 60, 260, 180))
    original = np.asarray(image, float).transpose(2, 0, 1)
    for tune in codec.family.tunes:
        data = codec.encode(image, quality, tune=tune)
        header, values = codec.symbols(data)
        coded, partition = blocks.unpacked(torch.from_numpy(values))
        network = reconstruct(codec.family.torch_decoder(tune), coded, header.step, 0, 0, partition)
        expected = network.numpy()[:, :120, :160].clip(0, 255)
        found = np.asarray(codec.decode(data), float).transpose(2, 0, 1)
        errors = [np.square(one - original).mean() for one in (found, expected)]
        assert 0.95 < errors[0] / errors[1] < 1.05


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize(("height", "width"), [(29, 3), (9, 1)])
def test_few_rows_at_a_time_paint_the_same_image(
    codec: Codec, height: int, width: int, temperature: float, monkeypatch: pytest.MonkeyPatch
):
    symbols = np.random.default_rng(0).integers(-1, 2, (len(CHANNELS), height, width)).astype(np.int32)
    symbols[300:] = 0
    if kinds := codec.family.kinds:
        symbols = blocks.packed(symbols, np.random.default_rng(1).choice(kinds, (height, width))[None].repeat(4, 0))
    parameters = Parameters(16 * 40, False, 0, "psnr")

    def painted() -> np.ndarray:
        return codec.family.paint(symbols, (32 * width, 32 * height), parameters, temperature)

    whole, most = painted(), 1 if temperature else 0
    monkeypatch.setattr(rows, "CACHED", 1)
    assert np.abs(painted() - whole).max() <= most
    monkeypatch.setattr(tiles, "STRIP", 1)
    with limited(2):  # two strips at once
        assert np.abs(painted() - whole).max() <= most


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_pixels(codec: Codec, photo, threads: int):
    data = codec.encode(photo.crop((100, 60, 400, 280)), 40)
    expected = np.asarray(codec.decode(data))
    with limited(threads):
        assert np.array_equal(np.asarray(codec.decode(data)), expected)


def test_a_grey_image_is_the_same_on_a_machine_that_rounds_otherwise():
    levels = np.arange(64 * 256, dtype=np.float32).reshape(1, 64, 256) / 64
    rgb = np.concatenate([levels] * 3)
    assert np.array_equal(np.rint(tiles.luma(rgb)), np.rint(levels[0]))


def test_a_loaded_network_has_the_weights_of_the_file():
    made = decoder(SQUARES)
    file = tensors(made)
    shape = {"widths": NARROW.widths, "blocks": NARROW.blocks}
    again = loaded(shape, SQUARES, {name: values for name, values in file.items() if not name.startswith(EXACT)}, None)
    for name, layer in again.named_modules():
        if f"{EXACT}{name}.scale" in file and name != "":
            assert torch.equal(layer.whole(), torch.from_numpy(file[f"{name}.weight"]).float())


@pytest.mark.parametrize("name", ["decoder", "decoder-ms-ssim"])
def test_no_entry_of_a_shipped_table_depends_on_a_librarys_silu(name: str):
    file = load_file(find("flagship-1").path / f"{name}.safetensors")
    names = [key.removeprefix(EXACT).removesuffix(".table") for key in file if key.endswith(".table") and len(file[key]) == 256]
    for layer in names:
        numbers = (np.arange(256) - int(file[f"{layer}.before.zero"])) * float(file[f"{layer}.before.unit"])
        entries = numbers / (1 + np.exp(-numbers)) / float(file[f"{layer}.after.unit"])
        assert np.abs(entries % 1 - 0.5).min() > 9e-4
        expected = (np.rint(entries) + int(file[f"{layer}.after.zero"])).clip(0, 255)
        assert np.array_equal(file[f"{EXACT}{layer}.table"], expected)
    assert len(names) == 28


def test_weights_of_other_blocks_are_told():
    with pytest.raises(LookupError, match="other blocks"):
        Painter(tensors(decoder(SQUARES)), (), ROUTES[0])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("scales.3.blocks.0.added.unit", lambda unit: np.float32(0.3)),
        ("entering.before.unit", lambda unit: np.float32(np.nan)),
        (f"{EXACT}entering.table", lambda table: table[:100]),
        ("scales.2.blocks.0.added.zero", lambda zero: zero + 300),
        (f"{EXACT}scales.2.blocks.0.between.table", lambda table: table.astype(np.int16)),
        (f"{EXACT}scales.2.blocks.0.between.table", lambda table: np.repeat(table, 2)),
        (f"{EXACT}paint.offset", lambda offset: offset + 2**24),
        (f"{EXACT}paint.scale", lambda scale: scale * np.float32(1e6)),
        (f"{EXACT}scales.1.context.scale", lambda scale: scale * np.float32(np.nan)),
        (f"{EXACT}scales.2.blocks.0.first.offset", lambda offset: offset - 2**24),
    ],
)
def test_a_decoder_that_leaves_the_exact_range_is_refused(name: str, change):
    made = tensors(decoder(()))
    with pytest.raises(ModelError, match="damaged"):
        Painter(made | {name: change(made[name])}, (), ROUTES[0])


def test_weights_without_an_exact_form_are_not_exported():
    made = decoder(())
    made.paint.bias.data[0] = 1e9
    with pytest.raises(ExportError, match="paint"):
        to_integers(made)


# --- the paper's models


def vae(**changes: bool) -> HierarchicalVae:
    """A small network of random weights, none of them zero, with scales of several sides."""
    scales = (Scale(16, 2, 1, 12, 8), Scale(8, 1, 0, 10, 8), Scale(8, 1, 0, 10, 6), Scale(1, 2, 0, 8, 8))
    torch.manual_seed(0)
    made = HierarchicalVae(NetworkShape(3, 32, scales, 4, "logistic-mixture", context=True, **changes)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


@pytest.mark.parametrize("changes", [{}, {"offset": True}, {"weight_norm": True}])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@torch.no_grad()
def test_the_graph_of_a_vae_is_the_network(changes: dict[str, bool], temperature: float):
    made, images = vae(**changes), np.random.default_rng(0).random((5, 3, 32, 32), np.float32)
    noise = tile_noise(range(5), 7, torch.device("cpu"))
    expected = made.generate(torch.from_numpy(images), 5, temperature, noise).numpy()
    weights = {name: values.numpy() for name, values in made.state_dict().items()}
    found = vae_painter.Painter(made.shape, weights).paint(images, temperature, tile_noise(range(5), 7))
    assert found.shape == expected.shape and expected.std() > 0.02 and np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("temperature", [0.0, 0.1, 1.0])
def test_the_shipped_vae_paints_the_same_pixels_within_a_level(photo, temperature: float):
    info, parameters = find("dct-vae-cifar10"), Parameters(seed=3)
    rgb = np.asarray(photo.crop((100, 60, 200, 150)), np.float32).transpose(2, 0, 1)
    families = [family_of(info, place) for place in (None, torch.device("cpu"))]
    first, second = (family.analyse(rgb, parameters) for family in families)
    assert np.array_equal(first, second)
    found, expected = (family.paint(first, (100, 90), parameters, temperature) for family in families)
    assert found.shape == (3, 96, 128) and np.abs(found - expected).max() < 0.1
    levels = [image.clip(0, 255).round() for image in (found, expected)]
    assert np.abs(levels[0] - levels[1]).max() <= 1


def test_a_vae_without_colours_or_weights_is_told():
    with pytest.raises(LookupError):
        vae_painter.Painter(vae().shape, {})
    with pytest.raises(ValueError, match="bernoulli"):
        vae_painter.Painter(NetworkShape(1, 32, (), 4, "bernoulli", context=True), {})
