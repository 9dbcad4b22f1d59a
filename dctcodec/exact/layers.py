"""Layers of dct-vae in exact integer arithmetic, on torch: the same numbers on every machine. `planes.py` has those of
dct-bands.

Every tensor holds whole numbers. Products are sums of at most 2^12 terms whose partial sums stay below 2^24 (proved for the
actual weights at export, and again when the model is loaded), so the order of summation cannot matter: float64 (the
reference), float32 and int8 kernels give the same bits. Rescaling is floor((sum + 2^(k-1)) / 2^k), exact in all of them.
"""

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dctcodec.exact.planes import prove_bound

TRIAL_ROWS = 1024
"""Rows on which an int8 kernel is tried at most; more differ only in how they are split."""


class Layer:
    """One convolution: out = floor((W a + offset) * 2^-shift), W int8, a in +-127.

    `weight`: int8 (outputs, kernel * kernel * inputs); `offset`: int32 (outputs,), bias and rounding half together;
    `shift`: int32 (outputs,).
    """

    def __init__(self, weight: Tensor, offset: Tensor, shift: Tensor, arithmetic: "Arithmetic"):
        prove_bound(weight.numpy(), offset.numpy())
        self.arithmetic = arithmetic
        self.weight = arithmetic.prepare(weight)
        self.offset = offset.to(arithmetic.device, arithmetic.dtype)
        self.scale = torch.exp2(-shift.to(arithmetic.device, arithmetic.dtype))

    def __call__(self, activations: Tensor, rows: slice = slice(None), out: Tensor | None = None) -> Tensor:
        """(positions, terms) to (positions, outputs[rows]), in `out` where there is one."""
        sums = self.arithmetic.product(activations, self.weight[:, rows])
        sums = sums.to(self.arithmetic.dtype) if out is None else out.copy_(sums)
        return sums.add_(self.offset[rows]).mul_(self.scale[rows]).floor_()


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
        """(positions, terms) @ (terms, outputs), both `operand` or exactly convertible to it, as int32 or `dtype`."""
        if self.kind == "int8" and int8_is_exact(min(len(activations), TRIAL_ROWS), *weight.shape):
            return torch._int_mm(activations.to(torch.int8), weight.contiguous())  # laid out as it was tried
        return activations.to(self.dtype) @ weight.to(self.dtype)


def arithmetic_for(device: torch.device) -> Arithmetic:
    """The fastest arithmetic that is exact on a device."""
    if device.type != "cpu":
        return Arithmetic("float64", device)  # matrix units of GPUs may round sums of float32
    return Arithmetic("int8" if _multiplies_int8() else "float32", device)


@cache
def _multiplies_int8() -> bool:
    """Whether the processor has instructions for sums of products of int8: without them torch takes 40 times as long. True where
    torch does not tell."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if not capabilities.get("avx2"):
        return True
    return any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


@lru_cache(maxsize=256)
def int8_is_exact(positions: int, terms: int, outputs: int) -> bool:
    """Whether this machine's int8 product of these sizes is right. It is tried on the operands with the largest sums.

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


def stored(tensors: dict[str, Tensor], name: str, arithmetic: Arithmetic) -> Layer:
    """The layer of a name among a model's tensors."""
    return Layer(tensors[f"{name}.weight"], tensors[f"{name}.offset"], tensors[f"{name}.shift"], arithmetic)


def patches(grid: Tensor, stride: int = 1) -> Tensor:
    """The 3x3 neighbourhood of every position, or of every `stride`-th in both directions, zeros outside: (n, h, w, c) to
    (positions, 9 c)."""
    return _patches(F.pad(grid, (0, 0, 1, 1, 1, 1)), stride)


def _patches(padded: Tensor, stride: int = 1) -> Tensor:
    """Those of a grid with a border of 1 around it."""
    padded = padded.contiguous()
    count, height, width, channels = padded.shape
    image, row, column, _ = padded.stride()
    rows, columns = -(-(height - 2) // stride), -(-(width - 2) // stride)
    windows = padded.as_strided((count, rows, columns, 3, 3 * channels), (image, row * stride, column * stride, row, 1))
    # where the grid is one wide the windows' rows would stay a view that overlaps, which products of matrices misread
    return windows.reshape(-1, 9 * channels).contiguous()
