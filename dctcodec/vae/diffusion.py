"""The Gaussian diffusion prior over a tile's context, as it is trained (the paper's appendix C, equations 11 to 15).

y_0 is the context in [-1, 1], one of 2^bits bin centres for each coefficient. The forward chain adds noise,
q(y_t | y_{t-1}) = N(sqrt(1 - beta_t) y_{t-1}, beta_t); the network gives the mean and the variance of p(y_{t-1} | y_t).

A zero network is already the best model of independent Gaussian coefficients: with a prior N(m, s^2) on y_0 the posterior
p(y_{t-1} | y_t) is Gaussian with the mean A y_t + B and a known variance (Wiener's filter). The network moves that mean by so many
standard deviations and multiplies the deviation.

The coder keeps y_t on a grid (`Schedule.cell`), so training rounds to it. Rounding adds 1/12 of a squared
cell to a variance: noise is drawn with that much less (Sheppard's correction), and so are the coder's tables made.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX
from dctcodec.exact.quantised import nearest
from dctcodec.vae.likelihood import gaussian_divergence
from dctcodec.vae.shapes import DiffusionShape
from dctcodec.vae.unet import UNet

SCALES = 128
SCALE_STEPS = 32
"""Scale i is exp(LOG_MIN + i / SCALE_STEPS) cells. A step of d costs d^2 / 12 nats a symbol, 40 times over."""
GRID_LOG_MIN = math.log(0.5)
"""Scales of y_t, t >= 1, in cells of its grid."""
BIN_LOG_MIN = math.log(0.1)
"""Scales of y_0, in bins."""
CELLS = 1.0
"""The smallest standard deviation on a grid, in cells. A finer grid costs initial bits and gains nothing (measured, 0.75 to 3)."""
FEATURE_BITS = 8
"""Standardised y_t is rounded to 1/256 before the network sees it."""
STD_FLOOR = 0.7
"""Least standard deviation of a coefficient that the base model assumes, in bins. With 0.05 and 0.2 a rare symbol was so dear that
its gradients drove all rectifiers of a fresh network to zero within some hundred steps."""
SHORT_CHAIN = 20
"""Most steps of a chain whose linear schedule is the flat one. The steep one would reach beta = 1 there, and then all is noise."""


class Schedule:
    """Constants of the forward chain, float64 lists indexed by t = 0 .. T."""

    def __init__(self, shape: DiffusionShape):
        self.steps, self.bin_width = shape.steps, 2 / 2**shape.bits
        kept = {"linear": _linear, "cosine": _cosine, "geometric": _geometric}[shape.schedule](shape)
        self.alpha_bar = [1.0, *kept]
        """Signal power: q(y_t | y_0) = N(sqrt(alpha_bar_t) y_0, 1 - alpha_bar_t), equation 11."""

    def signal(self, t: int) -> float:
        return math.sqrt(self.alpha_bar[t])

    def variance(self, t: int) -> float:
        return 1 - self.alpha_bar[t]

    def beta(self, t: int) -> float:
        return 1 - self.alpha_bar[t] / self.alpha_bar[t - 1]

    def posterior(self, t: int) -> tuple[float, float, float]:
        """Equation 12: q(y_{t-1} | y_t, y_0) = N(u y_0 + v y_t, w), as (u, v, w)."""
        before, beta, var = self.alpha_bar[t - 1], self.beta(t), self.variance(t)
        return math.sqrt(before) * beta / var, math.sqrt(1 - beta) * (1 - before) / var, (1 - before) / var * beta

    def cell(self, t: int) -> float:
        """Width of a cell of y_t: the smaller deviation of q(y_t | y_{t-1}) and q(y_t | y_{t+1}, y_0) is about CELLS cells, and
        the deviation of q(y_t | y_{t-1}) is exactly one of the scale table's."""
        return math.sqrt(self.beta(t)) / math.exp(GRID_LOG_MIN + self.scale(t) / SCALE_STEPS) if t else self.bin_width

    def scale(self, t: int) -> int:
        """Index of the scale of q(y_t | y_{t-1})."""
        reverse = 1.0 if t == self.steps else self.posterior(t + 1)[2]
        cells = CELLS * math.sqrt(self.beta(t) / min(reverse, self.beta(t)))
        return min(round((math.log(cells) - GRID_LOG_MIN) * SCALE_STEPS), SCALES - 1)


def _linear(shape: DiffusionShape) -> list[float]:
    """The paper's, as its public code has it: beta rises from 1 / T to 20 / T, in a chain of at most SHORT_CHAIN steps to 2 / T."""
    most, last = 2 if shape.steps <= SHORT_CHAIN else 20, max(shape.steps - 1, 1)
    betas = [(1 + (most - 1) * i / last) / shape.steps for i in range(shape.steps)]
    kept = [1 - min(beta, 0.999) for beta in betas]
    return [math.prod(kept[: i + 1]) for i in range(shape.steps)]


def _cosine(shape: DiffusionShape) -> list[float]:
    """Nichol & Dhariwal 2021, offset 0.008, beta at most 0.999."""
    curve = [math.cos((i / shape.steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(shape.steps + 1)]
    kept = [max(after / before, 0.001) for before, after in zip(curve, curve[1:], strict=False)]
    return [math.prod(kept[: i + 1]) for i in range(shape.steps)]


def _geometric(shape: DiffusionShape) -> list[float]:
    first = shape.first * 2 / 2**shape.bits
    ratio = (shape.last / first) ** (1 / max(shape.steps - 1, 1))
    return [1 / (1 + (first * ratio**i) ** 2) for i in range(shape.steps)]


class ContextPrior(nn.Module):
    """p(y_0) of contexts given as symbols, int (B, channels, size, size) in 0 .. 2^bits - 1. `fit` it to the data first."""

    mean: Tensor
    std: Tensor
    frequency: Tensor
    base_gain: Tensor
    base_bias: Tensor
    base_log: Tensor
    base_factor: Tensor
    base_offset: Tensor
    _signal: Tensor
    _noise: Tensor
    _cell: Tensor
    _origin: Tensor
    _posterior: Tensor

    def __init__(self, shape: DiffusionShape):
        super().__init__()
        self.shape, self.schedule = shape, Schedule(shape)
        channels, size = shape.channels, shape.size
        self.network = UNet(3 * channels, 2 * channels, size, shape.steps, shape.width, shape.scales, shape.blocks)
        self.register_buffer("mean", torch.zeros(channels, size, size, dtype=torch.float64))
        self.register_buffer("std", torch.full((channels, size, size), 0.1, dtype=torch.float64))
        self.register_buffer("frequency", torch.full((channels, size, size, 2**shape.bits), 2.0**-shape.bits))
        for name, table in self.base().items():
            self.register_buffer(f"base_{name}", table.float())
        schedule, steps = self.schedule, range(1, shape.steps + 1)
        self.register_buffer("_signal", _column(schedule.signal(t) for t in steps), persistent=False)
        noise = (math.sqrt(schedule.variance(t) - schedule.cell(t) ** 2 / 12) for t in steps)
        self.register_buffer("_noise", _column(noise), persistent=False)
        self.register_buffer("_cell", _column(schedule.cell(t) for t in steps), persistent=False)
        self.register_buffer("_origin", _column(self.log_origin(t) for t in steps), persistent=False)
        self.register_buffer("_posterior", torch.tensor([schedule.posterior(t) for t in steps]), persistent=False)

    @torch.no_grad()
    def fit(self, symbols: Tensor) -> None:
        """Set the base model to the coefficients' means and standard deviations in `symbols` (N, channels, size, size), and the
        frequencies of their values, which code the first tiles of an image, to those there."""
        values = self.centres(symbols.double())
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0, correction=0).clamp_min(STD_FLOOR * self.schedule.bin_width))
        for name, table in self.base().items():
            getattr(self, f"base_{name}").copy_(table)
        ordered = symbols.long().movedim(0, -1)
        counts = torch.ones_like(self.frequency).scatter_add_(-1, ordered, torch.ones_like(ordered, dtype=torch.float32))
        self.frequency.copy_(counts / counts.sum(-1, keepdim=True))

    def centres(self, symbols: Tensor) -> Tensor:
        """Symbols to y_0: the centres of their bins."""
        return (2 * symbols + 1) / 2**self.shape.bits - 1

    def base(self) -> dict[str, Tensor]:
        """Tables of the base model, float64 (T, channels, size, size), row t - 1 for t.

        `gain`, `bias`: y_{t-1} has the mean gain y_t + bias; `log`: ln of its standard deviation, on the scale table's steps;
        `factor`, `offset`: y_t standardised is factor y_t + offset."""
        mean, var, schedule = self.mean, self.std**2, self.schedule
        rows: dict[str, list[Tensor]] = {name: [] for name in ("gain", "bias", "log", "factor", "offset")}
        for t in range(1, schedule.steps + 1):
            signal, noise = schedule.signal(t), schedule.variance(t)
            from_first, from_next, spread = schedule.posterior(t)
            total = signal**2 * var + noise
            wiener = signal * var / total
            rows["gain"].append(from_next + from_first * wiener)
            rows["bias"].append(from_first * (mean - wiener * signal * mean))
            log = 0.5 * torch.log(spread + from_first**2 * var * noise / total)
            origin = self.log_origin(t)
            rows["log"].append(torch.round((log - origin) * SCALE_STEPS).clamp(0, SCALES - 1) / SCALE_STEPS + origin)
            rows["factor"].append(total**-0.5)
            rows["offset"].append(-signal * mean * total**-0.5)
        return {name: torch.stack(tables) for name, tables in rows.items()}

    def log_origin(self, t: int) -> float:
        """ln of the standard deviation of y_{t-1} that scale 0 stands for."""
        return math.log(self.schedule.cell(t - 1)) + (GRID_LOG_MIN if t > 1 else BIN_LOG_MIN)

    def forward(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and ln standard deviation of p(y_{t-1} | y_t), float (B, channels, size, size), for `t` int64 (B,) in 1 .. T."""
        row = t - 1
        standard = y * self.base_factor[row] + self.base_offset[row]
        shift, log = self.network(features(standard), row).float().chunk(2, 1)
        base_log, origin = self.base_log[row], self._origin[row]
        mean = self.base_gain[row] * y + self.base_bias[row] + base_log.exp() * shift
        index = nearest((base_log - origin + log) * SCALE_STEPS).clamp(0, SCALES - 1)
        return mean, origin + index / SCALE_STEPS

    def noisy(self, values: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """y_t ~ q(y_t | y_0), on its grid."""
        row, noise = t - 1, torch.randn(values.shape, generator=generator, device=values.device)
        y = self._signal[row] * values + self._noise[row] * noise
        return torch.floor(y / self._cell[row] + 0.5) * self._cell[row]

    def sample(self, count: int) -> Tensor:
        """Contexts drawn from p(y_0), int64 symbols (count, channels, size, size)."""
        shape, schedule = self.shape, self.schedule
        y = torch.randn(count, shape.channels, shape.size, shape.size, device=self._cell.device)
        for step in range(shape.steps, 0, -1):
            cell = schedule.cell(step)
            mean, log = self(torch.floor(y / cell + 0.5) * cell, torch.full((count,), step, device=y.device))
            y = mean + torch.exp(log) * torch.randn_like(mean)
        return torch.floor((y + 1) / schedule.bin_width).long().clamp(0, 2**shape.bits - 1)

    def loss(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Unbiased estimate of -L_vlb (equation 13), nats (B,): one step a sample, uniform, spread evenly over the batch."""
        count, steps = len(symbols), self.shape.steps
        start = torch.rand((), generator=generator, device=symbols.device)
        t = ((torch.arange(count, device=symbols.device) / count + start) % 1 * steps).long().clamp_max(steps - 1) + 1
        values = self.centres(symbols.float())
        return steps * self.terms(symbols, self.noisy(values, t, generator), t) + self.last_term(values)

    def vlb(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """-L_vlb in nats (B,): every step, with one draw of noise each."""
        values = self.centres(symbols.float())
        total = self.last_term(values)
        for step in range(1, self.shape.steps + 1):
            t = torch.full((len(symbols),), step, device=symbols.device)
            total = total + self.terms(symbols, self.noisy(values, t, generator), t)
        return total

    def terms(self, symbols: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The term of step t in -L_vlb, nats (B,): -ln p(y_0 | y_1), or KL(q(y_{t-1} | y_t, y_0) || p(y_{t-1} | y_t))."""
        mean, log = self(y, t)
        from_first, from_next, spread = self._posterior[t - 1, :, None, None, None].unbind(1)
        target = from_first * self.centres(symbols.float()) + from_next * y
        # both of every sample, so that nothing depends on which steps they are at; the spread of t = 1, which is none, is not used
        divergence = gaussian_divergence((target, 0.5 * torch.log(spread.clamp_min(1e-12))), (mean, log))
        return torch.where((t == 1)[:, None, None, None], -self.log_bins(symbols, mean, log), divergence).flatten(1).sum(1)

    def last_term(self, values: Tensor) -> Tensor:
        """L_T: KL(q(y_T | y_0) || N(0, 1)), nats (B,)."""
        steps = self.shape.steps
        mean = self.schedule.signal(steps) * values
        zero = torch.zeros((), device=values.device)
        log = zero + 0.5 * math.log(self.schedule.variance(steps))
        return gaussian_divergence((mean, log), (zero, zero)).flatten(1).sum(1)

    def log_bins(self, symbols: Tensor, mean: Tensor, log: Tensor) -> Tensor:
        """Equation 14: ln of the mass of N(mean, e^(2 log)) in each symbol's bin; the outer bins are open (equation 15)."""
        width, last = self.schedule.bin_width, 2**self.shape.bits - 1
        lower = (symbols * width - 1 - mean) * torch.exp(-log)
        upper = lower + width * torch.exp(-log)
        # the tail on the left is the accurate one
        flip = lower + upper > 0
        left, right = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
        below_left, below_right = torch.special.log_ndtr(left), torch.special.log_ndtr(right)
        inner = below_right + torch.log(-torch.expm1((below_left - below_right).clamp_max(-1e-6)))
        outer = torch.special.log_ndtr(torch.where(symbols == 0, upper, -lower))
        return torch.where((symbols == 0) | (symbols == last), outer, inner)

    def log_weight(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """ln p(y_0 .. y_T) / q(y_1 .. y_T | y_0) of a sampled chain, nats (B,). Its mean is L_vlb; the logarithm of the mean of
        several chains' exponentials approaches ln p(y_0) from below."""
        before = self.centres(symbols.float())
        total = torch.zeros(len(symbols), device=symbols.device)
        for step in range(1, self.shape.steps + 1):
            t = torch.full((len(symbols),), step, device=symbols.device)
            beta = self.schedule.beta(step)
            noise = torch.randn(before.shape, generator=generator, device=before.device)
            y = math.sqrt(1 - beta) * before + math.sqrt(beta) * noise
            mean, log = self(y, t)
            gain = self.log_bins(symbols, mean, log) if step == 1 else _log_density((before - mean) * torch.exp(-log)) - log
            total += (gain - _log_density(noise) + 0.5 * math.log(beta)).flatten(1).sum(1)
            before = y
        return total + _log_density(before).flatten(1).sum(1)


def features(standard: Tensor) -> Tensor:
    """Standardised y_t (B, n, ...) as the network sees it, (B, 3 n, ...) on the grid of 1/16: coarse (clamped to +-127/16),
    fine (what the coarse part leaves, times 16), and an eighth of it, for values far out."""
    whole = torch.floor(standard * 2**FEATURE_BITS + 0.5)
    step = 2 ** (FEATURE_BITS - ACTIVATION_BITS)
    coarse = torch.floor(whole / step + 0.5).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    fine = (whole - coarse * step).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    far = torch.floor(whole / (8 * step) + 0.5).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    return torch.cat([coarse, fine, far], 1) / 2**ACTIVATION_BITS


def _log_density(x: Tensor) -> Tensor:
    return -0.5 * x**2 - 0.5 * math.log(2 * math.pi)


def _column(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values))[:, None, None, None]
