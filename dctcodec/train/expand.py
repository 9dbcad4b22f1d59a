"""Start a model of the paper from a smaller trained one, with narrower layers or without a context (Net2Net, Chen et al. 2016).

New channels have no influence at first. Parameters that the new model lacks are left out."""

from pathlib import Path

import torch
from torch import Tensor

from dctcodec.errors import ModelError, last_line
from dctcodec.vae.model import PaperModel

CONTEXT = ("vae.context.", "context.", "prior.")
"""Prefixes of the tensors that a DCT-VAE has and a VAE lacks."""


def has_context(weights: dict[str, Tensor]) -> bool:
    """Whether weights are of a DCT-VAE."""
    return any(name.startswith("context.") for name in weights)


def expand_weights(model: PaperModel, weights: dict[str, Tensor], path: Path) -> None:
    """Begin with the weights, read from `path`, of a network whose layers have as many channels or fewer. Those of a VAE begin a
    DCT-VAE, too: the latents it has not are left out. Raises ModelError where they do not fit."""
    own, new = model.state_dict(), {}
    if model.context and not has_context(weights):
        weights = {name: tensor for name, tensor in weights.items() if name in own}
        new = {name: tensor for name, tensor in own.items() if name.startswith(CONTEXT)}
        new |= {name: torch.zeros_like(tensor) for name, tensor in new.items() if name.startswith("vae.")}
    try:
        if not weights:
            raise RuntimeError("none of their names is known here")
        model.load_state_dict(new | {name: _wider(name, tensor, own.get(name)) for name, tensor in weights.items()})
    except RuntimeError as error:
        raise ModelError(f"the weights in {path} are not of this network, nor of a narrower one: {last_line(error)}") from error


def _wider(name: str, weight: Tensor, own: Tensor | None) -> Tensor:
    """Of a layer with more channels: the old outputs do not hear the new inputs, the new outputs stay as they are in `own`. What is
    no smaller layer of the VAE stays what it is."""
    if own is None or weight.shape == own.shape or weight.shape[2:] != own.shape[2:] or weight.ndim != own.ndim:
        return weight
    narrower = all(old <= new for old, new in zip(weight.shape, own.shape, strict=True))
    if not narrower or not name.startswith("vae.") or (name.endswith(".inject.weight") and weight.shape[1] != own.shape[1]):
        return weight  # the old channels of a wider latent mean something else
    wider = own.clone()
    wider[: len(weight)] = 0
    wider[tuple(map(slice, weight.shape[:2]))] = weight
    return wider
