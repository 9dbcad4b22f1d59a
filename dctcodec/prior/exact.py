"""The prior's network in exact integer arithmetic: the same numbers on every machine.

Every tensor holds whole numbers. Products are sums of at most 2^12 terms whose partial sums stay below 2^24 (proved for the
actual weights when a model is exported, and again when it is loaded), so the order of summation cannot matter: float64 (the
reference), float32 and int8 kernels give the same bits. Rescaling is floor((sum + 2^(k-1)) / 2^k), exact in all of them.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dctcodec.errors import ModelError
from dctcodec.prior.network import (
    ACTIVATION_BITS,
    ACTIVATION_MAX,
    FEATURES,
    INPUT_CHANNELS,
    LINEAR_GAIN,
    MEAN_LIMIT,
    SCALES,
    STREAM_BITS,
    checkerboard,
)
from dctcodec.schedule import REVEALS

STREAM_LIMIT = 2**15
TRIAL_ROWS = 1024
"""Rows on which an int8 kernel is tried at most; more differ only in how they are split."""
EXACT_LIMIT = 2**24
"""Whole numbers up to here are exact in float32."""
_TO_ACTIVATION = STREAM_BITS - ACTIVATION_BITS


class Layer:
    """One convolution: out = floor((W a + offset) * 2^-shift), W int8, a in +-127.

    `weight`: int8 (outputs, kernel * kernel * inputs); `offset`: int32 (outputs,), bias and rounding half together;
    `shift`: int32 (outputs,).
    """

    def __init__(self, weight: Tensor, offset: Tensor, shift: Tensor, arithmetic: "Arithmetic"):
        prove_bound(weight, offset)
        self.arithmetic = arithmetic
        self.weight = arithmetic.prepare(weight)
        self.offset = offset.to(arithmetic.device, arithmetic.dtype)
        self.scale = torch.exp2(-shift.to(arithmetic.device, arithmetic.dtype))

    def __call__(self, activations: Tensor, rows: slice = slice(None)) -> Tensor:
        """(positions, terms) to (positions, outputs[rows])."""
        sums = self.arithmetic.product(activations, self.weight[:, rows])
        return sums.add_(self.offset[rows]).mul_(self.scale[rows]).floor_()


def prove_bound(weight: Tensor, offset: Tensor) -> None:
    """Raise ModelError unless no partial sum of the layer can reach 2^24."""
    bound = (weight.long().abs().sum(1) * ACTIVATION_MAX + offset.long().abs()).max().item()
    if bound >= EXACT_LIMIT:
        raise ModelError(f"the model's weights break the bound of exact arithmetic ({bound} >= {EXACT_LIMIT}): it is damaged")


class Arithmetic:
    """How whole numbers are multiplied: float64, float32 or int8 operands. All give the same results."""

    def __init__(self, kind: str, device: torch.device):
        self.kind, self.device = kind, device
        self.dtype = torch.float64 if kind == "float64" else torch.float32
        self.operand = torch.int8 if kind == "int8" else self.dtype

    def prepare(self, weight: Tensor) -> Tensor:
        """Weights (outputs, terms) as the right-hand operand (terms, outputs)."""
        return weight.T.contiguous().to(self.device, self.operand)

    def product(self, activations: Tensor, weight: Tensor) -> Tensor:
        """(positions, terms) @ (terms, outputs), both `operand` or exactly convertible to it, as `dtype`."""
        if self.kind == "int8" and int8_is_exact(min(len(activations), TRIAL_ROWS), *weight.shape):
            return torch._int_mm(activations.to(torch.int8), weight).to(self.dtype)
        return activations.to(self.dtype) @ weight.to(self.dtype)


def arithmetic_for(device: torch.device) -> Arithmetic:
    """The fastest arithmetic that is exact on a device."""
    # matrix units of GPUs may round sums of float32
    return Arithmetic("int8" if device.type == "cpu" else "float64", device)


@lru_cache(maxsize=256)
def int8_is_exact(positions: int, terms: int, outputs: int) -> bool:
    """Whether this machine's int8 product of these sizes is right, tried on operands whose sums are the largest there are.

    Kernels for processors without VNNI may saturate pairs at 16 bits. One position is never trusted: torch 2.13 misreads the
    strides of such a matrix when they are not the usual ones.
    """
    if positions == 1:
        return False
    generator = torch.Generator().manual_seed(1)
    left, right = (_extremes(rows, terms, generator) for rows in (positions, outputs))
    try:
        product = torch._int_mm(left, right.T.contiguous())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.equal(product.double(), left.double() @ right.T.double())


def _extremes(rows: int, terms: int, generator: torch.Generator) -> Tensor:
    """int8 (rows, terms) of 127 and -127: rows of one sign, and rows of mixed signs."""
    signs = torch.randint(0, 2, (rows, terms), generator=generator)
    signs[::3], signs[1::3] = 0, 1
    return (signs * 254 - 127).to(torch.int8)


class ExactPrior:
    """The network over one picture's tile grid. `tensors` as `export.to_integers` makes them."""

    def __init__(self, tensors: dict[str, Tensor], arithmetic: Arithmetic):
        self.arithmetic = arithmetic
        self.blocks = sum(name.startswith("first.") and name.endswith(".weight") for name in tensors)
        # the 1x1 layers are a small part of the work, in many sizes: not worth proving int8 kernels for
        self._plain = Arithmetic("float32", arithmetic.device) if arithmetic.kind == "int8" else arithmetic
        self._inputs = [self._input_layer(tensors, reveal) for reveal in range(len(REVEALS))]
        self._head = self._layer(tensors, "head", self._plain)
        self._skips = [self._skip_layer(tensors, reveal) for reveal in range(len(REVEALS))]
        self._first = [self._layer(tensors, f"first.{n}", arithmetic) for n in range(self.blocks)]
        self._second = [self._layer(tensors, f"second.{n}", arithmetic) for n in range(self.blocks)]
        self._scale_offset = int(tensors["scale_offset"])
        self._reveal_bias = tensors["reveal_bias"].to(arithmetic.device, arithmetic.dtype)
        self._step_bias = tensors["step_bias"].to(arithmetic.device, arithmetic.dtype)
        self._step_bounds = tensors["step_bounds"]
        self._asinh = tensors["asinh"].to(arithmetic.device)

    def _layer(self, tensors: dict[str, Tensor], name: str, arithmetic: Arithmetic) -> Layer:
        return Layer(*(tensors[f"{name}.{part}"] for part in ("weight", "offset", "shift")), arithmetic)

    def _input_layer(self, tensors: dict[str, Tensor], reveal: int) -> Layer:
        """The input layer without its terms that are zero before a reveal."""
        weight, count = tensors["input.weight"], _channels_known(reveal)
        if weight.shape[1] != FEATURES * INPUT_CHANNELS + 1:
            raise ModelError("the prior's input has another number of terms: it is damaged, or of another version")
        starts = range(0, FEATURES * INPUT_CHANNELS, INPUT_CHANNELS)
        terms = [*(term for start in starts for term in range(start, start + count)), FEATURES * INPUT_CHANNELS]
        return Layer(weight[:, terms], tensors["input.offset"], tensors["input.shift"], self._plain)

    def _skip_layer(self, tensors: dict[str, Tensor], reveal: int) -> Layer:
        """A reveal's rows of the skip, without their terms that are zero before it."""
        rows, count = slice(REVEALS[reveal].start, REVEALS[reveal].stop), _channels_known(reveal)
        weight, offset, shift = (tensors[f"skip.{part}"][rows] for part in ("weight", "offset", "shift"))
        return Layer(weight[:, :count], offset, shift, self._plain)

    def distributions(self, symbols: Tensor, reveal: int, step16: int) -> tuple[Tensor, Tensor]:
        """What the symbols of a reveal are coded with, given the symbols before it.

        `symbols`: int32 (CHANNELS, h, w), those not yet revealed are ignored; `step16`: the step in 1/16.
        Returns (mean in 1/16 symbols, scale index), int32 (n, h, w) each, n channels of the reveal.
        """
        now, (height, width) = REVEALS[reveal], symbols.shape[1:]
        bias = self._reveal_bias[reveal] + self._step_bias[int(torch.bucketize(step16, self._step_bounds))]
        features = self._features(symbols, reveal)
        stream = self._inputs[reveal](features)
        for block in range(self.blocks):
            hidden = self._first[block](self._patches(_activation(stream + bias[block]), height, width))
            update = self._second[block](self._patches(_activation(hidden), height, width))
            stream = (stream + update).clamp(-STREAM_LIMIT, STREAM_LIMIT)
        raw = self._head(_activation(stream + bias[-1]), slice(2 * now.start, 2 * now.stop)).T
        raw = raw.to(torch.int32).reshape(2, now.stop - now.start, height, width)
        magnitudes = features[:, 2 * _channels_known(reveal) : -1]
        skip = self._skips[reveal](magnitudes).T.to(torch.int32).reshape(raw[1].shape)
        return raw[0].clamp(-MEAN_LIMIT, MEAN_LIMIT), (raw[1] + skip + self._scale_offset).clamp(0, SCALES - 1)

    def _features(self, symbols: Tensor, reveal: int) -> Tensor:
        """(positions, FEATURES * n + 1), as `network.symbol_features` in units of 1/16, of the n channels known before a reveal."""
        now, board = REVEALS[reveal], checkerboard(*symbols.shape[1:], self.arithmetic.device)
        known = symbols[: _channels_known(reveal)].to(self.arithmetic.device)
        if now.parity == 1:
            known = torch.cat([known[: now.start], known[now.start :] * (board == 0)])
        linear = (known * LINEAR_GAIN).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        magnitude = self._asinh[known.abs().clamp_max(len(self._asinh) - 1)]
        parity = (board[None] * 2 - 1) << ACTIVATION_BITS
        return torch.cat([linear, magnitude * known.sign(), magnitude, parity.to(torch.int32)]).flatten(1).T

    def _patches(self, activations: Tensor, height: int, width: int) -> Tensor:
        """The 3x3 neighbourhood of each position, zeros outside: (positions, n) to (positions, 9 n)."""
        grid = activations.to(self.arithmetic.operand).reshape(height, width, -1)
        grid = F.pad(grid, (0, 0, 1, 1, 1, 1))
        shifts = [grid[r : r + height, c : c + width] for r in range(3) for c in range(3)]
        return torch.cat(shifts, 2).reshape(height * width, -1)


def _channels_known(reveal: int) -> int:
    """Channels below this one have been revealed, on some tiles at least, before `reveal`."""
    now = REVEALS[reveal]
    return now.stop if now.parity == 1 else now.start


def _activation(stream: Tensor) -> Tensor:
    half = 2 ** (_TO_ACTIVATION - 1)
    return torch.floor((stream + half) * 2.0**-_TO_ACTIVATION).clamp(0, ACTIVATION_MAX)
