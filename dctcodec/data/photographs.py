"""Photographs for training, and some drawings: decoded once, random crops of them ever after."""

import math
from collections.abc import Callable
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
HELD_OUT_FROM = ("bsds", "large")
"""Every tenth photograph of these folders, in order of name, is held out."""
FACTORS = {"bsds": (1.0, 0.8), "large": (1.0, 0.6)}
OTHER_FACTORS = (0.9, 0.7)
"""The sizes at which the photographs of a folder are trained on, over their own. JPEG artefacts of others shrink away."""
DRAWN, DRAWING = 0.02, 480
"""Share of the crops that are of drawings, and their side, pixels."""


def photo_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Training and held-out photographs of a folder that holds folders of images, in any format that Pillow reads. Of `bsds/`,
    which must be there, and of `large/` every tenth is held out. Raises DataError where there are none in `bsds`."""
    folders = folders_of_images(root)
    held_out = [file for name in HELD_OUT_FROM for file in folders.get(name, [])[::VALIDATION_STRIDE]]
    kept = set(held_out)
    return [file for files in folders.values() for file in files if file not in kept], held_out


def folders_of_images(root: Path) -> dict[str, list[Path]]:
    """The images in each folder in `root`, in order of name. Raises DataError where there are none in `bsds`."""
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    folders: dict[str, list[Path]] = {}
    for file in sorted(root.glob("*/*")):
        if file.suffix.lower() in suffixes:
            folders.setdefault(file.parent.name, []).append(file)
    if "bsds" not in folders:
        raise DataError(f"no photographs in {root / 'bsds'}: put JPEG files there (BSDS500 train and val, 300 files)")
    return folders


def _opened(file: Path) -> Image.Image:
    try:
        return Image.open(file).convert("RGB")
    except OSError as error:
        raise DataError(f"cannot read the photograph {file} ({error}): replace it, or take it away") from error


def _variants(file: Path) -> list[np.ndarray]:
    """The image at the sizes it is trained on."""
    image = _opened(file)
    sizes = [(round(image.width * f), round(image.height * f)) for f in FACTORS.get(file.parent.name, OTHER_FACTORS)]
    return [np.asarray(image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)) for size in sizes]


def _planes(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


class Photos:
    """Random crops, flipped and transposed, of a list of photographs, and of drawings (`drawings.py`), chosen by torch's global
    generator. All are decoded once and stay on the device as bytes."""

    def __init__(self, files: list[Path], crop: int, device: str = "cpu"):
        self.crop = crop
        files = tqdm(files, desc="photographs", disable=None)
        self.images = [_planes(v).to(device) for f in files for v in _variants(f) if min(v.shape[:2]) >= crop]
        if not self.images:
            raise DataError(f"no photograph is {crop} pixels high and wide: training needs larger ones")
        areas = torch.tensor([image[0].numel() for image in self.images])
        count, side = math.ceil(DRAWN * areas.sum().item() / DRAWING**2), max(DRAWING, crop)
        self.images += [_planes(drawing).to(device) for drawing in drawings(count, side)]
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


def training_photos(root: Path, crop: int, device: str) -> tuple[Photos, dict[str, Tensor]]:
    """Those of a folder that are trained on, and `held_out_sets` of the others, on a device. Raises DataError."""
    training, held_out = photo_files(root)
    crops = Photos(training, crop, device)
    return crops, {name: images.to(device) for name, images in held_out_sets(held_out).items()}


def held_out_sets(files: list[Path]) -> dict[str, Tensor]:
    """`centre_crops` of the held-out photographs of each folder, by its name."""
    names = sorted({file.parent.name for file in files})
    return {name: centre_crops([file for file in files if file.parent.name == name]) for name in names}


def figures_of_sets(figures: Callable[[Tensor], dict[str, float]], sets: dict[str, Tensor]) -> dict[str, float]:
    """What `figures` gives of each set's images, the set's name before that of the figure."""
    return {f"{name} {figure}": value for name, images in sets.items() for figure, value in figures(images).items()}


def centre_crops(files: list[Path], height: int = 320, width: int = 480) -> Tensor:
    """Held-out images, landscape, cropped to one size, the same whole tiles of all: uint8 (n, 3, height, width) or less, where an
    image is smaller. Raises DataError."""
    images = [np.asarray(_opened(file)) for file in files]
    images = [image if image.shape[1] > image.shape[0] else image.transpose(1, 0, 2) for image in images]
    smallest = np.min([image.shape[:2] for image in images], 0)
    height, width = (int(side) // TILE * TILE for side in np.minimum(smallest, (height, width)))
    if not height or not width:
        raise DataError(f"a held-out photograph is smaller than {TILE} pixels: training needs larger ones")
    return torch.stack([_planes(_centre(image, height, width)) for image in images])


def _centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
