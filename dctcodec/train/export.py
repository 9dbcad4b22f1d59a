"""`dctcodec train export`: a run's averaged weights as an installable model."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from dctcodec import configuration, models
from dctcodec.coder import integer_tables
from dctcodec.decoder import Decoder, DecoderShape
from dctcodec.prior import gaussian_export
from dctcodec.prior.export import to_integers
from dctcodec.prior.forecast import ForecastShape
from dctcodec.prior.layers import ExactConv, weight_exponent
from dctcodec.prior.network import LOG_SCALE_MIN, SCALE_BITS, SCALES, PriorNetwork, PriorShape, distribution_function
from dctcodec.train.loop import EXPONENT, load_average, load_weights
from dctcodec.vae.config import read
from dctcodec.vae.model import PaperModel

PAPER_TEMPERATURE = 0.1
"""At which the paper draws the latents below the context."""


def export_prior(checkpoint: Path, model: Path, shape: PriorShape = PriorShape()) -> None:
    """Write `model`/prior.safetensors, and what it is trained on from, from the checkpoint of a prior's run or of a flagship's.

    Raises ExportError where the weights have no exact form.
    """
    network = load_average(checkpoint, PriorNetwork(shape), "prior")
    tensors = to_integers(network)
    log_scales = LOG_SCALE_MIN + np.arange(SCALES) / 2**SCALE_BITS
    tables = integer_tables(log_scales, distribution_function)
    tensors |= {name: torch.from_numpy(table) for name, table in tables.items()}
    model.mkdir(parents=True, exist_ok=True)
    save_file(tensors, model / models.PRIOR)
    save_float_prior(network, model / models.FLOAT_PRIOR)


def shipped_prior(model: models.ModelInfo) -> PriorNetwork:
    """The float network that a model's integers were made from. Raises ModelError where it does not fit."""
    shape = dict(model.config["prior"])
    forecast = ForecastShape(**shape.pop("forecast")) if shape["forecast"] else None
    return load_weights(model.path / models.FLOAT_PRIOR, PriorNetwork(PriorShape(**shape | {"forecast": forecast})))


def export_decoder(checkpoint: Path, path: Path, shape: DecoderShape = DecoderShape()) -> None:
    """Write a decoder's file, float16, from the checkpoint of a run that trained it or its latents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _save_halves(load_average(checkpoint, Decoder(shape), "decoder"), path)


def write_config(
    model: Path, description: str, prior: PriorShape = PriorShape(), decoder: DecoderShape = DecoderShape()
) -> None:
    """Write `model`/config.json: what the model is and the networks' shapes; benchmarks/publish.py adds the figures."""
    shapes = {"prior": asdict(prior), "decoder": asdict(decoder)}
    config = {"family": "dct-bands", "description": description} | shapes | {"figures": {}}
    (model / models.CONFIG).write_text(json.dumps(config, indent=1) + "\n")


def export_paper(config: Path, checkpoint: Path, model: Path, prior: Path | None = None) -> None:
    """Write one of the paper's models, made as a TOML file says, to the folder `model`: trained weights in float16, statistics as
    they are, the configuration, and the diffusion prior as integers. `prior`: checkpoint of a run for the prior alone, if any.
    Raises ConfigError, ExportError."""
    network, description = PaperModel(read(config).shape), read(config).description
    load_average(checkpoint, network)
    if prior:
        network.prior = load_average(prior, PaperModel(network.shape)).prior
    trained = {name for name, _ in network.named_parameters()}
    tensors = {k: v.half() if k in trained else v for k, v in network.state_dict().items()}
    model.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, model / models.VAE)
    family = "vae"
    if network.prior:
        family = "dct-vae"
        save_file({k: v.contiguous() for k, v in gaussian_export.to_integers(network.prior).items()}, model / models.PRIOR)
    table = configuration.table(config)
    facts = {"family": family, "description": description, "temperature": PAPER_TEMPERATURE, "config": table, "figures": {}}
    (model / models.CONFIG).write_text(json.dumps(facts, indent=1) + "\n")


def save_float_prior(network: PriorNetwork, path: Path) -> None:
    """Write a prior to train on from: weights as the network itself rounds them, int8 with an exponent for each row; all else
    float16."""
    tensors = _halves(network)
    for name, layer in network.named_modules():
        if isinstance(layer, ExactConv):
            exponent = weight_exponent(layer.weight.detach())
            whole = layer.rounded().detach() * torch.exp2(exponent)[:, None]
            tensors |= {f"{name}.weight": whole.to(torch.int8), name + EXPONENT: exponent.to(torch.int8)}
    save_file(tensors, path)


def _save_halves(network: nn.Module, path: Path) -> None:
    save_file(_halves(network), path)


def _halves(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
