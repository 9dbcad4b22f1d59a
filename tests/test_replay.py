"""Training steps that a GPU replays: nothing in one waits for it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dctcodec.data.sets import Images, load
from dctcodec.train import loop, vae
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.recipe import read
from dctcodec.train.settings import Settings
from dctcodec.vae.model import PaperModel

RECIPES = Path(__file__).parents[1] / "models" / "recipes"
READING = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero", "equal")
"""Of torch's operations those that bring a value to Python, take a shape from one, or make a tensor of numbers."""


class Watch(TorchDispatchMode):
    """Notes what would make a GPU be waited for."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        indices = args[1] if "index" in str(operation) and len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
        by_mask = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        if by_mask or str(operation).split(".")[1] in READING:
            self.seen.append(str(operation))
        return operation(*args, **(kwargs or {}))


def test_the_watch_sees_what_waits():
    values = torch.arange(3.0)
    with Watch() as watch:
        values[values > 1].sum().item()
        torch.tensor([1.0, 2.0])
    assert [name.split(".")[1] for name in watch.seen] == ["index", "_local_scalar_dense", "lift_fresh"]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("dct-vae-mnist", "grown"),
        ("dct-vae-mnist", "grown-weighted"),
        ("vae-cifar10", "first"),
        ("dct-vae-cifar10-bound", "context"),
    ],
)
def test_a_step_of_the_papers_models_waits_for_nothing(name: str, stage: str):
    config = read(RECIPES / f"{name}.toml").stage(stage).config
    torch.manual_seed(0)
    model, network = PaperModel(config.shape), config.shape.network
    optimiser = Optimiser(model, 1e-3, 1 / 3)
    for group in optimiser.param_groups:
        group["lr"] = torch.tensor(1e-3)

    def loss(model: PaperModel, batch: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        return vae.loss(model, Images(batch, batch), config.training, weight=vae.kl_weight(step, config.training))

    stepper = loop.Stepper(model, optimiser, loss, clip=1.0, world=1)
    images = torch.rand(2 * config.training.prior_images, network.channels, network.side, network.side).round()
    before = model.vae.encoder.stem.weight.clone()
    for watch in (Watch(), Watch()):  # the first step makes what is kept
        with watch:
            value, norm = stepper.gradients(images, torch.zeros(()))
            stepper.move()
    assert watch.seen == []
    assert value.isfinite() and norm > 0 and not torch.equal(model.vae.encoder.stem.weight, before)


@pytest.mark.parametrize("name", ["dct-vae-mnist", "vae-cifar10"])
def test_the_likelihoods_parameters_are_not_rounded_to_bfloat16(name: str):
    config = read(RECIPES / f"{name}.toml").stages[-1].config
    model, network = PaperModel(config.shape).eval(), config.shape.network
    images = torch.rand(1, network.channels, network.side, network.side).round()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        parameters, _ = model.vae.reconstruct(images, model.context_image(images))
    assert parameters.dtype == torch.float32
    assert not torch.equal(parameters, parameters.bfloat16().float())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_training_on_cuda_is_replayed(paper_runs: Path, tmp_path: Path):
    config, data = read(paper_runs / "tiny.toml").stages[0].config, paper_runs / "data"
    training = replace(config.training, optimiser="muon", learning_rate=5e-3, final_rate=1e-3, average=0.5)
    settings = Settings(tmp_path / "run", steps=60, learning_rate=5e-3, device="cuda")
    trained, images = vae.train_vae(replace(config, training=training), data, settings), load(config.data, data)
    torch.manual_seed(0)
    fresh = PaperModel(config.shape)
    fresh.fit(images.images(images.training).seen)
    before, after = (vae.validate(model, images)["bound"] for model in (fresh, trained))
    assert after < before - 2  # five steps, those before one is recorded, do not go so far
