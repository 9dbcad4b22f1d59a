"""What the tests share: a loaded codec, images, and a reproducible Hypothesis. torch is imported only by those that use it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from dctcodec.environment import without_amx

without_amx()
settings.register_profile("reproducible", derandomize=True, deadline=None, database=None)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """torch's random numbers are the same each time, where a test has it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def codec():
    """The default model, on the CPU."""
    from dctcodec import Codec

    return Codec(device="cpu")


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photograph of 512x600 pixels, the one that matplotlib ships."""
    from matplotlib.cbook import get_sample_data

    image = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    image.info = {}
    return image


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., Image.Image]:
    """`make_picture(width, height, mode="RGB", seed=0)`: smooth colours, an edge and a little noise, the same every time."""
    return picture


@pytest.fixture(scope="session")
def kodak() -> list[Path]:
    """The Kodak images, from $DCTCODEC_KODAK or beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "kodak"
    folder = Path(os.environ.get("DCTCODEC_KODAK", default))
    files = sorted(folder.glob("kodim*.png"))
    if len(files) == 24:
        return files
    message = f"the 24 Kodak images are not in {folder}: set DCTCODEC_KODAK to their folder"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """`threads(n)` sets the number of threads, torch's too, until the test ends."""
    from dctcodec.threads import limited

    with ExitStack() as stack:
        yield lambda number: stack.enter_context(limited(number))


@pytest.fixture(scope="session")
def tiny_paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with tiny.toml and plain.toml (no context), recipes of small networks, and data/, 8x8 binary images."""
    from dctcodec.data import sets

    folder = tmp_path_factory.mktemp("paper")
    (folder / "data").mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 60), ("t10k", 30)):
        levels = random.integers(0, 2, (count, 4, 4)).repeat(2, 1).repeat(2, 2).astype(np.uint8) * 255
        header = np.array([0x803, *levels.shape], ">u4").tobytes()
        (folder / "data" / f"{name}-images-idx3-ubyte").write_bytes(header + levels.tobytes())
    scale = "[[scale]]\nside = {}\nlatents = {}\nencoder = 1\nwidth = 8\nhidden = 8\n"
    common = 'data = "mnist"\ndescription = "tiny"\n[network]\nchannels = 1\nside = 8\nlatent_width = 1\nlikelihood = "bernoulli"\n'
    common += scale.format(4, 2) + scale.format(2, 1) + '[[stage]]\nname = "only"\npart = "all"\nsteps = 3\n'
    common += "[training]\nbatch = 8\nlearning_rate = 1e-3\nfinal_rate = 1e-4\naverage = 0.5\n"
    (folder / "plain.toml").write_text('family = "vae"\n' + common)
    context = '[context]\nkind = "dct"\nsize = 3\nbits = 2\n'
    context += '[prior]\nsteps = 3\nwidth = 8\nscales = 1\nblocks = 1\nschedule = "linear"\n'
    (folder / "tiny.toml").write_text('family = "dct-vae"\n' + common + "prior_images = 2\n" + context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "HELD_OUT", 12)
        yield folder


@pytest.fixture(scope="session")
def paper_runs(tiny_paper: Path) -> Path:
    """The same folder with the runs tiny/ and plain/, of one stage, only/, three steps long."""
    from click.testing import CliRunner

    from dctcodec.cli.train import train

    for name in ("tiny", "plain"):
        words = ["model", tiny_paper / f"{name}.toml", "--data", tiny_paper / "data", "--run", tiny_paper / name]
        result = CliRunner().invoke(train, list(map(str, words)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return tiny_paper


@pytest.fixture(scope="session")
def tiny_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models dct-vae-tiny and vae-tiny, of tiles of 32x32 in colour, untrained but for their statistics."""
    import torch
    from safetensors.torch import save_file

    from dctcodec.train import checkpoint
    from dctcodec.train.export_vae import export_vae
    from dctcodec.train.recipe import read
    from dctcodec.vae.model import PaperModel

    source, folder = tmp_path_factory.mktemp("tiles"), tmp_path_factory.mktemp("models")
    network = 'channels = 3\nside = 32\nlatent_width = 2\nlikelihood = "logistic-mixture"\noffset = {}\n'
    scale = "[[scale]]\nside = {}\nlatents = {}\nencoder = 1\nwidth = 8\nhidden = 8\n"
    common = f'data = "cifar10"\ndescription = "tiny"\n[network]\n{network}{scale.format(8, 2)}{scale.format(4, 1)}'
    common += '[[stage]]\nname = "only"\npart = "all"\nsteps = 1\nbatch = 8\nlearning_rate = 1e-3\nfinal_rate = 1e-4\n'
    context = '[context]\nkind = "dct"\nsize = 6\nbits = 5\nrate_weight = 0.1\n'
    context += "[prior]\nsteps = 6\nwidth = 8\nscales = 2\nblocks = 1\n"
    pixels = torch.from_numpy(np.array(picture(320, 320))).float() / 255
    images = pixels.reshape(10, 32, 10, 32, 3).permute(0, 2, 4, 1, 3).reshape(100, 3, 32, 32)
    for name, text in (("vae-tiny", common.format("false")), ("dct-vae-tiny", common.format("true") + context)):
        (source / f"{name}.toml").write_text(f'family = "{name.removesuffix("-tiny")}"\n{text}')
        recipe = read(source / f"{name}.toml")
        (stage,) = recipe.stages
        torch.manual_seed(0)
        model = PaperModel(stage.config.shape)
        model.fit(images)
        if model.prior:
            torch.nn.init.normal_(model.prior.network.head.weight, std=0.1)
        average = {checkpoint.AVERAGE + key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(average, source / name)
        export_vae(folder / name, recipe.family, stage.config, stage.table, source / name)
    return folder


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(float)
    phases = random.uniform(0, 6, 3)
    planes = [120 + 60 * np.sin(columns / (9 + 4 * i) + phase) + 40 * np.cos(rows / 13) for i, phase in enumerate(phases)]
    pixels = np.stack(planes, -1) + 50 * (rows + columns > width)[..., None] + random.normal(0, 3, (height, width, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)
