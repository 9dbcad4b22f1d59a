"""Whether files made on a processor and on a GPU hold the same symbols for both.

    python benchmarks/cuda.py --json benchmarks/cuda.json

Of matplotlib's photograph and of drawings, by each model and quality: a file made on either device must be read on both alike, to
the last symbol, and the pictures that the two paint may differ by rounding alone (the processor may paint in bfloat16).
"""

from pathlib import Path

import click
import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from dctcodec.bench import machine, report
from dctcodec.codec import Codec
from dctcodec.errors import DctcodecError
from dctcodec.train.drawings import drawings

MODELS = {"flagship": (5.0, 50.0, 90.0), "dct-vae-cifar10": (None,)}
"""The qualities that each is tried at; the second has but one, which is not told."""


def pictures() -> list[Image.Image]:
    with get_sample_data("grace_hopper.jpg") as file:
        photograph = Image.open(file).convert("RGB")
    return [photograph, *map(Image.fromarray, drawings(2, 200))]


def compare(here: Codec, there: Codec, picture: Image.Image, quality: float | None) -> dict[str, object]:
    """Figures of the two files of a picture."""
    files = [codec.encode(picture, quality) for codec in (here, there)]
    same = all(torch.equal(here.symbols(file)[1].cpu(), there.symbols(file)[1].cpu()) for file in files)
    first, second = (np.asarray(codec.decode(files[0])).astype(int) for codec in (here, there))
    return {"symbols_agree": same, "files_agree": files[0] == files[1], "largest_difference": int(np.abs(first - second).max())}


@click.command()
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
@torch.no_grad()
def main(json_path: Path | None) -> None:
    """Compare CPU and CUDA."""
    rows = []
    for model, qualities in MODELS.items():
        try:
            here, there = Codec(model, "cpu"), Codec(model, "cuda")
        except DctcodecError as error:
            raise click.ClickException(str(error)) from error
        for quality in qualities:
            rows += [{"model": model, "quality": quality} | compare(here, there, picture, quality) for picture in pictures()]
    agree = all(row["symbols_agree"] for row in rows)
    figures = {"machine": machine.describe(), "files": 2 * len(rows), "all_symbols_agree": agree, "pictures": rows}
    report.emit(figures, json_path)


if __name__ == "__main__":
    main()
