"""Types of command-line options that click lacks."""

import math
from typing import Any

import click

SEED = click.IntRange(0, 2**63 - 1)
"""What torch's generators take, with room for a step's number to be added."""


class FiniteRange(click.FloatRange):
    """A range of numbers that excludes infinity and nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number
