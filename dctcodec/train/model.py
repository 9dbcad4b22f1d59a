"""Training of a whole model, from nothing but photographs, in the parts that a configuration says the lengths of: prior and decoder
together, the latents of that decoder, and then the prior alone.

Each part is a run in a folder of its own and is taken up where it was left. A part whose beginning has changed since, because the
one before was made longer, begins anew; what it was is put aside.
"""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

from dctcodec.decoder import Decoder
from dctcodec.errors import ConfigError
from dctcodec.files import write_output
from dctcodec.prior.network import PriorNetwork
from dctcodec.train.export import export, float_prior
from dctcodec.train.flagship import FlagshipConfig, train_flagship
from dctcodec.train.latents import train_latents
from dctcodec.train.loop import CHECKPOINT, Settings, load_average, meet, rank, share
from dctcodec.train.prior import train_prior

BATCH = 8
"""Crops a step of latents and of the prior alone."""
LATENTS_RATE = 1e-3
BEGINNING = "beginning"
"""File in a part's folder: SHA-256 of the checkpoint that it began with."""


def train_model(config: FlagshipConfig, photos: Path, settings: Settings) -> None:
    """Train (or take up) all parts, in folders of `settings.folder`, on the photographs of a folder, and write the model to its
    folder `model`. Raises ConfigError where the configuration does not say how long."""
    training, folder, together = config.training, settings.folder, share(BATCH)
    if not (training.crops and training.latent_crops):
        raise ConfigError("the configuration should say crops and latent_crops in [training], the lengths of its parts")
    joint = replace(settings, folder=folder / "joint", crops=training.crops, batch=share(training.batch))
    train_flagship(config, photos, replace(joint, learning_rate=training.learning_rate))
    prior = joint.folder / CHECKPOINT

    latents = replace(settings, folder=folder / "latents", crops=training.latent_crops, batch=together, learning_rate=LATENTS_RATE)
    _begin(latents.folder, prior)
    train_latents(photos, load_average(prior, Decoder(config.shape.decoder), "decoder"), latents)

    alone = replace(settings, batch=together, learning_rate=training.prior_learning_rate)
    for number, steps in enumerate(training.prior_steps, 1):
        run = replace(alone, folder=folder / f"prior-{number}", steps=steps, seed=number)
        _begin(run.folder, prior)
        start = run.folder / "start.safetensors"
        if rank() == 0 and not start.exists():
            write_output(start, float_prior(load_average(prior, PriorNetwork(config.shape.prior), "prior")))
        meet()
        train_prior(photos, replace(run, start=start), config.shape.prior)
        prior = run.folder / CHECKPOINT

    if rank() == 0:
        export(folder / "model", config.description, config.shape, prior, latents.folder / CHECKPOINT)


def _begin(run: Path, checkpoint: Path) -> None:
    """Make the folder of a part that begins with `checkpoint`; one that began with another is put aside."""
    if rank() == 0:
        digest, note = hashlib.sha256(checkpoint.read_bytes()).hexdigest(), run / BEGINNING
        if run.exists() and not (note.exists() and note.read_text() == digest):
            run.rename(run.with_name(f"{run.name}-until-{time.strftime('%Y%m%d-%H%M%S')}"))
        run.mkdir(exist_ok=True)
        note.write_text(digest)
    meet()
