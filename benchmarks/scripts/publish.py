"""Puts the committed results, benchmarks/*.json and benchmarks/paper/*.json, where people read them: README.md and the models'
config.json.

    python benchmarks/scripts/publish.py

Run it after the commands of the README's section "Benchmarks"; a test checks that it was.
"""

import json
from pathlib import Path

from dctcodec.evaluate.bdrate import bd_rate
from dctcodec.evaluate.report import percent
from dctcodec.metrics import ms_ssim_db

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
START, END = "<!-- {}: made by benchmarks/scripts/publish.py -->\n", "<!-- end of {} -->\n"
FIGURE_9 = ("kodim01.png", "kodim13.png", "kodim23.png")
"""Pictures that have a row of their own in the README: hard, hardest and easy; the JSON has all."""

BANDS_RESULTS = {"flagship": ("kodak", "speed"), "dct-bands": ("kodak-dct-bands", "speed-dct-bands")}
"""Rate and distortion, and speed, of the models for use; the default first."""
EFFORTS = {1: "effort-1", 4: "effort-4"}
TUNED_EFFORTS = {0: "tuned", 6: "tuned-effort-6", 7: "tuned-effort-7"}
"""Results of our encoder with more effort, and of `--tune ms-ssim`."""
INTERVALS = {"PSNR": ((0.08, 0.25), (0.25, 0.8)), "MS-SSIM": ((0.08, 0.8),)}
"""Bits a pixel that BD-rates are also told for."""
METRICS = {"PSNR": "psnr-rgb", "MS-SSIM": "ms-ssim-rgb"}
HELD_OUT_INTERVAL = (0.1, 0.8)

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
SHIPPED = (*BANDS_RESULTS, *LIKELIHOODS)


def load(name: str) -> dict:
    """Committed results by name."""
    return _read(ROOT / "benchmarks" / f"{name}.json")


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


def readme(text: str) -> str:
    """README.md with the committed results between its marks."""
    text = _replaced(text, "results", _results(load("kodak"), load("speed")))
    return _replaced(text, "paper", _paper())


def figures(name: str) -> dict[str, float | str]:
    """What `dctcodec models` shows of a model."""
    if name in BANDS_RESULTS:
        return _bands_figures(*(load(result) for result in BANDS_RESULTS[name]), load("kodak"))
    kodak = f"paper/kodak-{name}"
    measured = _kodak_figures(load(kodak)) if (ROOT / "benchmarks" / f"{kodak}.json").exists() else {}
    return measured | _likelihood_figures(load(f"paper/likelihood-{name}"))


def _bands_figures(model: dict, speed: dict, kodak: dict) -> dict[str, float | str]:
    """Of the results of one model, against the other codecs of the main run."""
    ours = model["codecs"][0]["results"]
    others = {name: codec["results"] for name, codec in zip(_measured(kodak), kodak["codecs"][1:], strict=True)}
    rates = {}
    for metric, key in METRICS.items():
        for name, other in others.items():
            rates[f"Kodak BD-rate against {name}, {metric}, %"] = round(bd_rate(_curve(other, key), _curve(ours, key)), 1)
    seconds = speed["median_seconds"]["dctcodec"]
    return rates | {
        "768x512 encode, s": round(seconds["encode"], 2),
        "768x512 decode, s": round(seconds["decode"], 2),
        "measured on": f"{speed['machine']['cpu']}, {speed['machine']['threads']} threads",
    }


def _kodak_figures(paper: dict) -> dict[str, float]:
    mean = paper["means"]
    return {
        "Kodak PSNR, dB": round(mean["dct_vae"]["psnr"], 2),
        "Kodak MS-SSIM": round(mean["dct_vae"]["ms_ssim"], 3),
        "Kodak bpp": round(mean["dct_vae"]["bpp"], 4),
        "Kodak bits over JPEG of equal PSNR": round(mean["ratio"], 3),
    }


def _likelihood_figures(result: dict) -> dict[str, float]:
    label = f"test -ln p, nats, {result['samples']} samples, {result['images']} images"
    figures = {label: round(result["nll_nats"], 2)}
    if "nll_bits_per_dim" in result:
        figures["the same, bits a value"] = round(result["nll_bits_per_dim"], 3)
    return figures


def _replaced(text: str, part: str, content: str) -> str:
    start, end = START.format(part), END.format(part)
    before, rest = text.split(start)
    _, after = rest.split(end)
    return before + start + content + end + after


def _results(kodak: dict, speed: dict) -> str:
    ours = kodak["codecs"][0]["results"]
    columns = ("quality", "bpp", "ideal-bpp", "psnr-rgb", "ms-ssim-rgb")
    lines = [
        _summary(kodak, speed),
        f"\n{len(kodak['codecs'][0]['images']) // len(ours['bpp'])} Kodak images, real files, means of per-image values:\n",
        "| quality | bpp (file) | bpp (ideal code length) | PSNR, dB | MS-SSIM |\n|---|---|---|---|---|",
    ]
    for quality, bpp, ideal, psnr, ms_ssim in zip(*(ours[c] for c in columns), strict=True):
        lines.append(f"| {quality:g} | {bpp:.4f} | {ideal:.4f} | {psnr:.2f} | {ms_ssim:.4f} |")
    low, high = kodak["bd_rate_interval_bpp"]
    lines.append(f"\nBits at equal quality (BD-rate, {low}–{high} bpp; negative is fewer bits):\n")
    lines.append("| against | by PSNR | by MS-SSIM |\n|---|---|---|")
    for codec, rates in zip(kodak["codecs"][1:], _measured(kodak).values(), strict=True):
        lines.append(f"| {codec['name']} ({codec['description']}) | {rates['psnr']:+.1f} % | {rates['ms_ssim']:+.1f} % |")
    lines.append(f"\n{_by_interval(ours, kodak)} {_ends(kodak)}")
    lines += _more_effort(kodak) + _tuned(kodak)
    lines += _published(kodak)
    lines += _models()
    lines += _drawings()
    lines.append("\n![Rate–distortion curves on Kodak](benchmarks/kodak.png)\n")
    lines.append(_speed(speed) + "\n")
    return "\n".join(lines)


def _summary(kodak: dict, speed: dict) -> str:
    """What most people want to know."""
    rates = _measured(kodak)
    told = [", ".join(f"{_bits(rate[key])} than {name}" for name, rate in rates.items()) for key in ("psnr", "ms_ssim")]
    size, seconds = "×".join(map(str, speed["size"])), speed["median_seconds"]["dctcodec"]
    return (
        f"Bits at equal PSNR: {told[0]}; at equal MS-SSIM {told[1]}; all without effort. A {size} picture takes "
        f"{seconds['encode']:.1f} s to encode and {seconds['decode']:.1f} s to decode on two cores, without a GPU."
    )


def _bits(rate: float) -> str:
    """A BD-rate in words."""
    return f"{abs(rate):.1f} % {'fewer' if rate < 0 else 'more'}"


def _ends(kodak: dict) -> str:
    """How far intervals of bits reach: as far as both curves do."""
    ends = ", ".join(f"{codec['name']} {max(codec['results']['psnr-rgb']):.1f} dB" for codec in kodak["codecs"][1:])
    return f"An interval counts as far as both curves go, at the top to where the other ends: {ends}."


def _measured(kodak: dict) -> dict[str, dict]:
    """BD-rates against the codecs of the same run, without the published curves."""
    return {codec["name"]: kodak["bd_rate_percent"][codec["name"]] for codec in kodak["codecs"][1:]}


def _by_interval(ours: dict, kodak: dict) -> str:
    """A model's BD-rates at few and at many bits, against the other codecs of the main run."""
    others = [codec["results"] for codec in kodak["codecs"][1:]]
    sentences = []
    for metric, intervals in INTERVALS.items():
        parts = []
        for low, high in intervals:
            rates = [bd_rate(_curve(other, METRICS[metric]), _curve(ours, METRICS[metric]), (low, high)) for other in others]
            told = ", ".join(f"{n} {percent(r)}" for n, r in zip(_measured(kodak), rates, strict=True))
            parts.append(f"at {low}–{high} bpp {told}")
        sentences.append(f"By {metric}, {'; '.join(parts)}.")
    return " ".join(sentences)


def _more_effort(kodak: dict) -> list[str]:
    """What more effort saves, at the qualities that were measured with it."""
    qualities = load(EFFORTS[1])["codecs"][0]["results"]["quality"]
    told = ", ".join(f"{quality:g}" for quality in qualities)
    title = f"\nMore effort, BD-rate by PSNR from qualities {told}; seconds an encoding, one thread of a busy machine:\n"
    return [title, *_effort_rows(kodak, EFFORTS, "psnr-rgb")]


def _tuned(kodak: dict) -> list[str]:
    """What tuning for MS-SSIM gives."""
    title = (
        "\nTuned for MS-SSIM (`--tune ms-ssim`), BD-rate by MS-SSIM; effort 0: the default's symbols, painted by the other "
        "decoder; times on a busy machine:\n"
    )
    return [title, *_effort_rows(kodak, TUNED_EFFORTS, "ms-ssim-rgb")]


def _effort_rows(kodak: dict, efforts: dict[int, str], key: str) -> list[str]:
    """A table of results with various efforts, against the main run's."""
    ours, *others = (codec["results"] for codec in kodak["codecs"])
    names = list(_measured(kodak))
    lines = [f"| effort | seconds | against the default | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}"]
    for effort, name in efforts.items():
        results = load(name)["codecs"][0]["results"]
        points = zip(_curve(ours, key), ours["quality"], strict=True)
        base = [point for point, quality in points if quality in results["quality"]]
        anchors = (base, *(_curve(other, key) for other in others))
        rates = [f"{bd_rate(anchor, _curve(results, key)):+.1f} %" for anchor in anchors]
        seconds = sum(results["encoding_time"]) / len(results["encoding_time"])
        lines.append(f"| {effort} | {seconds:.1f} | {' | '.join(rates)} |")
    return lines


def _published(kodak: dict) -> list[str]:
    ours = _curve(kodak["codecs"][0]["results"])
    curves = map(_read, sorted((ROOT / "benchmarks" / "published").glob("*.json")))
    rates = ", ".join(f"{curve['name']} {bd_rate(_curve(curve['results']), ours):+.0f} %" for curve in curves)
    source = "curves that others published (`benchmarks/published/`), of other encoders and settings than the table's"
    return [f"\nAgainst {source}, by PSNR, effort 0: {rates}."]


def _models() -> list[str]:
    """The default against the other models, on Kodak and on held-out photographs."""
    kodak, smaller = (load(results)["codecs"][0]["results"] for results, _ in BANDS_RESULTS.values())
    seconds = load(BANDS_RESULTS["dct-bands"][1])["median_seconds"]["dctcodec"]
    held_out = {name: _curve(load(f"held-out/{name}")["codecs"][0]["results"]) for name in ("flagship", "dct-bands", "first")}
    rates = [bd_rate(held_out[name], held_out["flagship"], HELD_OUT_INTERVAL) for name in ("dct-bands", "first")]
    more = bd_rate(_curve(kodak), _curve(smaller))
    low, high = HELD_OUT_INTERVAL
    return [
        f"\nThe model `dct-bands` needs {_bits(more)} bits than the default on Kodak; it takes "
        f"{seconds['encode']:.2f} s to encode and {seconds['decode']:.2f} s to decode. On the 30 photographs held out from "
        f"training, on which choices were made, the default needs {_bits(rates[0])} bits than `dct-bands`, {_bits(rates[1])} than "
        f"that model's first weights (commit `6c0094e`; {low}–{high} bpp, `benchmarks/held-out/`).",
        f"\n`dct-bands` on Kodak: {_by_interval(smaller, load('kodak'))}",
    ]


def _drawings() -> list[str]:
    """The default against the other codecs on drawings."""
    result = load("drawings")
    count = len({row["image"] for row in result["codecs"][0]["images"]})
    low, high = result["bd_rate_interval_bpp"]
    rates = ", ".join(f"{name} {percent(rate['psnr'])}" for name, rate in _measured(result).items())
    source = f"{count} drawings made by code, as of a screen (`benchmarks/drawings.json`)"
    return [f"\nOn {source}, by PSNR at {low}–{high} bpp: {rates}."]


def _curve(results: dict, key: str = "psnr-rgb") -> list[tuple[float, float]]:
    """Rate and distortion in dB."""
    scale = ms_ssim_db if key.startswith("ms-ssim") else float
    return list(zip(results["bpp"], map(scale, results[key]), strict=True))


def _speed(speed: dict) -> str:
    machine, seconds, ratio = speed["machine"], speed["median_seconds"]["dctcodec"], speed["ratio"]
    small, large = ("×".join(map(str, speed[size])) for size in ("size", "large_size"))
    return (
        f"A {small} picture takes {seconds['encode']:.2f} s to encode and {seconds['decode']:.2f} s to decode "
        f"({machine['threads']} threads of an {machine['cpu']}, torch {machine['versions']['torch']}, model loaded): "
        f"{ratio['encode']:.2f} and {ratio['decode']:.2f} times CompressAI's "
        f"`bmshj2018_hyperprior({speed['hyperprior']})` in the same process. "
        f"A {large} picture needs {speed['peak_gib']['encode']:.1f} and {speed['peak_gib']['decode']:.1f} GiB of memory."
    )


def _paper() -> str:
    kodak = load("paper/kodak-dct-vae-cifar10")
    rows = {row["image"]: row for row in kodak["images"]}
    lines = [
        f"Figure 9 on {len(rows)} Kodak images, temperature 0.1; PSNR in dB / MS-SSIM / bits a pixel. "
        "VAE: its two top latents, KL. DCT-VAE: the context, real files. JPEG (Pillow, optimize): the smallest file of at least "
        "that PSNR. The last column is our bits over those of a JPEG of equal PSNR, interpolated.\n",
        "| picture | VAE | DCT-VAE | JPEG | bits over JPEG |\n|---|---|---|---|---|",
    ]
    lines += [_figure_9(name, rows[name]) for name in FIGURE_9] + [_figure_9("mean of all", kodak["means"])]
    lines += _other_models()
    mean, times = kodak["means"], load("paper/times-dct-vae-cifar10")
    machine, results = times["machine"], times["codecs"][0]["results"]
    lines.append(
        f"\nThe context by −L_vlb: {mean['bound_bpp']:.4f} bits a pixel, as payload of the file {mean['payload_bpp']:.4f}; "
        f"payload over −L_vlb of the same noise {mean['payload_over_bound']:.4f} (worst picture "
        f"{mean['worst_payload_over_bound']:.4f}), initial bits {100 * mean['initial_bpp'] / mean['payload_bpp']:.1f} % of it; "
        f"{mean['plain_tiles']:.0f} tiles of a picture are coded plainly. "
        f"Encoding takes {results['encoding_time'][0]:.1f} s and decoding {results['decoding_time'][0]:.1f} s a picture "
        f"(the first four; {machine['threads']} threads of an {machine['cpu']}, torch {machine['versions']['torch']}).\n"
    )
    lines.append("| test likelihood | images, samples | bound | by importance weighting | paper |\n|---|---|---|---|---|")
    lines += [_likelihood(load(f"paper/likelihood-{name}"), paper) for name, paper in LIKELIHOODS.items()]
    return "\n".join([*lines, *_table_5(), *_contexts()]) + "\n"


def _table_5() -> list[str]:
    """Our rows and the published ones."""
    ours = (load(f"paper/likelihood-{name}") for name in ("dct-vae-cifar10-bound", "dct-vae-cifar10", "vae-cifar10"))
    rows = [(f"`{row['model']}`", f"{row['parameters'] / 1e6:.1f}M", row["latents"], row["nll_bits_per_dim"]) for row in ours]
    rows += [tuple(row.values()) for row in load("paper/table-5")["rows"]]
    lines = ["\nTable 5, CIFAR-10: ours, of some hours of CPU cores or minutes of a GPU, and the paper's rows as it gives them.\n"]
    lines.append("| model | size | L | bits/dim ≤ |\n|---|---|---|---|")
    return lines + [f"| {model} | {size or '–'} | {latents} | {bits:.2f} |" for model, size, latents, bits in rows]


def _contexts() -> list[str]:
    """Appendix F: one network, several contexts."""
    lines = ["\nAppendix F: contexts of one network after equally many steps from nothing; held-out images, plain bound.\n"]
    lines.append("| configuration | steps, images | bound | of it the context |\n|---|---|---|---|")
    for name, row in load("paper/contexts")["runs"].items():
        bits = f" ({row['bits_per_dim']:.2f} bits/dim)" if "bits_per_dim" in row else ""
        seen = f"{row['step']:,.0f}, {row['images']:,.0f}"
        lines.append(f"| `{name}` | {seen} | {row['bound']:.1f} nats{bits} | {row['context']:.1f} nats |")
    return lines


def _other_models() -> list[str]:
    """Means of the shipped models besides the main one."""
    others = sorted(path.stem for path in (ROOT / "benchmarks" / "paper").glob("kodak-*.json"))
    others = [load(f"paper/{name}") for name in others if name != "kodak-dct-vae-cifar10"]
    return [_figure_9(f"mean of all, {other['model']}", other["means"]) for other in others]


def _figure_9(name: str, row: dict) -> str:
    points = (row[version] for version in ("vae", "dct_vae", "jpeg"))
    cells = " | ".join(f"{p['psnr']:.1f} / {p['ms_ssim']:.2f} / {p['bpp']:.3f}" for p in points)
    return f"| {name} | {cells} | {row['ratio']:.2f} |"


def _likelihood(result: dict, paper: str) -> str:
    unit, key = ("bits/dim", "bits_per_dim") if "nll_bits_per_dim" in result else ("nats", "nats")
    bound, weighted, error = (result[name] for name in (f"elbo_{key}", f"nll_{key}", f"nll_{key}_standard_error"))
    estimate = f" ({result['images_with_all_samples']} with all)" if "pilot" in result else ""
    return (
        f"| `{result['model']}` | {result['images']}{estimate}, {result['samples']} | {bound:.2f} {unit} | "
        f"{weighted:.2f} ± {error:.2f} {unit} | {paper or '–'} |"
    )


def main() -> None:
    path = ROOT / "README.md"
    texts = {path: readme(path.read_text())}
    for name in SHIPPED:
        file = MODELS / name / "config.json"
        texts[file] = json.dumps(_read(file) | {"figures": figures(name)}, indent=1) + "\n"
    for file, text in texts.items():
        file.write_text(text)


if __name__ == "__main__":
    main()
