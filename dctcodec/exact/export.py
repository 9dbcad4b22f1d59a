"""One trained layer as integers, with the proof that its sums are exact."""

import math

import torch
from torch import Tensor

from dctcodec.errors import ExportError, ModelError
from dctcodec.exact.fixed_point import ACTIVATION_BITS, ACTIVATION_MAX, EXACT_LIMIT, STREAM_LIMIT, WEIGHT_MAX
from dctcodec.exact.layers import prove_bound
from dctcodec.exact.quantised import ExactConv, weight_exponent


def layer_tensors(
    name: str, conv: ExactConv, output_bits: int | Tensor, gain: float = 1.0, nearest: bool = False
) -> dict[str, Tensor]:
    """`output_bits`: fraction bits of the outputs, one for all or int (outputs,); `gain` multiplies them, a power of two;
    `nearest`: outputs are rounded to the nearest number when the layer is used, others down."""
    exponent = weight_exponent(conv.weight)
    weight = torch.round(conv.weight * torch.exp2(exponent)[:, None])
    if not weight.abs().max() <= WEIGHT_MAX:  # so put, nan is refused too
        raise ExportError(f"layer {name}: its weights leave the exact range; train with smaller weights")
    sum_bits = exponent + ACTIVATION_BITS
    shift = sum_bits - output_bits - math.log2(gain)
    half = torch.where((shift > 0) & (not nearest), torch.exp2(shift - 1), torch.zeros(()))
    offset = torch.round(conv.bias * torch.exp2(sum_bits)) + half
    weight, offset = _kernel_first(weight, conv.kernel).to(torch.int8), offset.to(torch.int32)
    _prove(name, weight, offset, shift)
    return {f"{name}.weight": weight, f"{name}.offset": offset, f"{name}.shift": shift.to(torch.int32)}


def _kernel_first(weight: Tensor, kernel: int) -> Tensor:
    """(outputs, inputs * k * k) to (outputs, k * k * inputs), the order of a position's patch."""
    return weight.reshape(len(weight), -1, kernel * kernel).permute(0, 2, 1).reshape(len(weight), -1).contiguous()


def _prove(name: str, weight: Tensor, offset: Tensor, shift: Tensor) -> None:
    try:
        prove_bound(weight.numpy(), offset.numpy())
    except ModelError as error:
        raise ExportError(f"layer {name}: its sums leave the exact range; train with smaller weights") from error
    largest = (weight.long().abs().sum(1) * ACTIVATION_MAX + offset.long().abs()) * torch.exp2(-shift)
    if largest.max() + STREAM_LIMIT >= EXACT_LIMIT:
        raise ExportError(f"layer {name}: outputs up to {largest.max():.0f} leave the exact range; train with smaller weights")
