"""Figures as results have them: with their standard errors, as JSON, and as plots in PNG."""

import io
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def standard_error(values: "Tensor") -> float:
    """Of the mean of values (n,)."""
    return float(values.double().std() / len(values) ** 0.5)


def as_json(value: Any) -> Any:
    """A figure as JSON holds it. JSON has no infinity: the PSNR of equal images becomes None."""
    return None if isinstance(value, float) and math.isinf(value) else value


def png(figure: "Figure", dpi: int) -> bytes:
    """A plot of matplotlib as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    return buffer.getvalue()
