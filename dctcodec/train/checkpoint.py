"""Checkpoints of a training run: saved, resumed, and read by what comes after it."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dctcodec.errors import ModelError, last_line
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.settings import Progress

CHECKPOINT = "checkpoint.safetensors"
AVERAGE = "average."
EXPONENT = ".exponent"
"""Of a layer whose weights are stored as whole numbers: weight = whole / 2^exponent, one for each row."""


def load_average(checkpoint: Path, model: nn.Module, part: str = "") -> nn.Module:
    """Put the averaged weights of a run's checkpoint into `model`. The run may have been of a larger network, of which `model` is
    the part of that name. Raises ModelError where the weights do not fit."""
    try:
        with safe_open(checkpoint, "pt") as file:
            names = [name for name in file.keys() if name.startswith(AVERAGE)]
            own = [name for name in names if part and name.startswith(f"{AVERAGE}{part}.")]
            prefix = f"{AVERAGE}{part}." if own else AVERAGE
            model.load_state_dict({name.removeprefix(prefix): file.get_tensor(name) for name in own or names})
    except FileNotFoundError as error:
        raise ModelError(f"there is no {checkpoint}: give the folder of a run of `dctcodec train`") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {checkpoint} are not of this configuration: {last_line(error)}") from error
    return model


def load_weights(path: Path, model: nn.Module, new: tuple[str, ...] = ()) -> nn.Module:
    """Put a shipped model's float weights into `model`, to train on from them. Parts whose names begin with one of `new` may be
    missing there: they stay as they are. Raises ModelError where there are none, or they do not fit."""
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        for layer in [name.removesuffix(EXPONENT) for name in state if name.endswith(EXPONENT)]:
            state[f"{layer}.weight"] *= torch.exp2(-state.pop(layer + EXPONENT))[:, None]
        kept = {name: tensor for name, tensor in model.state_dict().items() if new and name.startswith(new)}
        model.load_state_dict(kept | state)
    except FileNotFoundError as error:
        raise ModelError(f"there are no weights in {path}: begin with those of another model, models/flagship") from error
    except (RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {path} are not of this network: {last_line(error)}") from error
    return model


def save(path: Path, model: nn.Module, average: nn.Module, optimiser: Optimiser, progress: Progress) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {AVERAGE + k: v for k, v in average.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{k}": v for k, v in state.items()}
    partial = path.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"progress": json.dumps(vars(progress))})
    partial.replace(path)


def resume(path: Path, model: nn.Module, average: nn.Module, optimiser: Optimiser) -> Progress:
    """Take up a run where its checkpoint left it. Raises ModelError for one of another network."""
    if not path.exists():
        return Progress()
    load_average(path, average)
    state = optimiser.state_dict()
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
        model.load_state_dict({k.removeprefix("model."): file.get_tensor(k) for k in keys if k.startswith("model.")})
        for key in keys:
            if key.startswith("optimiser."):
                _, number, name = key.split(".")
                state["state"].setdefault(int(number), {})[name] = file.get_tensor(key)
        progress = Progress(**json.loads(file.metadata()["progress"]))
    optimiser.load_state_dict(state)
    return progress
