"""`dctcodec train export-vae`: a trained model of the paper as an installable model."""

from pathlib import Path

from dctcodec import configuration
from dctcodec.family import PRIOR, VAE
from dctcodec.train.checkpoint import load_average
from dctcodec.train.export import packed, write_model
from dctcodec.vae import export
from dctcodec.vae.config import read
from dctcodec.vae.model import PaperModel

PAPER_TEMPERATURE = 0.1
"""At which the paper draws the latents below the context."""


def export_paper(config: Path, checkpoint: Path, model: Path, prior: Path | None = None, codec: bool = True) -> None:
    """Write one of the paper's models, made as a TOML file says, to the folder `model`: trained weights in float16, statistics as
    they are, the configuration, and, for a `codec`, the diffusion prior as integers. `prior`: checkpoint of a run for the prior
    alone, if any. Raises ConfigError, ModelError where a checkpoint does not fit, ExportError, OutputError."""
    network, description = PaperModel(read(config).shape), read(config).description
    load_average(checkpoint, network)
    if prior:
        network.prior = load_average(prior, PaperModel(network.shape)).prior
    trained = {name for name, _ in network.named_parameters()}
    tensors = {k: v.half() if k in trained else v for k, v in network.state_dict().items()}
    files, family = {VAE: packed(tensors)}, "vae"
    if codec and network.prior:
        files[PRIOR], family = packed(export.to_integers(network.prior)), "dct-vae"
    table = configuration.table(config)
    facts = {"family": family, "description": description, "temperature": PAPER_TEMPERATURE, "config": table, "figures": {}}
    write_model(model, files, facts)
