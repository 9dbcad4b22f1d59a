"""Committed results as text: the tables and figures of the paper, for benchmarks/paper/README.md."""

import math

from results import RESULTS, load

FIGURE_9 = ("kodim01.png", "kodim13.png", "kodim23.png")
"""Images that have a row of their own: hard, hardest and easy. The JSON file has all."""
MAIN = "kodak-dct-vae-cifar10"
LIKELIHOODS = {
    "dct-vae-mnist": "76.62 nats",
    "vae-mnist": "",
    "dct-vae-cifar10-bound": "3.26 bits/dim",
    "dct-vae-cifar10": "3.26 bits/dim",
    "vae-cifar10": "3.28 bits/dim",
    "dct-vae-omniglot": "86.11 nats",
    "vae-omniglot": "",
}
"""Models with a row in the table of likelihoods, and the paper's figure, of networks trained for 600 and 8,000 epochs."""
ATTACKED = ("mnist", "omniglot", "cifar10", "cifar10-0.02")
"""Measurements of figure 10: data sets in the paper's order, and a radius where it is not 0.1."""
CONTEXTS = ("mnist", "cifar10")
"""Data sets of appendix F."""
TABLE_5 = ("dct-vae-cifar10-bound", "dct-vae-cifar10", "vae-cifar10")


def everything() -> str:
    """All tables."""
    return "\n\n".join([_figure_9(), _likelihoods(), _table_5(), _contexts(), _figure_10()]) + "\n"


def _figure_9() -> str:
    kodak = load(f"paper/{MAIN}")
    rows = {row["image"]: row for row in kodak["images"]}
    lines = [
        f"**Figure 9** on {len(rows)} Kodak images, temperature 0.1. Each cell gives PSNR in dB / MS-SSIM / bits per pixel. "
        "VAE: its two top latents; the bits are their KL divergence. DCT-VAE: the context; the bits are those of real files. JPEG "
        "(Pillow, optimize): the smallest file with at least the PSNR of the DCT-VAE. Last column: the bits of the DCT-VAE divided "
        "by those of a JPEG of equal PSNR, interpolated.\n",
        "| image | VAE | DCT-VAE | JPEG | bits over JPEG |\n|---|---|---|---|---|",
    ]
    lines += [_figure_9_row(name, rows[name]) for name in FIGURE_9] + [_figure_9_row("mean of all", kodak["means"])]
    lines += [_figure_9_row(f"mean of all, {other['model']}", other["means"]) for other in _other_models()]
    return "\n".join([*lines, f"\n{_coder(kodak['means'])}"]) + _bare(kodak)


def _bare(measured: dict) -> str:
    """What the VAE adds to the context that it paints, for the model of the codec and the one trained for the bound."""
    lines = [
        f"\n\n**Figure 9, the bare context**: the inverse DCT alone, without the VAE, and beside it the image of the DCT-VAE, "
        f"temperature {measured['temperature']}. PSNR in dB / MS-SSIM. Bits per pixel are those of files; `dct-vae-cifar10-bound` "
        "makes no files, so its bits are −L_vlb.\n",
        f"| image | `dct-vae-cifar10`: bare | DCT-VAE | bpp | `dct-vae-cifar10-bound`: bare | DCT-VAE | bpp |\n|{'---|' * 7}",
    ]
    rows = {row["image"]: row for row in measured["images"]} | {"mean": measured["means"]}
    for name, row in rows.items():
        cells = [_quality(row[key]) for key in ("bare", "dct_vae", "bound_bare", "bound")]
        rates = [f"{row[key]['bpp']:.3f}" for key in ("dct_vae", "bound")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {rates[0]} | {cells[2]} | {cells[3]} | {rates[1]} |")
    return "\n".join(lines)


def _quality(point: dict) -> str:
    return f"{point['psnr']:.2f} / {point['ms_ssim']:.3f}"


def _other_models() -> list[dict]:
    """Results of shipped models other than the main one."""
    names = sorted(path.stem for path in (RESULTS / "paper").glob("kodak-*.json"))
    return [load(f"paper/{name}") for name in names if name != MAIN]


def _figure_9_row(name: str, row: dict) -> str:
    points = (row[version] for version in ("vae", "dct_vae", "jpeg"))
    cells = " | ".join(f"{p['psnr']:.1f} / {p['ms_ssim']:.2f} / {p['bpp']:.3f}" for p in points)
    return f"| {name} | {cells} | {row['ratio']:.2f} |"


def _coder(mean: dict) -> str:
    times = load("paper/times-dct-vae-cifar10")
    machine, results = times["machine"], times["codecs"][0]["results"]
    return (
        f"The context costs {mean['bound_bpp']:.4f} bits per pixel by −L_vlb and {mean['payload_bpp']:.4f} as payload of the file. "
        f"The payload is {mean['payload_over_bound']:.4f} times −L_vlb of the same noise (worst image "
        f"{mean['worst_payload_over_bound']:.4f}); initial bits are {100 * mean['initial_bpp'] / mean['payload_bpp']:.1f} % of it; "
        f"{mean['plain_tiles']:.0f} tiles of an image are coded without the diffusion model. "
        f"An image takes {results['encoding_time'][0]:.1f} s to encode and {results['decoding_time'][0]:.1f} s to decode "
        f"(mean of the first four; {machine['threads']} threads of an {machine['cpu']}, torch {machine['versions']['torch']})."
    )


def _likelihoods() -> str:
    lines = [
        "**Test likelihood**, −ln p.\n",
        "| model | images, samples | bound | by importance weighting | paper |\n|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_likelihood(load(f"paper/likelihood-{name}"), paper) for name, paper in LIKELIHOODS.items()])


def _likelihood(result: dict, paper: str) -> str:
    unit, key = ("bits/dim", "bits_per_dim") if "nll_bits_per_dim" in result else ("nats", "nats")
    bound, weighted, error = (result[name] for name in (f"elbo_{key}", f"nll_{key}", f"nll_{key}_standard_error"))
    estimate = f" ({result['images_with_all_samples']} with all)" if "pilot" in result else ""
    return (
        f"| `{result['model']}` | {result['images']}{estimate}, {result['samples']} | {bound:.2f} {unit} | "
        f"{weighted:.2f} ± {error:.2f} {unit} | {paper or '–'} |"
    )


def _table_5() -> str:
    """Our rows and the published ones."""
    ours = (load(f"paper/likelihood-{name}") for name in TABLE_5)
    rows = [(f"`{row['model']}`", f"{row['parameters'] / 1e6:.1f}M", row["latents"], row["nll_bits_per_dim"]) for row in ours]
    rows += [tuple(row.values()) for row in load("paper/table-5")["rows"]]
    lines = [
        "**Table 5**, CIFAR-10. Our models were trained for some hours on CPU cores or some minutes on a GPU. The other rows are "
        "the paper's.\n",
        "| model | size | L | bits/dim ≤ |\n|---|---|---|---|",
    ]
    return "\n".join(lines + [f"| {model} | {size or '–'} | {latents} | {bits:.2f} |" for model, size, latents, bits in rows])


def _contexts() -> str:
    """One network, several contexts."""
    lines = [
        "**Appendix F**: one network with several contexts, trained from random weights for the same number of steps. Plain bound "
        "of held-out images, mean and standard error over the seeds.\n",
        "| configuration | context | steps, images | seeds | bound | of which context |\n|---|---|---|---|---|---|",
    ]
    for measured in (load(f"paper/contexts-{data}") for data in CONTEXTS):
        lines += [_context_row(measured, stage) for stage in measured["runs"]]
    return "\n".join(lines)


def _context_row(measured: dict, stage: str) -> str:
    row, first = measured["summary"][stage], measured["runs"][stage][0]
    seen = f"{first['step']:,.0f}, {first['images']:,.0f}"
    bound, error, unit = row["bound"], row["standard_error"], "nats"
    if "bits_per_dim" in first:
        scale = first["bits_per_dim"] / first["bound"]
        bound, error, unit = bound * scale, error and error * scale, "bits/dim"
    digits = 1 if unit == "nats" else 3
    shown = f"{bound:.{digits}f} ± {error:.{digits}f}" if error else f"{bound:.{digits}f}"
    cells = [_context_size(first["symbols"]), seen, str(row["seeds"]), f"{shown} {unit}"]
    return f"| `{measured['data']}`, {stage} | {' | '.join(cells)} | {row['context']:.1f} nats |"


def _context_size(symbols: list[int] | None) -> str:
    if not symbols:
        return "none"
    *sides, bits = symbols
    return f"{'×'.join(map(str, sides))} = {math.prod(sides)} symbols of {bits} bits"


def _figure_10() -> str:
    """Attacks on the latents, a row for each number of layers that both models have."""
    measured = [load(f"paper/attack-{name}") for name in ATTACKED if (RESULTS / "paper" / f"attack-{name}.json").exists()]
    lines = [
        "**Figure 10**: MS-SSIM of the reconstructions of an image and of its attacked image, against the number of latent layers "
        "under attack. In brackets: the same with independent draws of the latents, under attack and without an attack.\n",
        "| data, radius, attacks | layers | VAE | DCT-VAE |\n|---|---|---|---|",
    ]
    for document in measured:
        models = [{row["layers"]: row for row in model["rows"]} for model in document["models"]]
        attacks = f"{document['data']}, {document['radius']}, {document['images']} images × {document['starts']}"
        common = sorted(set.intersection(*map(set, models)))
        lines += [f"| {attacks} | {layers} | {' | '.join(_attack(model[layers]) for model in models)} |" for layers in common]
    return "\n".join(lines)


def _attack(row: dict) -> str:
    attacked, apart, unattacked = (row[key] for key in ("attacked", "attacked_apart", "unattacked_apart"))
    return f"{attacked['mean']:.2f} ± {attacked['error']:.2f} ({apart['mean']:.2f}, {unattacked['mean']:.2f})"
