"""Puts the committed results, benchmarks/*.json and benchmarks/paper/*.json, where people read them: README.md,
benchmarks/README.md, benchmarks/paper/README.md and the `figures` of the models' config.json.

    python benchmarks/scripts/publish.py

Run it after the commands in benchmarks/README.md. A test checks that it was run.
"""

import json
from collections.abc import Callable

import paper_results
import results
from results import ROOT, load

from dctcodec.installed import DEFAULT

DOCUMENTS: dict[str, tuple[str, Callable[[], str]]] = {
    "README.md": ("summary", results.summary),
    "benchmarks/README.md": ("results", results.everything),
    "benchmarks/paper/README.md": ("paper", paper_results.everything),
}
"""For each document, the name of its generated block and what makes it."""
START, END = "<!-- {}: made by benchmarks/scripts/publish.py -->\n", "<!-- end of {} -->\n"
SHIPPED = (DEFAULT, *paper_results.LIKELIHOODS)


def document(path: str) -> str:
    """A document as it is, with the committed results between its markers."""
    name, content = DOCUMENTS[path]
    start, end = START.format(name), END.format(name)
    before, rest = (ROOT / path).read_text(encoding="utf-8").split(start)
    _, after = rest.split(end)
    return before + start + content() + end + after


def figures(name: str) -> dict[str, float | str]:
    """What `dctcodec models` shows of a model."""
    if name == DEFAULT:
        return _kodak_rates() | _times(load("speed"))
    kodak = f"paper/kodak-{name}"
    measured = _kodak_figures(load(kodak)) if (results.RESULTS / f"{kodak}.json").exists() else {}
    return measured | _likelihood_figures(load(f"paper/likelihood-{name}"))


def _kodak_rates() -> dict[str, float]:
    """Of the default model, against the other codecs of the same run."""
    codecs = results.codecs("kodak")
    return {
        f"Kodak BD-rate against {codec}, {results.METRICS[metric]}, %": round(rate.percent, 1)
        for codec in results.BASELINES
        for metric, rate in results.rates(codecs[codec], codecs["dctcodec"]).items()
    }


def _times(speed: dict) -> dict[str, float | str]:
    seconds = speed["median_seconds"]["dctcodec"]
    return {
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


def main() -> None:
    texts = {ROOT / path: document(path) for path in DOCUMENTS}
    for name in SHIPPED:
        file = ROOT / "models" / name / "config.json"
        texts[file] = json.dumps(json.loads(file.read_text()) | {"figures": figures(name)}, indent=1) + "\n"
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
