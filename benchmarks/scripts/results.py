"""Committed results as text: what the codec achieves on Kodak, for README.md and benchmarks/README.md."""

import json
from pathlib import Path

from dctcodec.evaluate.bdrate import bd_rate
from dctcodec.evaluate.report import percent
from dctcodec.metrics import ms_ssim_db

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks"
MODELS = {"flagship": ("kodak", "speed"), "dct-bands": ("kodak-dct-bands", "speed-dct-bands")}
"""Rate and distortion, and speed, of the models for use; the default first."""
EFFORTS = {1: "effort-1", 4: "effort-4"}
TUNED_EFFORTS = {0: "tuned", 6: "tuned-effort-6", 7: "tuned-effort-7"}
"""Results of our encoder with more effort, and with `--tune ms-ssim`."""
METRICS = {"PSNR": "psnr-rgb", "MS-SSIM": "ms-ssim-rgb"}
INTERVALS = {"PSNR": ((0.08, 0.25), (0.25, 0.8)), "MS-SSIM": ((0.08, 0.8),)}
"""Bits per pixel that BD-rates are also given for."""
INTERVAL, HELD_OUT_INTERVAL = (0.08, 0.5), (0.1, 0.8)


def load(name: str) -> dict:
    """Committed results by name."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def curve(results: dict, key: str = "psnr-rgb") -> list[tuple[float, float]]:
    """Bits per pixel and distortion in dB."""
    scale = ms_ssim_db if key.startswith("ms-ssim") else float
    return list(zip(results["bpp"], map(scale, results[key]), strict=True))


def other_codecs(kodak: dict) -> dict[str, dict]:
    """Mean results of the other codecs of a run, by name."""
    return {codec["name"]: codec["results"] for codec in kodak["codecs"][1:]}


def summary() -> str:
    """README.md: how good the codec is, in about ten lines."""
    kodak, speed = load("kodak"), load("speed")
    low, high = kodak["bd_rate_interval_bpp"]
    names = list(other_codecs(kodak))
    lines = [
        f"File size on the 24 Kodak images at equal quality (BD-rate, {low}–{high} bits per pixel; negative is smaller):\n",
        f"| model and options | equal | {' | '.join(f'against {name}' for name in names)} |\n|---|---|{'---|' * len(names)}",
        *_summary_rows(kodak),
        f"\n{_times(speed)} {_memory(speed)}\n",
    ]
    return "\n".join(lines)


def _summary_rows(kodak: dict) -> list[str]:
    results = {
        ("`flagship`, the default", "PSNR"): "kodak",
        ("`flagship`", "MS-SSIM"): "kodak",
        ("`flagship --effort 4`", "PSNR"): EFFORTS[4],
        ("`flagship --tune ms-ssim`", "MS-SSIM"): TUNED_EFFORTS[0],
        ("`flagship --tune ms-ssim --effort 7`", "MS-SSIM"): TUNED_EFFORTS[7],
        ("`dct-bands`, faster", "PSNR"): "kodak-dct-bands",
        ("`dct-bands`", "MS-SSIM"): "kodak-dct-bands",
    }
    rows = []
    for (label, metric), name in results.items():
        ours = load(name)["codecs"][0]["results"]
        rates = [_rate(other, ours, METRICS[metric]) for other in other_codecs(kodak).values()]
        rows.append(f"| {label} | {metric} | {' | '.join(map(percent, rates))} |")
    drawings = load("drawings")
    rates = [percent(drawings["bd_rate_percent"][name]["psnr"]) for name in other_codecs(drawings)]
    return [*rows, f"| `flagship`, 16 screen drawings instead | PSNR | {' | '.join(rates)} |"]


def _rate(anchor: dict, ours: dict, key: str, interval: tuple[float, float] = INTERVAL) -> float | None:
    return bd_rate(curve(anchor, key), curve(ours, key), interval)


def everything() -> str:
    """benchmarks/README.md: all that was measured of the codec."""
    kodak, speed = load("kodak"), load("speed")
    parts = [
        _table(kodak),
        _against(kodak),
        _more_effort(kodak),
        _tuned(kodak),
        _published(kodak),
        _other_model(),
        _drawings(),
        "![Rate–distortion curves on Kodak](kodak.png)",
        f"{_times(speed)} {_compared(speed)} {_memory(speed)}",
    ]
    return "\n\n".join(parts) + "\n"


def _table(kodak: dict) -> str:
    ours = kodak["codecs"][0]["results"]
    count = len(kodak["codecs"][0]["images"]) // len(ours["bpp"])
    columns = ("quality", "bpp", "ideal-bpp", "psnr-rgb", "ms-ssim-rgb")
    lines = [
        f"The default model on {count} Kodak images: real files, means of the values of each image.\n",
        "| quality | bpp (file) | bpp (code length) | PSNR, dB | MS-SSIM |\n|---|---|---|---|---|",
    ]
    for quality, bpp, ideal, psnr, ms_ssim in zip(*(ours[c] for c in columns), strict=True):
        lines.append(f"| {quality:g} | {bpp:.4f} | {ideal:.4f} | {psnr:.2f} | {ms_ssim:.4f} |")
    return "\n".join(lines)


def _against(kodak: dict) -> str:
    low, high = kodak["bd_rate_interval_bpp"]
    lines = [
        f"Change of the file size at equal quality (BD-rate, {low}–{high} bpp; negative means smaller):\n",
        "| against | at equal PSNR | at equal MS-SSIM |\n|---|---|---|",
    ]
    for codec in kodak["codecs"][1:]:
        rates = kodak["bd_rate_percent"][codec["name"]]
        lines.append(f"| {codec['name']} ({codec['description']}) | {rates['psnr']:+.1f} % | {rates['ms_ssim']:+.1f} % |")
    ends = ", ".join(f"{name} {max(results['psnr-rgb']):.1f} dB" for name, results in other_codecs(kodak).items())
    reach = f"An interval counts only where both curves have points. The other codecs' curves end at: {ends}."
    return "\n".join([*lines, f"\n{_by_interval(kodak['codecs'][0]['results'], kodak)} {reach}"])


def _by_interval(ours: dict, kodak: dict) -> str:
    """A model's BD-rates at low and at high rates, against the other codecs of the main run."""
    sentences = []
    for metric, intervals in INTERVALS.items():
        parts = []
        for interval in intervals:
            rates = {name: _rate(other, ours, METRICS[metric], interval) for name, other in other_codecs(kodak).items()}
            told = ", ".join(f"{name} {percent(rate)}" for name, rate in rates.items())
            parts.append(f"{interval[0]}–{interval[1]} bpp: {told}")
        sentences.append(f"At equal {metric}, {'; '.join(parts)}.")
    return " ".join(sentences)


def _more_effort(kodak: dict) -> str:
    qualities = ", ".join(f"{quality:g}" for quality in load(EFFORTS[1])["codecs"][0]["results"]["quality"])
    title = f"`--effort`: BD-rate at equal PSNR, qualities {qualities}; seconds for one image, on one thread of a busy machine:\n"
    return "\n".join([title, *_effort_rows(kodak, EFFORTS, "psnr-rgb")])


def _tuned(kodak: dict) -> str:
    title = (
        "`--tune ms-ssim`: BD-rate at equal MS-SSIM. Effort 0 sends the same symbols as the default, which another decoder "
        "paints. Times on a busy machine:\n"
    )
    return "\n".join([title, *_effort_rows(kodak, TUNED_EFFORTS, "ms-ssim-rgb")])


def _effort_rows(kodak: dict, efforts: dict[int, str], key: str) -> list[str]:
    """A table of results with various efforts, against the main run's."""
    ours, others = kodak["codecs"][0]["results"], other_codecs(kodak)
    lines = [f"| effort | seconds | against the default | {' | '.join(others)} |\n|{'---|' * (3 + len(others))}"]
    for effort, name in efforts.items():
        results = load(name)["codecs"][0]["results"]
        points = zip(curve(ours, key), ours["quality"], strict=True)
        base = [point for point, quality in points if quality in results["quality"]]
        anchors = (base, *(curve(other, key) for other in others.values()))
        rates = [f"{bd_rate(anchor, curve(results, key), INTERVAL):+.1f} %" for anchor in anchors]
        seconds = sum(results["encoding_time"]) / len(results["encoding_time"])
        lines.append(f"| {effort} | {seconds:.1f} | {' | '.join(rates)} |")
    return lines


def _published(kodak: dict) -> str:
    ours = curve(kodak["codecs"][0]["results"])
    curves = [json.loads(path.read_text()) for path in sorted((RESULTS / "published").glob("*.json"))]
    rates = ", ".join(f"{other['name']} {bd_rate(curve(other['results']), ours, INTERVAL):+.0f} %" for other in curves)
    return (
        "Against curves that others published ([published](published)), at equal PSNR, effort 0. Their encoders and settings "
        f"differ from those of the table above: {rates}."
    )


def _other_model() -> str:
    """The default against the other model, on Kodak and on held-out photographs."""
    kodak, smaller = (load(results)["codecs"][0]["results"] for results, _ in MODELS.values())
    seconds = load(MODELS["dct-bands"][1])["median_seconds"]["dctcodec"]
    held_out = {name: curve(load(f"held-out/{name}")["codecs"][0]["results"]) for name in ("flagship", "dct-bands", "first")}
    rates = [bd_rate(held_out[name], held_out["flagship"], HELD_OUT_INTERVAL) for name in ("dct-bands", "first")]
    low, high = HELD_OUT_INTERVAL
    more = bd_rate(curve(kodak), curve(smaller), INTERVAL)
    return (
        f"The model `dct-bands` needs {_bits(more)} bits than the default on Kodak. It takes "
        f"{seconds['encode']:.2f} s to encode and {seconds['decode']:.2f} s to decode. On the 30 photographs that were held out "
        f"from training, and on which choices were made, the default needs {_bits(rates[0])} bits than `dct-bands` and "
        f"{_bits(rates[1])} than the first weights of that model (commit `6c0094e`; {low}–{high} bpp, [held-out](held-out)).\n\n"
        f"`dct-bands` on Kodak. {_by_interval(smaller, load('kodak'))}"
    )


def _bits(rate: float) -> str:
    """A BD-rate in words."""
    return f"{abs(rate):.1f} % {'fewer' if rate < 0 else 'more'}"


def _drawings() -> str:
    result = load("drawings")
    count = len({row["image"] for row in result["codecs"][0]["images"]})
    low, high = result["bd_rate_interval_bpp"]
    rates = ", ".join(f"{name} {percent(result['bd_rate_percent'][name]['psnr'])}" for name in other_codecs(result))
    source = f"{count} drawings made by code, which look like screenshots ([drawings.json](drawings.json))"
    return f"On {source}, at equal PSNR, {low}–{high} bpp: {rates}."


def _times(speed: dict) -> str:
    machine, seconds, size = speed["machine"], speed["median_seconds"]["dctcodec"], "×".join(map(str, speed["size"]))
    return (
        f"A {size} image takes {seconds['encode']:.2f} s to encode and {seconds['decode']:.2f} s to decode "
        f"({machine['threads']} threads of an {machine['cpu']}, torch {machine['versions']['torch']}, model loaded)."
    )


def _memory(speed: dict) -> str:
    size, peak = "×".join(map(str, speed["large_size"])), speed["peak_gib"]
    return f"A {size} image needs {peak['encode']:.1f} GiB of memory to encode and {peak['decode']:.1f} GiB to decode."


def _compared(speed: dict) -> str:
    ratio, quality = speed["ratio"], speed["hyperprior"]
    return (
        f"That is {ratio['encode']:.2f} and {ratio['decode']:.2f} times the time of CompressAI's "
        f"`bmshj2018_hyperprior({quality})` in the same process."
    )
