"""The averaged weights of a run as an installable model of the paper."""

from pathlib import Path
from typing import Any

from dctcodec.family import PRIOR, VAE
from dctcodec.train.checkpoint import load_weights
from dctcodec.train.export import packed, write_model
from dctcodec.vae import export
from dctcodec.vae.config import Config
from dctcodec.vae.model import PaperModel

PAPER_TEMPERATURE = 0.1
"""Temperature at which the paper draws the latents below the context."""


def export_vae(model: Path, family: str, config: Config, table: dict[str, Any], checkpoint: Path) -> None:
    """Write the folder `model` from the checkpoint of a run: trained weights in float16, statistics as they are, `table`, which
    `config` was made of, and, for the family dct-vae, the diffusion prior as integers. Raises ModelError where the checkpoint does
    not fit, ExportError, OutputError."""
    network = load_weights(checkpoint, PaperModel(config.shape))
    trained = {name for name, _ in network.named_parameters()}
    tensors = {k: v.half() if k in trained else v for k, v in network.state_dict().items()}
    files = {VAE: packed(tensors)}
    if family == "dct-vae" and network.prior:
        files[PRIOR] = packed(export.to_integers(network.prior))
    facts = {"family": family, "description": config.description, "temperature": PAPER_TEMPERATURE, "config": table, "figures": {}}
    write_model(model, files, facts)
