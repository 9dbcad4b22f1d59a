"""Bjøntegaard delta rate: the difference in bits, in per cent, between two codecs at equal quality.

Both curves are first cut to one interval of bpp: where the interval ends inside a curve, the curve gets a point there
(metric interpolated over log bpp by PCHIP), and the points outside fall away. The `bjontegaard` package then
interpolates log bpp over the metric by PCHIP (monotone, no overshoot) and averages the difference over the range
of the metric that both cut curves reach. So no bit outside the interval counts, on either side.

Codecs that were measured on the same images are compared image by image, and the figure is the mean of the images' BD-rates. For
each image it is that of the range which both curves reach; a codec whose best or worst quality leaves a part of the interval out is
not compared there, and the number of images whose curves reach all of it is told beside the mean.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

INTERVAL = (0.08, 0.8)  # bits per pixel
Curve = Sequence[tuple[float, float]]  # (bpp, metric) points; the metric grows with quality


def bd_rate(anchor: Curve, test: Curve, interval: tuple[float, float] = INTERVAL) -> float | None:
    """Bits of `test` over those of `anchor` at equal metric, in per cent: negative where `test` needs fewer.

    `interval`: the bits per pixel within which the curves are compared. None where the curves share no range of
    the metric there, or one of them has fewer than two points.
    """
    import bjontegaard

    curves = [_cut(_rising(curve), *interval) for curve in (anchor, test)]
    if min(map(len, curves)) < 2:
        return None
    rates_and_metrics = [axis for curve in curves for axis in zip(*curve, strict=True)]
    with warnings.catch_warnings(action="ignore"):  # the package warns of curves that do not overlap, and returns NaN
        percent = bjontegaard.bd_rate(*rates_and_metrics, method="pchip", require_matching_points=False, min_overlap=0)
    return None if np.isnan(percent) else float(percent)


@dataclass(frozen=True)
class MeanRate:
    """The mean of the BD-rates of images. `percent`: None where no image has one; `compared`: how many images have one;
    `whole_interval`: of how many both curves reach both ends of the interval."""

    percent: float | None
    compared: int
    whole_interval: int


def mean_bd_rate(anchors: Mapping[str, Curve], tests: Mapping[str, Curve], interval: tuple[float, float] = INTERVAL) -> MeanRate:
    """`bd_rate` of each image whose curves are in both mappings, and their mean."""
    pairs = [(anchors[image], tests[image]) for image in anchors if image in tests]
    rates = [rate for pair in pairs if (rate := bd_rate(*pair, interval)) is not None]
    whole = sum(all(_reaches(curve, *interval) for curve in pair) for pair in pairs)
    return MeanRate(float(np.mean(rates)) if rates else None, len(rates), whole)


def _reaches(curve: Curve, low: float, high: float) -> bool:
    rates = [bpp for bpp, _ in _rising(curve)]
    return bool(rates) and min(rates) <= low and max(rates) >= high


def _rising(curve: Curve) -> list[tuple[float, float]]:
    """The points in order of bpp, without points that cost more bits for no better metric or whose metric is not finite."""
    kept: list[tuple[float, float]] = []
    for bpp, metric in sorted(curve):
        if np.isfinite(metric) and (not kept or (bpp > kept[-1][0] and metric > kept[-1][1])):
            kept.append((bpp, metric))
    return kept


def _cut(curve: list[tuple[float, float]], low: float, high: float) -> list[tuple[float, float]]:
    """The curve between `low` and `high` bpp, with a point at each of them that lies inside it."""
    from scipy.interpolate import PchipInterpolator

    if len(curve) < 2:
        return curve
    metric_at = PchipInterpolator(np.log([bpp for bpp, _ in curve]), [metric for _, metric in curve])
    first, last = curve[0][0], curve[-1][0]
    ends = [(bpp, float(metric_at(np.log(bpp)))) for bpp in (low, high) if first < bpp < last]
    return sorted([(bpp, metric) for bpp, metric in curve if low <= bpp <= high and bpp not in dict(ends)] + ends)
