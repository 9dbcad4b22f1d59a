"""Checkpoints of a training run: saved, resumed, and read by later stages and by the export."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dctcodec.errors import ModelError, last_line
from dctcodec.exact.byte_layers import as_floats
from dctcodec.family import EXACT
from dctcodec.modules import M
from dctcodec.train.settings import Progress

CHECKPOINT = "checkpoint.safetensors"
AVERAGE = "average."
EXPONENT = ".exponent"
"""Suffix of the exponents of a layer with integer weights: weight = integer / 2^exponent, one exponent for each row."""


def read_weights(path: Path, part: str = "") -> dict[str, Tensor]:
    """The averaged weights in a run's checkpoint, or the float weights of a model. Where they are of a larger network, those of its
    `part`. Raises ModelError where there are none."""
    try:
        with safe_open(path, "pt") as file:
            averages = [name for name in file.keys() if name.startswith(AVERAGE)]
            found = {name.removeprefix(AVERAGE): file.get_tensor(name) for name in averages or file.keys()}
    except FileNotFoundError as error:
        raise ModelError(f"there is no {path}: give a run of `dctcodec train`, or the float weights of a model") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights in {path}: {last_line(error)}") from error
    found = {name: tensor for name, tensor in found.items() if not name.startswith(EXACT)}
    own = {name.removeprefix(f"{part}."): tensor for name, tensor in found.items() if part and name.startswith(f"{part}.")}
    return _as_floats(own or found)


def _as_floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of float16, and of whole numbers that have an exponent or a unit."""
    tensors = as_floats(tensors)
    floats = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}
    for weight in tensors:
        exponent = floats.pop(weight.removesuffix(".weight") + EXPONENT, None)
        if exponent is not None:
            floats[weight] = floats[weight].float() * torch.exp2(-exponent.float())[:, None]
    return floats


def load_weights(path: Path, model: M, part: str = "", new: tuple[str, ...] = ()) -> M:
    """Put `read_weights` into `model`. Those of its weights whose names begin with one of `new` may be missing there: they stay as
    they are. Raises ModelError where there are none, or they do not fit."""
    weights = read_weights(path, part)
    kept = {name: tensor for name, tensor in model.state_dict().items() if new and name.startswith(new)}
    try:
        model.load_state_dict(kept | weights)
    except RuntimeError as error:
        raise ModelError(f"the weights in {path} are not of this configuration: {last_line(error)}") from error
    return model


def progress_of(path: Path) -> Progress:
    """The progress in a checkpoint; zero where the file does not exist. Raises ModelError where it is not a checkpoint."""
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, "pt") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not the checkpoint of a run: {last_line(error)}") from error


def save(path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {AVERAGE + k: v for k, v in average.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{k}": v for k, v in state.items()}
    partial = path.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"progress": json.dumps(vars(progress))})
    partial.replace(path)


def resume(path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
    """Resume a run from its checkpoint. Raises ModelError where the checkpoint is of another network."""
    if not path.exists():
        return Progress()
    load_weights(path, average)
    state = optimiser.state_dict()
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
        model.load_state_dict({k.removeprefix("model."): file.get_tensor(k) for k in keys if k.startswith("model.")})
        for key in keys:
            if key.startswith("optimiser."):
                _, number, name = key.split(".")
                state["state"].setdefault(int(number), {})[name] = file.get_tensor(key)
    optimiser.load_state_dict(state)
    return progress_of(path)
