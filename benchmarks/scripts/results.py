"""Committed results as text: what the codec achieves, for README.md and benchmarks/README.md."""

import json
from pathlib import Path

from dctcodec.evaluate.bdrate import INTERVAL, MeanRate, mean_bd_rate
from dctcodec.evaluate.measure import stored_row
from dctcodec.evaluate.report import METRICS, Result, percent

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks"
OPTIONS = {
    "effort-1": "`--effort 1`",
    "effort-4": "`--effort 4`",
    "effort-7": "`--effort 7`",
    "tuned": "`--tune ms-ssim`",
    "tuned-effort-6": "`--tune ms-ssim --effort 6`",
}
"""Results of our encoder with options."""
OTHER_IMAGES = {
    "drawings": "16 drawings made by code, which look like screenshots",
    "held-out/bsds": "30 photographs of BSDS500 held out from training",
    "held-out/large": "42 photographs of `large` held out from training, centre crops of 768×512",
}
BASELINES = ("AVIF-PSNR", "AVIF-IQ", "JPEG XL", "WebP", "JPEG")
"""The other codecs, in the order of the tables."""
TUNED_FOR = {"psnr": "AVIF-PSNR", "ms_ssim": "AVIF-IQ", "ssimulacra2": "AVIF-IQ"}
"""For each metric, the baseline that is tuned for it."""


def load(name: str) -> dict:
    """Committed results by name."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def codecs(name: str) -> dict[str, Result]:
    """All rows of the codecs of a committed run by the codecs' names, ours first."""
    return {
        codec["name"]: Result(codec["name"], codec["description"], [stored_row(row) for row in codec["images"]])
        for codec in load(name)["codecs"]
    }


def committed(names: dict[str, str]) -> dict[str, str]:
    """Those of whose results there is a file: some take hours to measure."""
    return {name: label for name, label in names.items() if (RESULTS / f"{name}.json").exists()}


def ours(name: str) -> Result:
    """Our codec's rows of a committed run."""
    return codecs(name)["dctcodec"]


def rates(anchor: Result, test: Result) -> dict[str, MeanRate]:
    """BD-rates of `test` by each metric."""
    return {metric: mean_bd_rate(anchor.curves(metric), test.curves(metric)) for metric in METRICS}


def summary() -> str:
    """README.md: how good the codec is, in about ten lines."""
    speed, (low, high) = load("speed"), INTERVAL
    lines = [
        "File size on the 24 Kodak images at equal quality, default model and options (BD-rate, mean over the images, "
        f"{low}–{high} bits per pixel; negative: dctcodec's files are smaller):\n",
        _table_of_rates("kodak"),
        f"\n{_settings()} {_tuned()}",
        f"\n{_times(speed)} {_memory(speed)}\n",
    ]
    return "\n".join(lines)


def _table_of_rates(name: str) -> str:
    """A row for each other codec of a run, a column for each metric."""
    stored = load(name)["bd_rate_percent"]
    lines = [f"| against | {' | '.join(f'equal {title}' for title in METRICS.values())} |\n|---|{'---|' * len(METRICS)}"]
    lines += [f"| {codec} | {' | '.join(percent(stored[codec][metric]) for metric in METRICS)} |" for codec in BASELINES]
    return "\n".join(lines)


def _settings() -> str:
    """What the other codecs are."""
    library = next(codec["encoder"]["library"] for codec in load("kodak")["codecs"] if codec["name"] == "AVIF-IQ")
    return (
        "AVIF-PSNR and AVIF-IQ are AVIF tuned for PSNR and for visual quality: 4:4:4, speed 1, `tune=psnr` and `tune=iq` "
        f"({_plain(library)}). JPEG XL runs at effort 7."
    )


def _tuned() -> str:
    """What `--tune ms-ssim` makes of it."""
    of = {metric: percent(rates(codecs("kodak")[name], ours("tuned"))[metric].percent) for metric, name in TUNED_FOR.items()}
    return (
        f"With `--tune ms-ssim`: {of['ms_ssim']} at equal MS-SSIM and {of['ssimulacra2']} at equal SSIMULACRA2 against AVIF-IQ, "
        f"{of['psnr']} at equal PSNR against AVIF-PSNR."
    )


def _plain(library: str) -> str:
    """Without libavif's marks of encoders and decoders."""
    return library.replace(" [dec]:", " ").replace(" [enc]:", " ")


def everything() -> str:
    """benchmarks/README.md: all that was measured of the codec."""
    speed = load("speed")
    parts = [
        _points(),
        _against(),
        *([_other_images()] if committed(OTHER_IMAGES) else []),
        *([_options()] if committed(OPTIONS) else []),
        _published(),
        "![Rate–distortion curves on Kodak](kodak.png)",
        f"{_times(speed)} {_compared(speed)} {_memory(speed)}",
    ]
    return "\n\n".join(parts) + "\n"


def _points() -> str:
    kodak = load("kodak")["codecs"][0]["results"]
    columns = ("quality", "bpp", "code-length-bpp", "psnr-rgb", "ms-ssim-rgb", "ssimulacra2")
    lines = [
        "The default model on the 24 Kodak images: real files, means of the values of each image.\n",
        "| quality | bpp (file) | bpp (code length) | PSNR, dB | MS-SSIM | SSIMULACRA2 |\n|---|---|---|---|---|---|",
    ]
    for quality, bpp, ideal, psnr, ms_ssim, score in zip(*(kodak[column] for column in columns), strict=True):
        lines.append(f"| {quality:g} | {bpp:.4f} | {ideal:.4f} | {psnr:.2f} | {ms_ssim:.4f} | {score:.1f} |")
    return "\n".join(lines)


def _against() -> str:
    (low, high), kodak = INTERVAL, load("kodak")
    descriptions = {codec["name"]: codec["description"] for codec in kodak["codecs"]}
    counts = {codec: kodak["bd_rate_images"][codec]["psnr"] for codec in BASELINES}
    whole = ", ".join(f"{codec} {count['whole_interval']}" for codec, count in counts.items())
    settings = [f"* {codec}: {descriptions[codec]}." for codec in BASELINES]
    return "\n".join(
        [
            f"File size at equal quality on Kodak (BD-rate, {low}–{high} bpp, mean over the images; negative: smaller):\n",
            _table_of_rates("kodak"),
            f"\nEach image is compared over the part of {low}–{high} bpp that both of its curves cover. Some codecs cannot make "
            "files that small of every image; some stay below the upper end even at best quality. The number of the 24 images "
            f"whose curves cover the whole interval: {whole}.\n",
            *settings,
        ]
    )


def _other_images() -> str:
    """Each metric against the codec that is tuned for it."""
    heads = [f"equal {METRICS[metric]}, against {codec}" for metric, codec in TUNED_FOR.items()]
    lines = [f"Other images, default model and options:\n\n| images | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}"]
    for name, label in {"kodak": "Kodak", **committed(OTHER_IMAGES)}.items():
        stored = load(name)["bd_rate_percent"]
        cells = (percent(stored[codec][metric]) for metric, codec in TUNED_FOR.items())
        lines.append(f"| {label} ([{name}.json]({name}.json)) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _options() -> str:
    """Options of our encoder, against the default's files of the same qualities and against AVIF."""
    default, avif = ours("kodak"), {metric: codecs("kodak")[name] for metric, name in TUNED_FOR.items()}
    heads = [f"{METRICS[metric]}, against {name}" for metric in METRICS for name in ("the default", TUNED_FOR[metric])]
    lines = [
        "Options of the encoder, on Kodak (BD-rates; seconds to encode one image on one thread of a busy machine):\n",
        f"| options | qualities | seconds | {' | '.join(heads)} |\n|{'---|' * (3 + len(heads))}",
    ]
    for name, label in committed(OPTIONS).items():
        test = ours(name)
        qualities = sorted({row.quality for row in test.rows})
        base = Result("the default", "", [row for row in default.rows if row.quality in qualities])
        cells = [percent(rates(anchor, test)[metric].percent) for metric in METRICS for anchor in (base, avif[metric])]
        seconds = sum(row.encode_seconds for row in test.rows) / len(test.rows)
        lines.append(f"| {label} | {', '.join(f'{q:g}' for q in qualities)} | {seconds:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _published() -> str:
    kodak = load("kodak")["bd_rate_percent"]
    names = [json.loads(path.read_text())["name"] for path in sorted((RESULTS / "published").glob("*.json"))]
    told = ", ".join(f"{name} {kodak[name]['psnr']:+.0f} %" for name in names)
    return (
        "BD-rate at equal PSNR against curves that others published ([published](published)). These curves are means over the "
        f"images, and their encoders and settings differ from those of the table above: {told}."
    )


def _times(speed: dict) -> str:
    machine, seconds, size = speed["machine"], speed["median_seconds"]["dctcodec"], "×".join(map(str, speed["size"]))
    return (
        f"A {size} image takes {seconds['encode']:.2f} s to encode and {seconds['decode']:.2f} s to decode "
        f"({machine['threads']} threads of an {machine['cpu']}, onnxruntime {machine['versions']['onnxruntime']}, model loaded)."
    )


def _memory(speed: dict) -> str:
    size = "×".join(map(str, speed["large_size"]))
    whole = {row["what"]: row["value"] for row in load("startup")["rows"]}
    encode, decode = (whole[f"{what} {size.replace('×', 'x')}"] for what in ("encode", "decode"))
    return (
        f"A {size} image takes {encode:.0f} s to encode and {decode:.0f} s to decode, the start of the process included, and needs "
        f"at most {whole['peak memory of these']:.1f} GiB of memory."
    )


def _compared(speed: dict) -> str:
    ratio, quality = speed["ratio"], speed["hyperprior"]
    return (
        f"That is {ratio['encode']:.2f} and {ratio['decode']:.2f} times the time of CompressAI's "
        f"`bmshj2018_hyperprior({quality})` in the same process."
    )
