"""The decoders by onnxruntime paint what the decoders by torch paint, within one level."""

import numpy as np
import pytest
import torch
from small_blocks import NARROW

from dctcodec import Codec, device, tiles
from dctcodec.bands import blocks
from dctcodec.bands.decoder import Decoder, painted
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.painter import Painter
from dctcodec.codec import family_of
from dctcodec.family import Parameters
from dctcodec.installed import find
from dctcodec.vae import painter as vae_painter
from dctcodec.vae.network import HierarchicalVae
from dctcodec.vae.noise import tile_noise
from dctcodec.vae.shapes import NetworkShape, Scale

SQUARES = blocks.kinds_of(("32x32", "16x16", "8x8", "4x4"))


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bfloat16, in which torch computes where the processor multiplies it, is farther off."""
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda: False)


def symbols(height: int, width: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(-6, 7, (len(CHANNELS), height, width))
    return (values // (1 + np.arange(len(CHANNELS)) // 20)[:, None, None]).astype(np.int32)


def decoder(kinds: tuple[int, ...]) -> Decoder:
    """A small decoder of random weights, none of them zero."""
    torch.manual_seed(0)
    made = Decoder(NARROW, kinds).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def weights(made: Decoder) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in made.state_dict().items()}


@pytest.mark.parametrize("kinds", [(), SQUARES])
@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (9, 2)])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_graph_is_the_network(kinds, grid: tuple[int, int], temperature: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dctcodec.tiles.STRIP", 8)  # several strips
    made, values = decoder(kinds), symbols(*grid)
    partition = np.random.default_rng(1).choice([0, *SQUARES[1:2]], grid)[None].repeat(4, 0) if kinds else None
    expected = painted(made, values, 40.0, temperature, 7, partition)
    found = Painter(weights(made), kinds).paint(values, 40.0, temperature, 7, partition)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 0.05


@pytest.mark.parametrize("quality", [5, 50, 100])
def test_the_shipped_decoders_paint_the_same_pixels_within_a_level(codec: Codec, photo, quality: float):
    image = photo.crop((100, 60, 260, 180))
    for tune in codec.family.tunes:
        data = codec.encode(image, quality, tune=tune)
        header, values = codec.symbols(data)
        coded, partition = blocks.unpacked(values)
        whole = painted(codec.family.torch_decoder(tune), coded, header.step, 0, 0, partition)
        expected = whole[:, :120, :160].clip(0, 255).round()
        found = np.asarray(codec.decode(data), float).transpose(2, 0, 1)
        assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 1e-3


def test_strips_of_few_rows_paint_the_same_image(codec: Codec, monkeypatch: pytest.MonkeyPatch):
    symbols = np.random.default_rng(0).integers(-1, 2, (len(CHANNELS), 13, 3)).astype(np.int32)
    symbols[300:] = 0
    if kinds := codec.family.kinds:
        symbols = blocks.packed(symbols, np.random.default_rng(1).choice(kinds, (13, 3))[None].repeat(4, 0))
    parameters = Parameters(16 * 40, False, 0, "psnr")
    whole = codec.family.paint(symbols, (96, 416), parameters, 0)
    monkeypatch.setattr(tiles, "STRIP", 1)  # two rows: fewer than the finest scale takes in on either side
    assert np.abs(codec.family.paint(symbols, (96, 416), parameters, 0) - whole).max() < 1e-3


def test_weights_of_other_blocks_are_told():
    with pytest.raises(LookupError, match="other blocks"):
        Painter(weights(decoder(SQUARES)), ())


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
