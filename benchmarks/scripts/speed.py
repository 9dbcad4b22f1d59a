"""Times dctcodec against CompressAI's hyperprior in one process, and measures the memory of a large image (on Linux).

    .venv-compressai/bin/python benchmarks/scripts/speed.py --json benchmarks/speed.json

makes what is committed here. CompressAI's weights are random: they change neither its work nor, by much, its time.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from PIL import Image

from dctcodec.errors import DctcodecError
from dctcodec.evaluate import machine, report
from dctcodec.evaluate.demo import sample
from dctcodec.image import normalise, read_image
from dctcodec.installed import DEFAULT

SMALL = (768, 512)
LARGE = (4000, 3000)
CHILD = """
import re, sys
from pathlib import Path
from dctcodec.codec import Codec
step, source, target, model, quality = sys.argv[1:]
codec = Codec(model, "cpu")
if step == "encode":
    Path(target).write_bytes(codec.encode(source, float(quality)))
else:
    codec.decode(Path(source).read_bytes())
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**20)
"""
"""Does one step alone and prints its process's peak memory in GiB; it imports no torch. (A child's `ru_maxrss` starts with its
parent's on Linux.)"""


def photograph(path: Path | None, size: tuple[int, int]) -> Image.Image:
    """An image of that size paved with a photograph, by default matplotlib's: real detail everywhere."""
    stone = normalise(read_image(path or sample())).convert("RGB")
    image = Image.new("RGB", size)
    for top in range(0, size[1], stone.height):
        for left in range(0, size[0], stone.width):
            image.paste(stone, (left, top))
    return image


def compare(image: Image.Image, model: str, quality: float, runs: int, hyperprior: int) -> dict[str, dict[str, float]]:
    """Median seconds of encoding and decoding `image` by each codec, on the CPU, after one warm-up."""
    dctcodec_calls, compressai_calls = dctcodec_steps(image, model, quality), hyperprior_steps(image, hyperprior)
    return {"dctcodec": _times(*dctcodec_calls, runs), "bmshj2018-hyperprior": _times(*compressai_calls, runs)}


def dctcodec_steps(image: Image.Image, model: str, quality: float) -> tuple[Callable, Callable]:
    """Encode to bytes, and decode from what the encoder returned."""
    from dctcodec.codec import Codec

    codec = Codec(model, "cpu")
    return lambda: codec.encode(image, quality), codec.decode


def hyperprior_steps(image: Image.Image, quality: int) -> tuple[Callable, Callable]:
    """Compress to byte strings, and decompress from what the compressor returned; padded to 64 as CompressAI does."""
    import torch
    from compressai.ops import compute_padding
    from compressai.zoo import bmshj2018_hyperprior
    from torch.nn.functional import pad
    from torchvision.transforms.functional import to_tensor

    torch.manual_seed(0)
    network = bmshj2018_hyperprior(quality).eval()
    network.update()
    before, _ = compute_padding(image.height, image.width, min_div=64)
    pixels = pad(to_tensor(image)[None], before)
    compress = torch.inference_mode()(lambda: network.compress(pixels))
    decompress = torch.inference_mode()(lambda packed: network.decompress(packed["strings"], packed["shape"]))
    return compress, decompress


def _times(encode: Callable, decode: Callable, runs: int) -> dict[str, float]:
    packed = encode()
    decode(packed)
    return {"encode": _median(encode, runs), "decode": _median(lambda: decode(packed), runs)}


def _median(call: Callable, runs: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(runs))


def peak_memory(path: Path | None, model: str, quality: float) -> dict[str, float]:
    """Peak resident GiB of a process that encodes a large image, and of another that decodes it."""
    with tempfile.TemporaryDirectory() as folder:
        picture, packed = Path(folder) / "picture.png", Path(folder) / "picture.dct"
        photograph(path, LARGE).save(picture)
        return {
            "encode": _child("encode", picture, packed, model, quality),
            "decode": _child("decode", packed, picture, model, quality),
        }


def _child(step: str, source: Path, target: Path, model: str, quality: float) -> float:
    arguments = [sys.executable, "-c", CHILD, step, source, target, model, quality]
    return float(subprocess.run(list(map(str, arguments)), check=True, stdout=subprocess.PIPE, text=True).stdout)


@click.command()
@click.option("--image", type=click.Path(path_type=Path), help="A photograph.  [default: matplotlib's]")
@click.option("--model", default=DEFAULT, show_default=True)
@click.option("--quality", type=click.FloatRange(1, 100), default=50, show_default=True)
@click.option("--hyperprior", type=click.IntRange(1, 8), default=5, show_default=True, help="CompressAI's quality.")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="The median of them counts.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--memory/--no-memory", default=True, show_default=True, help=f"Peak memory at {LARGE[0]}x{LARGE[1]}.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def main(image, model, quality, hyperprior, runs, threads, memory, json_path) -> None:
    """Time dctcodec and CompressAI's bmshj2018_hyperprior on one 768x512 image."""
    import torch

    torch.set_num_threads(threads)
    seconds = compare(photograph(image, SMALL), model, quality, runs, hyperprior)
    ours, theirs = seconds.values()
    figures = {
        "machine": machine.describe(),
        "model": model,
        "size": SMALL,
        "quality": quality,
        "hyperprior": hyperprior,
        "runs": runs,
        "median_seconds": seconds,
        "ratio": {step: ours[step] / theirs[step] for step in ours},
    }
    if memory:
        figures |= {"large_size": LARGE, "peak_gib": peak_memory(image, model, quality)}
    report.emit(figures, json_path)


if __name__ == "__main__":
    try:
        main()
    except DctcodecError as error:
        sys.exit(f"speed: {error}")
