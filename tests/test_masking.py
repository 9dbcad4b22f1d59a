"""The weights of `--tune ms-ssim`: what MS-SSIM sees of errors."""

import numpy as np
import pytest
import torch

from dctcodec.bands import masking, rounding
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.transform import analyse, quantise, synthesise
from dctcodec.metrics import log_dissimilarity
from dctcodec.tiles import ycbcr_to_rgb

STEP = 40.0
AT = {(channel.plane, channel.u, channel.v): number for number, channel in enumerate(CHANNELS)}


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """Noise on the left, a soft gradient on the right: float32 (3, 320, 320)."""
    ramp = np.broadcast_to(np.linspace(60, 180, 320, dtype=np.float32), (3, 320, 320)).copy()
    ramp[:, :, :160] += np.random.default_rng(0).normal(0, 40, (320, 160)).astype(np.float32)
    return ramp.clip(0, 255)


def weights_of(rgb: np.ndarray) -> np.ndarray:
    coefficients = analyse(rgb[None])
    step = np.array([STEP], np.float32)
    slope = rounding.slopes_of_rounding(quantise(coefficients, STEP), coefficients, step)[0]
    return masking.weights(masking.seen(rgb), slope, rounding.curvatures(step, None)[0])


def test_texture_masks_errors_and_high_frequencies_more(rgb):
    found = weights_of(rgb)
    assert found.shape == (len(CHANNELS), 10, 10) and found.dtype == np.float32
    assert found[AT[0, 10, 10], :, 6:].min() > 4 * found[AT[0, 10, 10], :, :4].max()
    low, middle, high = (found[AT[0, u, u], 5, 8] for u in (2, 10, 20))
    assert low > middle > high > 0


def test_their_mean_over_the_error_is_what_the_bits_are_saved_by(rgb):
    coefficients, step = analyse(rgb[None]), np.array([STEP], np.float32)
    symbols = quantise(coefficients, STEP)
    error = rounding.slopes_of_rounding(symbols, coefficients, step)[0] ** 2 / rounding.curvatures(step, None)[0]
    assert (weights_of(rgb) * error).sum() / error.sum() == pytest.approx(1 / masking.SAVING, rel=1e-3)


@pytest.mark.parametrize("step", [14.0, STEP, 90.0])
def test_steps_are_coarser_in_texture(rgb, step: float):
    index = masking.step_index(masking.seen(rgb), step)
    assert index.shape == (10, 10) and index[:, :4].mean() > index[:, 6:].mean() + 0.3


@pytest.mark.parametrize("size", [(1, 1), (33, 70), (129, 64)])
def test_any_size_and_a_flat_image(size):
    found = weights_of(np.full((3, *size), 90, np.float32))
    assert found.shape[1:] == tuple(-(-side // 32) for side in size) and np.isfinite(found).all() and (found > 0).all()
    assert not masking.step_index(masking.seen(np.full((3, *size), 90, np.float32)), STEP).any()


def test_without_exponent_they_tell_how_ms_ssim_falls(rgb, monkeypatch: pytest.MonkeyPatch):
    """The same change of one coefficient in all tiles of a column: the fall of MS-SSIM against the sum of the weights."""
    monkeypatch.setattr(masking, "EXPONENT", 1.0)
    found, image = weights_of(rgb), torch.from_numpy(rgb)[None]
    base = analyse(rgb[None])
    falls, expected = [], []
    for u, column in [(3, 1), (3, 8), (8, 1), (8, 8), (14, 8)]:
        changed = base.copy()
        signs = np.random.default_rng(u).choice([-1, 1], 10)
        changed[0, AT[0, u, u], :, column] += 12 * signs
        added = ycbcr_to_rgb(synthesise(changed)) - ycbcr_to_rgb(synthesise(base))
        with_error = torch.from_numpy((rgb[None] + added).astype(np.float32))
        falls.append(log_dissimilarity(with_error, image).exp().item() - 1e-5)
        expected.append(found[AT[0, u, u], :, column].sum())
    ratios = np.array(falls) / np.array(expected)
    assert ratios.max() / ratios.min() < 4 and max(falls) / min(falls) > 8
