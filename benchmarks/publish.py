"""Puts the committed results, benchmarks/*.json, where people read them: README.md and the model's config.json.

    python benchmarks/publish.py

Run it after `dctcodec bench kodak --json benchmarks/kodak.json` and benchmarks/speed.py; a test checks that it was.
"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "dct-bands"
START, END = "<!-- results: made by benchmarks/publish.py -->\n", "<!-- end of results -->\n"


def readme(text: str, kodak: dict, speed: dict) -> str:
    """README.md with the results between its two marks."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return before + START + _results(kodak, speed) + END + after


def figures(kodak: dict, speed: dict) -> dict[str, float | str]:
    """What `dctcodec models` shows of the model."""
    rates = {f"Kodak BD-rate against {name}, PSNR, %": round(r["psnr"], 1) for name, r in kodak["bd_rate_percent"].items()}
    rates |= {f"Kodak BD-rate against {name}, MS-SSIM, %": round(r["ms_ssim"], 1) for name, r in kodak["bd_rate_percent"].items()}
    seconds = speed["median_seconds"]["dctcodec"]
    return rates | {
        "768x512 encode, s": round(seconds["encode"], 2),
        "768x512 decode, s": round(seconds["decode"], 2),
        "measured on": f"{speed['machine']['cpu']}, {speed['machine']['threads']} threads",
    }


def _results(kodak: dict, speed: dict) -> str:
    ours = kodak["codecs"][0]["results"]
    columns = ("quality", "bpp", "ideal-bpp", "psnr-rgb", "ms-ssim-rgb")
    lines = [
        f"{len(kodak['codecs'][0]['images']) // len(ours['bpp'])} Kodak images, real files, means of per-image values:\n",
        "| quality | bpp (file) | bpp (ideal code length) | PSNR, dB | MS-SSIM |\n|---|---|---|---|---|",
    ]
    for quality, bpp, ideal, psnr, ms_ssim in zip(*(ours[c] for c in columns), strict=True):
        lines.append(f"| {quality:g} | {bpp:.4f} | {ideal:.4f} | {psnr:.2f} | {ms_ssim:.4f} |")
    low, high = kodak["bd_rate_interval_bpp"]
    lines.append(f"\nBits at equal quality (BD-rate, {low}–{high} bpp; negative is fewer bits):\n")
    lines.append("| against | by PSNR | by MS-SSIM |\n|---|---|---|")
    lines += [f"| {name} | {r['psnr']:+.1f} % | {r['ms_ssim']:+.1f} % |" for name, r in kodak["bd_rate_percent"].items()]
    lines.append("\n![Rate–distortion curves on Kodak](benchmarks/kodak.png)\n")
    lines.append(_speed(speed) + "\n")
    return "\n".join(lines)


def _speed(speed: dict) -> str:
    machine, seconds, ratio = speed["machine"], speed["median_seconds"]["dctcodec"], speed["ratio"]
    small, large = ("×".join(map(str, speed[size])) for size in ("size", "large_size"))
    return (
        f"A {small} picture takes {seconds['encode']:.2f} s to encode and {seconds['decode']:.2f} s to decode "
        f"({machine['threads']} threads of an {machine['cpu']}, torch {machine['versions']['torch']}, model loaded): "
        f"{ratio['encode']:.2f} and {ratio['decode']:.2f} times CompressAI's `bmshj2018_hyperprior(3)` in the same process. "
        f"A {large} picture needs {speed['peak_gib']['encode']:.1f} and {speed['peak_gib']['decode']:.1f} GiB of memory."
    )


def main() -> None:
    kodak, speed = (json.loads((ROOT / "benchmarks" / f"{name}.json").read_text()) for name in ("kodak", "speed"))
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(), kodak, speed))
    config = json.loads((MODEL / "config.json").read_text())
    (MODEL / "config.json").write_text(json.dumps(config | {"figures": figures(kodak, speed)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
