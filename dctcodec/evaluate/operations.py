"""How much a model computes: multiply-adds a pixel of its analysis, its prior and its decoder."""

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dctcodec.codec import family_of
from dctcodec.family import Parameters
from dctcodec.installed import find

SIDE = 256
"""Of the image counted on: whole tiles."""


def count(model: str) -> dict[str, float]:
    """Multiply-adds a pixel of a model's parts, products of matrices and convolutions alone. Raises ModelError."""
    family, size = family_of(find(model), torch.device("cpu")), (SIDE, SIDE)  # torch counts what it computes itself
    parameters = Parameters(family.step16(None))
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE))
    rgb = pixels.astype(np.float32)
    symbols = family.analyse(rgb, parameters)
    parts = {
        "analysis": lambda: family.analyse(rgb, parameters),
        "prior": lambda: family.code_length(symbols, parameters),
        "decoder": lambda: family.paint(symbols, size, parameters, family.temperature),
    }
    return {name: _multiply_adds(part) / SIDE**2 for name, part in parts.items()}


def _multiply_adds(work: Callable[[], object]) -> float:
    work()  # what is done once only does not count
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2
