"""The palette of an image: few colours that stand for all."""

import numpy as np

ROUNDS = 6
"""Of Lloyd's algorithm."""
CHUNK = 2**22
"""Distances that are in memory at once."""


def palette_of(colours: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    """At most `size` colours, uint8 (size, 3), with a small squared error. `colours`: all that there are, uint8 (n, 3), each once;
    `counts`: of their pixels, (n,). The box of the largest error is cut in two until there are enough (Wu 1991); then Lloyd's
    algorithm."""
    if len(colours) <= size:
        return colours
    points, weight = colours.astype(np.float64), counts.astype(np.float64)
    boxes = [_Box(points, weight, np.arange(len(points)))]
    while len(boxes) < size:
        worst = max(range(len(boxes)), key=lambda number: float(boxes[number].error.sum()))
        boxes[worst : worst + 1] = boxes[worst].cut()
    centres = np.stack([box.centre for box in boxes])
    for _ in range(ROUNDS):
        owner = nearest(points, centres)
        total = np.bincount(owner, weight, size)
        sums = np.stack([np.bincount(owner, weight * axis, size) for axis in points.T], 1)
        centres = np.where(total[:, None] > 0, sums / np.maximum(total, 1)[:, None], centres)
    return np.rint(centres).astype(np.uint8)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the centre nearest to each point: (n, 3) and (k, 3) to int64 (n,)."""
    centres = centres.astype(np.float64)
    found = []
    for start in range(0, len(points), rows := max(1, CHUNK // len(centres))):
        some = points[start : start + rows].astype(np.float64)
        found.append((np.square(centres).sum(1) - 2 * some @ centres.T).argmin(1))
    return np.concatenate(found)


class _Box:
    """Points of some numbers: their mean, and their squared error along each axis."""

    def __init__(self, points: np.ndarray, weight: np.ndarray, numbers: np.ndarray):
        self.points, self.weight, self.numbers = points, weight, numbers
        inside, share = points[numbers], weight[numbers][:, None]
        self.centre = (share * inside).sum(0) / share.sum()
        self.error = (share * np.square(inside - self.centre)).sum(0)

    def cut(self) -> "list[_Box]":
        """Two boxes with the least error that a cut across the longest axis can leave."""
        axis = int(self.error.argmax())
        order = self.numbers[np.argsort(self.points[self.numbers, axis], kind="stable")]
        values, weight = self.points[order, axis], self.weight[order]
        below, sums = np.cumsum(weight)[:-1], np.cumsum(weight * values)[:-1]
        gain = sums**2 / below + ((weight * values).sum() - sums) ** 2 / (weight.sum() - below)
        gain[values[1:] == values[:-1]] = -1
        place = int(gain.argmax()) + 1
        return [_Box(self.points, self.weight, part) for part in (order[:place], order[place:])]
