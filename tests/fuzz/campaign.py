"""Fuzz what reads .dct files: `python tests/fuzz/campaign.py --minutes 2 [--record tests/fuzz/record.json]`.

Exits with 1 where an input crashes, takes over ten seconds of processor time, or more memory than 1 GiB, and prints it in Base64;
`python tests/fuzz/target.py FILE` reads it again. `--record` adds the run to a file of earlier ones.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent
GOLDEN = FOLDER.parent / "golden"
KINDS = {"crash": "crashes", "timeout": "hangs", "oom": "memory", "leak": "memory"}
"""Of the files that libFuzzer leaves behind."""


def seeds(folder: Path) -> None:
    """Real files: golden ones, and one of every chunk, with what is deflated in files as it is."""
    from dctcodec import container
    from dctcodec.image import alpha, icc, patch

    for path in GOLDEN.glob("*.dct"):
        (folder / path.name).write_bytes(path.read_bytes())
    small = container.parse((GOLDEN / "flagship-1x1.dct").read_bytes())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.5)}
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" exif:GPSLatitude="52,31N"/></x:xmpmeta>'
    contents = {
        "N": (7).to_bytes(4, "little"),
        "P": patch.pack(Image.new("RGBA", small.header.size, (9, 8, 7, 255))),
        "S": small.payload,
        "C": icc.profile(icc.DISPLAY_P3, icc.SRGB_CURVE),
        "A": alpha.pack(Image.new("L", small.header.size, 9)),
        "d": b"\0\0\x96C" * 2,
        "e": exif.tobytes().removeprefix(b"Exif\0\0"),
        "x": xmp,
        "t": b"settings",
    }
    head = container.write(small.header, b"")[: container.HEADER_BYTES]
    for kinds in ("NPSCAdext", "S", "PS", "SA", "Se", "SC", "NSdx"):
        data = head
        for number, kind in enumerate(kinds, 1):
            last = 0x80 * (number == len(kinds))
            data += bytes([ord(kind) | last]) + len(contents[kind]).to_bytes(4, "little") + contents[kind] + bytes(4)
        (folder / f"raw-{kinds}.dct").write_bytes(data)


def run(minutes: float, inputs: int, seed: int, work: Path) -> dict[str, int]:
    """Inputs, seconds, and the numbers of crashes, hangs and inputs that took too much memory."""
    (work / "corpus").mkdir()
    seeds(work / "corpus")
    start = time.monotonic()
    limits = [
        f"-max_total_time={max(1, round(60 * minutes))}",
        "-timeout=600",
        "-rss_limit_mb=1024",
        "-max_len=4096",
        f"-artifact_prefix={work}/",
    ]
    command = [
        sys.executable,
        str(FOLDER / "target.py"),
        str(work / "corpus"),
        *limits,
        f"-seed={seed}",
        f"-runs={inputs}",
        "-print_final_stats=1",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    text = done.stdout
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", text) or re.search(r"Done (\d+) runs", text)
    result = {"inputs": int(found[1]) if found else 0, "seconds": round(time.monotonic() - start)} | dict.fromkeys(
        KINDS.values(), 0
    )
    for path in work.glob("*-*"):
        if re.fullmatch(r"(crash|timeout|oom|leak)-[0-9a-f]{40}", path.name):
            result["hangs" if "TimeoutError" in text else KINDS[path.name.split("-")[0]]] += 1
    if done.returncode and not any(result[kind] for kind in KINDS.values()):
        result["crashes"] = 1  # of the interpreter itself, or somebody ended it
    if not found or done.returncode:
        print(text[-5000:])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--inputs", type=int, default=-1, help="stop after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        result = {"day": datetime.now(UTC).strftime("%Y-%m-%d"), "seed": options.seed} | run(
            options.minutes, options.inputs, options.seed, Path(work)
        )
    print(json.dumps(result))
    if options.record:
        runs = json.loads(options.record.read_text())["runs"] if options.record.exists() else []
        runs.append(result)
        totals = {key: sum(run[key] for run in runs) for key in ("inputs", "seconds", *dict.fromkeys(KINDS.values()))}
        options.record.write_text(json.dumps({"total": totals, "runs": runs}, indent=1) + "\n")
    sys.exit(not result["inputs"] or any(result[kind] for kind in KINDS.values()))


if __name__ == "__main__":
    main()
