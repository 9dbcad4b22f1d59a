"""The training loop both networks share: budget, schedule, average of weights, checkpoints, log.

A run lives in a folder: `checkpoint.safetensors` (weights, their average, optimiser, progress), `log.jsonl`, and `lock`, which only
one process holds. Starting it again takes it up where the checkpoint left it. Under `torchrun` gradients are averaged over the
processes.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from tqdm import tqdm

from dctcodec.errors import ConfigError, ModelError, last_line
from dctcodec.files import make_folder
from dctcodec.train.optimiser import Optimiser
from dctcodec.train.replay import Replay

CHECKPOINT = "checkpoint.safetensors"
LOCK = "lock"
AVERAGE = "average."
EXPONENT = ".exponent"
"""Of a layer whose weights are stored as whole numbers: weight = whole / 2^exponent, one for each row."""
WARMUP_STEPS = 100


@dataclass(frozen=True)
class Settings:
    """What a run is: its folder, the weights it starts from, its length (pictures of all processes, steps or, over all restarts,
    minutes), the minutes after which it is left to be taken up again, and so on.

    `schedule(step, fraction of the run)` gives the rate over its peak; `average`: decay of the moving average of weights; `clip`:
    largest norm of the gradient; `skip`: norm above which a step is not taken; `replay`: record a step on a GPU (`replay.py`).
    """

    folder: Path
    start: Path | None = None
    crops: int | None = None
    steps: int | None = None
    minutes: float | None = None
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
    """Steps and seconds spent so far, and pictures seen."""

    step: int = 0
    seconds: float = 0.0
    crops: int = 0

    def fraction(self, settings: Settings) -> float:
        if settings.crops:
            return self.crops / settings.crops
        if settings.steps:
            return self.step / settings.steps
        return self.seconds / (60 * settings.minutes)


def train(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    validate: Callable[[nn.Module], dict[str, float]],
    batches: Callable[[int], Tensor],
    settings: Settings,
) -> nn.Module:
    """Train `model` in place to the end of the budget; returns the averaged weights as a model of its kind.

    `loss(model, batch, step)` gives a scalar, steps counted from 0 over all restarts, float (); `batches(n)` uint8 (n, 3, H, W);
    `validate(average)` figures for the log. Raises ConfigError where another process trains in the run's folder.
    """
    with held(settings.folder):
        return _train(model, optimiser, loss, validate, batches, settings)


def _train(
    model: nn.Module, optimiser: torch.optim.Optimizer, loss: Callable, validate: Callable, batches: Callable, settings: Settings
) -> nn.Module:
    world = _join_processes(settings.device)
    schedule = settings.schedule or rate_factor
    average = deepcopy(model)
    progress = _resume(settings.folder / CHECKPOINT, model, average, optimiser)
    torch.manual_seed(settings.seed + 1000 * rank() + progress.step)
    stepper = _stepper(model, optimiser, loss, settings, world)
    begun = saved = validated = time.monotonic()
    bar = tqdm(total=100, unit="%", disable=None if rank() == 0 else True)
    recent = []
    while (fraction := progress.fraction(settings)) < 1 and _agree(time.monotonic() - begun, world) < 60 * settings.piece:
        started = time.monotonic()
        _set_rate(optimiser, settings.learning_rate * schedule(progress.step, fraction))
        batch = batches(settings.batch).to(settings.device)
        value, norm = stepper.gradients(batch, torch.full((), float(progress.step), device=settings.device))
        if norm <= settings.skip:  # nan is not
            stepper.move()
        progress.step += 1
        progress.crops += settings.batch * world
        _follow(average, model, progress.step, settings.average)
        recent = [*recent[-199:], value.item()]
        now = time.monotonic()
        progress.seconds = _agree(progress.seconds + now - started, world)
        bar.update(min(100, round(100 * progress.fraction(settings), 2)) - bar.n)
        bar.set_postfix(loss=f"{sum(recent) / len(recent):.4f}", step=progress.step)
        if rank() == 0 and now - saved > settings.save_every:
            _save(settings.folder / CHECKPOINT, model, average, optimiser, progress)
            _log(settings.folder, progress, recent, {})
            saved = now
        if rank() == 0 and now - validated > settings.validate_every:
            _log(settings.folder, progress, recent, validate(average))
            validated = time.monotonic()
    if rank() == 0 and recent:
        # before the last checkpoint, with which the run has ended: an interruption can be made up for
        figures = validate(average) if progress.fraction(settings) >= 1 else {}
        _log(settings.folder, progress, recent, figures)
        _save(settings.folder / CHECKPOINT, model, average, optimiser, progress)
    meet()
    return average


class Stepper:
    """The two halves of a step: gradients, averaged over all processes and clipped, and the optimiser's move."""

    def __init__(self, model: nn.Module, optimiser: Optimiser, loss: Callable, clip: float, world: int):
        self.model, self.optimiser, self.loss, self.clip, self.world = model, optimiser, loss, clip, world

    def gradients(self, batch: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and norm of the gradient before it is clipped."""
        value = self.loss(self.model, batch, step)
        self.optimiser.zero_grad()
        value.backward()
        _average_gradients(self.model, self.world)
        return value.detach(), nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)

    def move(self) -> None:
        self.optimiser.step()


def _stepper(model: nn.Module, optimiser: Optimiser, loss: Callable, settings: Settings, world: int) -> Stepper | Replay:
    stepper = Stepper(model, optimiser, loss, settings.clip, world)
    if not settings.replay:
        return stepper
    for group in optimiser.param_groups:
        group["lr"] = torch.full((), settings.learning_rate, device=settings.device)
    return Replay(model, stepper.gradients, stepper.move)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other processes, but those that train together with this one, from training in it meanwhile. Raises
    ConfigError where one does, OutputError where there can be no such folder."""
    make_folder(folder)
    if rank() > 0:
        yield
        return
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(f"another process trains in {folder}: wait for its end, or stop it") from error


def rate_factor(step: int, fraction: float) -> float:
    """Learning rate over its peak: a short warm-up, flat for a third of the run, then a straight line to zero."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, (1 - fraction) * 1.5)


def load_average(checkpoint: Path, model: nn.Module, part: str = "") -> nn.Module:
    """Put the averaged weights of a run's checkpoint into `model`. The run may have been of a larger network, of which `model` is
    the part of that name. Raises ModelError where the weights do not fit."""
    try:
        with safe_open(checkpoint, "pt") as file:
            names = [name for name in file.keys() if name.startswith(AVERAGE)]
            own = [name for name in names if part and name.startswith(f"{AVERAGE}{part}.")]
            prefix = f"{AVERAGE}{part}." if own else AVERAGE
            model.load_state_dict({name.removeprefix(prefix): file.get_tensor(name) for name in own or names})
    except FileNotFoundError as error:
        raise ModelError(f"there is no {checkpoint}: give the folder of a run of `dctcodec train`") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {checkpoint} are not of this configuration: {last_line(error)}") from error
    return model


def load_weights(path: Path, model: nn.Module, new: tuple[str, ...] = ()) -> nn.Module:
    """Put a shipped model's float weights into `model`, to train on from them. Parts whose names begin with one of `new` may be
    missing there: they stay as they are. Raises ModelError where there are none, or they do not fit."""
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        for layer in [name.removesuffix(EXPONENT) for name in state if name.endswith(EXPONENT)]:
            state[f"{layer}.weight"] *= torch.exp2(-state.pop(layer + EXPONENT))[:, None]
        kept = {name: tensor for name, tensor in model.state_dict().items() if new and name.startswith(new)}
        model.load_state_dict(kept | state)
    except FileNotFoundError as error:
        raise ModelError(f"there are no weights in {path}: begin with those of another model, models/flagship") from error
    except (RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {path} are not of this network: {last_line(error)}") from error
    return model


def _set_rate(optimiser: Optimiser, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):  # which a recorded step reads
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def cosine(final: float) -> Callable[[int, float], float]:
    """A schedule: a short warm-up, then half a cosine from 1 to `final`."""

    def factor(step: int, fraction: float) -> float:
        return min(1.0, (step + 1) / WARMUP_STEPS) * (final + (1 - final) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2)

    return factor


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    weight = 1 - min(decay, step / (step + 10))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)


def _save(path: Path, model: nn.Module, average: nn.Module, optimiser: Optimiser, progress: Progress) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {AVERAGE + k: v for k, v in average.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{k}": v for k, v in state.items()}
    partial = path.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"progress": json.dumps(vars(progress))})
    partial.replace(path)


def _resume(path: Path, model: nn.Module, average: nn.Module, optimiser: Optimiser) -> Progress:
    """Take up a run where its checkpoint left it. Raises ModelError for one of another network."""
    if not path.exists():
        return Progress()
    load_average(path, average)
    state = optimiser.state_dict()
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
        model.load_state_dict({k.removeprefix("model."): file.get_tensor(k) for k in keys if k.startswith("model.")})
        for key in keys:
            if key.startswith("optimiser."):
                _, number, name = key.split(".")
                state["state"].setdefault(int(number), {})[name] = file.get_tensor(key)
        progress = Progress(**json.loads(file.metadata()["progress"]))
    optimiser.load_state_dict(state)
    return progress


def _log(folder: Path, progress: Progress, recent: list[float], figures: dict[str, float]) -> None:
    speed = progress.crops / progress.seconds if progress.seconds else 0.0
    row = vars(progress) | {"crops_per_second": speed, "loss": sum(recent) / len(recent)} | figures
    with open(folder / "log.jsonl", "a") as file:
        file.write(json.dumps({k: round(v, 5) for k, v in row.items()}) + "\n")


def processes() -> int:
    """How many processes train together: those that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def share(batch: int) -> int:
    """One process's part of a batch. Raises ConfigError where processes cannot have equal parts."""
    if batch % processes():
        raise ConfigError(f"batch = {batch} cannot be shared equally by {processes()} processes: train with another number of them")
    return batch // processes()


def rank() -> int:
    """Which of the processes that train together this one is: the first, 0, writes."""
    return int(os.environ.get("RANK", 0))


def meet() -> None:
    """Wait for all processes that train together, so that each sees what the first has written."""
    if processes() > 1:
        distributed.barrier()


def _join_processes(device: str) -> int:
    """Number of processes; joins them when started by torchrun."""
    world = processes()
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return world


def _average_gradients(model: nn.Module, world: int) -> None:
    """Over all processes, in one message: a message for each parameter takes longer than the step."""
    if world == 1:
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # one process's batch may not need a part of the network that another's does; what none needs keeps no gradient
    needed = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    message = torch.cat([needed, *[gradient.flatten() for gradient in gradients]])
    distributed.all_reduce(message)
    needed, *sums = message.split([len(parameters), *[p.numel() for p in parameters]])
    for parameter, gradient, total, processes_needing in zip(parameters, gradients, sums, needed.tolist(), strict=True):
        parameter.grad = gradient.copy_(total.view_as(gradient)).div_(world) if processes_needing else None


def _agree(seconds: float, world: int) -> float:
    """The first process's clock, so that all end at the same step."""
    if world == 1:
        return seconds
    box = [seconds]
    distributed.broadcast_object_list(box)
    return box[0]
