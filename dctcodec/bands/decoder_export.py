"""From a trained decoder to the whole numbers of `painter.py`.

The file of a decoder holds the network itself, its weights as they are rounded, and what its exact form is made of: tables of
activations, and the scales and offsets of layers, of the first layer of a block for each row of steps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dctcodec.bands.decoder import Block, Decoder, Partition, Scale
from dctcodec.bands.exact_transform import RESIDUAL_BITS
from dctcodec.bands.export import step_bounds, step_rows
from dctcodec.bands.units import INPUT_GAIN
from dctcodec.errors import ExportError, ModelError
from dctcodec.exact.byte_layers import MOST, UNIT, Activation, ByteConv
from dctcodec.exact.fixed_point import STREAM_BITS, STREAM_LIMIT
from dctcodec.exact.layers import Scaled
from dctcodec.exact.planes import Arithmetic
from dctcodec.family import EXACT

LEAST_DISTANCE = 1e-3
"""Of an entry of a table, before it is rounded, from the middle of two numbers."""
LEAST_FACTOR = 1e-3
"""A step multiplies no channel by less: its shift could not be reached."""


@torch.no_grad()
def to_integers(decoder: Decoder) -> dict[str, Tensor]:
    """Tensors of a decoder's file. Raises ExportError where a bound does not hold."""
    for layer in decoder.modules():
        if isinstance(layer, Activation):
            _keep_apart(layer)
    tensors = _weights(decoder)
    exact = {"step_bounds": step_bounds()} | _activation("entering", decoder.entering)
    exact |= _layer("paint", decoder.paint, decoder.entering.after.unit, 2.0**-RESIDUAL_BITS)
    for number, scale in enumerate(decoder.scales):
        exact |= {f"scales.{number}.{name}": tensor for name, tensor in _scale(scale).items()}
    return tensors | {EXACT + name: tensor for name, tensor in exact.items()}


def _weights(decoder: Decoder) -> dict[str, Tensor]:
    """The network: weights of bytes with their units, units and biases as they are, all else float16."""
    tensors = {name: tensor if tensor.dim() == 0 else tensor.half().contiguous() for name, tensor in decoder.state_dict().items()}
    for name, layer in decoder.named_modules():
        if isinstance(layer, ByteConv):
            layer.choose_units()
            tensors |= {f"{name}.weight": layer.whole().to(torch.int8).contiguous(), name + UNIT: layer.unit}
            tensors[f"{name}.bias"] = layer.bias.detach()
    return tensors


def _scale(scale: Scale) -> dict[str, Tensor]:
    stream = 2.0**-STREAM_BITS
    tensors = _layer("context", scale.context, INPUT_GAIN / 2**scale.image_bits, stream)
    if scale.up is not None and scale.entering is not None:
        tensors |= _layer("up", scale.up, scale.entering.unit, stream)
    if scale.partition is not None:
        tensors["told"] = _told(scale.partition)
    for number, block in enumerate(scale.blocks):
        tensors |= {f"blocks.{number}.{name}": tensor for name, tensor in _block(block).items()}
    return tensors


def _told(partition: Partition) -> Tensor:
    """What each kind of quadrant adds to a stream, int32 (rows, width): rows by kind and place in a quadrant, or by quadrant of a
    feature and kind."""
    coarser, finer = partition.coarser**2, partition.finer**2
    weight = partition.bias.weight.detach()[:, :, 0, 0]
    by_place = weight.reshape(-1, finer, weight.shape[1] // coarser, coarser)  # width, place, kind, quadrant
    rows = F.pad(by_place, (0, 0, 1, 0)).permute(3, 2, 1, 0).reshape(-1, len(by_place))
    return torch.round(rows * 2**STREAM_BITS).clamp(-STREAM_LIMIT, STREAM_LIMIT).to(torch.int32).contiguous()


def _block(block: Block) -> dict[str, Tensor]:
    factor, shift = (values[:, :, 0, 0] for values in block.conditioning(step_rows()))
    factor = torch.where(factor.abs() < LEAST_FACTOR, LEAST_FACTOR, factor)
    tensors = _activation("entering", block.entering) | _activation("between", block.between)
    tensors |= _layer("first", block.first, block.entering.after.unit, block.between.before.unit, factor, shift)
    return tensors | _layer("second", block.second, block.between.after.unit, block.added.unit)


def _keep_apart(activation: Activation) -> None:
    """Make the unit after a silu larger until no entry of a table of bytes is near the middle of two: so every library's silu gives
    this table."""
    while activation.before.bits == 8 and (_entries(activation) % 1 - 0.5).abs().min() < LEAST_DISTANCE:
        activation.after.unit.mul_(1 + LEAST_DISTANCE / 8)


def _entries(activation: Activation) -> Tensor:
    """Those of an activation's table before they are rounded, float64, less the one that stands for zero."""
    numbers = torch.arange(activation.before.most + 1) - int(activation.before.zero)
    return F.silu(numbers * activation.before.unit.double()) / activation.after.unit.double()


def _activation(name: str, activation: Activation) -> dict[str, Tensor]:
    """The table of an activation: uint8 (256,), or of wider numbers int16."""
    after = activation.after
    values = (torch.round(_entries(activation)) + after.zero).clamp(0, after.most)
    return {f"{name}.table": values.to(torch.uint8 if after.most == MOST else torch.int16)}


def _layer(
    name: str,
    layer: ByteConv,
    unit: Tensor | float,
    result: Tensor | float,
    factor: Tensor | None = None,
    shift: Tensor | None = None,
) -> dict[str, Tensor]:
    """A layer of terms in a unit, whose results are in another. `factor` and `shift`: of its outputs, a row for each step."""
    whole = layer.whole()
    sums = layer.unit.double() * unit  # that of its sums
    bias = layer.bias.detach().double()
    scale = sums / result
    if factor is not None and shift is not None:
        bias, scale = bias + shift.double() / factor.double(), scale * factor.double()
    offset = torch.round(bias / sums)
    try:
        rows = (values.reshape(-1, len(whole)).numpy() for values in (offset, scale))
        for offsets, scales in zip(*rows, strict=True):
            Scaled(whole.flatten(1).numpy(), offsets, scales, layer.most, Arithmetic("float64"))
    except ModelError as error:
        raise ExportError(f"layer {name}: its sums leave the exact range; train with smaller weights") from error
    return {f"{name}.offset": offset.to(torch.int32), f"{name}.scale": scale.float()}
