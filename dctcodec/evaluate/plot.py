"""Rate-distortion curves: PSNR, MS-SSIM and SSIMULACRA2 against bits per pixel, side by side."""

from collections.abc import Sequence

from dctcodec.evaluate.figures import png
from dctcodec.evaluate.report import Curve

PANELS = (("psnr", "PSNR, dB"), ("ms_ssim", "MS-SSIM, dB: -10 log10(1 - MS-SSIM)"), ("ssimulacra2", "SSIMULACRA2"))
MAX_BPP = 0.9  # a larger range would leave too little room for low rates


def draw(results: Sequence[Curve], images: str, published: Sequence[Curve] = ()) -> bytes:
    """A PNG with the mean curves of all codecs; the first one stands out, published ones are dotted."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    colours = colormaps["tab20" if published else "tab10"]
    figure = Figure(figsize=(16, 4.8), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        styles = [("o-", 2.4), *[("o--", 1.3)] * (len(results) - 1), *[(":", 1.3)] * len(published)]
        for number, (result, (style, width)) in enumerate(zip([*results, *published], styles, strict=True)):
            points = [point for point in sorted(result.curve(metric)) if point[0] <= MAX_BPP]
            if points:
                axes.plot(*zip(*points, strict=True), style, ms=4, lw=width, color=colours(number), label=result.name)
        axes.set(xlabel="bits per pixel (whole file)", ylabel=label, xlim=(0, None))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="lower right", fontsize="small")
    figure.suptitle(f"Mean over the images: {images}")
    return png(figure, 130)
