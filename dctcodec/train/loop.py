"""The training loop of all networks: budget, schedule, average of weights, checkpoints, log.

A run lives in a folder: `checkpoint.safetensors` (weights, their average, optimiser, progress), `log.jsonl`, and `lock`, which only
one process holds. A run that is started again resumes from its checkpoint. Under `torchrun`, gradients are averaged over the
processes.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Generic, TypeAlias

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from dctcodec.errors import ConfigError
from dctcodec.files import make_folder
from dctcodec.modules import M
from dctcodec.train.checkpoint import CHECKPOINT, resume, save
from dctcodec.train.processes import agree, average_gradients, barrier, join_processes, rank
from dctcodec.train.replay import Replay
from dctcodec.train.settings import Progress, Settings

LOCK = "lock"
WARMUP_STEPS = 100
Loss: TypeAlias = Callable[[M, Tensor, Tensor], Tensor]
"""Of a model, a batch and the step, float ()."""


def train(
    model: M,
    optimiser: Optimizer,
    loss: Loss[M],
    validate: Callable[[M], dict[str, float]],
    batches: Callable[[int], Tensor],
    settings: Settings,
) -> M:
    """Train `model` in place to the end of the budget; returns the averaged weights as a model of its kind.

    `loss(model, batch, step)` gives a scalar, steps counted from 0 over all restarts, float (); `batches(n)` uint8 (n, 3, H, W);
    `validate(average)` figures for the log. Raises ConfigError where another process is training in the run's folder.
    """
    with held(settings.folder):
        return _train(model, optimiser, loss, validate, batches, settings)


def _train(
    model: M,
    optimiser: Optimizer,
    loss: Loss[M],
    validate: Callable[[M], dict[str, float]],
    batches: Callable[[int], Tensor],
    settings: Settings,
) -> M:
    world = join_processes(settings.device)
    schedule = settings.schedule or rate_factor
    average = deepcopy(model)
    progress = resume(settings.folder / CHECKPOINT, model, average, optimiser)
    torch.manual_seed(settings.seed + 1000 * rank() + progress.step)
    stepper = _stepper(model, optimiser, loss, settings, world)
    begun = saved = validated = time.monotonic()
    bar = tqdm(total=100, unit="%", desc=settings.folder.name, disable=None if rank() == 0 else True)
    recent: list[float] = []
    while (fraction := progress.fraction(settings)) < 1 and agree(time.monotonic() - begun, world) < 60 * settings.piece:
        started = time.monotonic()
        _set_rate(optimiser, settings.learning_rate * schedule(progress.step, fraction))
        batch = batches(settings.batch).to(settings.device)
        value, norm = stepper.gradients(batch, torch.full((), float(progress.step), device=settings.device))
        if norm <= settings.skip:  # nan is not
            stepper.move()
        progress.step += 1
        progress.crops += settings.batch * world
        _ema_update(average, model, progress.step, settings.average)
        recent = [*recent[-199:], value.item()]
        now = time.monotonic()
        progress.seconds = agree(progress.seconds + now - started, world)
        bar.update(min(100, round(100 * progress.fraction(settings), 2)) - bar.n)
        bar.set_postfix(loss=f"{sum(recent) / len(recent):.4f}", step=progress.step)
        if rank() == 0 and now - saved > settings.save_every:
            save(settings.folder / CHECKPOINT, model, average, optimiser, progress)
            _log(settings.folder, progress, recent, {})
            saved = now
        if rank() == 0 and now - validated > settings.validate_every:
            _log(settings.folder, progress, recent, validate(average))
            validated = time.monotonic()
    if rank() == 0 and recent:
        # before the last checkpoint, which marks the end: a run that is interrupted here validates again
        figures = validate(average) if progress.fraction(settings) >= 1 else {}
        _log(settings.folder, progress, recent, figures)
        save(settings.folder / CHECKPOINT, model, average, optimiser, progress)
    barrier()
    return average


class Stepper(Generic[M]):
    """The two halves of a step: gradients, averaged over all processes and clipped, and the optimiser's move."""

    def __init__(self, model: M, optimiser: Optimizer, loss: Loss[M], clip: float, world: int):
        self.model, self.optimiser, self.loss, self.clip, self.world = model, optimiser, loss, clip, world

    def gradients(self, batch: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and norm of the gradient before it is clipped."""
        value = self.loss(self.model, batch, step)
        self.optimiser.zero_grad()
        value.backward()
        average_gradients(self.model, self.world)
        return value.detach(), nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)

    def move(self) -> None:
        self.optimiser.step()


def _stepper(model: M, optimiser: Optimizer, loss: Loss[M], settings: Settings, world: int) -> Stepper[M] | Replay:
    stepper = Stepper(model, optimiser, loss, settings.clip, world)
    if not settings.replay:
        return stepper
    for group in optimiser.param_groups:
        group["lr"] = torch.full((), settings.learning_rate, device=settings.device)
    return Replay(model, stepper.gradients, stepper.move)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a folder and lock it against other trainings (processes of this training share the lock). Raises ConfigError where
    another training holds the lock, OutputError where the folder cannot be made."""
    make_folder(folder)
    if rank() > 0:
        yield
        return
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(f"another process is training in {folder}: wait until it ends, or stop it") from error


def rate_factor(step: int, fraction: float) -> float:
    """Learning rate over its peak: a short warm-up, flat for a third of the run, then a straight line to zero."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, (1 - fraction) * 1.5)


def _set_rate(optimiser: Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):  # a recorded step reads it
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def cosine(final: float) -> Callable[[int, float], float]:
    """A schedule: a short warm-up, then half a cosine from 1 to `final`."""

    def factor(step: int, fraction: float) -> float:
        return min(1.0, (step + 1) / WARMUP_STEPS) * (final + (1 - final) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2)

    return factor


@torch.no_grad()
def _ema_update(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    weight = 1 - min(decay, step / (step + 10))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)


def _log(folder: Path, progress: Progress, recent: list[float], figures: dict[str, float]) -> None:
    speed = progress.crops / progress.seconds if progress.seconds else 0.0
    row = vars(progress) | {"crops_per_second": speed, "loss": sum(recent) / len(recent)} | figures
    with open(folder / "log.jsonl", "a") as file:
        file.write(json.dumps({k: round(v, 5) for k, v in row.items()}) + "\n")
