"""Figure 10 of the paper: similarity of the reconstructions of an image and of the attacked image, against the layers attacked."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dctcodec import metrics
from dctcodec.errors import ConfigError, DataError
from dctcodec.evaluate import machine
from dctcodec.evaluate.attack import BATCH, PATIENCE, Example, Mean, Row, Settings, measure
from dctcodec.evaluate.extra import need
from dctcodec.evaluate.figures import png
from dctcodec.evaluate.source import fingerprint, prepared, test_images
from dctcodec.files import check_output, write_output
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel

if TYPE_CHECKING:
    pass

MOST_LAYERS = 10
"""Layers that are attacked where it is not said how many: as many as in the paper's figure."""
EXAMPLES = 6
_LINES = ("image", "attacked", "image, reconstructed", "attacked, reconstructed")
_CURVES = {
    "with common draws": (("attacked", "o-", ""), ("noise", ":", ", random noise")),
    "with independent draws": (("attacked_apart", "o-", ""), ("unattacked_apart", ":", ", no attack")),
}
"""Each row of panels of the plot: title; figure of a `Row`, style and name of each of its curves."""


def run(
    models: Sequence[tuple[str, Config, PaperModel]],
    data: Path,
    images: int,
    layers: Sequence[int],
    settings: Settings,
    device: str,
    json_path: Path | None,
    plot_path: Path | None,
    examples_path: Path | None,
) -> None:
    """Attack the first `layers` latent layers of models (name, configuration, network), or those of the figure; print the table,
    write JSON, plot and examples where they are wanted. Raises DataError, ConfigError, OutputError."""
    for path in (json_path, plot_path, examples_path):
        if path:
            check_output(str(path))
    for option, path in (("--plot", plot_path), ("--examples", examples_path)):
        if path:
            need(option, "matplotlib")
    sets = {config.data for _, config, _ in models}
    if len(sets) > 1:
        raise DataError(f"models of different data sets cannot be compared: {', '.join(sorted(sets))}")
    plans = [_layers(name, model, layers) for name, _, model in models]
    if not (scales := min(metrics.ms_ssim_scales(config.shape.network.side) for _, config, _ in models)):
        raise DataError(f"MS-SSIM needs sides of at least {metrics.MS_SSIM_WINDOW} pixels: the images are smaller")
    batches = -(-images // BATCH)
    results = []
    with tqdm(total=sum(map(len, plans)) * batches * settings.starts * settings.steps, unit="step", disable=None) as bar:
        for (name, config, model), plan in zip(models, plans, strict=True):
            tests = test_images(config, data, images, device)
            ready = prepared(model, device).requires_grad_(False)
            results.append((name, [measure(ready, tests.seen, count, settings, bar.update) for count in plan]))
    document: dict[str, Any] = {"data": models[0][1].data, "images": len(tests)} | asdict(settings) | {"patience": PATIENCE}
    document |= {"ms_ssim_scales": scales, "machine": machine.describe()}
    document["models"] = [
        {"model": name, "weights": fingerprint(model), "rows": [asdict(row) for row, _ in rows]}
        for (name, _, model), (_, rows) in zip(models, results, strict=True)
    ]
    click.echo(table(results))
    if json_path:
        write_output(json_path, f"{json.dumps(document, indent=1)}\n".encode())
    if plot_path:
        write_output(plot_path, plot([document]))
    if examples_path:
        write_output(examples_path, examples(results))


def _layers(name: str, model: PaperModel, wanted: Sequence[int]) -> list[int]:
    """The numbers of layers to attack. A context alone has no posterior that could be moved a little."""
    network = model.shape.network
    least, most = 1 + network.context, sum(scale.latents for scale in network.scales) + network.context
    for count in wanted:
        if count > most:
            raise ConfigError(f"--layers {count}: {name} has {most} latent layers, the context among them: give at most {most}")
    plan = [count for count in sorted({*wanted}) or range(1, min(most, MOST_LAYERS) + 1) if count >= least]
    if not plan:
        raise ConfigError(f"--layers 1: the first layer of {name} is its context, which has no gradient: give 2 or more")
    return plan


def table(results: Sequence[tuple[str, Sequence[tuple[Row, Example]]]]) -> str:
    """A line for each model and number of layers."""
    width = max(len(name) for name, _ in results) + 2
    columns = ("attacked", "noise", "attacked apart", "no attack apart", "KL nats", "KL noise")
    lines = [f"{'model':{width}}{'layers':>6}" + "".join(f"{column:>20}" for column in columns)]
    for name, rows in results:
        for row, _ in rows:
            similar = (row.attacked, row.noise, row.attacked_apart, row.unattacked_apart)
            cells = [_cell(value, 3) for value in similar] + [_cell(value, 1) for value in (row.divergence, row.noise_divergence)]
            lines.append(f"{name:{width}}{row.layers:>6}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def plot(documents: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of JSON documents, a column of panels each: MS-SSIM against the layers under attack, with standard errors."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.2 * len(documents), 7.6), layout="constrained")
    panels = figure.subplots(len(_CURVES), len(documents), squeeze=False)
    for line, (title, curves) in zip(panels, _CURVES.items(), strict=True):
        for axes, document in zip(line, documents, strict=True):
            for number, model in enumerate(document["models"]):
                layers = [row["layers"] for row in model["rows"]]
                for key, style, what in curves:
                    means, errors = ([row[key][part] for row in model["rows"]] for part in ("mean", "error"))
                    label, colour = model["model"] + what, f"C{number}"
                    axes.errorbar(layers, means, errors, fmt=style, ms=4, capsize=2, color=colour, label=label)
            axes.set(xlabel="latent layers under attack", ylabel="MS-SSIM", ylim=(0, 1.03))
            axes.set_title(f"{document['data']}, radius {document['radius']}, {title}", fontsize=11)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
    return png(figure, 110)


def examples(results: Sequence[tuple[str, Sequence[tuple[Row, Example]]]]) -> bytes:
    """A PNG of some attacks on the fewest and on the most layers: image, attacked image, and their reconstructions."""
    from matplotlib.figure import Figure

    panels = [(name, *rows[which]) for name, rows in results for which in sorted({0, len(rows) - 1})]
    figure = Figure(figsize=(0.4 + 3.6 * len(panels), 2.7), layout="constrained")
    cells = figure.subplots(1, len(panels), squeeze=False)[0]
    for number, (axes, (name, row, example)) in enumerate(zip(cells, panels, strict=True)):
        lines = [_strip(images[:EXAMPLES]) for images in vars(example).values()]
        height = lines[0].shape[0]
        axes.imshow(np.concatenate(lines), cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{name}\n{row.layers} layer{'s' * (row.layers > 1)} attacked", fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([height * (line + 0.5) for line in range(len(lines))], ["" if number else word for word in _LINES])
    return png(figure, 110)


def _strip(images: Tensor) -> np.ndarray:
    """Images (n, channels, side, side) side by side, (side, n * side) or (side, n * side, 3)."""
    row = torch.cat(list(images.clamp(0, 1).cpu()), 2).numpy()
    return row[0] if len(row) == 1 else row.transpose(1, 2, 0)


def _cell(value: Mean, digits: int) -> str:
    return f"{value.mean:.{digits}f} ± {value.error:.{digits}f}"
