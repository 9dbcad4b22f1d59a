"""Photographs for training: decoded once, random crops of them ever after."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from dctcodec.errors import DataError

VALIDATION_STRIDE = 10
"""Every tenth picture of `bsds`, in order of name, is held out: 30 of 300."""


def photo_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Training and held-out photographs of a folder that holds `bsds/` (held out from) and, if any, other folders of JPEGs.
    Raises DataError where there are none."""
    bsds = sorted((root / "bsds").glob("*.jpg"))
    if not bsds:
        raise DataError(f"no photographs in {root / 'bsds'}: put JPEG files there (BSDS500 train and val, 300 files)")
    held_out = bsds[::VALIDATION_STRIDE]
    others = sorted(f for f in root.glob("*/*.jpg") if f.parent.name != "bsds")
    return [f for f in bsds if f not in set(held_out)] + others, held_out


def _variants(file: Path) -> list[np.ndarray]:
    """The picture at the sizes it is trained on. JPEG artefacts of the larger, more compressed sets shrink away."""
    image = Image.open(file).convert("RGB")
    factors = (1.0, 0.8) if file.parent.name == "bsds" else (0.9, 0.7)
    sizes = [(round(image.width * f), round(image.height * f)) for f in factors]
    return [np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for size in sizes]


class Photos:
    """Random crops, flipped and transposed, of a list of photographs, drawn from torch's global generator. The photographs are
    decoded once and stay on the device as bytes."""

    def __init__(self, files: list[Path], crop: int, device: str = "cpu"):
        self.crop = crop
        loaded = (v for f in tqdm(files, desc="photographs", disable=None) for v in _variants(f))
        self.images = [torch.from_numpy(v.transpose(2, 0, 1).copy()).to(device) for v in loaded if min(v.shape[:2]) >= crop]
        if not self.images:
            raise DataError(f"no photograph is {crop} pixels high and wide: training needs larger ones")
        self.areas = torch.tensor([float(image[0].numel()) for image in self.images])

    def batch(self, size: int) -> Tensor:
        """uint8 (size, 3, crop, crop)."""
        chosen = torch.multinomial(self.areas, size, replacement=True)
        return torch.stack([self._crop(self.images[i]) for i in chosen.tolist()])

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (int(torch.randint(n - self.crop + 1, ())) for n in image.shape[1:])
        patch = image[:, top : top + self.crop, left : left + self.crop]
        *flips, transpose = torch.randint(2, (3,)).tolist()
        patch = patch.flip([axis for axis, flip in zip((1, 2), flips, strict=True) if flip])
        return patch.transpose(1, 2) if transpose else patch


def centre_crops(files: list[Path], height: int = 320, width: int = 480) -> Tensor:
    """Held-out pictures, landscape, cropped to one size: uint8 (n, 3, height, width)."""
    crops = []
    for file in files:
        image = np.asarray(Image.open(file).convert("RGB"))
        image = image if image.shape[1] > image.shape[0] else image.transpose(1, 0, 2)
        crops.append(torch.from_numpy(image[:height, :width].transpose(2, 0, 1).copy()))
    return torch.stack(crops)
