"""Training, a few steps of each kind on small pictures: it resumes, it exports, and what it exports is a codec."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from dctcodec import Codec, DataError, models
from dctcodec.decoder import Decoder
from dctcodec.prior.network import PriorNetwork, code_bits
from dctcodec.schedule import REVEALS
from dctcodec.train import data, decoder, latents, loop, optimiser, prior
from dctcodec.train.command import train

SIDE, CROP = 96, 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_picture) -> Path:
    """Eleven small photographs, of which two are held out."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "bsds").mkdir()
    for number in range(11):
        make_picture(SIDE, SIDE, seed=number).save(folder / "bsds" / f"{number:02}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each kind, three steps long, and the model they make."""
    folder = tmp_path_factory.mktemp("runs")
    with small_crops():
        command("prior", photos, folder / "prior", 3)
        command("decoder", photos, folder / "decoder", 3)
        command("latents", photos, folder / "latents", 3, "--decoder", folder / "decoder" / loop.CHECKPOINT)
    checkpoints = [f"--{name}={folder / name / loop.CHECKPOINT}" for name in ("prior", "latents")]
    invoke("export", *checkpoints, "--description", "three steps", "-o", folder / "models" / "tiny")
    return folder


def small_crops() -> pytest.MonkeyPatch:
    """A context in which crops are small and few reveals are validated."""
    context = pytest.MonkeyPatch.context()
    patch = context.__enter__()
    for module in (prior, decoder, latents):
        patch.setattr(module, "CROP", CROP)
        patch.setattr(module, "VALIDATION_STEPS", (50.0,))
    context.__enter__ = lambda: patch
    return context
