"""Images become DCT coefficients and symbols, and coefficients become images."""

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

from dctcodec import tiles
from dctcodec.bands import transform
from dctcodec.bands.order import BANDS, CHANNELS
from dctcodec.bands.quality import quality_of_step, step_of_quality


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32))


def reference_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """BT.601, full range, from its definition: luma, and the differences to blue and red at half scale. (3, H, W) float64."""
    red, green, blue = rgb.astype(np.float64)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([luma - 128, 0.5 * (blue - luma) / (1 - 0.114), 0.5 * (red - luma) / (1 - 0.299)])


def test_ycbcr_is_bt601_and_comes_back():
    rgb = noise(3, 40, 50)
    ycbcr = tiles.rgb_to_ycbcr(rgb)
    assert np.allclose(ycbcr.numpy(), reference_ycbcr(rgb.numpy()), atol=1e-3)
    assert torch.allclose(tiles.ycbcr_to_rgb(ycbcr), rgb, atol=1e-3)


def test_coefficients_are_the_orthonormal_dct_of_each_tile():
    rgb = noise(2, 3, 64, 96)
    coefficients = transform.analyse(rgb)
    assert coefficients.shape == (2, len(CHANNELS), 2, 3)
    for picture, (row, column) in ((0, (0, 0)), (1, (1, 2)), (0, (1, 1))):
        tile = reference_ycbcr(rgb[picture, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32].numpy())
        spectrum = scipy.fft.dctn(tile, axes=(1, 2), norm="ortho")
        expected = [spectrum[c.plane, c.u, c.v] for c in CHANNELS]
        assert np.allclose(coefficients[picture, :, row, column].numpy(), expected, atol=2e-2)


def test_synthesise_undoes_analyse_for_what_is_coded():
    coefficients = noise(1, len(CHANNELS), 3, 2) / 8 - 16
    planes = transform.synthesise(coefficients)
    assert planes.shape == (1, 3, 96, 64)
    assert torch.allclose(transform.analyse(tiles.ycbcr_to_rgb(planes)), coefficients, atol=5e-3)


def test_all_of_luma_is_coded():
    grey = noise(1, 1, 64, 32).expand(1, 3, 64, 32)
    back = tiles.ycbcr_to_rgb(transform.synthesise(transform.analyse(grey)))
    assert torch.allclose(back, grey, atol=5e-3)


@given(st.integers(1, 70), st.integers(1, 70))
def test_edges_are_replicated_to_whole_tiles(height: int, width: int):
    planes = noise(1, 3, height, width)
    rows, columns = -(-height // 32) * 32, -(-width // 32) * 32
    assert (tiles.tiles_across(height), tiles.tiles_across(width)) == (rows // 32, columns // 32)
    expected = np.pad(planes.numpy(), ((0, 0), (0, 0), (0, rows - height), (0, columns - width)), mode="edge")
    assert np.array_equal(tiles.pad_to_tiles(planes).numpy(), expected)
    assert torch.allclose(transform.analyse(planes), transform.analyse(torch.from_numpy(expected)), atol=1e-3)


@pytest.mark.parametrize("step", [12.0, 50.0])
@pytest.mark.parametrize("band", [0, 3, 7])
def test_dead_zone_has_its_edges_where_it_should(step: float, band: int):
    edge = 1 - transform.ROUNDING_OFFSETS[band]
    assert 0.5 <= edge < 1
    scaled = torch.tensor([0, edge - 1e-3, edge + 1e-3, 1 + edge - 1e-3, 1 + edge + 1e-3, 9 + edge - 1e-2, 9 + edge + 1e-2])
    expected = [0, 0, 1, 1, 2, 9, 10]
    luma = BANDS[band].start
    relative = transform.relative_step(torch.device("cpu"))[luma].item()
    for sign in (1, -1):
        coefficients = torch.zeros(len(scaled), len(CHANNELS), 1, 1)
        coefficients[:, luma, 0, 0] = sign * scaled * step
        symbols = transform.quantise(coefficients, step / relative)
        assert symbols[:, luma, 0, 0].tolist() == [sign * e for e in expected]
        assert symbols.count_nonzero() == sum(e != 0 for e in expected)


def test_each_ring_has_a_step_of_its_own():
    values = transform.dequantise(torch.ones(1, len(CHANNELS), 1, 1), 16.0)[0, :, 0, 0]
    steps = {(min(c.plane, 1), max(c.u, c.v)): value.item() for c, value in zip(CHANNELS, values, strict=True)}
    luma = [18] * 2 + [14] * 4 + [15] * 3 + [18] * 4 + [22] * 6 + [28] * 13  # FORMAT.md
    chroma = [15] * 4 + [21] * 5 + [24] * 7
    assert steps == {(0, ring): step for ring, step in enumerate(luma)} | {(1, ring): step for ring, step in enumerate(chroma)}


def test_dequantise_is_undone_by_quantise():
    symbols = torch.from_numpy(np.random.default_rng(1).integers(-300, 300, (3, len(CHANNELS), 2, 2)).astype(np.float32))
    steps = torch.tensor([12.0, 37.5, 200.0])[:, None, None, None]
    assert torch.equal(transform.quantise(transform.dequantise(symbols, steps), steps), symbols)


@given(st.floats(-1e7, 1e7), st.sampled_from([0.0625, 12.0, 200.0]))
def test_the_error_of_a_symbol_is_less_than_a_step_and_symbols_are_limited(value: float, step: float):
    coefficients = torch.full((1, len(CHANNELS), 1, 1), value)
    symbols = transform.quantise(coefficients, step)
    assert symbols.abs().max() <= transform.SYMBOL_LIMIT
    inside = symbols.abs() < transform.SYMBOL_LIMIT
    sizes = transform.dequantise(torch.ones_like(symbols), step)
    error = (transform.dequantise(symbols, step) - coefficients).abs()
    limit = sizes * (1 - min(transform.ROUNDING_OFFSETS)) + abs(value) * 1e-6 + 1e-6
    assert (error <= limit)[inside].all()


def test_what_is_added_contradicts_no_symbol():
    steps = torch.tensor([20.0, 60.0])
    sizes = transform.relative_step(torch.device("cpu")) * steps[:, None, None, None]

    def added(share: float, seed: int = 0) -> torch.Tensor:
        """Planes of coefficients up to `share` of their steps."""
        return transform.synthesise((noise(2, len(CHANNELS), 2, 3, seed=seed) / 127.5 - 1) * share * sizes)

    little = added(0.49)
    assert torch.allclose(transform.consistent(little, steps), little, atol=1e-2)
    norms = []
    for share in (0.5, 1.0, 2.0, 8.0):
        kept = transform.consistent(added(share), steps)
        assert (transform.coefficients(kept).abs() <= sizes * 0.5 + 1e-3).all()
        norms.append(kept.norm().item())
    assert norms[1] < 1.2 * norms[0] and norms[2] < norms[1] / 2 and norms[3] < norms[0] / 1000


def test_what_is_added_to_a_tile_is_judged_by_that_tile_alone():
    planes, step = transform.synthesise(torch.full((1, len(CHANNELS), 1, 2), 2.0)), torch.tensor([40.0])
    wild = planes.clone()
    wild[..., :32] *= 100
    kept = transform.consistent(wild, step)
    assert torch.allclose(kept[..., 32:], planes[..., 32:], atol=1e-3)
    assert kept[..., :32].abs().mean() < planes[..., :32].abs().mean()


def test_frequencies_that_are_not_coded_are_limited_too():
    planes = torch.zeros(1, 3, 32, 32)
    basis = tiles.dct_basis(32, planes.device)
    planes[0, 1] = 5000 * basis[20][:, None] * basis[24]
    assert transform.coefficients(planes).abs().max() < 1e-2
    assert transform.consistent(planes, torch.tensor([40.0])).abs().max() < 0.1


def test_a_network_that_adds_nothing_yet_still_learns():
    planes = torch.zeros(1, 3, 32, 32, requires_grad=True)
    transform.consistent(planes, torch.tensor([40.0])).sum().backward()
    assert planes.grad.min() > 0.5


def test_quality_maps_to_falling_steps_and_back():
    steps = [step_of_quality(q / 4) for q in range(4, 401)]
    assert steps == sorted(steps, reverse=True)
    assert all(step * 16 == round(step * 16) for step in steps)
    assert [quality_of_step(step_of_quality(q)) for q in (1, 20, 50, 99.5)] == pytest.approx([1, 20, 50, 99.5], abs=0.2)
