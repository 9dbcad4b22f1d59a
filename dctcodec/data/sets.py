"""The paper's data sets in their usual files: CIFAR-10 binary, MNIST idx, OMNIGLOT npz or mat; and tiles of photographs."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dctcodec.data.photographs import photo_files
from dctcodec.errors import DataError

HELD_OUT = 1000
"""The last training images, kept for validation."""
_SOURCES = {
    "cifar10": "the binary version of https://www.cs.toronto.edu/~kriz/cifar.html, unpacked",
    "mnist": "the four idx files, gzipped or not, of http://yann.lecun.com/exdb/mnist/",
    "photos": "JPEG photographs, bsds/*.jpg (BSDS500 train and val) and other folders of them",
    "omniglot": "images_background.npz and images_evaluation.npz (classes, 20, 105, 105), drawn from "
    "https://github.com/brendenlake/omniglot, or chardata.mat of https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT",
}


@dataclass(frozen=True)
class Images:
    """Images as a model of the paper takes them, float (n, channels, side, side) in [0, 1].

    `seen`: what its encoder and its context are computed from; `target`: what its likelihood is of. They are the same, but of a
    binary set `seen` may be the grey levels that the black and white of `target` was drawn from."""

    seen: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.seen)

    def __getitem__(self, which: slice | Tensor) -> "Images":
        return self.map(lambda images: images[which])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Images":
        """The result of a function on both."""
        seen = change(self.seen)
        return Images(seen, seen if self.target is self.seen else change(self.target))

    def split(self, count: int) -> Iterator["Images"]:
        """Parts of `count` images."""
        return (self[start : start + count] for start in range(0, len(self), count))


@dataclass(frozen=True)
class ImageSet:
    """Images, uint8 (n, channels, side, side). `binary`: grey levels are probabilities, from which black and white are drawn;
    `grey`: encoder and context see the grey levels."""

    training: Tensor
    validation: Tensor
    test: Tensor
    binary: bool
    grey: bool = False

    def images(self, levels: Tensor) -> Images:
        """Images of uint8 levels; of a binary set drawn anew at each call."""
        images = levels.float() / 255
        drawn = torch.bernoulli(images) if self.binary else images
        return Images(images if self.grey else drawn, drawn)

    def batches(self) -> Callable[[int], Tensor]:
        """`batches(n)`: n training images, uint8, in an order shuffled anew for each epoch by torch's global generator."""
        queue = torch.empty(0, dtype=torch.long)

        def draw(count: int) -> Tensor:
            nonlocal queue
            while len(queue) < count:
                queue = torch.cat([queue, torch.randperm(len(self.training))])
            chosen, queue = queue[:count], queue[count:]
            return self.training[chosen]

        return draw


_UNREADABLE = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, BadZipFile, zlib.error, ModuleNotFoundError)
"""What NumPy, SciPy, zipfile and the readers raise for files that are missing, damaged or of another kind."""


def folder_of(name: str, data: Path) -> Path:
    """Where a data set's files are: in `data`, or in its folder of the set's name if there is one."""
    return data / name if (data / name).is_dir() else data


def load(name: str, data: Path, grey: bool = False) -> ImageSet:
    """A data set: cifar10, mnist, omniglot or photos; `grey` is for the binary sets, mnist and omniglot. Raises DataError, which
    says where its files come from."""
    if name not in _READERS:
        raise DataError(f"there is no data set {name!r}: use one of {', '.join(_READERS)}")
    folder = folder_of(name, data)
    try:
        training, test = _READERS[name](folder)
    except _UNREADABLE as error:
        raise DataError(f"cannot read {name} in {folder} ({error}); put there {_SOURCES[name]}") from error
    if len(training) <= HELD_OUT:
        raise DataError(f"{name} in {folder} has {len(training)} training images, of which {HELD_OUT} are held out: it needs more")
    return ImageSet(training[:-HELD_OUT], training[-HELD_OUT:], test, name in ("mnist", "omniglot"), grey)


def _cifar10(folder: Path) -> tuple[Tensor, Tensor]:
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder

    def read(name: str) -> np.ndarray:
        return np.fromfile(folder / name, np.uint8).reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)

    training = np.concatenate([read(f"data_batch_{number}.bin") for number in range(1, 6)])
    return torch.from_numpy(training), torch.from_numpy(read("test_batch.bin"))


def _photos(folder: Path) -> tuple[Tensor, Tensor]:
    """Every 32x32 tile of photographs, shuffled once; those of held-out photographs are the test set."""
    training, test = photo_files(folder)
    return _tiles(training), _tiles(test)


def _tiles(files: list[Path]) -> Tensor:
    tiles = []
    for file in files:
        image = torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy())
        # to rows and columns of tiles; what is left over at the right and bottom edges falls away
        grid = image.unfold(0, 32, 32).unfold(1, 32, 32)
        tiles.append(grid.reshape(-1, 3, 32, 32))
    joined = torch.cat(tiles)
    return joined[torch.randperm(len(joined), generator=torch.Generator().manual_seed(0))]


def _mnist(folder: Path) -> tuple[Tensor, Tensor]:
    return _idx(folder, "train-images-idx3-ubyte"), _idx(folder, "t10k-images-idx3-ubyte")


def _idx(folder: Path, name: str) -> Tensor:
    zipped = folder / f"{name}.gz"
    data = gzip.decompress(zipped.read_bytes()) if zipped.exists() else (folder / name).read_bytes()
    magic, count, height, width = np.frombuffer(data, ">u4", 4).tolist()
    if magic != 0x803:
        raise ValueError(f"{name} is not an idx file of images")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=16).reshape(count, 1, height, width).copy())


def _omniglot(folder: Path) -> tuple[Tensor, Tensor]:
    matlab = folder / "chardata.mat"
    if matlab.exists():
        return _chardata(matlab)
    return _drawings(folder / "images_background.npz"), _drawings(folder / "images_evaluation.npz")


def _chardata(path: Path) -> tuple[Tensor, Tensor]:
    """28x28 grey levels in [0, 1], a column an image, which goes down its columns as MATLAB's do."""
    from scipy.io import loadmat

    table = loadmat(path)

    def images(key: str) -> Tensor:
        columns = np.asarray(table[key], np.float32)
        return torch.from_numpy(np.round(columns.T.reshape(-1, 1, 28, 28) * 255).astype(np.uint8)).mT.contiguous()

    return images("data"), images("testdata")


def _drawings(path: Path) -> Tensor:
    """105x105 drawings, True for paper, to 28x28 grey levels of ink by area; shuffled once: held-out ones are of all alphabets."""
    with np.load(path, allow_pickle=False) as file:
        paper = torch.from_numpy(file[file.files[0]]).reshape(-1, 1, 105, 105)
    # each of 28 rows covers 105 / 28 = 15 / 4 of the original ones
    area = F.avg_pool1d(torch.eye(105).repeat_interleave(4, 1), 15).T
    ink = torch.cat([area @ (~part).float() @ area.T for part in paper.split(2000)])
    order = torch.randperm(len(ink), generator=torch.Generator().manual_seed(0))
    return (ink * 255).round().to(torch.uint8)[order]


_READERS: dict[str, Callable[[Path], tuple[Tensor, Tensor]]] = {
    "cifar10": _cifar10,
    "mnist": _mnist,
    "omniglot": _omniglot,
    "photos": _photos,
}
