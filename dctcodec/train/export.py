"""The averaged weights of runs as an installable model of the family dct-bands: its prior as integers, with proofs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dctcodec import installed
from dctcodec.bands import decoder_export
from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.coder import tables_of_prior
from dctcodec.bands.config import BandsConfig, BandsShape
from dctcodec.bands.decoder import Decoder
from dctcodec.bands.export import to_integers
from dctcodec.bands.prior import PriorNetwork, PriorShape
from dctcodec.configuration import make
from dctcodec.exact.quantised import ExactConv, weight_exponent
from dctcodec.family import DECODER, FLOAT_PRIOR, PRIOR, TUNED_DECODER, WEIGHTS
from dctcodec.files import make_folder, write_output
from dctcodec.train.checkpoint import EXPONENT, load_weights

RECIPES = "recipes"
"""Folder beside those of the models."""


def export_bands(model: Path, config: BandsConfig, prior: Path, decoder: Path, second: Path | None = None) -> None:
    """Write the folder `model` from checkpoints of runs that trained its prior and its decoder; `second`: of a decoder trained for
    MS-SSIM, if any. Nothing is written before all is at hand.

    Raises ModelError where a checkpoint does not fit, ExportError where weights have no exact form, OutputError.
    """
    files = _prior_files(prior, config.shape)
    for name, checkpoint in {DECODER: decoder, TUNED_DECODER: second}.items():
        if checkpoint:
            files[name] = decoder_file(load_weights(checkpoint, Decoder(config.shape.decoder, config.shape.kinds), "decoder"))
    sizes = {name: size for name, size in asdict(config.shape).items() if size}  # no blocks where all are 32x32
    facts = {"family": "dct-bands", "description": config.description} | sizes | {"figures": {}}
    write_model(model, files, facts)


def _prior_files(checkpoint: Path, shape: BandsShape) -> dict[str, bytes]:
    """The files of a prior: as integers, and what it is trained on from."""
    network = load_weights(checkpoint, PriorNetwork(shape.prior, shape.kinds), "prior")
    tensors = to_integers(network)
    tensors |= {name: torch.from_numpy(table) for name, table in tables_of_prior().items()}
    return {PRIOR: save(tensors), FLOAT_PRIOR: float_prior(network)}


def shipped_prior(model: installed.ModelInfo) -> PriorNetwork:
    """The float network that a model's integers were made from. That of a model in the repository lies beside its recipe, so that
    it is not installed with the model. Raises ModelError where it does not fit."""
    shape, beside = make(PriorShape, model.config["prior"], "prior"), model.path.parent / RECIPES / f"{model.name}-{FLOAT_PRIOR}"
    weights = beside if beside.exists() else model.path / FLOAT_PRIOR
    return load_weights(weights, PriorNetwork(shape, kinds_of(model.config.get("blocks", ()))))


def write_model(model: Path, files: dict[str, bytes], config: dict[str, Any]) -> None:
    """Write a model: its files, and last config.json, what it is; benchmarks/scripts/publish.py adds the figures. Weights that an
    earlier model left in the folder go."""
    make_folder(model)
    for name, data in (files | {installed.CONFIG: f"{json.dumps(config, indent=1)}\n".encode()}).items():
        write_output(model / name, data)
    for name in WEIGHTS - files.keys():
        (model / name).unlink(missing_ok=True)


def float_prior(network: PriorNetwork) -> bytes:
    """The file of a prior to train on from: weights as the network itself rounds them, int8 with an exponent for each row; all else
    float16."""
    tensors = _halves(network)
    for name, layer in network.named_modules():
        if isinstance(layer, ExactConv):
            exponent = weight_exponent(layer.weight.detach())
            whole = layer.rounded().detach() * torch.exp2(exponent)[:, None]
            tensors |= {f"{name}.weight": whole.to(torch.int8), name + EXPONENT: exponent.to(torch.int8)}
    return save(tensors)


def decoder_file(decoder: Decoder) -> bytes:
    """The file of a decoder: the network, and its exact form. Raises ExportError."""
    return save(decoder_export.to_integers(decoder))


def _halves(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}


def packed(tensors: dict[str, Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})
