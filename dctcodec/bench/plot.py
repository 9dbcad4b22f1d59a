"""Rate-distortion curves: PSNR and MS-SSIM against bits per pixel, side by side."""

import io
from collections.abc import Sequence

from dctcodec.bench.report import Result

PANELS = (("psnr", "PSNR, dB"), ("ms_ssim", "MS-SSIM, dB: -10 log10(1 - MS-SSIM)"))
MAX_BPP = 0.8  # beyond it the low rates, which matter most, have no room


def draw(results: Sequence[Result], pictures: str) -> bytes:
    """A PNG with the mean curves of all codecs; the first one stands out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for number, result in enumerate(results):
            points = [point for point in sorted(result.curve(metric)) if point[0] <= MAX_BPP]
            rates, values = [bpp for bpp, _ in points], [value for _, value in points]
            style, width = ("o--", 1.3) if number else ("o-", 2.4)
            axes.plot(rates, values, style, ms=4, lw=width, label=result.name)
        axes.set(xlabel="bits per pixel (whole file)", ylabel=label, xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    figure.suptitle(f"Mean over the pictures: {pictures}")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()
