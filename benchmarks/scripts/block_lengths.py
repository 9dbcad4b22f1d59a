"""Code lengths of blocks of each kind, for the encoder's choice (LENGTHS in `dctcodec/bands/choice.py`).

    python benchmarks/scripts/block_lengths.py PHOTOS --model flagship-1

The bits that the prior spends on each tile are fitted, by least squares, as a sum over its quadrants: so many for each symbol that
is not 0, for each doubling of it, and for the quadrant itself, for each kind. Training photographs, centres, at three steps.
"""

from pathlib import Path

import click
import numpy as np

from dctcodec import Codec
from dctcodec.bands import blocks
from dctcodec.bands.order import CHANNELS
from dctcodec.data.photographs import centre_crops, photo_files
from dctcodec.family import TUNES, Parameters
from dctcodec.progress import no_tick

STEPS = (24, 50, 110)
LUMA = np.array([channel.plane == 0 for channel in CHANNELS])
TERMS = 5
"""Symbols and doublings of luma, of chroma, and 1."""


def terms(symbols: np.ndarray, partition: np.ndarray) -> np.ndarray:
    """What bits of a tile are a sum of: symbols (CHANNELS, h, w) and a partition (4, h, w) to (h * w, kinds * TERMS)."""
    magnitude = abs(symbols).reshape(len(CHANNELS), -1)
    values = np.stack([magnitude > 0, np.log2(np.maximum(magnitude, 1))]).astype(float)
    rows = np.zeros((magnitude.shape[1], len(blocks.KINDS), TERMS))
    for quadrant, kinds in enumerate(partition.reshape(blocks.QUADRANTS, -1)):
        here = blocks.quadrant_of_channels(None) == quadrant
        parts = [values[:, here & plane].sum(1) for plane in (LUMA, ~LUMA)]
        share = np.where(kinds < blocks.LARGE, 1 / blocks.QUADRANTS, 1)
        rows[np.arange(len(kinds)), kinds] += np.stack([*parts[0], *parts[1], share], 1)
    return rows.reshape(len(rows), -1)


def fitted(rows: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """(kinds, TERMS), of least squared error over the bits."""
    weight = 1 / np.sqrt(bits + 4)
    return np.linalg.lstsq(rows * weight[:, None], bits * weight, rcond=None)[0].reshape(-1, TERMS)


@click.command()
@click.argument("photos", type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", default="flagship-1", show_default=True)
@click.option("--every", type=click.IntRange(min=1), default=20, show_default=True, help="One of so many photographs.")
def main(photos: Path, model: str, every: int) -> None:
    """Print the lengths."""
    family = Codec(model, "cpu").family
    rows, bits = [], []
    for file in photo_files(photos)[0][::every]:
        rgb = centre_crops([file], 480, 640)[0].numpy().astype(np.float32)
        for step in STEPS:
            parameters = Parameters(16 * step, False, 0, TUNES[0])
            symbols = family.symbols(rgb, parameters, 0, no_tick)
            rows.append(terms(*blocks.unpacked(symbols)))
            bits.append(family.tile_bits(symbols, parameters).ravel())
    lengths = fitted(np.concatenate(rows), np.concatenate(bits))
    for (height, width), row in zip(blocks.KINDS, lengths, strict=True):
        click.echo(f"{height}x{width}: {', '.join(f'{value:.1f}' for value in row)}")


if __name__ == "__main__":
    main()
