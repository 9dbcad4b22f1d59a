"""Quality 1..100 and the quantisation step.

Evenly spaced in the logarithm of the step, which is nearly even in the logarithm of the file size.
"""

import math

COARSEST, FINEST = 190.0, 14.0
"""Steps of quality 1 and 100, pixel levels: about 0.05 and 1 bits a pixel on photographs."""
WORST, BEST, DEFAULT_QUALITY = 1, 100, 50.0
STEP_UNIT = 16
"""A file holds its step as a whole number of 1/16."""


def step_of_quality(quality: float) -> float:
    """Step of a quality in [1, 100], a multiple of 1/16. Raises ValueError outside."""
    if not WORST <= quality <= BEST:
        raise ValueError(f"quality {quality} is outside {WORST}..{BEST}")
    step = COARSEST * (FINEST / COARSEST) ** ((quality - 1) / 99)
    return round(step * STEP_UNIT) / STEP_UNIT


def quality_of_step(step: float) -> float:
    """Quality of a step > 0, the inverse of `step_of_quality` up to rounding. It may lie outside 1..100."""
    return 1 + 99 * math.log(step / COARSEST) / math.log(FINEST / COARSEST)
