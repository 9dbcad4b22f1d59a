"""Photographs for training, and some drawings: decoded once, random crops of them ever after."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from dctcodec.data.drawings import drawings
from dctcodec.errors import DataError
from dctcodec.tiles import TILE

VALIDATION_STRIDE = 10
"""Every tenth picture of `bsds`, in order of name, is held out: 30 of 300."""
DRAWN, DRAWING = 0.02, 480
"""Share of the crops that are of drawings, and their side, pixels."""


def photo_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Training and held-out photographs of a folder that holds `bsds/` (held out from) and, if any, other folders of JPEGs.
    Raises DataError where there are none."""
    bsds = sorted((root / "bsds").glob("*.jpg"))
    if not bsds:
        raise DataError(f"no photographs in {root / 'bsds'}: put JPEG files there (BSDS500 train and val, 300 files)")
    held_out = bsds[::VALIDATION_STRIDE]
    others = sorted(f for f in root.glob("*/*.jpg") if f.parent.name != "bsds")
    return [f for f in bsds if f not in set(held_out)] + others, held_out


def _opened(file: Path) -> Image.Image:
    try:
        return Image.open(file).convert("RGB")
    except OSError as error:
        raise DataError(f"cannot read the photograph {file} ({error}): replace it, or take it away") from error


def _variants(file: Path) -> list[np.ndarray]:
    """The picture at the sizes it is trained on. JPEG artefacts of the larger, more compressed sets shrink away."""
    image = _opened(file)
    factors = (1.0, 0.8) if file.parent.name == "bsds" else (0.9, 0.7)
    sizes = [(round(image.width * f), round(image.height * f)) for f in factors]
    return [np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for size in sizes]


class Photos:
    """Random crops, flipped and transposed, of a list of photographs, and of drawings (`drawings.py`), chosen by torch's global
    generator. All are decoded once and stay on the device as bytes."""

    def __init__(self, files: list[Path], crop: int, device: str = "cpu"):
        self.crop = crop
        loaded = (v for f in tqdm(files, desc="photographs", disable=None) for v in _variants(f))
        large = [variant for variant in loaded if min(variant.shape[:2]) >= crop]
        if not large:
            raise DataError(f"no photograph is {crop} pixels high and wide: training needs larger ones")
        areas = torch.tensor([variant.size / 3 for variant in large])
        count, side = math.ceil(DRAWN * areas.sum().item() / DRAWING**2), max(DRAWING, crop)
        large += drawings(count, side)
        self.images = [torch.from_numpy(picture.transpose(2, 0, 1).copy()).to(device) for picture in large]
        self.weights = torch.cat([(1 - DRAWN) * areas / areas.sum(), torch.full((count,), DRAWN / count)])

    def batch(self, size: int) -> Tensor:
        """uint8 (size, 3, crop, crop)."""
        chosen = torch.multinomial(self.weights, size, replacement=True)
        return torch.stack([self._crop(self.images[i]) for i in chosen.tolist()])

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (int(torch.randint(n - self.crop + 1, ())) for n in image.shape[1:])
        patch = image[:, top : top + self.crop, left : left + self.crop]
        *flips, transpose = torch.randint(2, (3,)).tolist()
        patch = patch.flip([axis for axis, flip in zip((1, 2), flips, strict=True) if flip])
        return patch.transpose(1, 2) if transpose else patch


def centre_crops(files: list[Path], height: int = 320, width: int = 480) -> Tensor:
    """Held-out pictures, landscape, cropped to one size, the same whole tiles of all: uint8 (n, 3, height, width) or less, where a
    picture is smaller. Raises DataError."""
    images = [np.asarray(_opened(file)) for file in files]
    images = [image if image.shape[1] > image.shape[0] else image.transpose(1, 0, 2) for image in images]
    smallest = np.min([image.shape[:2] for image in images], 0)
    height, width = (int(side) // TILE * TILE for side in np.minimum(smallest, (height, width)))
    if not height or not width:
        raise DataError(f"a held-out photograph is smaller than {TILE} pixels: training needs larger ones")
    return torch.stack([torch.from_numpy(image[:height, :width].transpose(2, 0, 1).copy()) for image in images])
