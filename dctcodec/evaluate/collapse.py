"""Posterior collapse: how much information each latent of the paper's models carries.

A unit (a channel of a latent at one position) is active where Var_x E_q[z | x] > 0.01 (Burda et al. 2016). The mean of a latent
depends on the latents, and the context, drawn above it, so that the variance of one draw's means over images would count that
noise too. The covariance of two draws' means does not: the noise of one is independent of the other's.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor
from tqdm import tqdm

from dctcodec.errors import DataError
from dctcodec.evaluate import machine
from dctcodec.evaluate.extra import need
from dctcodec.evaluate.source import fingerprint, prepared, test_images
from dctcodec.files import check_output, write_output
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel
from dctcodec.vae.network import Latent

ACTIVE = 0.01
"""Least variance of a unit's posterior mean over the images, of an active one."""
BATCH = 100


@dataclass(frozen=True)
class Row:
    """One latent: side of its grid, mean KL in nats, active units of all; None for the context, which is not Gaussian."""

    latent: str
    side: int
    kl_nats: float
    active: int | None
    units: int


def run(
    models: Sequence[tuple[str, Config, PaperModel]],
    data: Path,
    images: int,
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
    tests = test_images(models[0][1], data, images).to(device)
    results = [(name, measure(prepared(model, device), tests)) for name, _, model in models]
    click.echo(table(results))
    if json_path:
        figures = {"data": models[0][1].data, "images": len(tests), "active_above": ACTIVE, "machine": machine.describe()}
        figures["models"] = [
            {"model": name, "weights": fingerprint(model), "latents": [asdict(row) for row in rows]}
            for (name, _, model), (_, rows) in zip(models, results, strict=True)
        ]
        write_output(json_path, f"{json.dumps(figures, indent=1)}\n".encode())
    if plot_path:
        write_output(plot_path, plot(results))


@torch.no_grad()
def measure(model: PaperModel, images: Tensor) -> list[Row]:
    """Each latent's row, coarse to fine, the context first."""
    sides = [scale.side for scale in model.shape.network.scales[::-1] for _ in range(scale.latents)]
    divergence, context = images.new_zeros(len(sides)), 0.0
    moments = []
    for some in tqdm(images.split(BATCH), unit="batch", disable=None):
        encoded = model.vae.encoder(some)
        draws = [model.vae.top_down(model.context_image(some), len(some), encoded)[1] for _ in range(2)]
        first, second = (torch.stack([latent.divergence().flatten(1).sum() for latent in draw]) for draw in draws)
        divergence += (first + second) / 2
        moments.append([_moments(*pair) for pair in zip(*draws, strict=True)])
        context += model.context_bound(some).sum().item()
    rows = []
    if model.context:
        units = model.context.largest.numel()
        rows.append(Row("context", model.context.shape.size, context / len(images), None, units))
    for number, (side, total, parts) in enumerate(zip(sides, divergence.tolist(), zip(*moments, strict=True), strict=True), 1):
        covariance = _covariance(torch.stack(parts), len(images))
        active = int((covariance > ACTIVE).sum())
        rows.append(Row(f"z{number}", side, total / len(images), active, covariance.numel()))
    return rows


def table(results: Sequence[tuple[str, list[Row]]]) -> str:
    """All latents of each model, one a line, and each model's sum."""
    width = max(len(name) for name, _ in results) + 2
    lines = [f"{'model':{width}}{'latent':8}{'side':>5}{'KL nats':>10}{'active':>8}{'units':>7}{'share':>8}"]
    for name, rows in results:
        lines += [f"{name:{width}}{row.latent:8}{row.side:>5}{_figures(row.kl_nats, row.active, row.units)}" for row in rows]
        latents = [row for row in rows if row.active is not None]
        active, units = (sum(getattr(row, key) for row in latents) for key in ("active", "units"))
        lines.append(f"{name:{width}}{'all z':13}{_figures(sum(row.kl_nats for row in latents), active, units)}")
    return "\n".join(lines)


def plot(results: Sequence[tuple[str, list[Row]]]) -> bytes:
    """A PNG: KL and share of active units of each latent, coarse to fine."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rows in results:
        numbers = range(0 if rows[0].active is None else 1, len(rows) + 1)
        points = list(zip(numbers, rows, strict=False))
        left.plot([n for n, _ in points], [row.kl_nats for _, row in points], "o-", ms=4, label=name)
        shares = [(n, row.active / row.units) for n, row in points if row.active is not None]
        right.plot([n for n, _ in shares], [share for _, share in shares], "o-", ms=4, label=name)
    left.set(ylabel="KL, nats an image", yscale="symlog")
    right.set(ylabel=f"share of units with variance above {ACTIVE}", ylim=(-0.03, 1.03))
    for axes in (left, right):
        axes.set_xlabel("latent, coarse to fine; 0: context")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()


def _moments(first: Latent, second: Latent) -> Tensor:
    """Sums over images of both draws' posterior means and of their product, (3, units), float64."""
    one, two = (latent.posterior()[0].flatten(1).double() for latent in (first, second))
    return torch.stack([one.sum(0), two.sum(0), (one * two).sum(0)])


def _covariance(moments: Tensor, count: int) -> Tensor:
    """Of sums (batches, 3, units) over `count` images in all: (units,)."""
    one, two, product = moments.sum(0)
    return (product - one * two / count) / (count - 1)


def _figures(nats: float, active: int | None, units: int) -> str:
    share = ("-", "-") if active is None else (str(active), f"{active / units:.1%}")
    return f"{nats:>10.3f}{share[0]:>8}{units:>7}{share[1]:>8}"
