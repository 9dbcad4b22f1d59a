"""Settings and progress of a training run."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of a run: its folder, the weights it starts from, those of a decoder that paints, its length (steps, or minutes over
    all restarts), and so on. The run pauses after `piece` minutes.

    `schedule(step, fraction of the run)` gives the rate over its peak; `average`: decay of the moving average of weights; `clip`:
    largest norm of the gradient; `skip`: norm above which a step is not taken; `replay`: record a step on a GPU (`replay.py`).
    """

    folder: Path
    start: Path | None = None
    painter: Path | None = None
    steps: int = 0
    minutes: float = 0.0
    piece: float = math.inf
    learning_rate: float = 1.5e-3
    batch: int = 8
    seed: int = 0
    device: str = "cpu"
    replay: bool = False
    save_every: float = 180.0
    validate_every: float = 1200.0
    schedule: Callable[[int, float], float] | None = None
    average: float = 0.999
    clip: float = math.inf
    skip: float = math.inf


@dataclass
class Progress:
    """Steps and seconds spent so far, and images seen."""

    step: int = 0
    seconds: float = 0.0
    crops: int = 0

    def fraction(self, settings: Settings) -> float:
        """Share of the run that is done, 1 at its end."""
        if settings.steps:
            return self.step / settings.steps
        return self.seconds / (60 * settings.minutes)
