"""From a trained diffusion prior to the integers of `exact_diffusion.py` and `bits_back.py`, with the proof that they are exact."""

import math

import torch
from torch import Tensor

from dctcodec.errors import ExportError, ModelError
from dctcodec.exact.export import layer_tensors
from dctcodec.exact.fixed_point import ACTIVATION_BITS, STREAM_BITS
from dctcodec.exact.planes import Arithmetic
from dctcodec.vae.diffusion import BIN_LOG_MIN, FEATURE_BITS, GRID_LOG_MIN, SCALE_STEPS, SCALES, ContextPrior, Schedule
from dctcodec.vae.exact_diffusion import PHASE_BITS, TABLE_SHIFT, ExactDiffusion
from dctcodec.vae.tables import INVERSE_SHIFT
from dctcodec.vae.unet import UNet

SHIFT_BITS = 8
"""The network moves means in 1/256 of the base model's standard deviation."""
NORMAL_STEPS = 2048
NORMAL_REACH = 6
"""The normal distribution is tabulated at NORMAL_STEPS points a standard deviation, to NORMAL_REACH on both sides."""
NORMAL_BITS = 24
PLAIN_BITS = 16
"""Counts of the symbols of tiles that are coded plainly add up to about 2^PLAIN_BITS."""
TAIL = 5.0
"""Tables cover so many standard deviations on both sides, rounded up to one of REACHES."""
REACHES = (6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 64, 90, 140)
"""Few sizes, so that many symbols go to the coder together."""


@torch.no_grad()
def to_integers(prior: ContextPrior) -> dict[str, Tensor]:
    """Tensors of the exact form, all of whole numbers. Raises ExportError where a bound does not hold."""
    shape = prior.shape
    tensors = {"shape": torch.tensor([shape.channels, shape.size, shape.bits, shape.steps, SCALES], dtype=torch.int32)}
    tensors |= _network(prior.network) | _reverse(prior) | _forward(prior.schedule) | _normal()
    tensors["plain"] = _whole(prior.frequency.flatten(0, 2).double() * 2**PLAIN_BITS, torch.int32) + 1
    try:
        network = ExactDiffusion({name: values.numpy() for name, values in tensors.items()}, Arithmetic("float64"))
        network.prove_forward(tensors["reach"][tensors["forward_scale"]].tolist())
    except ModelError as error:
        raise ExportError(f"the diffusion prior has no exact form: {error}") from error
    return tensors


def _network(network: UNet) -> dict[str, Tensor]:
    tensors = layer_tensors("input", network.input, STREAM_BITS)
    for part, stacks in (("enter", network.enter), ("leave", network.leave)):
        for scale, stack in enumerate(stacks):
            for number, block in enumerate(stack):
                name = f"{part}.{scale}.{number}"
                tensors |= layer_tensors(f"{name}.first", block.first, ACTIVATION_BITS, nearest=True)
                tensors |= layer_tensors(f"{name}.second", block.second, STREAM_BITS)
    for scale, conv in enumerate(network.down):
        tensors |= layer_tensors(f"down.{scale}", conv, STREAM_BITS)
    half = len(network.head.weight) // 2
    bits = torch.tensor([float(SHIFT_BITS)] * half + [math.log2(SCALE_STEPS)] * half)
    tensors |= layer_tensors("head", network.head, bits)
    tensors["time_bias"] = _whole(network.biases.of_steps() * 2**STREAM_BITS, torch.int32)
    for number, position in enumerate(network.biases.maps):
        tensors[f"map.{number}"] = _whole(position.flatten(1).T * 2**STREAM_BITS, torch.int32)
    return tensors


def _reverse(prior: ContextPrior) -> dict[str, Tensor]:
    """What maps n_t and the network's output to features, means and scales: (T, coefficients) each."""
    base, schedule = prior.base(), prior.schedule
    rows: dict[str, list[Tensor]] = {}
    for t in range(1, schedule.steps + 1):
        gain, bias, log, factor, offset = (base[name][t - 1].flatten() for name in ("gain", "bias", "log", "factor", "offset"))
        # symbol k stands for (2 k + 1) / 2^bits - 1, and 2^bits bins span 2
        centre = 0.5 * schedule.cell(0) - 1 if t == 1 else 0.0
        to_phases = 2**PHASE_BITS / schedule.cell(t - 1)
        values = {
            "feature_gain": factor * schedule.cell(t) * 2**FEATURE_BITS,
            "feature_offset": offset * 2**FEATURE_BITS + 0.5,
            "mean_gain": gain * schedule.cell(t) * to_phases,
            "mean_offset": (bias - centre) * to_phases + 0.5,
            "mean_step": log.exp() * to_phases / 2**SHIFT_BITS,
        }
        values = {name: _whole(value * 2**TABLE_SHIFT, torch.int64) for name, value in values.items()}
        values["scale_base"] = _whole((log - prior.log_origin(t)) * SCALE_STEPS, torch.int32)
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    return {name: torch.stack(tables) for name, tables in rows.items()}


def _forward(schedule: Schedule) -> dict[str, Tensor]:
    """The mean of y_t from n_{t-1}, and the scale indices of q(y_t | y_{t-1}) and of p(y_T): (T,) each, and one."""
    gains, offsets, scales = [], [], []
    for t in range(1, schedule.steps + 1):
        keep, to_phases = math.sqrt(1 - schedule.beta(t)), 2**PHASE_BITS / schedule.cell(t)
        centre = 0.5 * schedule.cell(0) - 1 if t == 1 else 0.0
        gains.append(keep * schedule.cell(t - 1) * to_phases)
        offsets.append(keep * centre * to_phases + 0.5)
        scales.append(schedule.scale(t))
    last = min(max(round((-math.log(schedule.cell(schedule.steps)) - GRID_LOG_MIN) * SCALE_STEPS), 0), SCALES - 1)
    return {
        "forward_gain": _whole(torch.tensor(gains, dtype=torch.float64) * 2**TABLE_SHIFT, torch.int64),
        "forward_offset": _whole(torch.tensor(offsets, dtype=torch.float64) * 2**TABLE_SHIFT, torch.int64),
        "forward_scale": torch.tensor(scales, dtype=torch.int32),
        "last_scale": torch.tensor(last, dtype=torch.int32),
    }


def _normal() -> dict[str, Tensor]:
    """The cumulative normal distribution, and for each scale the table's points in 1/64 cell, times 2^INVERSE_SHIFT.

    A Gaussian that is rounded to whole cells gains a variance of 1/12: the tables of the grids are that much narrower."""
    points = torch.arange(-NORMAL_REACH * NORMAL_STEPS, NORMAL_REACH * NORMAL_STEPS + 1, dtype=torch.float64) / NORMAL_STEPS
    logs = torch.arange(SCALES, dtype=torch.float64) / SCALE_STEPS
    grid = torch.sqrt(torch.exp(2 * (logs + GRID_LOG_MIN)) - 1 / 12)
    steps = NORMAL_STEPS * 2.0 ** (INVERSE_SHIFT - PHASE_BITS)
    return {
        "normal": _whole(torch.special.ndtr(points) * 2**NORMAL_BITS, torch.int32),
        "reach": _reaches(grid),
        "grid_inverse": _whole(steps / grid, torch.int32),
        "bin_inverse": _whole(steps / torch.exp(logs + BIN_LOG_MIN), torch.int32),
    }


def _reaches(deviations: Tensor) -> Tensor:
    sizes = torch.tensor(REACHES, dtype=torch.int32)
    return sizes[torch.searchsorted(sizes.double(), TAIL * deviations).clamp_max(len(sizes) - 1)]


def _whole(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounded to the nearest; refuses what does not fit."""
    rounded = torch.floor(values.double() + 0.5)
    if not rounded.abs().max() < torch.iinfo(dtype).max:  # so put, nan is refused too
        raise ExportError("a table of the diffusion prior leaves the exact range; train with smaller weights")
    return rounded.to(dtype)
