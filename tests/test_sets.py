"""The data sets in their usual files, small ones made here."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch import Tensor

from dctcodec.data import sets
from dctcodec.errors import DataError

HELD_OUT = 3


@pytest.fixture(autouse=True)
def few_are_held_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sets, "HELD_OUT", HELD_OUT)


def levels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def idx(images: np.ndarray) -> bytes:
    return struct.pack(">4I", 0x803, *images.shape) + images.tobytes()


def all_of(data: sets.ImageSet) -> Tensor:
    return torch.cat([data.training, data.validation])


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_from_idx_files(tmp_path: Path, zipped: bool):
    training, test = levels(10, 28, 28), levels(4, 28, 28, seed=1)
    for name, images in (("train", training), ("t10k", test)):
        path = tmp_path / f"{name}-images-idx3-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(idx(images)) if zipped else idx(images))
    data = sets.load("mnist", tmp_path)
    assert np.array_equal(all_of(data)[:, 0], training) and np.array_equal(data.test[:, 0], test)
    assert (len(data.validation), data.binary, data.test.dtype) == (HELD_OUT, True, torch.uint8)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar_is_read_from_binary_batches_in_both_layouts(tmp_path: Path, inner: str):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    batches = [levels(4, 3, 32, 32, seed=number) for number in range(6)]
    for name, batch in zip(names, batches, strict=True):
        labels = np.full((4, 1), 7, np.uint8)
        (folder / name).write_bytes(np.concatenate([labels, batch.reshape(4, -1)], 1).tobytes())
    data = sets.load("cifar10", tmp_path)
    assert np.array_equal(all_of(data), np.concatenate(batches[:5])) and np.array_equal(data.test, batches[5])
    assert not data.binary


def test_omniglot_drawings_become_ink_by_area(tmp_path: Path):
    paper = np.random.default_rng(0).random((2, 20, 105, 105)) < 0.7
    np.savez(tmp_path / "images_background.npz", paper)
    np.savez(tmp_path / "images_evaluation.npz", paper[:1])
    data = sets.load("omniglot", tmp_path)
    fine = np.kron(~paper.reshape(-1, 105, 105), np.ones((4, 4)))  # 420 = 28 * 15
    expected = np.round(255 * fine.reshape(-1, 28, 15, 28, 15).mean((2, 4)))
    # in another order, and the rounding of a half may go either way
    found = {image.tobytes(): image for image in all_of(data)[:, 0].numpy().astype(float)}
    assert len(found) == 40
    for image in expected:
        assert min(np.abs(image - other).max() for other in found.values()) <= 1
    assert data.binary and len(data.test) == 20
    assert torch.equal(sets.load("omniglot", tmp_path).training, data.training)


def test_omniglot_is_read_upright_from_chardata(tmp_path: Path):
    training, test = levels(8, 28, 28), levels(5, 28, 28, seed=1)
    columns = {key: images.transpose(0, 2, 1).reshape(-1, 784).T / 255 for key, images in (("data", training), ("testdata", test))}
    scipy.io.savemat(tmp_path / "chardata.mat", columns)
    data = sets.load("omniglot", tmp_path)
    assert np.array_equal(all_of(data)[:, 0], training) and np.array_equal(data.test[:, 0], test)


@pytest.mark.parametrize(
    ("name", "source"), [("cifar10", "binary version of https"), ("mnist", "four idx files"), ("omniglot", "chardata.mat of https")]
)
def test_missing_files_are_said_with_where_they_come_from(tmp_path: Path, name: str, source: str):
    with pytest.raises(DataError, match=f"cannot read {name} in .*; put there .*{source}"):
        sets.load(name, tmp_path)


def test_damaged_files_are_said(tmp_path: Path):
    path = tmp_path / "train-images-idx3-ubyte"
    for content in (b"", b"0" * 100, idx(levels(3, 28, 28))[:-1]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot read mnist"):
            sets.load("mnist", tmp_path)
    (tmp_path / "images_background.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="cannot read omniglot"):
        sets.load("omniglot", tmp_path)


def test_an_archive_of_another_kind_is_said(tmp_path: Path):
    for name in ("images_background.npz", "images_evaluation.npz"):
        np.savez(tmp_path / name, np.array(["words"]))
    with pytest.raises(DataError, match="cannot read omniglot"):
        sets.load("omniglot", tmp_path)


def test_a_set_needs_more_than_what_is_held_out(tmp_path: Path):
    for name in ("train", "t10k"):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(levels(HELD_OUT, 28, 28)))
    with pytest.raises(DataError, match="3 training images"):
        sets.load("mnist", tmp_path)


def test_unknown_sets_are_said(tmp_path: Path):
    with pytest.raises(DataError, match="cifar10, mnist, omniglot"):
        sets.load("svhn", tmp_path)


def made(binary: bool) -> sets.ImageSet:
    images = torch.arange(12, dtype=torch.uint8).reshape(12, 1, 1, 1).expand(-1, 1, 40, 40) * 20
    return sets.ImageSet(images, images[:0], images[:0], binary)


def test_binary_images_are_drawn_anew_from_grey_levels():
    torch.manual_seed(0)
    data = made(binary=True)
    first, second = data.images(data.training).target, data.images(data.training).target
    assert set(first.unique().tolist()) == {0, 1} and not torch.equal(first, second)
    assert torch.allclose(first.mean((1, 2, 3)), data.training[:, 0, 0, 0] / 255, atol=0.06)


def test_colours_are_levels_over_255():
    data = made(binary=False)
    images = data.images(data.training)
    assert torch.equal(images.seen, data.training / 255) and images.target is images.seen


def test_a_model_may_see_the_grey_levels_that_its_target_is_drawn_from():
    torch.manual_seed(0)
    levels = made(binary=True).training
    data = sets.ImageSet(levels, levels[:0], levels[:0], binary=True, grey=True)
    images = data.images(levels)
    assert torch.equal(images.seen, levels / 255) and set(images.target.unique().tolist()) == {0, 1}
    parts = list(images.split(5))
    assert [len(part) for part in parts] == [5, 5, 2]
    for name in ("seen", "target"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(images, name))


def test_batches_go_through_the_images_epoch_by_epoch():
    def five_epochs(seed: int) -> Tensor:
        torch.manual_seed(seed)
        batches = made(binary=False).batches()
        return (torch.cat([batches(5) for _ in range(12)])[:, 0, 0, 0] // 20).reshape(5, 12)

    epochs = five_epochs(1)
    assert torch.equal(epochs.sort().values, torch.arange(12).expand(5, 12))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 5
    assert torch.equal(five_epochs(1), epochs) and not torch.equal(five_epochs(2), epochs)


def test_photographs_become_tiles(tmp_path: Path):
    folder = tmp_path / "bsds"
    folder.mkdir()
    pixels = levels(11, 70, 100, 3)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number:02}.jpg")
    data = sets.load("photos", tmp_path)
    held_out = np.asarray(Image.open(folder / "00.jpg"))
    corners = [(row, column) for row in (0, 32) for column in (0, 32, 64)]
    expected = {held_out[row : row + 32, column : column + 32].transpose(2, 0, 1).tobytes() for row, column in corners}
    assert {tile.numpy().tobytes() for tile in data.test} >= expected
    assert data.training.shape[1:] == (3, 32, 32) and len(all_of(data)) == 6 * 9 and not data.binary
