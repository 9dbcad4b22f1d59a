"""Options that several commands share."""

import math
from typing import Any

import click

from dctcodec.family import FAMILIES
from dctcodec.installed import find

SEED = click.IntRange(0, 2**63 - 1)
"""What torch's generators take, with room for a step's number to be added."""


class FiniteRange(click.FloatRange):
    """A range of numbers that excludes infinity and nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def check_quality(model: str, quality: float | None, targets: dict[str, float]) -> None:
    """Raise UsageError where more than one of a quality and targets is given, or any to a model that has one quality."""
    if (quality is not None) + len(targets) > 1:
        raise click.UsageError("Give one of --quality, --target-bpp, --target-size and --target-psnr.")
    if FAMILIES[find(model).family].one_quality and (quality is not None or targets):
        raise click.UsageError(f"The model {model} has one quality. Remove --quality and --target-....")
