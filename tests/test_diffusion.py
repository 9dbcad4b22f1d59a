"""The diffusion prior as it is trained: equations 11 to 15, and the loss that they make."""

import math

import numpy as np
import pytest
import torch

from dctcodec.vae.diffusion import SCALES, ContextPrior, Schedule, features
from dctcodec.vae.likelihood import gaussian_divergence
from dctcodec.vae.shapes import DiffusionShape
from dctcodec.vae.unet import layer_sides, scale_sides

SMALL = DiffusionShape(channels=2, size=3, bits=3, steps=4, width=8, blocks=1)
KINDS = ["linear", "cosine", "geometric"]


def symbols_of(shape: DiffusionShape, count: int, spread: float = 0.2, seed: int = 0) -> torch.Tensor:
    """Bell-shaped symbols of a standard deviation of `spread` in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, shape.channels, shape.size, shape.size, generator=generator) * spread
    last = 2**shape.bits - 1
    return ((values + 1) * 2**shape.bits / 2).floor().clamp(0, last).int()


def made(shape: DiffusionShape = SMALL, gain: float = 4.0, spread: float = 0.2) -> ContextPrior:
    """A fitted prior with fresh weights whose outputs matter (`gain` > 0) or are zero."""
    torch.manual_seed(0)
    prior = ContextPrior(shape)
    prior.fit(symbols_of(shape, 500, spread))
    with torch.no_grad():
        prior.network.head.weight.normal_(0, 0.07 * gain * shape.width**-0.5)
    return prior


# --- the forward chain


@pytest.mark.parametrize("kind", KINDS)
def test_equation_12_is_what_bayes_says(kind: str):
    schedule, first = Schedule(DiffusionShape(steps=5, schedule=kind)), 0.3
    for t in range(2, 6):
        y = schedule.signal(t) * first + 0.7 * math.sqrt(schedule.variance(t))
        u, v, w = schedule.posterior(t)
        before = torch.linspace(-8, 8, 2_000_001, dtype=torch.float64)
        log = -((before - schedule.signal(t - 1) * first) ** 2) / (2 * schedule.variance(t - 1))
        log -= (y - math.sqrt(1 - schedule.beta(t)) * before) ** 2 / (2 * schedule.beta(t))
        share = torch.softmax(log, 0)
        mean = (share * before).sum()
        assert mean.item() == pytest.approx(u * first + v * y, abs=1e-6)
        assert (share * (before - mean) ** 2).sum().item() == pytest.approx(w, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [2, 7, 40])
def test_noise_grows_and_ends_as_a_normal_distribution(kind: str, steps: int):
    shape = DiffusionShape(steps=steps, schedule=kind)
    schedule = Schedule(shape)
    assert len(schedule.alpha_bar) == steps + 1
    assert all(0 < schedule.beta(t) < 1 and schedule.cell(t) > 0 for t in range(1, steps + 1))
    assert schedule.alpha_bar[-1] < (0.2 if steps > 2 else 0.6)


@pytest.mark.parametrize(("steps", "first", "last"), [(7, 0.143, 0.286), (20, 0.05, 0.1), (21, 0.048, 0.952), (40, 0.025, 0.5)])
def test_the_linear_schedule_is_that_of_the_papers_code(steps: int, first: float, last: float):
    schedule = Schedule(DiffusionShape(steps=steps, schedule="linear"))
    betas = [schedule.beta(t) for t in range(1, steps + 1)]
    assert (betas[0], betas[-1]) == pytest.approx((first, last), abs=5e-4)
    assert np.diff(betas) == pytest.approx((last - first) / (steps - 1), abs=1e-4)


def test_every_step_of_the_linear_schedule_leaves_some_signal():
    schedule = Schedule(DiffusionShape(steps=7, schedule="linear"))
    kept = [schedule.alpha_bar[t] for t in range(8)]
    assert all(after > 0.7 * before for before, after in zip(kept, kept[1:], strict=False)) and kept[-1] > 0.1


def test_contexts_that_are_drawn_have_the_statistics_of_those_that_the_prior_was_fitted_to():
    prior = made(gain=0.0)
    torch.manual_seed(1)
    drawn, fitted = prior.sample(4000), symbols_of(SMALL, 500)
    assert drawn.dtype == torch.int64 and drawn.min() >= 0 and drawn.max() < 2**SMALL.bits
    for statistic in (torch.mean, torch.std):
        assert torch.allclose(statistic(drawn.double(), 0), statistic(fitted.double(), 0), atol=0.12)


def test_noise_has_the_mean_and_variance_of_equation_11_on_its_grid():
    prior, generator = made(), torch.Generator().manual_seed(1)
    for step in range(1, SMALL.steps + 1):
        t = torch.full((20000,), step)
        y = prior.noisy(torch.full((20000, 2, 3, 3), 0.25), t, generator).double()
        cells = y / prior.schedule.cell(step)
        assert (cells - cells.round()).abs().max() < 1e-3
        variance = prior.schedule.variance(step)
        assert y.mean().item() == pytest.approx(prior.schedule.signal(step) * 0.25, abs=0.01 * math.sqrt(variance))
        assert y.var().item() == pytest.approx(variance, rel=0.01)


# --- equation 14


def test_the_bins_of_equation_14_hold_the_whole_gaussian():
    prior = made()
    mean = torch.linspace(-3, 3, 61)[:, None].expand(61, 8)
    log = torch.linspace(math.log(0.02), math.log(2), 61).flip(0)[:, None]
    mass = prior.log_bins(torch.arange(8).expand(61, 8), mean, log).exp().sum(1)
    assert torch.allclose(mass, torch.ones(61), atol=1e-5)


def test_the_bins_of_equation_14_are_differences_of_the_distribution_function():
    prior, mean, std = made(), 0.15, 0.3
    edges = torch.linspace(-1, 1, 9, dtype=torch.float64)
    edges[0], edges[-1] = -math.inf, math.inf
    expected = torch.special.ndtr((edges - mean) / std).diff()
    got = prior.log_bins(torch.arange(8), torch.full((8,), mean), torch.full((8,), math.log(std))).exp()
    assert torch.allclose(got.double(), expected, atol=1e-6)


def test_far_bins_cost_much_but_not_infinitely_and_have_gradients():
    prior, mean = made(), torch.tensor([-40.0, 40.0, 0.0], requires_grad=True)
    cost = prior.log_bins(torch.tensor([7, 3, 0]), mean, torch.full((3,), -3.0))
    cost.sum().backward()
    assert cost.isfinite().all() and (cost < -50).all() and mean.grad.isfinite().all()


# --- the bound


def test_the_divergence_is_the_integral():
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    log_q = torch.distributions.Normal(0.3, 0.5).log_prob(x)
    log_p = torch.distributions.Normal(-0.2, 0.9).log_prob(x)
    integral = (log_q.exp() * (log_q - log_p)).sum() * (x[1] - x[0])
    mean, log_std, other_mean, other_log_std = (torch.tensor(v) for v in (0.3, math.log(0.5), -0.2, math.log(0.9)))
    got = gaussian_divergence((mean, log_std), (other_mean, other_log_std))
    assert got.item() == pytest.approx(integral.item(), rel=1e-5)


def test_a_zero_network_is_the_best_model_of_independent_gaussians():
    shape = DiffusionShape(channels=2, size=3, steps=10, width=8, blocks=1)
    prior, symbols = made(shape, gain=0.0), symbols_of(shape, 3000, seed=1)
    with torch.no_grad():
        got = prior.vlb(symbols, torch.Generator().manual_seed(0)).mean().item() / 18
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.2**2) - math.log(prior.schedule.bin_width)
    assert got == pytest.approx(entropy, abs=0.04)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_bound_in_closed_form_is_the_mean_of_sampled_chains(kind: str):
    shape = DiffusionShape(channels=2, size=3, bits=3, steps=4, width=8, blocks=1, schedule=kind)
    prior, symbols = made(shape, gain=2.0), symbols_of(shape, 2000, seed=2)
    generator = torch.Generator().manual_seed(3)
    difference = prior.vlb(symbols, generator) + sum(prior.log_weight(symbols, generator) for _ in range(4)) / 4
    assert abs(difference.mean()) < 4 * difference.std() / len(symbols) ** 0.5


@torch.no_grad()
def test_many_chains_come_closer_to_the_likelihood():
    prior, symbols = made(), symbols_of(SMALL, 200, seed=4)
    generator = torch.Generator().manual_seed(3)
    weight = torch.stack([prior.log_weight(symbols, generator) for _ in range(30)])
    assert weight.shape == (30, 200)
    assert (weight.logsumexp(0) - math.log(30)).mean() > weight.mean() + 0.1


@torch.no_grad()
def test_the_loss_is_an_unbiased_estimate_of_the_bound():
    prior, symbols = made(), symbols_of(SMALL, 16, seed=5)
    generator = torch.Generator().manual_seed(6)
    losses = torch.stack([prior.loss(symbols, generator) for _ in range(600)])
    bounds = torch.stack([prior.vlb(symbols, generator) for _ in range(100)])
    assert losses.shape == (600, 16)
    # each sample by itself, and their mean
    error = (losses.var(0) / 600 + bounds.var(0) / 100).sqrt()
    assert ((losses.mean(0) - bounds.mean(0)).abs() < 4.5 * error).all()
    assert losses.mean().item() == pytest.approx(bounds.mean().item(), rel=0.02)


@torch.no_grad()
def test_the_same_generator_gives_the_same_loss():
    prior, symbols = made(), symbols_of(SMALL, 8)
    first, second = (prior.loss(symbols, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)


# --- the network


@pytest.mark.parametrize(("size", "scales"), [(6, 2), (7, 1), (7, 3), (1, 2)])
def test_every_parameter_of_any_shape_is_trained(size: int, scales: int):
    shape = DiffusionShape(channels=1, size=size, bits=2, steps=3, width=8, scales=scales, blocks=2)
    prior = made(shape)
    prior.loss(symbols_of(shape, 24)).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in prior.parameters())
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in prior.named_parameters() if "biases" not in name)


def test_layers_take_their_biases_in_the_order_of_the_sides():
    assert scale_sides(7, 3) == [7, 4, 2]
    assert layer_sides([6, 3], 2) == [6, 6, 6, 3, 3, 6, 6, 6]


def test_features_give_a_value_to_a_256th():
    standard = torch.tensor([[0.0, 0.123, -3.3, 7.9, 30.0, -500.0]])
    coarse, fine, far = features(standard).chunk(3, 1)
    assert (features(standard) * 16 % 1 == 0).all() and features(standard).abs().max() <= 127 / 16
    assert torch.allclose((coarse + fine / 16)[0, :4], standard[0, :4], atol=1 / 512)
    assert torch.allclose(far[0, 1:5] * 8, standard[0, 1:5], atol=0.26)


def test_constant_coefficients_are_fitted_and_cost_little():
    prior = ContextPrior(SMALL)
    symbols = symbols_of(SMALL, 300)
    symbols[:, 0, 0, 0] = 3
    prior.fit(symbols)
    assert (prior.std > 0).all()
    _, log = prior(torch.zeros(1, 2, 3, 3), torch.tensor([2]))
    assert log.isfinite().all() and (prior.base_log - prior._origin).max() <= SCALES / 32
    assert prior.loss(symbols).isfinite().all()


@torch.no_grad()
def test_bfloat16_gives_about_the_same_loss():
    prior, symbols = made(gain=1.0), symbols_of(SMALL, 64)
    exact = prior.loss(symbols, torch.Generator().manual_seed(1)).mean()
    with torch.autocast("cpu", torch.bfloat16):
        rough = prior.loss(symbols, torch.Generator().manual_seed(1)).mean()
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)
