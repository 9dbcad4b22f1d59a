"""Where to compute."""

import torch

from dctcodec.errors import ModelError


def device_of(name: str) -> torch.device:
    """The device of a name: auto, cpu or cuda. Raises ModelError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here: use --device cpu")
    return torch.device(name)
