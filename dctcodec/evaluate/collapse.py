"""Posterior collapse: how much information each latent of the paper's models carries (the paper's appendices A and B).

A unit (a channel of a latent at one position) is active where Var_x E_q[z | x] > 0.01 (Burda et al. 2016). The mean of a latent
depends on the latents, and the context, drawn above it, so that the variance of one draw's means over images counts that noise
too. The covariance of two draws' means does not: the noise of one is independent of the other's. The paper's code takes one draw,
and counts the context's symbols as units: here that is `active_one_draw`.

A latent z_l is non-identifiable where p(x | z) does not depend on it given all others (equation 10). Measured so: the latents are
drawn from the posterior, z_l alone is drawn anew from its prior, and ln p(x | z) falls by `redrawn_nats`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor
from tqdm import tqdm

from dctcodec.data.sets import Images
from dctcodec.errors import DataError
from dctcodec.evaluate import machine
from dctcodec.evaluate.extra import need
from dctcodec.evaluate.figures import png, standard_error
from dctcodec.evaluate.source import fingerprint, prepared, test_images
from dctcodec.files import check_output, write_output
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel, importance_bound
from dctcodec.vae.network import Latent

ACTIVE = 0.01
"""Least variance of a unit's posterior mean over the images, of an active one."""
BATCH = 100
DRAWS = 100
"""Of the latents of an image, for its importance-weighted bound, and from the prior, for E_p(z)[ln p(x | z)]."""


@dataclass(frozen=True)
class Row:
    """One latent: side of its grid, mean KL in nats, active units of all by two draws and by one.

    Of the context, which is not Gaussian, `active` is None; `varying`: its symbols that are not the same in all images;
    `distinct`: how many different contexts the images have. `redrawn_nats`: by how much ln p(x | z) falls where this latent alone
    is drawn anew from its prior, and the standard error of that mean; None where it was not measured."""

    latent: str
    side: int
    kl_nats: float
    active: int | None
    active_one_draw: int
    units: int
    varying: int | None = None
    distinct: int | None = None
    redrawn_nats: float | None = None
    redrawn_error: float | None = None


@dataclass(frozen=True)
class Gap:
    """Appendix A, nats: the bound, and ln p(x) by importance weighting, whose difference is KL(q(z | x) || p(z | x)); and
    E_p(z)[ln p(x | z)], whose distance from ln p(x) is that divergence of a posterior that has collapsed to the prior. `images`:
    number of those that it is measured on."""

    images: int
    elbo: float
    log_p: float
    gap: float
    gap_error: float
    prior_log_likelihood: float
    collapsed_gap: float


@dataclass(frozen=True)
class Result:
    """What is measured of a model: rows coarse to fine, the context first; `gap` is None where it was not measured."""

    rows: list[Row]
    gap: Gap | None


def run(
    models: Sequence[tuple[str, Config, PaperModel]],
    data: Path,
    images: int,
    deep: int,
    device: str,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """Print the table of models (name, configuration, network); write JSON and plot where they are wanted."""
    for path in (json_path, plot_path):
        if path:
            check_output(str(path))
    if plot_path:
        need("--plot", "matplotlib")
    sets = {config.data for _, config, _ in models}
    if len(sets) > 1:
        raise DataError(f"models of different data sets cannot be compared: {', '.join(sorted(sets))}")
    results = []
    for name, config, model in models:
        tests = test_images(config, data, images, device)
        results.append((name, measure(prepared(model, device), tests, deep)))
    click.echo(table(results))
    if json_path:
        figures = {"data": models[0][1].data, "images": len(tests), "active_above": ACTIVE, "machine": machine.describe()}
        figures["models"] = [
            {"model": name, "weights": fingerprint(model), "gap": result.gap and asdict(result.gap)}
            | {"latents": [asdict(row) for row in result.rows]}
            for (name, _, model), (_, result) in zip(models, results, strict=True)
        ]
        write_output(json_path, f"{json.dumps(figures, indent=1)}\n".encode())
    if plot_path:
        write_output(plot_path, plot(results))


@torch.no_grad()
def measure(model: PaperModel, images: Images, deep: int = 0) -> Result:
    """Each latent's row; the change of ln p(x | z) and the gaps on the first `deep` images."""
    rows = _rows(model, images.seen)
    if not deep:
        return Result(rows, None)
    some = images[:deep]
    changes = redrawn(model, some)
    rows = [
        Row(**asdict(row) | {"redrawn_nats": change.mean().item(), "redrawn_error": standard_error(change)})
        for row, change in zip(rows, changes, strict=True)
    ]
    return Result(rows, gaps(model, some))


def _rows(model: PaperModel, images: Tensor) -> list[Row]:
    sides = [scale.side for scale in model.shape.network.scales[::-1] for _ in range(scale.latents)]
    divergence = images.new_zeros(len(sides))
    moments = []
    for some in tqdm(images.split(BATCH), unit="batch", disable=None):
        encoded = model.vae.encoder(some)
        draws = [model.vae.top_down(model.context_image(some), len(some), encoded)[1] for _ in range(2)]
        first, second = (torch.stack([latent.divergence().flatten(1).sum() for latent in draw]) for draw in draws)
        divergence += (first + second) / 2
        moments.append([_moments(*pair) for pair in zip(*draws, strict=True)])
    rows = [_context_row(model, images)] if model.context else []
    for number, (side, total, parts) in enumerate(zip(sides, divergence.tolist(), zip(*moments, strict=True), strict=True), 1):
        covariance, variance = _covariance(torch.stack(parts), len(images))
        active, one_draw = (int((values > ACTIVE).sum()) for values in (covariance, variance))
        rows.append(Row(f"z{number}", side, total / len(images), active, one_draw, covariance.numel()))
    return rows


def _context_row(model: PaperModel, images: Tensor) -> Row:
    """The context's. Its nats and its symbols are of two draws where contexts are drawn."""
    assert model.context and model.prior
    nats = sum(model.context_bound(some).sum().item() for some in images.split(BATCH)) / len(images)
    symbols = torch.cat([model.context.draw(some)[0] for some in images.split(BATCH)])
    values = model.prior.centres(symbols.double()).flatten(1)
    return Row(
        "context",
        model.context.shape.size,
        nats,
        None,
        int((values.var(0) > ACTIVE).sum()),
        values.shape[1],
        int((symbols != symbols[:1]).any(0).sum()),
        len(symbols.flatten(1).unique(dim=0)),
    )


def redrawn(model: PaperModel, images: Images) -> list[Tensor]:
    """By how many nats ln p(x | z) falls where one latent alone is drawn anew from its prior (equation 10), (n,) for each: the
    context, if there is one, then the latents coarse to fine."""
    changes = []
    for some in images.split(BATCH):
        shown, count = model.context_image(some.seen), len(some)
        parameters, latents = model.vae.top_down(shown, count, model.vae.encoder(some.seen))
        before = model.vae.likelihood.log_likelihood(some.target, parameters)
        values = [latent.value for latent in latents]
        trials: list[tuple[Tensor | None, list[Tensor | None]]] = []
        if model.context and model.prior:
            trials.append((model.context.image(model.prior.sample(count)), [*values]))
        trials += [(shown, [*values[:number], None, *values[number + 1 :]]) for number in range(len(values))]
        after = [
            model.vae.likelihood.log_likelihood(some.target, model.vae.top_down(context, count, None, values=kept)[0])
            for context, kept in tqdm(trials, unit="latent", disable=None)
        ]
        changes.append(before - torch.stack(after))
    return list(torch.cat(changes, 1))


def gaps(model: PaperModel, images: Images) -> Gap:
    """Of images: their bound, ln p(x) by importance weighting, and E_p(z)[ln p(x | z)]."""
    pieces = [model.log_weights(one.seen, DRAWS, BATCH, one.target) for one in tqdm(images.split(1), unit="image", disable=None)]
    weights = torch.cat(pieces, 1).double()
    elbo, log_p = weights.mean(0), -importance_bound(weights)
    prior = torch.cat([_under_prior(model, images.target, BATCH) for _ in range(0, DRAWS, BATCH)]).double().mean(0)
    return Gap(
        images=len(images),
        elbo=elbo.mean().item(),
        log_p=log_p.mean().item(),
        gap=(log_p - elbo).mean().item(),
        gap_error=standard_error(log_p - elbo),
        prior_log_likelihood=prior.mean().item(),
        collapsed_gap=(log_p - prior).mean().item(),
    )


def _under_prior(model: PaperModel, targets: Tensor, draws: int) -> Tensor:
    """ln p(x | z) of images at `draws` draws of all latents from their priors, (draws, n)."""
    context = model.context.image(model.prior.sample(draws)) if model.context and model.prior else None
    parameters, _ = model.vae.top_down(context, draws, None)
    return torch.stack([model.vae.likelihood.log_likelihood(targets, one.expand(len(targets), *one.shape)) for one in parameters])


def table(results: Sequence[tuple[str, Result]]) -> str:
    """All latents of each model, one a line, each model's sum, and its gaps."""
    width = max(len(name) for name, _ in results) + 2
    head = f"{'model':{width}}{'latent':8}{'side':>5}{'KL nats':>10}{'active':>8}{'1 draw':>8}{'units':>8}{'share':>8}"
    lines = [f"{head}{'redrawn, nats':>18}"]
    for name, result in results:
        lines += [f"{name:{width}}{row.latent:8}{row.side:>5}{_figures(row)}" for row in result.rows]
        lines.append(f"{name:{width}}{'all z':13}{_figures(_sum(result.rows))}")
        for row in result.rows:
            if row.varying is not None:
                lines.append(f"{name}: {row.varying} of {row.units} symbols of the context vary; {row.distinct} distinct contexts")
        if gap := result.gap:
            lines.append(
                f"{name}: ELBO {gap.elbo:.2f}, ln p(x) {gap.log_p:.2f}, gap {gap.gap:.2f} ± {gap.gap_error:.2f}; "
                f"E_p(z)[ln p(x|z)] {gap.prior_log_likelihood:.2f}, gap if collapsed {gap.collapsed_gap:.2f} nats"
            )
    return "\n".join(lines)


def plot(results: Sequence[tuple[str, Result]]) -> bytes:
    """A PNG: KL, share of active units and what a new draw costs of each latent, coarse to fine."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter, SymmetricalLogLocator

    figure = Figure(figsize=(15, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for name, result in results:
        numbers = range(0 if result.rows[0].active is None else 1, len(result.rows) + 1)
        points = list(zip(numbers, result.rows, strict=False))
        curves = [
            [(n, row.kl_nats) for n, row in points],
            [(n, row.active / row.units) for n, row in points if row.active is not None],
            [(n, row.redrawn_nats) for n, row in points if row.redrawn_nats is not None],
        ]
        for axes, curve in zip(panels, curves, strict=True):
            axes.plot([n for n, _ in curve], [value for _, value in curve], "o-", ms=4, label=name)
    panels[0].set(ylabel="KL, nats an image", yscale="symlog")
    panels[1].set(ylabel=f"share of units with variance above {ACTIVE}", ylim=(-0.03, 1.03))
    panels[2].set(ylabel="fall of ln p(x|z) where it alone is redrawn, nats", yscale="symlog")
    for axes in (panels[0], panels[2]):
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
    for axes in panels:
        axes.set_xlabel("latent, coarse to fine; 0: context")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return png(figure, 130)


def _sum(rows: Sequence[Row]) -> Row:
    """All latents but the context."""
    latents = [row for row in rows if row.active is not None]
    active, one_draw, units = (sum(getattr(row, key) for row in latents) for key in ("active", "active_one_draw", "units"))
    return Row("all z", 0, sum(row.kl_nats for row in latents), active, one_draw, units)


def _moments(first: Latent, second: Latent) -> Tensor:
    """Sums over images of both draws' posterior means, of their product and of the first one's square, (4, units), float64."""
    one, two = (latent.posterior()[0].flatten(1).double() for latent in (first, second))
    return torch.stack([one.sum(0), two.sum(0), (one * two).sum(0), one.square().sum(0)])


def _covariance(moments: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Covariance of the two draws' means and variance of the first one's, (units,) each, of sums (batches, 4, units) over `count`
    images in all."""
    one, two, product, square = moments.sum(0)
    return (product - one * two / count) / (count - 1), (square - one * one / count) / (count - 1)


def _figures(row: Row) -> str:
    shares = ("-", "-") if row.active is None else (str(row.active), f"{row.active / row.units:.1%}")
    figures = f"{row.kl_nats:>10.3f}{shares[0]:>8}{row.active_one_draw:>8}{row.units:>8}{shares[1]:>8}"
    return figures if row.redrawn_nats is None else f"{figures}{f'{row.redrawn_nats:.3f} ± {row.redrawn_error:.3f}':>18}"
