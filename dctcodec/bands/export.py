"""From a trained float network to the integers of `exact_prior.py` and `exact_forecast.py`, with the proof that they are exact."""

import math

import torch
from torch import Tensor

from dctcodec.bands.exact_forecast import BASIS_BITS, INVERSE_BITS, SMALLER_SIDES
from dctcodec.bands.forecast import Forecast
from dctcodec.bands.order import REVEALS
from dctcodec.bands.prior import HEAD_GAIN, PartitionInput, PriorNetwork
from dctcodec.bands.transform import STEP_BITS, relative_step
from dctcodec.bands.units import ASINH_GAIN, LOG_SCALE_MIN, MEAN_BITS, SCALE_BITS
from dctcodec.errors import ExportError
from dctcodec.exact.export import layer_tensors
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, EXACT_LIMIT, STREAM_BITS
from dctcodec.exact.quantised import Conditioning, ExactConv
from dctcodec.tiles import TILE, dct_basis

STEP_ROWS = 64
STEP_RANGE = (8.0, 256.0)
"""The network's biases are tabulated at STEP_ROWS steps, evenly spaced in the logarithm; a step uses the nearest row."""


@torch.no_grad()
def to_integers(network: PriorNetwork) -> dict[str, Tensor]:
    """Tensors of the exact form. Raises ExportError where a bound does not hold."""
    tensors = layer_tensors("input", network.input, STREAM_BITS) | _blocks(network)
    tensors |= _head(network.head) | layer_tensors("skip", network.skip, SCALE_BITS)
    tensors |= _conditioning(network.conditioning) | {"step_bounds": step_bounds(), "asinh": _asinh_table()}
    if network.partition:
        tensors |= {f"partition.{name}": tensor for name, tensor in _partition(network.partition).items()}
    if network.forecast:
        tensors |= {f"forecast.{name}": tensor for name, tensor in _forecast(network.forecast).items()}
    return tensors


def _partition(told: PartitionInput) -> dict[str, Tensor]:
    tensors = layer_tensors("planes", told.planes, STREAM_BITS) | layer_tensors("split", told.split, STREAM_BITS)
    for number, skip in enumerate(told.skips):
        tensors |= layer_tensors(f"skips.{number}", skip, SCALE_BITS)
    code = told.code
    tensors |= {"kinds": torch.tensor(code.kinds, dtype=torch.int32), "bounds": code.bounds, "tiles": code.tiles.counts()}
    return tensors | ({"quadrants": code.quadrants.counts()} if code.quadrants else {})


def _forecast(network: Forecast) -> dict[str, Tensor]:
    tensors = _blocks(network) | _conditioning(network.conditioning)
    for name, layer in (("coarse", network.coarse), ("up", network.up), ("fine", network.fine)):
        tensors |= layer_tensors(name, layer, STREAM_BITS)
    tensors |= layer_tensors("paint", network.paint, ACTIVATION_BITS, nearest=True)
    tensors |= layer_tensors("pool", network.pool, SCALE_BITS)
    tensors["coarse_blocks"] = torch.tensor(network.shape.coarse, dtype=torch.int32)
    cpu = torch.device("cpu")
    step = relative_step(cpu).flatten().double()
    tensors["basis"] = _basis(TILE)
    if network.partition:
        tensors |= {f"partition.basis.{size}": _basis(size) for size in SMALLER_SIDES}
        tensors["partition.kinds"] = torch.tensor(network.kinds, dtype=torch.int32)
        tensors |= layer_tensors("partition.coarse", network.partition.coarse, STREAM_BITS)
        tensors |= layer_tensors("partition.fine", network.partition.fine, STREAM_BITS)
    tensors["step"] = torch.round(step * 2**STEP_BITS).to(torch.int16)
    tensors["step_inverse"] = torch.round(2**INVERSE_BITS / step).to(torch.int16)
    return tensors


def _basis(size: int) -> Tensor:
    return torch.round(torch.from_numpy(dct_basis(size, None)).double() * 2**BASIS_BITS).to(torch.int16)


def _blocks(network: PriorNetwork | Forecast) -> dict[str, Tensor]:
    tensors = {"branch_bits": torch.tensor(network.branch_bits, dtype=torch.int32)}
    for number, (first, second, bits) in enumerate(zip(network.first, network.second, network.branch_bits, strict=True)):
        tensors |= layer_tensors(f"first.{number}", first, ACTIVATION_BITS, nearest=True)
        tensors |= layer_tensors(f"second.{number}", second, STREAM_BITS - bits, nearest=True)
    return tensors


def _head(head: ExactConv) -> dict[str, Tensor]:
    """Means in 1/16 symbols and scale indices less their offset, in rows (means, scales) for each reveal."""
    bits = torch.full((len(head.weight),), float(SCALE_BITS))
    for reveal in REVEALS:
        bits[2 * reveal.start : reveal.start + reveal.stop] = MEAN_BITS
    return layer_tensors("head", head, bits, HEAD_GAIN) | {
        "scale_offset": torch.tensor(round(-LOG_SCALE_MIN * 2**SCALE_BITS), dtype=torch.int32)
    }


def _conditioning(conditioning: Conditioning) -> dict[str, Tensor]:
    rows, shape = step_rows(), (-1, conditioning.layers, conditioning.width)
    reveal, step = (torch.round(bias * 2**STREAM_BITS).reshape(shape) for bias in (conditioning.reveal, conditioning.of_step(rows)))
    if not reveal.abs().max() + step.abs().max() < EXACT_LIMIT:  # so put, nan is refused too
        raise ExportError("the biases of the conditioning leave the exact range; train with smaller weights")
    return {"reveal_bias": reveal.to(torch.int32), "step_bias": step.to(torch.int32)}


def step_rows() -> Tensor:
    """ln of the step of each row."""
    low, high = STEP_RANGE
    return torch.linspace(math.log(low), math.log(high), STEP_ROWS)


def step_bounds() -> Tensor:
    """Steps in 1/16 at which the next row begins."""
    rows = step_rows()
    return torch.round(torch.exp((rows[1:] + rows[:-1]) / 2) * 16).to(torch.int32)


def _asinh_table() -> Tensor:
    """floor(16 asinh(n) + 1/2) up to where it reaches 127."""
    last = math.ceil(math.sinh(ACTIVATION_MAX / ASINH_GAIN))
    values = [min(ACTIVATION_MAX, math.floor(ASINH_GAIN * math.asinh(n) + 0.5)) for n in range(last + 1)]
    return torch.tensor(values, dtype=torch.int32)
