"""The encoder's choice of blocks, by distortion + weight * bits: each tile, and each quadrant of a split one, by itself.

Bits are those that a symbol of a magnitude takes in a block of a kind, whatever is around it. Each kind is tried on all tiles at
once; the quadrants of a tile count as if all four were of one kind.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from dctcodec.bands import blocks
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.transform import coded_places, relative_step, rounding_offset
from dctcodec.tiles import TILE, pad_to_tiles, rgb_to_ycbcr, tiles_across, to_tiles, ycbcr_to_rgb

SLOPE = 11.0
"""dMSE/dbpp of photographs is about -step^2 / SLOPE, MSE over the three channels of RGB."""
LEVELS = 64
"""Magnitudes are told apart by round(8 asinh(|symbol|)), below LEVELS."""
FIRST_BITS, BITS_AN_OCTAVE = 3.5, 2.0
"""What a symbol takes that is not 0, and more for each doubling of it: on photographs, about, at any step."""
SPLIT_BITS, KIND_BITS = 6.0, 2.5
"""What it takes to say that a tile is split, and the kind of each of its quadrants."""


class Bits(NamedTuple):
    """`symbols`: float (kinds, CHANNELS, LEVELS), of each kind in `blocks.KINDS`; `tile`: float (LARGE + 1,), of each large kind
    and of splitting; `quadrant`: float (kinds,), of each small kind."""

    symbols: Tensor
    tile: Tensor
    quadrant: Tensor


@cache
@torch.inference_mode(False)
def plain_bits() -> Bits:
    """The same for all kinds and frequencies."""
    magnitudes = torch.sinh(torch.arange(LEVELS, dtype=torch.float32) / 8)
    lengths = torch.where(
        magnitudes < 0.5, magnitudes.new_zeros(()), FIRST_BITS + BITS_AN_OCTAVE * torch.log2(magnitudes.clamp_min(1))
    )
    tile = torch.full((blocks.LARGE + 1,), SPLIT_BITS, dtype=torch.float32)
    return Bits(
        lengths.expand(len(blocks.KINDS), len(CHANNELS), -1), tile, torch.full((len(blocks.KINDS),), KIND_BITS, dtype=torch.float32)
    )


@torch.no_grad()
def choose(rgb: Tensor, step: Tensor, kinds: tuple[int, ...], bits: Bits | None = None) -> Tensor:
    """The partition of images: `rgb` float32 (B, 3, H, W) in [0, 255], `step` (B,) in pixel levels; int64 (B, 4, h, w)."""
    bits, device = bits or plain_bits(), rgb.device
    height, width = (tiles_across(side) for side in rgb.shape[2:])
    tiles = to_tiles(pad_to_tiles(rgb_to_ycbcr(rgb))).flatten(0, 2)
    steps = step.repeat_interleave(height * width)
    costs = {kind: _costs(tiles, steps, kind, bits.symbols[kind].to(device)) for kind in kinds}
    large, small = blocks.large_kinds(kinds), blocks.small_kinds(kinds)
    options = [costs[kind].sum(1) + bits.tile[kind].item() / SLOPE for kind in large]
    labels = torch.tensor(large, device=device)[:, None].expand(-1, blocks.QUADRANTS)
    if not small:
        chosen = labels[torch.stack(options).argmin(0)]
    else:
        quadrants, which = torch.stack([costs[kind] + bits.quadrant[kind].item() / SLOPE for kind in small]).min(0)
        options.append(quadrants.sum(1) + bits.tile[blocks.LARGE].item() / SLOPE)
        tile = torch.stack(options).argmin(0)
        whole = labels[tile.clamp_max(len(large) - 1)]
        chosen = torch.where((tile < len(large))[:, None], whole, torch.tensor(small, device=device)[which])
    return chosen.reshape(len(rgb), height, width, blocks.QUADRANTS).permute(0, 3, 1, 2)


def _costs(tiles: Tensor, steps: Tensor, kind: int, lengths: Tensor) -> Tensor:
    """Distortion + weight * bits of the quadrants of tiles (n, 3, 32, 32) of one kind, over step^2, up to what is the same for all
    kinds: (n, 4). `lengths`: (CHANNELS, LEVELS)."""
    places = _places(tiles.device)
    partition = torch.full((len(tiles), blocks.QUADRANTS), kind, device=tiles.device)
    scaled = blocks.forward(tiles, partition, blocks.float_matrices(tiles.device)).flatten(1)
    scaled = scaled.mul_(places.inverse_step).div_(steps[:, None]).abs_()
    row, place = (scaled >= places.threshold).nonzero(as_tuple=True)  # few: the others become 0
    magnitude, channel = scaled[row, place], places.channel[place]
    symbols = torch.floor(magnitude + (1 - places.threshold)[place])
    level = torch.round(8 * torch.asinh(symbols)).clamp_max(LEVELS - 1).to(torch.int64)
    cost = symbols * (symbols - 2 * magnitude) * places.weight[place]
    cost += (lengths[channel, level] - lengths[channel, 0]) / SLOPE
    result = torch.zeros(blocks.QUADRANTS, dtype=torch.float32, device=tiles.device)
    result.index_add_(0, blocks.quadrant_of_channels().to(tiles.device), lengths[:, 0] / SLOPE)
    result = result.repeat(len(tiles))
    return result.index_add_(0, row * blocks.QUADRANTS + places.quadrant[place], cost).reshape(-1, blocks.QUADRANTS)


class _Places(NamedTuple):
    """Of each place in a tile's flattened (plane, u, v): its channel; 1 over its step over the image's, 0 where nothing is coded;
    the scaled coefficient from which its symbol is not 0; the squared error, mean over RGB, of a symbol's change by 1, over step^2;
    the quadrant of a split tile that it is of."""

    channel: Tensor
    inverse_step: Tensor
    threshold: Tensor
    weight: Tensor
    quadrant: Tensor


@cache
@torch.inference_mode(False)
def _places(device: torch.device) -> _Places:
    cpu, size = torch.device("cpu"), 3 * TILE**2
    coded, step = coded_places(cpu), relative_step(cpu).flatten()
    colours = (
        ycbcr_to_rgb(torch.eye(3, dtype=torch.float32)[..., None]) - ycbcr_to_rgb(torch.zeros(3, 3, 1, dtype=torch.float32))
    ).square().sum((0, 2)) / 3
    weight = colours[[channel.plane for channel in CHANNELS]] * step**2
    values = (torch.arange(len(CHANNELS)), 1 / step, 1 - rounding_offset(cpu).flatten(), weight, blocks.quadrant_of_channels())
    tables = [torch.zeros(size, dtype=value.dtype).index_copy(0, coded, value) for value in values]
    tables[2] = tables[2].masked_fill(tables[1] == 0, 1)
    return _Places(*(table.to(device) for table in tables))
