"""What the decoder network gives over the plain inverse DCT of the same file, and what temperature costs.

python benchmarks/scripts/decoder.py --data KODAK --json benchmarks/decoder.json
"""

from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from dctcodec.bands import blocks
from dctcodec.bands.transform import dequantise, synthesise
from dctcodec.codec import Codec
from dctcodec.evaluate import machine, report
from dctcodec.image import read_image
from dctcodec.installed import DEFAULT
from dctcodec.metrics import psnr
from dctcodec.tiles import ycbcr_to_rgb

QUALITIES = (20.0, 35.0, 50.0, 62.0)
"""About 0.1 to 0.4 bits a pixel."""
TEMPERATURE = 0.5


def plain(codec: Codec, file: bytes) -> Image.Image:
    """The inverse DCT of a file's symbols at their nominal values."""
    header, symbols = codec.symbols(file)
    coded, partition = blocks.unpacked(symbols)
    coefficients = dequantise(coded[None].astype(np.float32), header.step)
    whole = ycbcr_to_rgb(synthesise(coefficients, None if partition is None else partition[None]))
    rgb = whole[0, :, : header.height, : header.width]
    return Image.fromarray(rgb.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0))


def measure(codec: Codec, path: Path, quality: float) -> dict[str, float]:
    """Bits a pixel, and PSNR in dB of the three ways to paint one file."""
    image = read_image(path)
    file = codec.encode(image, quality)
    return {
        "bpp": 8 * len(file) / (image.width * image.height),
        "psnr plain": psnr(image, plain(codec, file)),
        "psnr decoder": psnr(image, codec.decode(file)),
        f"psnr decoder, temperature {TEMPERATURE}": psnr(image, codec.decode(file, TEMPERATURE)),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of PNG images.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def main(data: Path, json_path: Path | None) -> None:
    """Mean PSNR with and without the decoder network."""
    codec, paths = Codec(DEFAULT, "cpu"), sorted(data.glob("*.png"))
    means = []
    for quality in tqdm(QUALITIES):
        rows = [measure(codec, path, quality) for path in paths]
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        means.append({"quality": quality} | mean | {"gain": mean["psnr decoder"] - mean["psnr plain"]})
    figures = {"machine": machine.describe(), "count": len(paths), "means": means}
    report.emit(figures, json_path)


if __name__ == "__main__":
    main()
