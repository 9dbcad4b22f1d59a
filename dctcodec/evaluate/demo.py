"""One photograph through dctcodec, beside a JPEG of the same size and a JPEG of the same PSNR."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from dctcodec import metrics
from dctcodec.cli.options import FiniteRange
from dctcodec.errors import DctcodecError
from dctcodec.evaluate.baselines import JPEG, Baseline
from dctcodec.image import normalise, read_image, write_image

MAX_SIDE = 800  # pixels of a panel; of a larger image the centre is shown, without resizing
MARGIN = 12
WORST, BEST = 1, 95
"""The qualities of other codecs that are compared with."""


@dataclass(frozen=True)
class Version:
    """The photograph after one codec."""

    label: str
    data: bytes
    image: Image.Image

    def figures(self, original: Image.Image) -> str:
        """Bytes, bits per pixel, PSNR and MS-SSIM as one line of the table."""
        bpp = 8 * len(self.data) / (original.width * original.height)
        psnr, ms_ssim = metrics.psnr(original, self.image), metrics.ms_ssim(original, self.image)
        similarity = "-" if ms_ssim is None else f"{ms_ssim:.4f}"
        return f"{self.label:34}{len(self.data):>9}{bpp:>8.3f}{psnr:>9.2f}{similarity:>9}"


@click.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option("--quality", type=FiniteRange(1, 100), default=30, show_default=True)
def main(image: Path | None, quality: float) -> None:
    """Encode and decode IMAGE (default: the portrait that matplotlib ships) and compare with JPEG."""
    from dctcodec.codec import Codec

    path = image or sample()
    original = normalise(read_image(path))
    codec = Codec()
    data = codec.encode(original, quality)
    ours = Version(f"dctcodec, quality {quality:g}", data, codec.decode(data))
    same_size = jpeg_of_size(original, len(data))
    same_psnr = jpeg_of_psnr(original, metrics.psnr(original, ours.image))

    click.echo(f"{path.name}, {original.width}x{original.height}")
    click.echo(f"{'':34}{'bytes':>9}{'bpp':>8}{'PSNR dB':>9}{'MS-SSIM':>9}")
    for version in (ours, same_size, same_psnr):
        click.echo(version.figures(original))
    output = Path.cwd() / f"{path.stem}-demo.png"
    write_image(side_by_side(original, ours, same_size), output)
    click.echo(f"original, dctcodec and the JPEG of the same size side by side: {output}")


def jpeg_of_size(original: Image.Image, limit: int) -> Version:
    """The best JPEG of at most `limit` bytes, or the smallest that there is where all are larger."""
    quality, data = best_of_size(JPEG, original, limit)
    label = "of the same size" if len(data) <= limit else "at its smallest"
    return Version(f"JPEG {label}, quality {quality}", data, JPEG.decode(data))


def best_of_size(codec: Baseline, original: Image.Image, limit: int) -> tuple[int, bytes]:
    """Quality and file of the best of at most `limit` bytes, or the smallest where all are larger; by bisection."""
    best, low, high = (WORST, codec.encode(original, WORST)), WORST + 1, BEST
    while low <= high:
        quality = (low + high) // 2
        data = codec.encode(original, quality)
        if len(data) <= limit:
            best, low = (quality, data), quality + 1
        else:
            high = quality - 1
    return best


def jpeg_of_psnr(original: Image.Image, psnr: float) -> Version:
    """The smallest JPEG of at least that PSNR in dB, or the best that there is where none reaches it."""
    for quality in range(WORST, BEST + 1):
        data = JPEG.encode(original, quality)
        decoded = JPEG.decode(data)
        if metrics.psnr(original, decoded) >= psnr:
            return Version(f"JPEG of the same PSNR, quality {quality}", data, decoded)
    return Version(f"JPEG of the highest quality, {quality}", data, decoded)


def side_by_side(original: Image.Image, ours: Version, jpeg: Version) -> Image.Image:
    """The three images in a row, each under its name and size in bytes; large ones show their centre."""
    font = ImageFont.load_default(16)
    panels = [(original, "original")] + [(v.image, f"{v.label}: {len(v.data)} bytes") for v in (ours, jpeg)]
    width = max(min(original.width, MAX_SIDE), *(int(font.getlength(label)) for _, label in panels)) + MARGIN
    height = min(original.height, MAX_SIDE)
    sheet = Image.new("RGB", (width * len(panels) + MARGIN, height + 3 * MARGIN + 16), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (image, label) in enumerate(panels):
        left = MARGIN + column * width
        draw.text((left, MARGIN), label, "black", font)
        sheet.paste(_centre(image), (left, 2 * MARGIN + 16))
    return sheet


def _centre(image: Image.Image) -> Image.Image:
    left, top = (max(side - MAX_SIDE, 0) // 2 for side in image.size)
    return image.crop((left, top, min(left + MAX_SIDE, image.width), min(top + MAX_SIDE, image.height)))


def sample() -> Path:
    """The portrait that matplotlib ships."""
    from matplotlib import cbook

    return Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


if __name__ == "__main__":
    try:
        main()
    except DctcodecError as error:
        sys.exit(f"demo: {error}")
