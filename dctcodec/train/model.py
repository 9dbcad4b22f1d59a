"""Training of a whole model, from nothing but photographs, in the parts that a configuration says the lengths of: prior and decoder
together, the latents of that decoder, and then the prior alone.

Each part is a run in a folder of its own and is taken up where it was left. A part whose beginning has changed since, because the
one before was made longer, begins anew; what it was is put aside.
"""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

from dctcodec.bands.decoder import Decoder
from dctcodec.bands.prior import PriorNetwork
from dctcodec.errors import ConfigError
from dctcodec.files import write_output
from dctcodec.train.checkpoint import CHECKPOINT, load_average
from dctcodec.train.export import export, float_prior
from dctcodec.train.flagship import FlagshipConfig, train_flagship
from dctcodec.train.latents import train_latents
from dctcodec.train.loop import held
from dctcodec.train.prior import train_prior
from dctcodec.train.processes import barrier, local_batch, rank
from dctcodec.train.settings import Settings

BATCH = 8
"""Crops a step of latents and of the prior alone."""
LATENTS_RATE = 1e-3
BEGINNING = "beginning"
"""File in a part's folder: SHA-256 of the checkpoint that it began with."""


def train_model(config: FlagshipConfig, photos: Path, settings: Settings) -> None:
    """Train (or take up) all parts, in folders of `settings.folder`, on the photographs of a folder, and write the model to its
    folder `model`. Raises ConfigError where the configuration does not say how long, or another process trains there."""
    training = config.training
    if not (training.crops and training.latent_crops):
        raise ConfigError("the configuration should say crops and latent_crops in [training], the lengths of its parts")
    local_batch(BATCH)  # told before the first hours, not after
    with held(settings.folder):
        joint = _joint(config, photos, settings)
        latents = _latents(config, photos, settings, joint)
        prior = joint
        for number, steps in enumerate(training.prior_steps, 1):
            prior = _prior(config, photos, replace(settings, steps=steps, seed=settings.seed + number), prior, number)
        if rank() == 0:
            export(settings.folder / "model", config.description, config.shape, prior, latents)


def _joint(config: FlagshipConfig, photos: Path, settings: Settings) -> Path:
    """Prior and decoder together; like each part, returns its checkpoint."""
    training, run = config.training, settings.folder / "joint"
    own = {"crops": training.crops, "batch": local_batch(training.batch), "learning_rate": training.learning_rate}
    train_flagship(config, photos, replace(settings, folder=run, **own))
    return run / CHECKPOINT


def _latents(config: FlagshipConfig, photos: Path, settings: Settings, joint: Path) -> Path:
    run = begun(settings.folder / "latents", joint)
    decoder = load_average(joint, Decoder(config.shape.decoder), "decoder")
    own = {"crops": config.training.latent_crops, "batch": local_batch(BATCH), "learning_rate": LATENTS_RATE}
    train_latents(photos, decoder, replace(settings, folder=run, **own))
    return run / CHECKPOINT


def _prior(config: FlagshipConfig, photos: Path, settings: Settings, before: Path, number: int) -> Path:
    """The prior alone, from the checkpoint `before`."""
    run = begun(settings.folder / f"prior-{number}", before)
    start = run / "start.safetensors"
    if rank() == 0 and not start.exists():
        write_output(start, float_prior(load_average(before, PriorNetwork(config.shape.prior), "prior")))
    barrier()
    own = {"start": start, "batch": local_batch(BATCH), "learning_rate": config.training.prior_learning_rate}
    train_prior(photos, replace(settings, folder=run, **own), config.shape.prior)
    return run / CHECKPOINT


def begun(run: Path, checkpoint: Path) -> Path:
    """`run`, the folder of a part that begins with `checkpoint`; one that began with another is put aside."""
    if rank() == 0:
        digest, note = hashlib.sha256(checkpoint.read_bytes()).hexdigest(), run / BEGINNING
        if not (note.exists() and note.read_text() == digest):
            if run.exists():
                run.rename(run.with_name(f"{run.name}-until-{time.strftime('%Y%m%d-%H%M%S')}"))
            run.mkdir()
            write_output(note, digest.encode())
    barrier()
    return run
