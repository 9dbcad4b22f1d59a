"""Two promises on every image: a target of bits a pixel is met, and each further part of a file brings the image nearer.

python benchmarks/scripts/promises.py --data KODAK --json benchmarks/promises.json
"""

from pathlib import Path

import click
from tqdm import tqdm

from dctcodec.codec import Codec
from dctcodec.evaluate import machine, report
from dctcodec.image import read_image
from dctcodec.installed import DEFAULT
from dctcodec.metrics import psnr

BPP = 0.25


def measure(codec: Codec, path: Path) -> dict[str, object]:
    """Bits a pixel of the file that is to have BPP, and PSNR in dB of its first 1, 2, ... bands."""
    image = read_image(path)
    file = codec.encode_to(image, bpp=BPP)
    found = [psnr(image, codec.decode(file, bands=count)) for count in range(1, codec.family.bands + 1)]
    return {"image": path.name, "bpp": 8 * len(file) / (image.width * image.height), "psnr by bands": found}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of PNG images.")
@click.option("--model", default=DEFAULT, show_default=True, help="Model to encode with.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def main(data: Path, model: str, json_path: Path | None) -> None:
    """Target and parts of every image of a folder."""
    codec, paths = Codec(model, "cpu"), sorted(data.glob("*.png"))
    rows = [measure(codec, path) for path in tqdm(paths)]
    risen = [all(a < b for a, b in zip(r["psnr by bands"], r["psnr by bands"][1:], strict=False)) for r in rows]
    worst = max(abs(row["bpp"] / BPP - 1) for row in rows)
    summary = {"model": model, "target bpp": BPP, "largest miss, %": 100 * worst, "images where each band helps": sum(risen)}
    report.emit({"machine": machine.describe(), "count": len(paths)} | summary | {"images": rows}, json_path)


if __name__ == "__main__":
    main()
