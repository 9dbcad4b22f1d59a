"""The decoder: one convolution over the whole image, conditioned on the step, with latents that a temperature draws."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from dctcodec import device
from dctcodec.bands import blocks
from dctcodec.bands.decoder import RETURN, Decoder, DecoderShape, Returning, reconstruct
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.transform import coefficients, dequantise, relative_step, synthesise
from dctcodec.device import fast_convolutions
from dctcodec.exact.byte_layers import ByteConv, corrected, measured, unrounded
from dctcodec.tiles import TILE, rgb_to_ycbcr, ycbcr_to_rgb

REACH = 4
"""Tiles that a tile's symbols reach to in `SMALL`: 2 at scale 32, 1 at 16, 1/2 at 8, 3/8 at 4."""
SMALL = DecoderShape(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A small decoder of random weights, none of them zero."""
    torch.manual_seed(0)
    made = Decoder(SMALL).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def symbols(height: int, width: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    values = random.integers(-6, 7, (len(CHANNELS), height, width)) // (1 + np.arange(len(CHANNELS)) // 20)[:, None, None]
    return torch.from_numpy(values.astype(np.int32))


def plain(values: torch.Tensor, step: float, partition: torch.Tensor | None = None) -> torch.Tensor:
    """RGB (3, 32 h, 32 w) by the inverse DCT alone."""
    return ycbcr_to_rgb(synthesise(dequantise(values[None].float(), step), None if partition is None else partition[None]))[0]


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 2), (2, 5)])
@pytest.mark.parametrize("temperature", [0, 1])
def test_any_grid_gives_a_picture_of_its_size(decoder, grid: tuple[int, int], temperature: float):
    image = reconstruct(decoder, symbols(*grid), 50, temperature, 0)
    assert image.shape == (3, TILE * grid[0], TILE * grid[1])
    assert image.isfinite().all()


def test_a_tile_reaches_its_neighbours_and_no_further(decoder):
    values = symbols(1, 2 * REACH + 3)
    other = values.clone()
    other[:, 0, 0] = -values[:, 0, 0] + 1
    tiles = (reconstruct(decoder, values, 50, 0, 0) - reconstruct(decoder, other, 50, 0, 0)).abs().amax((0, 1)).reshape(-1, TILE)
    changed = tiles.amax(1)
    assert (changed[:2] > 0.01).all()
    assert (changed[REACH + 1 :] < 1e-3).all()


def test_tiles_have_no_place_of_their_own(decoder):
    values = symbols(2, 2 * REACH + 4)
    whole = reconstruct(decoder, values, 50, 0, 0)
    shifted = reconstruct(decoder, values[:, :, 1:], 50, 0, 0)
    inside = TILE * REACH
    assert torch.allclose(whole[:, :, TILE + inside :], shifted[:, :, inside:], atol=1e-2)
    assert not torch.allclose(whole[:, :, TILE : TILE + inside], shifted[:, :, :inside], atol=1e-2)


def test_a_new_decoder_is_the_inverse_dct():
    values = symbols(2, 3)
    assert torch.allclose(reconstruct(Decoder(SMALL), values, 30, 0, 0), plain(values, 30), atol=1e-2)


@pytest.mark.parametrize("temperature", [0, 1])
def test_what_is_painted_contradicts_no_symbol(decoder, temperature: float):
    values, step, wild = symbols(2, 3), 50.0, deepcopy(decoder)
    wild.paint.weight.data *= 10
    painted = coefficients(rgb_to_ycbcr(reconstruct(wild, values, step, temperature, 0)[None]))
    distance = (painted / (step * relative_step(painted.device)) - values).abs()
    assert 0.01 < distance.max() <= 0.501


def test_a_network_that_wants_too_much_learns_to_want_less():
    torch.manual_seed(0)
    added = torch.randn(2, 3, 2 * TILE, 3 * TILE)
    for factor, pulled in ((1.0, False), (1e3, True)):
        wanted = (factor * added).requires_grad_()
        told = Returning.apply(added if factor == 1 else 1e-3 * added, wanted)
        told.sum().backward()
        down = (wanted.grad * wanted).detach().unfold(2, TILE, TILE).unfold(3, TILE, TILE).sum((1, 4, 5))
        # the slope of ln |wanted| of a tile along wanted is 1; the mean is over 12 tiles; of 1e3 a 1e-6th part was added
        expected = RETURN * (1 - 1e-6**0.2) / 12 if pulled else 0.0
        assert torch.allclose(down, torch.full_like(down, expected), atol=1e-5)


def test_only_training_pulls_back():
    torch.manual_seed(0)
    made = Decoder(SMALL)
    with torch.no_grad():
        made.paint.weight.normal_(std=30)
    values, gradients = symbols(1, 2)[None].float(), []
    for training in (True, False):
        made.train(training).zero_grad()
        (0 * made(values, torch.tensor([50.0]))).sum().backward()
        gradients.append(made.paint.weight.grad.clone())
    assert gradients[0].abs().max() > 0 and not gradients[1].any()
    assert torch.equal(made.train()(values, torch.tensor([50.0])), made.eval()(values, torch.tensor([50.0])))


def test_no_temperature_is_no_draw_and_ignores_the_seed(decoder):
    values = symbols(2, 3)
    expected = reconstruct(decoder, values, 50, 0.0, 0)
    with torch.inference_mode(), fast_convolutions(values.device):
        assert torch.equal(decoder(values[None].float(), torch.tensor([50.0]))[0], expected)
    assert torch.equal(reconstruct(decoder, values, 50, 0.0, 99), expected)


def test_noise_grows_with_the_temperature_and_depends_on_the_seed_alone(decoder):
    values = symbols(2, 3)
    mean = reconstruct(decoder, values, 50, 0, 0)
    changes = [(reconstruct(decoder, values, 50, tau, 7) - mean).abs().mean().item() for tau in (0.1, 0.5, 1)]
    assert 0 < changes[0] < changes[1] < changes[2]
    drawn = reconstruct(decoder, values, 50, 1, 7)
    torch.manual_seed(123)
    np.random.seed(5)
    assert torch.equal(reconstruct(decoder, values, 50, 1, 7), drawn)
    assert not torch.equal(reconstruct(decoder, values, 50, 1, 8), drawn)


def test_every_scale_draws(decoder):
    values, drawn = symbols(2, 2), []

    def draw(scale, features):
        drawn.append((scale.pixels, features.shape[2:]))
        return torch.zeros(1, 8, *features.shape[2:])

    with torch.inference_mode():
        still = decoder(values[None].float(), torch.tensor([50.0]), draw)
        assert torch.equal(still, decoder(values[None].float(), torch.tensor([50.0])))
    assert drawn == [(32, (2, 2)), (16, (4, 4)), (8, (8, 8)), (4, (16, 16))]


def test_the_step_conditions_the_network(decoder):
    nothing = torch.zeros(len(CHANNELS), 2, 2)
    # without symbols the step enters by its conditioning and by the scale of the residual, which is undone here
    coarse, fine = ((reconstruct(decoder, nothing, step, 0, 0) - 128) / step**0.5 for step in (160.0, 20.0))
    assert (coarse - fine).abs().max() > 0.01


def test_pictures_of_a_batch_do_not_mix(decoder):
    several = torch.stack([symbols(2, 3, seed) for seed in range(3)]).float()
    steps = torch.tensor([20.0, 50.0, 150.0])
    with torch.inference_mode(), fast_convolutions(several.device):
        together = decoder(several, steps)
    for number in range(3):
        alone = reconstruct(decoder, several[number], steps[number].item(), 0, 0)
        assert torch.allclose(together[number], alone, atol=1e-2)


# --- seams


def jumps(image: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    """Mean absolute step of the error of luma from pixel to pixel, across the borders of tiles and elsewhere. What belongs to
    the image drops out of the error; what belongs to the tiles makes the first larger than the second."""
    error = (image.astype(float) - original.astype(float)) @ [0.299, 0.587, 0.114]
    steps = [np.abs(np.diff(error, axis=axis)).mean(1 - axis) for axis in (0, 1)]
    borders = [np.arange(1, len(step) + 1) % TILE == 0 for step in steps]
    step, border = np.concatenate(steps), np.concatenate(borders)
    return step[border].mean(), step[~border].mean()


def decoded_and_plain(codec, image: Image.Image, quality: float) -> tuple[np.ndarray, np.ndarray]:
    data = codec.encode(image, quality)
    header, values = codec.symbols(data)
    coded, partition = blocks.unpacked(torch.from_numpy(values))
    whole = plain(coded, header.step, partition)
    painted = whole[:, : image.height, : image.width].clamp(0, 255).round().permute(1, 2, 0)
    return np.asarray(codec.decode(data)), painted.numpy()


@pytest.mark.quality
@pytest.mark.parametrize("quality", [20, 40])
def test_a_photograph_has_no_seams(codec, photo, quality: float):
    image = photo.crop((3, 5, 451, 453))  # off the grid of the JPEG file, whose own seams would be found
    decoded, by_dct = decoded_and_plain(codec, image, quality)
    across, elsewhere = jumps(decoded, np.asarray(image))
    dct_across, dct_elsewhere = jumps(by_dct, np.asarray(image))
    assert dct_across > 1.25 * dct_elsewhere, "the inverse DCT has seams, else this shows nothing"
    assert across < 1.15 * elsewhere


@pytest.mark.quality
@pytest.mark.parametrize("quality", [20, 50])
def test_a_smooth_picture_has_no_seams(codec, quality: float):
    rows, columns = np.mgrid[:256, :256]
    planes = [60 + 0.4 * columns + 0.2 * rows, 200 - 0.5 * rows, 128 + 90 * np.sin(columns / 60) * np.cos(rows / 45)]
    image = Image.fromarray(np.stack(planes, -1).astype(np.uint8))
    decoded, by_dct = decoded_and_plain(codec, image, quality)
    across, elsewhere = jumps(decoded, np.asarray(image))
    dct_across, dct_elsewhere = jumps(by_dct, np.asarray(image))
    assert dct_across - dct_elsewhere > 1, "the inverse DCT has seams, else this shows nothing"
    assert across - elsewhere < 1, "levels, hardly to be seen"


@pytest.mark.quality
@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("quality", [50, 100])
def test_a_pattern_that_no_photograph_has_is_painted_about_as_well_as_by_the_inverse_dct(codec, quality: float, pixels: int):
    """With moves that were chosen for the painted image: at most 1.5 dB worse, and without a bound 15 dB and more."""
    board = (np.indices((96, 128)) // pixels).sum(0)
    image = Image.fromarray((board % 2 * 255).astype(np.uint8)).convert("RGB")
    errors = [np.square(picture - np.asarray(image, float)).mean() for picture in decoded_and_plain(codec, image, quality)]
    assert errors[0] < 1.4 * errors[1]


@pytest.mark.quality
@pytest.mark.parametrize("quality", [10, 50, 100])
def test_bfloat16_is_as_near_to_the_picture(codec, photo, quality: float, monkeypatch):
    image = photo.crop((100, 60, 356, 252))
    header, values = codec.symbols(codec.encode(image, quality))
    coded, partition = blocks.unpacked(torch.from_numpy(values))
    decoder, pictures = codec.family.torch_decoder("psnr"), []
    for fast in (True, False):
        monkeypatch.setattr(device, "_multiplies_bfloat16", lambda fast=fast: fast)
        with unrounded():
            rgb = reconstruct(decoder, coded, header.step, 0, 0, partition)[:, : image.height, : image.width]
        pictures.append(rgb.clip(0, 255).round().numpy().transpose(1, 2, 0))
    difference = abs(pictures[0].astype(int) - pictures[1])
    assert difference.max() <= 6 and 0 < difference.mean() < 0.4
    errors = [np.square(picture - np.asarray(image, float)).mean() for picture in pictures]
    assert errors[0] < 1.005 * errors[1]


def test_corrected_biases_keep_the_means_of_all_outputs():
    torch.manual_seed(1)
    decoder, given, means = Decoder(SMALL), symbols(3, 3)[None].float(), {}
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)

    def paint() -> None:
        decoder(given, torch.tensor([40.0]))

    def seen() -> list[torch.Tensor]:
        with torch.no_grad():
            paint()
        return [means[layer] for layer in layers]

    measured(decoder, paint)
    layers = [layer for layer in decoder.modules() if isinstance(layer, ByteConv)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, _, outputs: means.update({layer: outputs.mean((0, 2, 3))}))
    with unrounded():
        wanted = seen()
    before = [(mean - right).abs().max() for mean, right in zip(seen(), wanted, strict=True)]
    corrected(decoder, paint)
    after = [(mean - right).abs().max() for mean, right in zip(seen(), wanted, strict=True)]
    assert max(before) > 1e-3
    assert max(after) < 1e-5
