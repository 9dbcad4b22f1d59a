"""The hierarchical decoder: symbols -> image, top-down from the tile grid to the pixels.

As in figure 8 of the DCT-VAE paper, the features start from the plain image (the inverse DCT of the symbols) at 1/32 of
the resolution and go up the scales; at the start of each scale the plain image is added. Each scale may hold a latent with a
learned prior, drawn at temperature tau; at tau = 0 the latents vanish and the decoder gives its best estimate.
Fully convolutional over the whole image, so tiles leave no seams. Whatever the network makes of an image unlike those
it knows, no coefficient leaves its symbol by more than half a step.

This is the network that is trained, and that `--effort` takes gradients of: float, with the rounding of `painter.py`, which paints,
in the loop.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dctcodec.arrays import Place
from dctcodec.bands.blocks import QUADRANT, planes
from dctcodec.bands.transform import consistent, dequantise, synthesise
from dctcodec.bands.units import IMAGE_BITS, INPUT_GAIN, LATENTS, PAINTED_SCALES, UP_MOST, WIDE_BITS, WIDE_BLOCKS, noise_of
from dctcodec.configuration import Count
from dctcodec.device import fast_convolutions
from dctcodec.exact.byte_layers import Activation, ByteConv, Bytes, as_floats, on_stream, rounded
from dctcodec.modules import ModuleList, built_alike, channels_last, start_at_zero
from dctcodec.tiles import TILE, scaled, strips_of, ycbcr_to_rgb

RETURN = 0.1
"""Weight of `Returning`, beside ln of the squared error."""
Draw = Callable[..., Tensor]
"""The latent of a scale, from its features."""


@dataclass(frozen=True)
class DecoderShape:
    """Channels and residual blocks of each scale, coarse to fine."""

    widths: tuple[Count, Count, Count, Count] = (96, 96, 96, 64)
    blocks: tuple[Count, Count, Count, Count] = (1, 1, 6, 8)


class Conditioning(nn.Module):
    """Scale and shift of each channel from ln step: (B,) to two (B, channels, 1, 1)."""

    def __init__(self, channels: int, hidden: int = 32):
        super().__init__()
        self.hidden = nn.Linear(1, hidden)
        self.out = nn.Linear(hidden, 2 * channels)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, log_step: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.sin(self.hidden((log_step[:, None] - math.log(50.0)) * 2))
        scale, shift = self.out(hidden)[:, :, None, None].chunk(2, 1)
        return 1 + scale, shift


class Block(nn.Module):
    """x + conv(act(conditioned conv(act(x)))), all of it but x as bytes. `wide`: as wider numbers."""

    def __init__(self, width: int, wide: bool = False):
        super().__init__()
        bits = before, after = WIDE_BITS if wide else (8, 8)
        self.entering, self.first = Activation(True, bits), ByteConv(width, width, 3, 2**after - 1)
        self.between, self.second = Activation(False, bits), ByteConv(width, width, 3, 2**after - 1)
        self.added = Bytes(dyadic=True, bits=before)
        self.conditioning = Conditioning(width)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor, log_step: Tensor) -> Tensor:
        scale, shift = self.conditioning(log_step)
        hidden = torch.addcmul(shift, self.first(self.entering(x)).float(), scale)
        return x + self.added(self.second(self.between(hidden)))


class Latent(nn.Module):
    """A latent z ~ N(0, sigma(features)^2) whose projection is added to the features, drawn at a temperature."""

    def __init__(self, width: int):
        super().__init__()
        self.log_sigma = nn.Conv2d(width, LATENTS, 1)
        self.project = nn.Conv2d(LATENTS, width, 1, bias=False)
        start_at_zero(self.log_sigma)

    def sigma(self, features: Tensor) -> Tensor:
        return torch.exp(self.log_sigma(features).float().clamp(-5, 2))


class Partition(nn.Module):
    """What a scale is told of the blocks: a bias for each kind of quadrant, and each place in it. `kinds`: their number but one."""

    def __init__(self, pixels: int, width: int, kinds: int):
        super().__init__()
        self.coarser, self.finer = max(1, pixels // QUADRANT), max(1, QUADRANT // pixels)
        self.bias = nn.Conv2d(kinds * self.coarser**2, width * self.finer**2, 1, bias=False)
        start_at_zero(self.bias)

    def forward(self, kinds: Tensor) -> Tensor:
        """`kinds`: float (B, kinds, 2 h, 2 w), as `blocks.planes` gives them."""
        return F.pixel_shuffle(self.bias(F.pixel_unshuffle(kinds, self.coarser)), self.finer)


class Scale(nn.Module):
    """One scale: features from above, the plain image added, a latent, residual blocks."""

    def __init__(self, pixels: int, above: int | None, width: int, blocks: int, kinds: int):
        super().__init__()
        self.pixels = pixels
        self.partition = Partition(pixels, width, kinds) if kinds else None
        self.entering = Bytes(dyadic=True, middle=True) if above else None
        self.up = ByteConv(above, 4 * width, 1, UP_MOST) if above else None
        self.image_bits = IMAGE_BITS[PAINTED_SCALES.index(pixels)]
        self.context = ByteConv(3 * pixels**2, width, 1, 255 << self.image_bits)
        wide = WIDE_BLOCKS if pixels == PAINTED_SCALES[-1] else 0
        self.blocks = ModuleList(Block(width, number < wide) for number in range(blocks))
        self.latent = Latent(width)

    def forward(self, above: Tensor | None, image: Tensor, kinds: Tensor | None, log_step: Tensor, draw: Draw | None) -> Tensor:
        limit = 255 << self.image_bits
        image = rounded(image, INPUT_GAIN / 2**self.image_bits, -limit, limit)
        features = on_stream(self.context(F.pixel_unshuffle(image, self.pixels)))
        if self.partition is not None and kinds is not None:
            features = features + on_stream(self.partition(kinds))
        if above is not None and self.entering is not None and self.up is not None:
            features = features + on_stream(F.pixel_shuffle(self.up(self.entering(above)), 2))
        del above, image  # large images: each is a copy of the image's size
        for block in self.blocks[:-1]:
            features = block(features, log_step)
        if draw is not None:
            features = features + on_stream(self.latent.project(draw(self, features).to(features.dtype)))
        return self.blocks[-1](features, log_step)


class Returning(torch.autograd.Function):
    """The correction that is added to an image, (B, 3, 32 h, 32 w), and the one that the network asked for. Where the bound refuses
    a share of it, the network also gets the gradient of RETURN * share * the mean over tiles of ln |asked for|. Else it would have
    nearly no gradient there, and would never learn again."""

    @staticmethod
    def forward(context: Any, added: Tensor, wanted: Tensor) -> Tensor:
        context.save_for_backward(added, wanted)
        return added

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        added, wanted = context.saved_tensors
        energies = [F.avg_pool2d(planes.square().mean(1, keepdim=True), TILE) + 1e-12 for planes in (added, wanted)]
        refused = 1 - (energies[0] / energies[1]).clamp_max(1) ** (1 / 10)  # `consistent` leaves the fifth power of a share
        pull = RETURN * refused / energies[1] / wanted.numel()
        return gradient, wanted * F.interpolate(pull, scale_factor=TILE, mode="nearest")


class Decoder(nn.Module):
    """Symbols (B, CHANNELS, h, w) to an image. `kinds`: numbers of the kinds of blocks that a tile may have, none where all are
    32x32."""

    def __init__(self, shape: DecoderShape = DecoderShape(), kinds: tuple[int, ...] = ()):
        super().__init__()
        self.shape, self.kinds = shape, kinds
        above, told = (None, *shape.widths[:-1]), len(kinds[1:])
        self.scales = ModuleList(
            Scale(*sizes, told) for sizes in zip(PAINTED_SCALES, above, shape.widths, shape.blocks, strict=True)
        )
        self.entering = Activation(True, WIDE_BITS)
        self.paint = ByteConv(shape.widths[-1], 3 * PAINTED_SCALES[-1] ** 2, 3, 2 ** WIDE_BITS[1] - 1)
        start_at_zero(self.paint)

    def forward(self, symbols: Tensor, step: Tensor, draw: Draw | None = None, partition: Tensor | None = None) -> Tensor:
        """`symbols`: float32 (B, C, h, w); `step`: float32 (B,), pixel levels; `draw(scale, features)` gives the latent
        of a scale, None for temperature 0; `partition`: int64 (B, 4, h, w), None where the decoder has no kinds of blocks.
        Returns RGB float32 (B, 3, 32 h, 32 w), nominally [0, 255], not clamped."""
        image, log_step = self._image(symbols, step, partition), torch.log(step)
        coarsest, *others, _ = self.scales
        kinds = None if partition is None else planes(partition, self.kinds)
        features = coarsest(None, image, kinds, log_step, draw)
        for scale in others:
            features = scale(features, image, kinds, log_step, draw)
        # large images in strips, for the memory: the finest scale has most of the features
        strips = strips_of(symbols.shape[2:], self._reach)
        if len(strips) == 1:
            return self._painted(features, image, partition, step, draw, *strips[0])
        draws = [draw and partial(draw, rows=outer) for _, outer in strips]
        painted = [self._painted(features, image, partition, step, d, *strip) for d, strip in zip(draws, strips, strict=True)]
        return torch.cat(painted, 2)

    def _image(self, symbols: Tensor, step: Tensor, partition: Tensor | None) -> Tensor:
        """The plain image of symbols, YCbCr in units of 1 / INPUT_GAIN."""
        parts, per_sample = [], step[:, None, None, None]
        with torch.autocast(symbols.device.type, enabled=False):
            for _, rows in strips_of(symbols.shape[2:], 0):
                told = None if partition is None else partition[:, :, rows]
                coefficients = dequantise(symbols[:, :, rows], per_sample, told) * INPUT_GAIN
                parts.append(synthesise(coefficients, told))
            image = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
            return image.contiguous(memory_format=torch.channels_last)

    @property
    def _reach(self) -> int:
        """Rows of tiles on either side that the finest scale takes in: two 3x3 layers a block, and what paints."""
        return -(-PAINTED_SCALES[-1] * (2 * self.shape.blocks[-1] + 1) // TILE)

    def _painted(
        self,
        above: Tensor,
        image: Tensor,
        partition: Tensor | None,
        step: Tensor,
        draw: Draw | None,
        inner: slice,
        outer: slice,
    ) -> Tensor:
        """RGB of the tile rows `inner` of a strip `outer`, from the features above the finest scale."""
        part, above = image[:, :, scaled(outer, TILE)], above[:, :, scaled(outer, TILE // PAINTED_SCALES[-2])]
        blocks = None if partition is None else partition[:, :, outer]
        kinds = None if blocks is None else planes(blocks, self.kinds)
        features = self.scales[-1](above, part, kinds, torch.log(step), draw)
        rows = scaled(inner, TILE)
        residual = F.pixel_shuffle(self.paint(self.entering(features)), PAINTED_SCALES[-1]).float()[:, :, rows]
        with torch.autocast(image.device.type, enabled=False):
            # the residual grows with the quantisation error; the root keeps its scale near one for all steps
            wanted = residual * (4 * step[:, None, None, None].sqrt())
            added = consistent(wanted, step, None if blocks is None else blocks[:, :, inner])
            if self.training:
                added = Returning.apply(added, wanted)
            return ycbcr_to_rgb(part[:, :, rows] / INPUT_GAIN + added)


@torch.inference_mode(False)  # effort needs gradients by way of the weights
def loaded(shape: Mapping[str, Sequence[int]], kinds: tuple[int, ...], weights: Mapping[str, np.ndarray], place: Place) -> Decoder:
    """A decoder with weights, on a torch.device or, for None, the CPU. `shape`: of a DecoderShape. Raises RuntimeError where the
    weights are not of the shape."""
    with built_alike():
        decoder = Decoder(DecoderShape(**{name: tuple(values) for name, values in shape.items()}), kinds)  # type: ignore[arg-type]
        decoder.load_state_dict(as_floats({name: torch.from_numpy(values) for name, values in weights.items()}))
    decoder.requires_grad_(False)
    return channels_last(decoder.eval(), place or "cpu")


@torch.no_grad()
def reconstruct(
    decoder: Decoder, symbols: Tensor, step: float, temperature: float, seed: int, partition: Tensor | None = None
) -> Tensor:
    """The image of symbols (CHANNELS, h, w) and a partition (4 or 5, h, w): RGB float32 (3, 32 h, 32 w), not clamped.

    At a `temperature` above 0 each scale's latent is drawn with noise that depends on `seed` and the scale alone.
    """

    def draw(scale: Scale, features: Tensor, rows: slice = slice(0, symbols.shape[1])) -> Tensor:
        size = tuple(length * TILE // scale.pixels for length in symbols.shape[1:])
        noise = torch.from_numpy(noise_of(seed, scale.pixels, size))[:, :, scaled(rows, TILE // scale.pixels)].to(features.device)
        return scale.latent.sigma(features) * temperature * noise

    steps = torch.full((1,), step, dtype=torch.float32, device=symbols.device)
    with fast_convolutions(symbols.device):
        kinds = None if partition is None else partition[None]
        return decoder(symbols[None].float(), steps, draw if temperature > 0 else None, kinds)[0]
