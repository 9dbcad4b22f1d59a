"""The paper's models: contexts, likelihoods, the top-down network, its bound, and the configurations."""

import itertools
import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dctcodec.errors import ConfigError
from dctcodec.vae.config import from_table
from dctcodec.vae.context import Context
from dctcodec.vae.likelihood import Bernoulli, LogisticMixture
from dctcodec.vae.model import PaperModel, bits_per_dim
from dctcodec.vae.network import Bounded, Latent
from dctcodec.vae.shapes import LOG_VARIANCE, ContextShape, DiffusionShape, ModelShape, NetworkShape, Scale

SCALES = (Scale(4, 2, 1, 8, 8), Scale(2, 1, 1, 8, 8))


def model(
    context: bool = True, weight_norm: bool = False, colours: bool = False, offset: bool = False, drawn: bool = False
) -> PaperModel:
    """A network of three latents on 8x8 images, its weights random, the layers that start at zero too."""
    torch.manual_seed(0)
    channels, likelihood = (3, "logistic-mixture") if colours else (1, "bernoulli")
    network = NetworkShape(channels, 8, SCALES, 2, likelihood, context, weight_norm, offset)
    prior = DiffusionShape(channels, size=3, bits=2, steps=3, width=8, scales=1, blocks=1, schedule="linear")
    symbols = ContextShape("dct", 3, 2, 0.5 if drawn else None, drawn)
    made = PaperModel(ModelShape(network, symbols, prior) if context else ModelShape(network))
    with torch.no_grad():
        for parameter in made.vae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    made.fit(pictures(200, channels))
    return made.requires_grad_(False)


def pictures(count: int, channels: int = 1, side: int = 8) -> Tensor:
    """Images of 0 and 1; of 256 levels where they have colours."""
    values = torch.rand(count, channels, side, side)
    return values.round() if channels == 1 else (values * 255).round() / 255


# --- contexts


def test_the_dct_context_is_scipys_dct_over_the_largest_magnitude():
    torch.manual_seed(0)
    images = torch.rand(50, 3, 16, 16)
    context = Context(ContextShape("dct", 5, 4), 3, 16)
    context.fit(images)
    corner = scipy.fft.dctn(images.double().numpy(), axes=(2, 3), norm="ortho")[..., :5, :5]
    largest = np.abs(corner).max(0)
    assert np.allclose(context.largest, largest, atol=1e-5)

    symbols = context.symbols(images)
    bins = (corner / largest + 1) * 8
    clear = np.abs(bins - bins.round()) > 1e-4
    assert (symbols.numpy() == np.floor(bins).clip(0, 15))[clear].all() and clear.mean() > 0.9
    assert symbols.dtype == torch.int64 and symbols.min() >= 0 and symbols.max() == 15

    padded = np.zeros(images.shape)
    padded[..., :5, :5] = ((symbols.numpy() + 0.5) / 8 - 1) * largest
    assert np.allclose(context.image(symbols), scipy.fft.idctn(padded, axes=(2, 3), norm="ortho").clip(0, 1), atol=1e-5)


def test_values_beyond_those_seen_go_to_the_outer_bins():
    context = Context(ContextShape("dct", 2, 3), 1, 4)
    context.fit(torch.full((1, 1, 4, 4), 0.25))
    assert context.symbols(torch.ones(1, 1, 4, 4))[0, 0, 0, 0] == 7
    assert context.symbols(torch.zeros(1, 1, 4, 4))[0, 0, 0, 0] == 4


@pytest.mark.parametrize("kind", ["dct", "downsample"])
@pytest.mark.parametrize("bits", [2, 5])
def test_a_context_that_is_shown_has_itself_as_context(kind: str, bits: int):
    torch.manual_seed(0)
    images = 0.5 + 0.2 * (torch.rand(40, 3, 16, 16) - 0.5)
    context = Context(ContextShape(kind, 4, bits), 3, 16)
    context.fit(images)
    symbols = context.symbols(images)
    shown = context.image(symbols)
    inside = (shown > 0).all(3).all(2).all(1) & (shown < 1).all(3).all(2).all(1)
    assert inside.sum() > 20
    assert torch.equal(context.symbols(shown)[inside], symbols[inside])


def test_the_downsampling_context_is_an_average_and_nearest_neighbours():
    torch.manual_seed(0)
    images = torch.rand(20, 3, 16, 16)
    context = Context(ContextShape("downsample", 4, 5), 3, 16)
    average = images.double().numpy().reshape(20, 3, 4, 4, 4, 4).mean((3, 5))
    symbols = context.symbols(images).numpy()
    assert (np.abs((symbols + 0.5) / 32 - average) <= 0.5 / 32 + 1e-6).all()
    assert np.allclose(context.image(torch.from_numpy(symbols)), np.kron((symbols + 0.5) / 32, np.ones((4, 4))))


def centred(rate_weight: float, channels: int = 1) -> Context:
    """A context of 2x2 frequencies and 8 bins whose width is 1, with zero as a centre, before it is fitted."""
    context = Context(ContextShape("dct", 2, 3, rate_weight), channels, 2)
    context.largest.fill_(4.0)
    return context


def inverse(coefficients: Tensor) -> Tensor:
    return torch.from_numpy(scipy.fft.idctn(coefficients.numpy(), axes=(2, 3), norm="ortho"))


def test_a_rate_weight_makes_zero_the_centre_of_a_bin():
    steps = torch.tensor([-9.0, -1.51, -1.49, -0.4, 0.49, 0.51, 2.6, 9.0])
    coefficients = torch.zeros(len(steps), 1, 2, 2)
    coefficients[:, 0, 0, 1] = steps
    symbols = centred(0.0).symbols(inverse(coefficients))
    assert symbols[:, 0, 0, 1].tolist() == [0, 2, 3, 4, 4, 5, 7, 7]
    assert symbols[:, 0, 0, 0].unique().tolist() == [4]
    grey = centred(0.0).image(torch.full((1, 1, 2, 2), 4))
    assert torch.equal(grey, torch.zeros(1, 1, 2, 2))


def test_a_drawn_context_follows_the_posterior_of_its_symbols():
    """exp(-ln 2 (error / weight + bits)), of each of all symbols; `symbols` takes the likeliest."""
    context = Context(ContextShape("dct", 2, 3, 0.8, drawn=True), 1, 2)
    context.largest.fill_(4.0)
    torch.manual_seed(0)
    context.choice.fit(1.2 * torch.randn(400, 1, 2, 2), context.largest / 4)
    coefficients = torch.tensor([[[[0.4, -1.3], [0.0, 3.6]]]])
    distances = (torch.arange(-4, 4) - coefficients[..., None]).square()
    expected = torch.softmax(-math.log(2) * (distances / 0.8 + context.choice.bits[..., 4:12]), -1)
    count = 20_000
    drawn, surprise = context.draw(inverse(coefficients).expand(count, -1, -1, -1))
    shares = torch.nn.functional.one_hot(drawn, 8).float().mean(0)
    assert torch.allclose(shares, expected[0], atol=5 * 0.5 / count**0.5)
    probability = expected.expand(count, -1, -1, -1, -1).gather(-1, drawn[..., None])
    assert torch.allclose(surprise, -probability.log().flatten(1).sum(1), atol=1e-4)
    assert torch.equal(context.symbols(inverse(coefficients)), expected.argmax(-1))


def test_the_channels_of_a_drawn_context_are_drawn_together():
    """Each set of neighbouring bins as often as exp(-surprise) says, no set counted twice, and `symbols` the likeliest."""
    context = Context(ContextShape("dct", 1, 4, 0.8, drawn=True), 3, 1)
    context.largest.fill_(4.0)
    torch.manual_seed(0)
    images = torch.rand(400, 3, 1, 1) * torch.rand(400, 1, 1, 1)
    context.choice.fit(images * 2, context.width)
    image, count = torch.tensor([0.9, 0.7, 0.2])[None, :, None, None], 20_000
    drawn, surprise = context.draw(image.expand(count, -1, -1, -1))
    kinds, which, times = drawn.flatten(1).unique(dim=0, return_inverse=True, return_counts=True)
    assert len(kinds) > 2
    probability = torch.exp(-surprise)
    for kind, share in enumerate(times / count):
        assert torch.allclose(probability[which == kind], share, atol=5 * 0.5 / count**0.5)
    assert 0.99 < torch.exp(-torch.stack([surprise[which == kind][0] for kind in range(len(kinds))])).sum() < 1 + 1e-5
    assert torch.equal(context.symbols(image)[0].flatten(), kinds[times.argmax()])


def test_a_downsampled_symbol_is_chosen_by_the_error_of_its_image():
    """Of 2x2 pixels that share a value, so a bin's error counts four times."""
    context = Context(ContextShape("downsample", 2, 3, 0.01), 1, 4)
    images = torch.rand(300, 1, 4, 4).round()
    context.fit(images)
    chosen = context.symbols(images)
    pooled = images.reshape(300, 1, 2, 2, 2, 2).mean((3, 5))

    def cost(symbols: Tensor) -> Tensor:
        shown = context.image(symbols)[:, :, ::2, ::2]
        return 4 * (shown - pooled).square().sum(1) + 0.01 * context.choice.lengths(symbols - 4)

    assert torch.allclose(context.image(chosen)[0, 0, 1, 1], chosen[0, 0, 0, 0] / 8)
    for move in (-1, 1):
        assert (cost(chosen) <= cost((chosen + move).clamp(0, 7)) + 1e-5).all()


def test_a_context_that_is_not_drawn_is_a_function_of_the_image():
    context, images = centred(0.3), torch.rand(5, 1, 2, 2)
    symbols, surprise = context.draw(images)
    assert torch.equal(symbols, context.symbols(images)) and surprise.tolist() == [0.0] * 5


def plain(symbols: Tensor) -> Tensor:
    """Bins of each channel (B, 3, 2, 2), from 0, of symbols that are differences from the green one modulo 8."""
    green = symbols[:, 1]
    return torch.stack([(symbols[:, 0] + green - 4) % 8, green, (symbols[:, 2] + green - 4) % 8], 1)


def cost(context: Context, coefficients: Tensor, chosen: Tensor, weight: float) -> Tensor:
    """Squared error plus weighed bits of each triple of bins, from the definition; the green one is the middle channel."""
    values, bits = chosen - 4, context.choice.bits
    total = (values - coefficients).square().sum(1)
    for channel in range(3):
        coded = values[:, 1] if channel == 1 else values[:, channel] - values[:, 1]
        for row, column in itertools.product(range(2), range(2)):
            total[:, row, column] += weight * bits[channel, row, column][coded[:, row, column] + 8]
    return total


def test_symbols_are_the_cheapest_near_ones():
    torch.manual_seed(0)
    coefficients = 1.2 * torch.randn(400, 1, 2, 2) + 0.3 * torch.randn(400, 3, 2, 2)
    context, weight = centred(0.3, channels=3), 0.3
    context.choice.fit(coefficients, context.largest / 4)
    chosen = plain(context.symbols(inverse(coefficients)))
    costs = cost(context, coefficients, chosen, weight)
    for up in itertools.product((0, 1), repeat=3):
        other = (coefficients.floor() + torch.tensor(up)[:, None, None]).clamp(-4, 3).long() + 4
        assert (costs <= cost(context, coefficients, other, weight) + 1e-4).all()
    assert (costs <= cost(context, coefficients, torch.full_like(chosen, 4), weight) + 1e-4).all()


def entropy(symbols: Tensor) -> float:
    """Bits of the triples of all frequencies together, by their frequencies."""
    keys = symbols[:, 0] * 64 + symbols[:, 1] * 8 + symbols[:, 2]
    shares = [torch.bincount(keys[:, row, column]) / len(keys) for row in range(2) for column in range(2)]
    return -sum(torch.special.xlogy(share, share).sum().item() for share in shares) / np.log(2)


def test_a_rate_weight_buys_bits_for_less_error_than_wider_bins():
    torch.manual_seed(0)
    coefficients = 1.2 * torch.randn(4000, 1, 2, 2) + 0.3 * torch.randn(4000, 3, 2, 2)
    images = inverse(coefficients)
    chosen, wide = centred(0.1, channels=3), centred(0.0, channels=3)
    chosen.choice.fit(coefficients, chosen.largest / 4)
    wide.largest.fill_(6.0)
    symbols, others = plain(chosen.symbols(images)), plain(wide.symbols(images))
    assert entropy(symbols) < entropy(others)
    assert (symbols - 4 - coefficients).square().mean() < (1.5 * (others - 4) - coefficients).square().mean()


@pytest.mark.parametrize("kind", ["dct", "downsample"])
def test_contexts_are_the_same_under_autocast(kind: str):
    torch.manual_seed(0)
    images = torch.rand(20, 3, 16, 16)
    context = Context(ContextShape(kind, 4, 5), 3, 16)
    context.fit(images)
    symbols = context.symbols(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(context.symbols(images), symbols)
        shown = context.image(symbols)
    assert torch.equal(shown, context.image(symbols))


# --- likelihoods


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_mixture_is_a_distribution_of_each_channel(channel: int):
    torch.manual_seed(0)
    parameters = torch.randn(1, 100, 1, 1)
    means = parameters[:, 10:40].reshape(1, 3, 10, 1, 1)
    others = [other for other in range(3) if other != channel]
    means[:, others] = -1e4  # surely 0: their factor is 1, since the outer bins are open
    images = torch.zeros(256, 3, 1, 1)
    images[:, channel, 0, 0] = torch.arange(256) / 255
    log = LogisticMixture.log_likelihood(images, parameters.expand(256, -1, -1, -1))
    assert log.double().exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_the_mixture_conditions_green_on_red_and_blue_on_both():
    parameters = torch.zeros(1, 100, 1, 1)
    parameters[:, 40:70] = -5.0  # sharp
    coefficients = parameters[:, 70:].reshape(1, 3, 10, 1, 1)
    coefficients[:, 0], coefficients[:, 1], coefficients[:, 2] = 0.5, -0.4, 0.3
    red, weights = 0.6, torch.tanh(torch.tensor([0.5, -0.4, 0.3]))
    expected = torch.stack([torch.tensor(red), weights[0] * red, weights[1] * red + weights[2] * weights[0] * red])
    parameters[:, 10:20] = red

    def log(levels: Tensor) -> float:
        return LogisticMixture.log_likelihood(levels.reshape(1, 3, 1, 1) / 255, parameters).item()

    best = ((expected + 1) * 127.5).round()
    for channel, move in itertools.product((1, 2), (-3, 3)):
        other = best.clone()
        other[channel] += move
        assert log(other) < log(best)
    mean = LogisticMixture.mean(parameters).flatten()
    assert torch.allclose(mean * 2 - 1, expected, atol=1e-5)


def test_means_are_images():
    torch.manual_seed(0)
    colours, grey = LogisticMixture.mean(5 * torch.randn(4, 100, 3, 3)), Bernoulli.mean(20 * torch.randn(4, 1, 3, 3))
    for mean in (colours, grey):
        assert mean.min() >= 0 and mean.max() <= 1


def test_bernoulli_is_a_distribution():
    logits = torch.randn(1, 1, 2, 2).expand(16, -1, -1, -1)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).reshape(16, 1, 2, 2)
    log = Bernoulli.log_likelihood(images, logits)
    assert log.exp().sum().item() == pytest.approx(1, abs=1e-5)
    p = Bernoulli.mean(logits)
    assert torch.allclose(log, (images * p + (1 - images) * (1 - p)).log().flatten(1).sum(1), atol=1e-5)


# --- the bound


def test_divergence_and_log_ratio_are_those_of_normal_distributions():
    torch.manual_seed(0)
    prior_mean, mean = torch.randn(2, 5000, 3, 2, 2)
    prior_log, log = torch.randn(2, 1, 3, 2, 2).mul(0.3).expand(2, 5000, 3, 2, 2)
    prior_mean, mean = prior_mean[:1].expand_as(mean), mean[:1].expand_as(mean)
    p, q = Normal(prior_mean, prior_log.exp()), Normal(mean, log.exp())
    latent = Latent(q.sample(), prior_mean, prior_log, mean, log)
    assert torch.allclose(latent.divergence(), kl_divergence(q, p), atol=1e-4)
    ratios = latent.log_ratio()
    assert torch.allclose(ratios, (p.log_prob(latent.value) - q.log_prob(latent.value)).flatten(1).sum(1), atol=1e-3)
    exact = latent.divergence()[0].sum()
    assert abs(ratios.mean() + exact) < 5 * ratios.std() / 5000**0.5


def test_a_variance_beyond_its_range_learns_what_brings_it_back_alone():
    low, high = LOG_VARIANCE
    values = torch.tensor([low - 1, low - 1, low + 1, high - 1, high + 1, high + 1], requires_grad=True)
    bounded = Bounded.apply(values, low, high)
    assert torch.equal(bounded, values.clamp(low, high))
    bounded.backward(torch.tensor([-2.0, 2.0, 2.0, -2.0, 2.0, -2.0]))  # a step goes the other way
    assert values.grad.tolist() == [-2.0, 0.0, 2.0, -2.0, 2.0, 0.0]


def test_a_latent_of_the_largest_variance_learns_of_a_smaller_one():
    network, images = model().vae.requires_grad_(), torch.rand(8, 1, 8, 8)
    block = network.blocks[0][0]
    with torch.no_grad():
        for layer in (block.prior[-1], block.posterior[-1]):
            layer.bias[2:4] = 9.0
    _, latents = network.reconstruct(images, torch.zeros(8, 1, 8, 8))
    assert not latents[0].log_std.any() and not latents[0].prior_log_std.any()
    (latents[0].log_std + latents[0].prior_log_std).sum().backward()
    for layer in (block.prior[-1], block.posterior[-1]):
        assert (layer.bias.grad[2:4] > 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context": False},
        {"weight_norm": True},
        {"colours": True, "offset": True},
        {"drawn": True},
        {"colours": True, "drawn": True},
    ],
    ids=str,
)
def test_the_mean_of_log_weights_is_the_bound(options: dict[str, bool]):
    made = model(**options)
    images = pictures(3, made.shape.network.channels)
    weights = made.log_weights(images, 600, 300)
    bounds = torch.stack([made.bound(images).total() + made.context_bound(images) for _ in range(300)])
    error = (weights.var(0) / 600 + bounds.var(0) / 300).sqrt()
    assert weights.shape == (600, 3)
    assert ((weights.mean(0) + bounds.mean(0)).abs() < 5 * error).all()
    assert len(made.bound(images).divergences) == 3


def test_log_weights_come_a_few_rows_at_a_time():
    made, images = model(), pictures(4)
    one = made.log_weights(images[:1], 7, 3)
    assert one.shape == (7, 1) and len(one.unique()) == 7
    assert made.log_weights(images, 5, 3).shape == (5, 4)


def test_means_can_count_from_the_contexts_image():
    plain, moved = model(colours=True), model(colours=True, offset=True)
    images = pictures(2, 3)
    context = plain.context_image(images)
    zero = torch.zeros(2, 1, 8, 8)
    for made in (plain, moved):
        made.vae.head[-1].weight.zero_()
        made.vae.head[-1].bias.zero_()
    assert torch.allclose(plain.vae.generate(context, 2), zero + 0.5)
    assert torch.allclose(moved.vae.generate(context, 2), context, atol=1e-5)


def test_bits_per_dim_are_bits_of_each_value():
    shape = model(colours=True).shape.network
    assert bits_per_dim(192 * np.log(2) * 3.5, shape) == pytest.approx(3.5)


# --- drawing


def test_without_temperature_a_picture_is_always_the_same():
    made = model()
    context = made.context_image(pictures(2))
    first, second = (made.vae.generate(context, 2, temperature=0) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (2, 1, 8, 8)
    assert not torch.equal(first[0], first[1])  # of another context


def test_the_same_noise_draws_the_same_picture():
    made = model()
    context = made.context_image(pictures(2))

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return made.vae.generate(context, 2, noise=lambda shape: torch.randn(shape, generator=generator))

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_given_latents_are_those_of_the_image():
    made, images = model(), pictures(2)
    context, encoded = made.context_image(images), made.vae.encoder(images)
    _, latents = made.vae.top_down(context, 2, encoded, given=2)
    assert [latent.mean is not None for latent in latents] == [True, True, False]
    assert [latent.value.shape[1:] for latent in latents] == [(2, 2, 2), (2, 4, 4), (2, 4, 4)]


def test_values_may_stand_for_any_of_the_latents():
    made, images = model(), pictures(2)
    context, encoded = made.context_image(images), made.vae.encoder(images)
    parameters, latents = made.vae.top_down(context, 2, encoded)
    values = [latent.value for latent in latents]
    again, kept = made.vae.top_down(context, 2, None, values=values)
    assert torch.equal(again, parameters) and all(map(torch.equal, values, [latent.value for latent in kept]))
    drawn = made.vae.top_down(context, 2, None, values=[values[0], None, values[2]])[1]
    assert [torch.equal(latent.value, value) for latent, value in zip(drawn, values, strict=True)] == [True, False, True]


def test_the_target_of_the_bound_may_be_another_image_than_the_encoder_sees():
    made, seen, target = model(), torch.rand(3, 1, 8, 8), pictures(3)
    weights = made.log_weights(seen, 600, 300, target)
    bounds = torch.stack([made.bound(seen, target).total() + made.context_bound(seen) for _ in range(300)])
    error = (weights.var(0) / 600 + bounds.var(0) / 300).sqrt()
    assert ((weights.mean(0) + bounds.mean(0)).abs() < 5 * error).all()
    assert (made.bound(seen, target).reconstruction - made.bound(seen, 1 - target).reconstruction).abs().min() > 0


def test_the_baseline_needs_no_context():
    made, images = model(context=False), pictures(2)
    assert made.context is None and made.prior is None and made.context_image(images) is None
    assert torch.isfinite(made.bound(images).total()).all()
    assert made.vae.generate(None, 3).shape == (3, 1, 8, 8)


# --- configurations


def table() -> dict:
    """A configuration, parsed."""
    return {
        "data": "mnist",
        "description": "tiny",
        "network": {"channels": 1, "side": 8, "latent_width": 1, "likelihood": "bernoulli"},
        "scale": [{"side": side, "latents": 1, "encoder": 1, "width": 8, "hidden": 8} for side in (4, 2)],
        "context": {"kind": "dct", "size": 3, "bits": 2},
        "prior": {"steps": 3, "width": 8, "scales": 1, "blocks": 1},
        "training": {"steps": 1, "batch": 4, "learning_rate": 1e-3, "final_rate": 1e-5},
    }


@pytest.mark.parametrize(
    ("where", "key", "value", "said"),
    [
        (None, "colour", 1, r"\[the file\] has colour"),
        (None, "data", 10, r"\[the file\] data = 10 should be of type str"),
        (None, "network", 3, r"network must be a table"),
        ("network", "side", "28", r"\[network\] side = '28'"),
        ("network", "likelihood", "poisson", r"likelihood = 'poisson' is none of bernoulli"),
        ("network", "depth", 3, r"\[network\] has depth"),
        ("context", "kind", "wavelet", r"\[context\] kind"),
        ("context", "size", 9, r"\[context\] size = 9"),
        ("context", "rate_weight", -0.1, r"\[context\] rate_weight = -0.1"),
        ("context", "rate_weight", "much", r"\[context\] rate_weight = 'much' should be of type float"),
        ("prior", "schedule", "sine", r"\[prior\] schedule"),
        ("prior", "steps", 0, r"\[prior\] steps = 0 should be a number above 0"),
        ("training", "optimiser", "sgd", r"\[training\] optimiser"),
        ("training", "learning_rate", -1.0, r"\[training\] learning_rate"),
        ("training", "learning_rate", 1.5, r"\[training\] learning_rate = 1.5 should be a number above 0, at most 1$"),
        ("training", "final_rate", 2, r"\[training\] final_rate = 2 should be a number from 0 up, at most 1$"),
        ("training", "learning_rate", math.nan, r"\[training\] learning_rate = nan should be a number above 0"),
        ("training", "final_rate", math.inf, r"\[training\] final_rate = inf should be a number from 0 up"),
        ("training", "minutes", 1e308, r"\[training\] minutes = 1e\+308 should be a number from 0 up, at most"),
        ("training", "batch", 10**20, r"\[training\] batch = 100000000000000000000 should be"),
        ("training", "batch", None, r"\[training\].*batch"),
        ("training", "draws", 0, r"\[training\] draws = 0"),
        ("training", "warm_up", -1, r"\[training\] warm_up = -1"),
        (None, "scale", 3, r"scale must be several tables"),
        ("scale", "side", 3, r"sides of \[\[scale\]\]"),
        ("scale", "latents", None, r"\[scale\].*latents"),
    ],
)
def test_a_bad_configuration_says_what_is_wrong(where: str | None, key: str, value: object, said: str):
    whole = table()
    from_table(whole)  # is good
    part = whole if where is None else whole["scale"][0] if where == "scale" else whole[where]
    if value is None:
        del part[key]
    else:
        part[key] = value
    with pytest.raises(ConfigError, match=said):
        from_table(whole)


def test_grey_inputs_are_of_binary_images():
    whole = table() | {"inputs": "grey"}
    assert from_table(whole).inputs == "grey"
    whole["network"] |= {"channels": 3, "likelihood": "logistic-mixture"}
    with pytest.raises(ConfigError, match='inputs = "grey" is for binary images'):
        from_table(whole)


def test_only_symbols_that_weigh_their_bits_are_drawn():
    whole = table()
    whole["context"] |= {"rate_weight": 0.1, "drawn": True}
    from_table(whole)
    with pytest.raises(ConfigError, match="drawn needs a rate_weight above 0"):
        from_table(whole | {"context": whole["context"] | {"rate_weight": 0.0}})


def test_several_draws_are_of_images_that_all_of_the_model_sees():
    whole = table()
    from_table(whole | {"training": whole["training"] | {"draws": 3}})
    for wrong in ({"prior_images": 2}, {"paint": 0.5}, {"warm_up": 9}):
        with pytest.raises(ConfigError, match="draws above 1 has one bound of all images"):
            from_table(whole | {"training": whole["training"] | {"draws": 3} | wrong})


def test_flat_images_have_coefficients_of_zero():
    context = Context(ContextShape("dct", 6, 5, 0.1), 3, 32)
    levels = (torch.arange(256.0) / 255)[:, None, None, None].expand(-1, 3, 32, 32)
    coefficients = context.transform.corner(levels)
    assert torch.allclose(coefficients[..., 0, 0], 32 * levels[..., 0, 0])
    assert not coefficients.flatten(2)[..., 1:].any()
